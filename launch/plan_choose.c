// Every mesh of so many ranks: what it takes, what fits, what it costs.
#include <stdlib.h>

#include "launch/plan.h"

enum { CONTEXT_MOST = 1 << 24, BATCH_MOST = 65536 };

weft_status wi_plan_flags(const wi_model_flags *f, const weft_model_config *config, const weft_cpu *cpu,
                          wi_plan_case *plan)
{
    weft_sizes_options *s = &plan->sizes;
    WEFT_TRY(wi_weights_of(f, cpu, &s->model.weights));
    WEFT_TRY(weft_isa_choose(cpu, &s->isa));
    s->stored = wi_stored_of(config);
    s->model.cache = wi_cache_of(f, &s->model.weights, s->stored);
    s->block = WI_CACHE_BLOCK;
    plan->config = config;
    plan->chunk = (int)f->chunk;
    plan->cache_most = (uint64_t)f->cache_bytes;
    plan->tp = (int)f->tp;
    plan->cp = (int)f->cp;
    plan->dense = f->dense;
    plan->experts = config->experts > 0 ? f->experts : 0;
    plan->fast = f->numerics == 1;
    return WEFT_OK;
}

// ---- memory ----

static weft_sizes_options options_for(const wi_plan_case *plan, int64_t context, int batch)
{
    weft_sizes_options o = plan->sizes;
    o.model.rows = plan->chunk > batch ? plan->chunk : batch;
    o.model.logit_rows = batch;
    o.model.positions = context;
    return o;
}

static weft_status bytes_for(const wi_plan_case *plan, const weft_layout *layout, int64_t context, int batch,
                             wi_rank_bytes *out)
{
    const weft_sizes_options o = options_for(plan, context, batch);
    const weft_mesh_shape *shape = &layout->mesh.shape;
    weft_engine_options engine = {.block = o.block, .requests = batch, .chunk = o.model.rows};
    weft_model_sizes sizes = {0};
    WEFT_TRY(weft_model_sizes_of(plan->config, layout, &o, &sizes));
    engine.cache_units = weft_engine_units(&sizes.cut, shape, &engine, context);
    const uint64_t cache = sizes.cut.unit * (uint64_t)engine.cache_units;
    const int logit_rows = o.model.logit_rows;
    *out = (wi_rank_bytes){.weights = sizes.weights,
                           .cache = plan->cache_most > 0 && plan->cache_most < cache ? plan->cache_most : cache};
    // Of a device's memory; its rank's host has books and slots beside it.
    if (o.model.weights.capability > 0)
        out->scratch = sizes.pass + sizes.rotations + sizes.exchange_device +
                       weft_engine_device_bytes(plan->config, &sizes.cut, shape, &engine, logit_rows, o.threads);
    else
        out->scratch = sizes.pass + sizes.books + sizes.rotations + sizes.exchange +
                       weft_engine_bytes(plan->config, &sizes.cut, shape, &engine, logit_rows, o.threads);
    return WEFT_OK;
}

static weft_layout layout_at(const wi_plan_case *plan, const weft_mesh_shape *shape, int rank)
{
    weft_mesh mesh = weft_mesh_at(shape, rank);
    mesh.devices = !plan->machine.is_host;
    return weft_layout_of(plan->config, &mesh, weft_weights_group(plan->config, &plan->sizes.model.weights));
}

weft_status wi_plan_rank(const wi_plan_case *plan, const weft_mesh_shape *shape, int rank, wi_rank_bytes *out)
{
    const weft_layout layout = layout_at(plan, shape, rank);
    return bytes_for(plan, &layout, plan->context, plan->batch, out);
}

static bool fits(const wi_plan_case *plan, const weft_layout *layout, int64_t context, int batch)
{
    wi_rank_bytes bytes = {0};
    const bool told = bytes_for(plan, layout, context, batch, &bytes) == WEFT_OK;
    weft_error_clear();
    return told && (double)wi_rank_all(&bytes) <= plan->machine.memory;
}

// The largest number that fits, of those up to `most`; 0: not even one does.
static int64_t largest(const wi_plan_case *plan, const weft_layout *layout, bool of_context, int64_t most)
{
    int64_t low = 0, high = 1;
    while (high <= most &&
           fits(plan, layout, of_context ? high : plan->context, of_context ? plan->batch : (int)high)) {
        low = high;
        high *= 2;
    }
    if (high > most) return low;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (fits(plan, layout, of_context ? middle : plan->context, of_context ? plan->batch : (int)middle))
            low = middle;
        else
            high = middle;
    }
    return low;
}

// ---- time ----

static double larger(double a, double b) { return a > b ? a : b; }

static double over(const weft_link *link, double bytes_per_s, double each_s, const weft_sent *sent)
{
    if (link->bytes[0] > 0 && sent->exchanges > 0)
        return sent->exchanges * weft_link_seconds(link, sent->bytes / sent->exchanges);
    return sent->bytes / bytes_per_s + sent->exchanges * each_s;
}

