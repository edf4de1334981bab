// A plan as a table and as JSON.
#include <inttypes.h>
#include <string.h>

#include "core/flags.h"
#include "core/json.h"
#include "launch/model_open.h"
#include "launch/plan.h"

// Of the mesh: which ranks share dense layers, and how they share experts, where there is a choice.
static const char *dense_name(const wi_plan_case *p, const weft_mesh_shape *s)
{
    static const char *const names[2][3] = {{"-", "tp", "mesh"}, {"-, columns", "tp, columns", "mesh, columns"}};
    const bool columns = p->config->experts > 0 && s->expert_columns;
    return names[columns][s->cp == 1 ? 0 : 1 + s->dense];
}

char *wi_plan_mesh_text(const wi_plan_case *p, const weft_mesh_shape *s, char text[64])
{
    int used = snprintf(text, 64, "tp %d", s->tp);
    if (s->cp > 1)
        used += snprintf(text + used, 64 - (size_t)used, " x cp %d, dense %s", s->cp,
                         s->dense == WEFT_DENSE_MESH ? "mesh" : "tp");
    if (p->config->experts > 0 && weft_mesh_at(s, 0).dense_ranks > 1)
        snprintf(text + used, 64 - (size_t)used, ", experts %s", s->expert_columns ? "by columns" : "whole");
    return text;
}

static const char *cache_name(weft_cache_type type)
{
    static const char *const names[] = {"f32", "bf16", "int8", "fp8"};
    return names[type];
}

static const char *weights_name(const wi_plan_case *p)
{
    return weft_dtype_name(weft_weights_type(p->config, &p->sizes.model.weights, p->sizes.stored));
}

// Three figures and a unit: "17.6 GB", in powers of a thousand as data sheets have them.
static const char *short_text(double value, const char *unit, char text[24])
{
    static const char *const steps[] = {"", "k", "M", "G", "T", "P"};
    int step = 0;
    while (value >= 999.5 && step < 5) value /= 1000, step++;
    snprintf(text, 24,
             value < 9.995 && step > 0   ? "%.2f %s%s"
             : value < 99.95 && step > 0 ? "%.1f %s%s"
                                         : "%.0f %s%s",
             value, steps[step], unit);
    return text;
}

static const char *time_text(double seconds, char text[24])
{
    if (seconds < 1)
        snprintf(text, 24, seconds < 0.1 ? "%.2f ms" : "%.0f ms", seconds * 1e3);
    else
        snprintf(text, 24, seconds < 100 ? "%.2f s" : "%.0f s", seconds);
    return text;
}

static void print_mesh(const wi_plan_case *p, const wi_mesh_plan *m, FILE *out)
{
    char a[24], b[24], c[24], d[24], e[24], f[24], g[24];
    fprintf(out, "%4d %3d %-13s %9s %9s %9s %10" PRId64 " %6d %10s %10s %9s %9s%s\n", m->shape.tp, m->shape.cp,
            dense_name(p, &m->shape), short_text((double)m->bytes.weights, "B", a),
            short_text((double)m->bytes.cache, "B", b), short_text((double)m->bytes.scratch, "B", c), m->context,
            m->batch, short_text(m->prefill_sent, "B", d), short_text(m->decode_sent, "B", e),
            time_text(m->prefill_s, f), time_text(m->decode_s, g), m->fits ? "" : "  does not fit");
}

// The line about the best mesh: what it is, and why.
static void print_best(const wi_plan_case *p, const wi_mesh_plan *m, int count, FILE *out)
{
    char a[24], b[24], text[64];
    const wi_mesh_plan *best = &m[0], *next = &m[1];
    if (!best->fits) {
        fprintf(out,
                "best: none fits; the least, tp %d x cp %d, needs %s of %s: use more ranks, --weights int8 or int4, "
                "--kv int8, or a smaller --context or --batch\n",
                best->shape.tp, best->shape.cp, short_text((double)wi_rank_all(&best->bytes), "B", a),
                short_text(p->machine.memory, "B", b));
        return;
    }
    const bool mesh = best->shape.dense == WEFT_DENSE_MESH;
    fputs("best: ", out);
    if (p->dp > 1) fprintf(out, "--dp %d ", p->dp);
    fprintf(out, "--tp %d --cp %d%s%s: ", best->shape.tp, best->shape.cp,
            best->shape.cp == 1 ? ""
            : mesh              ? " --dense mesh"
                                : " --dense tp",
            best->shape.expert_columns ? " --experts columns" : "");
    if (count == 1)
        fprintf(out, "the only mesh there is\n");
    else if (!next->fits)
        fprintf(out, "the only one that fits\n");
    else
        fprintf(out, "it fits, and prompts and %" PRId64 " tokens of each take %s; the next, %s, %s\n", p->tokens,
                time_text(best->seconds, a), wi_plan_mesh_text(p, &next->shape, text), time_text(next->seconds, b));
}