// What goes to peers of this node in an exchange with others too is there before theirs.
static double exchange_s(const wi_plan_case *plan, const weft_step_price *p)
{
    const wi_machine *m = &plan->machine;
    if (m->pairs) {
        double seconds = 0;
        for (int i = 0; i < p->kinds; i++)
            seconds +=
                p->traffic[i].times * wi_exchange_seconds(m, &plan->fabric, &p->traffic[i], plan->sizes.node_ranks);
        return seconds;
    }
    const double near = over(&m->near_link, m->near, m->near_s, &p->near);
    const double far = over(&m->far_link, m->far, m->far_s, &p->far);
    return p->near.exchanges > 0 ? near + far : larger(near, far);
}

// A model that the caches hold is read from there in every step.
static double bandwidth_for(const wi_machine *m, double bytes)
{
    const double room = 0.8; // other things lie there too
    if (m->l2_bandwidth > m->bandwidth && bytes < room * m->l2) return m->l2_bandwidth;
    if (m->l3_bandwidth > m->bandwidth && bytes < room * m->l3) return m->l3_bandwidth;
    return m->bandwidth;
}

double wi_plan_compute_seconds(const wi_plan_case *plan, const weft_step_price *p)
{
    const wi_machine *m = &plan->machine;
    const double bandwidth = bandwidth_for(m, p->bytes + p->attention_bytes);
    const double reading = p->bytes / bandwidth;
    return larger(p->operations / m->operations + m->unhidden * reading, reading) +
           larger(p->attention_operations / m->attention, p->attention_bytes / bandwidth);
}

static double seconds_of(const wi_plan_case *plan, const weft_step_price *p)
{
    return wi_plan_compute_seconds(plan, p) + exchange_s(plan, p);
}

static double bits_of(weft_dtype type, int group)
{
    const double scale = type == WEFT_I8 || type == WEFT_I4 || type == WEFT_E4M3 ? 32. / (group ? group : 4096) : 0;
    return weft_dtype_bits(type) + scale;
}

static weft_step step_of(const wi_plan_case *plan)
{
    const weft_weights_options *w = &plan->sizes.model.weights;
    const weft_dtype type = weft_weights_type(plan->config, w, plan->sizes.stored);
    const bool code = type == WEFT_I8 || type == WEFT_I4 || type == WEFT_E4M3;
    const weft_dtype head = type == WEFT_E4M3 ? plan->sizes.stored : code ? WEFT_I8 : type;
    const double d = (double)plan->config->head_dim;
    static const double element[] = {
        [WEFT_CACHE_F32] = 4, [WEFT_CACHE_BF16] = 2, [WEFT_CACHE_INT8] = 1, [WEFT_CACHE_FP8] = 1};
    return (weft_step){.cache = 2 * d * element[plan->sizes.model.cache],
                       .cache_type = plan->sizes.model.cache,
                       .room = options_for(plan, plan->context, plan->batch).model.rows,
                       .weight = bits_of(type, w->group) / 8,
                       .unchanged = bits_of(code ? plan->sizes.stored : type, 0) / 8,
                       .head = bits_of(head, 0) / 8};
}

static double ceil_of(double a, double b) { return (double)(int64_t)((a + b - 1) / b); }

// Which part of the positions the fullest context rank has: short texts do not spread over many.
static double share_of(const wi_plan_case *plan, int cp, int64_t positions)
{
    const weft_cache_cut cut = {.kinds = 1, .groups = {1}};
    const weft_engine_options one = {.block = plan->sizes.block, .requests = 1};
    return (double)weft_engine_units(&cut, &(weft_mesh_shape){.cp = cp}, &one, positions) /
           (double)weft_engine_units(&cut, &(weft_mesh_shape){.cp = 1}, &one, positions);
}

// All prompts, in steps of as many rows as the chunk lets a rank compute. Keys are half of the prompt in the mean.
static void price_prefill(const wi_plan_case *plan, const weft_layout *layout, wi_mesh_plan *out)
{
    const weft_mesh_shape *shape = &layout->mesh.shape;
    const int64_t chunks = (plan->prompt + WEFT_FOLD_CHUNK - 1) / WEFT_FOLD_CHUNK;
    const double all = (double)plan->prompt * plan->batch;
    weft_step step = step_of(plan);
    if (plan->prompt == 0) return;
    step.share = share_of(plan, shape->cp, chunks * WEFT_FOLD_CHUNK * plan->batch);
    const double own = shape->dense == WEFT_DENSE_TP ? all * step.share : all;
    const double steps = ceil_of(own, plan->chunk);
    step.rows = own / steps;
    step.attended = all / steps;
    step.requests = plan->batch > steps ? plan->batch / steps : 1;
    step.keys = (double)plan->prompt / 2;
    step.logits = plan->batch / steps * own / all;
    const weft_step_price price = weft_price_step(plan->config, layout, &step, plan->sizes.node_ranks);
    out->prefill_s = seconds_of(plan, &price) * steps;
    out->prefill_operations = (price.operations + price.attention_operations) * steps;
    out->prefill_sent = (price.near.bytes + price.far.bytes) * steps / all;
}