void wi_plan_print(const wi_plan_case *p, const char *model, const wi_mesh_plan *meshes, int count, FILE *out)
{
    char a[24], b[24], c[24], d[24], e[24];
    fprintf(out, "%s, weights %s, cache %s, on %d rank%s of %d node%s", model, weights_name(p),
            cache_name(p->sizes.model.cache), p->ranks, p->ranks > 1 ? "s" : "", p->nodes, p->nodes > 1 ? "s" : "");
    if (p->dp > 1) fprintf(out, " (of %d replicas, each with as many)", p->dp);
    fprintf(out, "; %" PRId64 " positions, batch %d, chunk %d\n", p->context, p->batch, p->chunk);
    fprintf(out, "a rank: %s with %s, %s, reads %s, sends %s in a node and %s beyond (%s)\n\n", p->machine.name,
            short_text(p->machine.memory, "B", a), short_text(p->machine.operations, "FLOP/s", b),
            short_text(p->machine.bandwidth, "B/s", c), short_text(p->machine.near, "B/s", d),
            short_text(p->machine.far, "B/s", e), p->machine.source);
    fprintf(out,
            "               bytes of the fullest rank       most that fits    sent by it a token         predicted\n");
    fprintf(out, "  tp  cp dense           weights     cache   scratch    context  batch    prefill     decode   "
                 "prompts     token\n");
    for (int i = 0; i < count; i++) print_mesh(p, &meshes[i], out);
    fprintf(out, "\n");
    print_best(p, meshes, count, out);
}

// ---- JSON ----

static void write_machine(weft_json_writer *w, const wi_machine *m)
{
    weft_json_write_object(w, "machine");
    weft_json_write_string(w, "name", m->name);
    weft_json_write_string(w, "source", m->source);
    weft_json_write_int(w, "memory_bytes", (int64_t)m->memory);
    weft_json_write_real(w, "operations_per_s", m->operations);
    weft_json_write_real(w, "bytes_per_s", m->bandwidth);
    weft_json_write_real(w, "near_bytes_per_s", m->near);
    weft_json_write_real(w, "far_bytes_per_s", m->far);
    weft_json_write_end(w);
}

static void write_bytes(weft_json_writer *w, const wi_rank_bytes *b)
{
    weft_json_write_int(w, "weights", (int64_t)b->weights);
    weft_json_write_int(w, "kv", (int64_t)b->cache);
    weft_json_write_int(w, "scratch", (int64_t)b->scratch);
}

static void write_mesh(weft_json_writer *w, const char *key, const weft_mesh_shape *s)
{
    weft_json_write_object(w, key);
    weft_json_write_int(w, "tp", s->tp);
    weft_json_write_int(w, "cp", s->cp);
    weft_json_write_string(w, "dense", s->dense == WEFT_DENSE_MESH ? "mesh" : "tp");
    weft_json_write_string(w, "experts", s->expert_columns ? "columns" : "whole");
    weft_json_write_end(w);
}

static weft_status write_ranks(weft_json_writer *w, const wi_plan_case *p, const weft_mesh_shape *shape)
{
    weft_json_write_array(w, "ranks");
    for (int rank = 0; rank < p->ranks; rank++) {
        wi_rank_bytes bytes = {0};
        WEFT_TRY(wi_plan_rank(p, shape, rank, &bytes));
        weft_json_write_object(w, NULL);
        write_bytes(w, &bytes);
        weft_json_write_end(w);
    }
    weft_json_write_end(w);
    return WEFT_OK;
}

static void write_meshes(weft_json_writer *w, const wi_mesh_plan *meshes, int count)
{
    weft_json_write_array(w, "meshes");
    for (int i = 0; i < count; i++) {
        const wi_mesh_plan *m = &meshes[i];
        weft_json_write_object(w, NULL);
        write_mesh(w, "mesh", &m->shape);
        weft_json_write_bool(w, "fits", m->fits);
        weft_json_write_int(w, "fullest_rank", m->fullest);
        write_bytes(w, &m->bytes);
        weft_json_write_int(w, "longest_context", m->context);
        weft_json_write_int(w, "largest_batch", m->batch);
        weft_json_write_real(w, "prefill_sent_per_token", m->prefill_sent);
        weft_json_write_real(w, "decode_sent_per_token", m->decode_sent);
        weft_json_write_real(w, "prefill_s", m->prefill_s);
        weft_json_write_real(w, "decode_step_s", m->decode_s);
        weft_json_write_end(w);
    }
    weft_json_write_end(w);
}

weft_status wi_plan_write(const wi_plan_case *p, const char *model, const wi_mesh_plan *meshes, int count,
                          const char *path)
{
    weft_json_writer w;
    weft_json_writer_init(&w, true);
    weft_json_write_object(&w, NULL);
    weft_json_write_string(&w, "schema", "weft.plan/1");
    weft_json_write_string(&w, "model", model);
    weft_json_write_string(&w, "weights", weights_name(p));
    weft_json_write_string(&w, "kv", cache_name(p->sizes.model.cache));
    weft_json_write_int(&w, "context", p->context);
    weft_json_write_int(&w, "batch", p->batch);
    weft_json_write_int(&w, "chunk", p->chunk);
    weft_json_write_int(&w, "nodes", p->nodes);
    weft_json_write_int(&w, "replicas", p->dp);
    write_machine(&w, &p->machine);
    write_mesh(&w, "mesh", &meshes[0].shape);
    const weft_status status = write_ranks(&w, p, &meshes[0].shape);
    write_meshes(&w, meshes, count);
    weft_json_write_end(&w);
    if (status == WEFT_OK) return weft_json_writer_save(&w, path);
    weft_json_writer_fini(&w);
    return status;
}