// A row of each request; where rows are dealt, the rank with the most of them is waited for.
static weft_step_price decode_price(const wi_plan_case *plan, const weft_layout *layout)
{
    const weft_mesh_shape *shape = &layout->mesh.shape;
    weft_step step = step_of(plan);
    step.rows = shape->dense == WEFT_DENSE_TP ? ceil_of(plan->batch, shape->cp) : plan->batch;
    step.attended = plan->batch;
    step.share = share_of(plan, shape->cp, plan->context * plan->batch);
    step.requests = plan->batch;
    step.keys = (double)plan->context;
    step.logits = step.rows;
    return weft_price_step(plan->config, layout, &step, plan->sizes.node_ranks);
}

weft_step_price wi_plan_decode_price(const wi_plan_case *plan, const weft_mesh_shape *shape)
{
    const weft_layout layout = layout_at(plan, shape, 0);
    return decode_price(plan, &layout);
}

static void price_decode(const wi_plan_case *plan, const weft_layout *layout, wi_mesh_plan *out)
{
    const weft_step_price price = decode_price(plan, layout);
    out->decode_s = seconds_of(plan, &price);
    out->decode_operations = price.operations + price.attention_operations;
    out->decode_sent = (price.near.bytes + price.far.bytes) / plan->batch;
}

// ---- meshes ----

static weft_status plan_mesh(const wi_plan_case *plan, wi_mesh_plan *out)
{
    for (int rank = 0; rank < (plan->quick ? 1 : plan->ranks); rank++) {
        wi_rank_bytes bytes = {0};
        WEFT_TRY(wi_plan_rank(plan, &out->shape, rank, &bytes));
        if (rank > 0 && wi_rank_all(&bytes) <= wi_rank_all(&out->bytes)) continue;
        out->bytes = bytes;
        out->fullest = rank;
    }
    const weft_layout layout = layout_at(plan, &out->shape, out->fullest);
    out->fits = (double)wi_rank_all(&out->bytes) <= plan->machine.memory;
    if (!plan->quick) {
        out->context = largest(plan, &layout, true, CONTEXT_MOST);
        out->batch = (int)largest(plan, &layout, false, BATCH_MOST);
    }
    price_prefill(plan, &layout, out);
    price_decode(plan, &layout, out);
    const double load_s = plan->loads ? (double)out->bytes.weights / plan->machine.load : 0;
    out->seconds = load_s + out->prefill_s + (double)plan->tokens * out->decode_s;
    return WEFT_OK;
}

// What fits comes first; of those the fastest; of what does not fit what takes the least.
static int compare(const void *first, const void *second)
{
    const wi_mesh_plan *a = first, *b = second;
    const double x = a->fits ? a->seconds : (double)wi_rank_all(&a->bytes),
                 y = b->fits ? b->seconds : (double)wi_rank_all(&b->bytes);
    if (a->fits != b->fits) return a->fits ? -1 : 1;
    if (x < y || x > y) return x < y ? -1 : 1;
    return b->shape.tp - a->shape.tp;
}

static bool allowed(const wi_plan_case *plan, const weft_mesh_shape *s)
{
    if ((plan->tp && plan->tp != s->tp) || (plan->cp && plan->cp != s->cp)) return false;
    if (s->cp == 1 && s->dense == WEFT_DENSE_MESH) return false; // the same as tp
    if (s->cp > 1 && plan->dense && plan->dense != (int)s->dense + 1) return false;
    if (plan->experts) return s->expert_columns == (plan->experts == 2);
    // In a dense group of one whole experts are all their columns.
    return !s->expert_columns || (plan->config->experts > 0 && weft_mesh_at(s, 0).dense_ranks > 1);
}

weft_status wi_plan_all(const wi_plan_case *plan, wi_mesh_plan **out, int *count)
{
    weft_status status = WEFT_OK;
    int found = 0;
    wi_mesh_plan *meshes = calloc((size_t)4 * WEFT_FOLD_PLACES, sizeof *meshes);
    if (!meshes) return weft_fail(WEFT_NO_MEMORY, "no memory for a plan");
    for (int cp = 1; cp <= WEFT_FOLD_PLACES && cp <= plan->ranks; cp++)
        for (int way = 0; way < 4 && plan->ranks % cp == 0; way++) {
            const weft_mesh_shape shape = {.tp = plan->ranks / cp,
                                           .cp = cp,
                                           .dense = way < 2 ? WEFT_DENSE_TP : WEFT_DENSE_MESH,
                                           .expert_columns = way % 2 == 1,
                                           .fast = plan->fast};
            if (!allowed(plan, &shape)) continue;
            meshes[found].shape = shape;
            WEFT_TRY_GOTO(plan_mesh(plan, &meshes[found++]));
        }
    if (found == 0)
        WEFT_TRY_GOTO(weft_fail(WEFT_USAGE,
                                "--tp %d --cp %d: tp x cp must be the %d ranks, and cp at most %d; leave one out",
                                plan->tp, plan->cp, plan->ranks, WEFT_FOLD_PLACES));
    qsort(meshes, (size_t)found, sizeof *meshes, compare);
    *out = meshes;
    *count = found;
    return WEFT_OK;
fail:
    free(meshes);
    return status;
}
