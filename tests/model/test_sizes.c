// Sizes told without a checkpoint beside those of real loads: every golden checkpoint, several meshes, every type of
// weights, every rank. And llama-3-70b on 64 ranks beside a calculation by hand.
#include "core/clock.h"
#include "kernels/pick.h"
#include "model/layout_table.h"
#include "model/price.h"
#include "model/sizes.h"
#include "model/synth.h"
#include "tests/check.h"

static const weft_mesh_shape meshes[] = {
    {.tp = 1, .cp = 1, .dense = WEFT_DENSE_TP},   {.tp = 2, .cp = 1, .dense = WEFT_DENSE_TP},
    {.tp = 3, .cp = 1, .dense = WEFT_DENSE_TP},   {.tp = 8, .cp = 1, .dense = WEFT_DENSE_TP},
    {.tp = 2, .cp = 3, .dense = WEFT_DENSE_TP},   {.tp = 2, .cp = 3, .dense = WEFT_DENSE_MESH},
    {.tp = 5, .cp = 2, .dense = WEFT_DENSE_MESH}, {.tp = 13, .cp = 1, .dense = WEFT_DENSE_TP},
    {.tp = 3, .cp = 1, .expert_columns = true},   {.tp = 5, .cp = 2, .dense = WEFT_DENSE_MESH, .expert_columns = true},
};

typedef struct {
    const char *name;
    weft_weights_options weights;
} format;

static const format formats[] = {
    {"stored", {.as_stored = true}},
    {"f32", {.type = WEFT_F32}},
    {"bf16", {.type = WEFT_BF16}},
    {"bf16 by fma", {.type = WEFT_BF16, .has_family = true, .family = WEFT_FAMILY_FMA}},
    {"int8 by rows", {.type = WEFT_I8}},
    {"int8 by amx", {.type = WEFT_I8, .group = 64, .has_family = true, .family = WEFT_FAMILY_AMX}},
    {"int4", {.type = WEFT_I4, .group = 32}},
    {"fp8", {.type = WEFT_E4M3, .group = 128}},
};

static weft_cpu cpu;
static weft_isa isa;

static weft_sizes_options options_of(weft_weights_options weights, weft_dtype stored, int node_ranks)
{
    weights.cpu = &cpu;
    return (weft_sizes_options){
        .model = {.weights = weights, .cache = WEFT_CACHE_BF16, .rows = 64, .logit_rows = 4, .positions = 512},
        .stored = stored,
        .isa = isa,
        .threads = 1,
        .node_ranks = node_ranks,
        .block = 64};
}

// ---- beside loads ----

static int check_rank(const weft_model_config *config, const weft_checkpoint *checkpoint, weft_dtype stored,
                      const weft_mesh *mesh, const format *f)
{
    weft_kernels table = weft_kernels_for(isa);
    const weft_op op = {.table = &table};
    const weft_sizes_options o = options_of(f->weights, stored, 8);
    const weft_layout layout = weft_layout_of(config, mesh, f->weights.group);
    weft_model_sizes sizes = {0};
    weft_weights weights = {0};
    weft_device *device;
    CHECK_OK(weft_model_sizes_of(config, &layout, &o, &sizes));
    CHECK_OK(weft_device_host(NULL, &device));
    CHECK_OK(weft_weights_load(checkpoint, config, &layout, &o.model.weights, &op, device, &weights));
    CHECK_INT(sizes.weights, weights.bytes);
    CHECK_INT(sizes.weights, device->allocated);
    weft_weights_free(&weights);
    weft_device_destroy(device);
    return 1;
}

static int check_checkpoint(const char *name)
{
    char path[512];
    weft_model_config config = {0};
    weft_checkpoint *checkpoint = NULL;
    int checked = 0;
    snprintf(path, sizeof path, "%s/%s", WEFT_GOLDEN, name);
    CHECK_OK(weft_model_config_read(path, &config));
    CHECK_OK(weft_checkpoint_open(path, &checkpoint));
    const weft_dtype stored = weft_checkpoint_at(checkpoint, 0)->type;
    for (size_t i = 0; i < sizeof meshes / sizeof *meshes; i++)
        for (int rank = 0; rank < meshes[i].tp * meshes[i].cp; rank++) {
            const weft_mesh mesh = weft_mesh_at(&meshes[i], rank);
            for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
                checked += check_rank(&config, checkpoint, stored, &mesh, &formats[f]);
        }
    weft_checkpoint_close(checkpoint);
    weft_model_config_fini(&config);
    return checked;
}

// A model of one rank: what it takes of its device is what was told.
static void check_model(const char *name)
{
    char path[512];
    weft_model_config config = {0};
    weft_checkpoint *checkpoint = NULL;
    weft_kernels table = weft_kernels_for(isa);
    const weft_op op = {.table = &table};
    weft_device *device;
    weft_model *model;
    weft_model_sizes sizes = {0};
    snprintf(path, sizeof path, "%s/%s", WEFT_GOLDEN, name);
    CHECK_OK(weft_model_config_read(path, &config));
    CHECK_OK(weft_checkpoint_open(path, &checkpoint));
    CHECK_OK(weft_device_host(NULL, &device));
    const weft_sizes_options o =
        options_of((weft_weights_options){.as_stored = true}, weft_checkpoint_at(checkpoint, 0)->type, 1);
    const weft_layout layout = weft_layout_of(&config, NULL, 0);
    CHECK_OK(weft_model_sizes_of(&config, &layout, &o, &sizes));
    CHECK_OK(weft_model_create(&op, &cpu, device, &config, checkpoint, &o.model, &model));
    CHECK_INT(sizes.weights + sizes.pass + sizes.rotations, device->allocated);
    CHECK_INT(sizes.cut.unit, weft_model_cache_cut(model, o.block, NULL, NULL).unit);
    CHECK_INT(sizes.exchange, 0);
    weft_model_destroy(model);
    weft_device_destroy(device);
    weft_checkpoint_close(checkpoint);
}

// ---- by hand ----

static void read_shape(const char *name, weft_model_config *out)
{
    weft_json_writer writer;
    const char *text;
    size_t bytes;
    CHECK(weft_model_shape_find(name));
    CHECK_OK(weft_model_shape_config(weft_model_shape_find(name), WEFT_BF16, &writer, &text, &bytes));
    CHECK_OK(weft_model_config_parse(text, bytes, name, NULL, 0, out));
    weft_json_writer_fini(&writer);
}

static weft_model_sizes sizes_at(const weft_model_config *config, weft_mesh_shape shape, int rank)
{
    const weft_weights_options weights = {.type = WEFT_BF16, .has_family = true, .family = WEFT_FAMILY_FMA};
    const weft_sizes_options o = options_of(weights, WEFT_BF16, 8);
    const weft_mesh mesh = weft_mesh_at(&shape, rank);
    const weft_layout layout = weft_layout_of(config, &mesh, 0);
    weft_model_sizes sizes = {0};
    CHECK_OK(weft_model_sizes_of(config, &layout, &o, &sizes));
    return sizes;
}

// llama-3-70b: 80 layers of 8192, 64 heads of 128 and 8 of keys and values, FFN 28672, vocabulary 128256, in bf16 (2
// bytes); three kinds of vectors in f32, each with room to begin at a multiple of 16: (8192 + 15) * 4 bytes.
static void check_by_hand(void)
{
    weft_model_config config = {0};
    read_shape("llama-3-70b", &config);
    const int64_t vectors = (80 * 2 + 1) * (8192 + 15) * 4;

    // tp 8 x cp 8, --dense tp: of a layer each rank has 8 heads and 1 of keys and values, all 8192 outputs for the
    // 1024 inputs that its heads give, and 28672 / 8 = 3584 columns of the FFN; of the vocabulary 128256 / 8 = 16032.
    const int64_t qkv = (8 + 1 + 1) * 128 * 8192, o = 8192 * 1024, gate_up = 2 * 3584 * 8192, down = 8192 * 3584;
    const int64_t ends = 2 * 16032 * 8192;
    const weft_model_sizes tp8 = sizes_at(&config, (weft_mesh_shape){.tp = 8, .cp = 8, .dense = WEFT_DENSE_TP}, 37);
    CHECK_INT(tp8.weights, (80 * (qkv + o + gate_up + down) + ends) * 2 + vectors);
    // A block: 64 positions of 80 layers of 1 head: 128 elements of key and 128 of value.
    CHECK_INT(tp8.cut.unit, 64 * 80 * 1 * (128 + 128) * 2);
    CHECK_INT(tp8.cut.groups[0], 1);

    // tp 64, beyond 8 leaves: 8 ranks share a leaf. A rank has 1 head and the one of keys and values that it reads;
    // 8192 / 8 = 1024 outputs for the 1024 and the 3584 inputs of its leaf; 3584 / 8 = 448 columns of the FFN. The
    // vocabulary goes in parts of 32 rows: 4008 parts over 64 ranks are 62 for the first rank and 63 for the last.
    const int64_t qkv64 = (1 + 1 + 1) * 128 * 8192, o64 = 1024 * 1024, gate_up64 = 2 * 448 * 8192, down64 = 1024 * 3584;
    const int64_t layers64 = 80 * (qkv64 + o64 + gate_up64 + down64);
    const weft_mesh_shape tp64 = {.tp = 64, .cp = 1, .dense = WEFT_DENSE_TP};
    CHECK_INT(sizes_at(&config, tp64, 0).weights, (layers64 + 2 * 62 * 32 * 8192) * 2 + vectors);
    CHECK_INT(sizes_at(&config, tp64, 63).weights, (layers64 + 2 * 63 * 32 * 8192) * 2 + vectors);

    // tp 8 x cp 8, --dense mesh: the same share of the linear layers, but for q, k and v: the 8 + 1 + 1 heads of a tp
    // rank are cut into 8 parts of 160 rows. The cache is as that of tp 8.
    const weft_model_sizes mesh = sizes_at(&config, (weft_mesh_shape){.tp = 8, .cp = 8, .dense = WEFT_DENSE_MESH}, 0);
    const int64_t qkv_mesh = 160 * 8192;
    CHECK_INT(mesh.weights, (80 * (qkv_mesh + o64 + gate_up64 + down64) + 2 * 62 * 32 * 8192) * 2 + vectors);
    CHECK_INT(mesh.cut.unit, tp8.cut.unit);
    weft_model_config_fini(&config);
}

// The table of divisions beside the loader: of llama-3-70b, whose matrices have whole panels, every rank's shares are
// its bytes; and what is divided without being held twice is there once on all ranks together.
typedef struct {
    const weft_model_config *config;
    const weft_layout *layout;
    int64_t matrices, vectors; // bytes
    double *parts;             // (WEFT_PART_COUNT) of the weight, on all ranks so far
} sharing;

static weft_status add_share(void *arg, const weft_expected *weight)
{
    sharing *s = arg;
    int64_t share[3], elements = 1, all = 1;
    weft_layout_share(s->config, s->layout, weight, share);
    for (int i = 0; i < weight->rank; i++) {
        elements *= share[i];
        all *= weight->shape[i];
    }
    if (weight->rank == 1)
        s->vectors += (elements + 15) * 4;
    else
        s->matrices += elements * 2;
    // Of experts that stand one by one each is a part of the sum.
    const double whole = (double)all * (weight->expert >= 0 && weight->rank == 2 ? (double)s->config->experts : 1);
    if (weight->layer <= 0) s->parts[weight->part] += (double)elements / whole;
    return WEFT_OK;
}

static void check_shares(const char *name, weft_mesh_shape shape, bool exact)
{
    weft_model_config config = {0};
    double parts[WEFT_PART_COUNT] = {0};
    const int ranks = shape.tp * shape.cp;
    read_shape(name, &config);
    for (int rank = 0; rank < ranks; rank++) {
        const weft_mesh mesh = weft_mesh_at(&shape, rank);
        const weft_layout layout = weft_layout_of(&config, &mesh, 0);
        sharing s = {.config = &config, .layout = &layout, .parts = parts};
        CHECK_OK(weft_model_tensors(&config, WEFT_NAMES_PLAIN, add_share, &s));
        if (exact) CHECK_INT(sizes_at(&config, shape, rank).weights, s.matrices + s.vectors);
    }
    const double copies = shape.dense == WEFT_DENSE_MESH ? 1 : shape.cp;
    for (int part = 0; part < WEFT_PART_COUNT; part++) {
        const weft_division division = weft_layout_division((weft_part)part, &shape);
        const bool once = division == WEFT_DIVISION_VOCAB || division == WEFT_DIVISION_COLUMN ||
                          division == WEFT_DIVISION_EXPERT || part == WEFT_PART_O;
        if (parts[part] == 0 || part == WEFT_PART_SINKS) continue;
        if (once && parts[part] - copies > 1e-9) CHECK_FAIL("%s: %d stands %g times", name, part, parts[part]);
        if (once && copies - parts[part] > 1e-9) CHECK_FAIL("%s: %d stands %g times", name, part, parts[part]);
        if (division == WEFT_DIVISION_REPLICATE || division == WEFT_DIVISION_ONCE) CHECK_REAL(parts[part], ranks);
    }
    weft_model_config_fini(&config);
}

static double sent_of(const weft_model_config *config, const weft_layout *layout, const weft_step *step)
{
    const weft_step_price price = weft_price_step(config, layout, step, 8);
    return price.near.bytes + price.far.bytes;
}

// Rows that are too few to be dealt: a two-shot sum gives D - 1 parts of D of each array twice. And a rank that shares
// its leaves with seven others: 128 inputs of o and 448 of down go to them, of 1024 outputs each row to one of 64.
static void check_sent_otherwise(const weft_model_config *config, weft_step step)
{
    const weft_mesh eight = weft_mesh_at(&(weft_mesh_shape){.tp = 8, .cp = 1}, 3),
                    many = weft_mesh_at(&(weft_mesh_shape){.tp = 64, .cp = 1}, 11);
    const weft_layout layout = weft_layout_of(config, &eight, 0), shared = weft_layout_of(config, &many, 0);
    const double inputs = 80 * 7 * 100. * (128 + 448) * 4, roots = 80 * 2 * 63 * 100. / 64 * 1024 * 4,
                 rows = (80 * 2 + 1) * 63 * 100. / 64 * 8192 * 2, last = 63 * 100. / 64 * 8192 * 2,
                 embedding = 63 * 100. / 64 / 64 * 8192 * 4, logits = 63 * 2016. * 4;
    step.logits = 1;
    const double vocab = (double)weft_range_size(shared.vocab);
    CHECK_REAL(sent_of(config, &shared, &step), inputs + roots + rows + last + embedding + logits / 2016 * vocab);
    step.rows = step.attended = 31;
    CHECK_REAL(sent_of(config, &layout, &step), (80 * 2 * 2 + 1) * (7. / 8) * 31 * 8192 * 4 + 7 * 16032. * 4);
}

// Bytes sent: of rows that are dealt a sum gives D - 1 parts of D of each array, and normed rows as bf16, but for the
// last layer's.
static void check_sent(void)
{
    weft_model_config config = {0};
    read_shape("llama-3-70b", &config);
    const weft_mesh_shape shape = {.tp = 8, .cp = 1, .dense = WEFT_DENSE_TP};
    const weft_mesh mesh = weft_mesh_at(&shape, 3);
    const weft_layout layout = weft_layout_of(&config, &mesh, 0);
    const weft_step step = {.rows = 100,
                            .attended = 100,
                            .share = 1,
                            .requests = 1,
                            .keys = 100,
                            .logits = 1,
                            .cache = 512,
                            .weight = 2,
                            .unchanged = 2,
                            .head = 2};
    const double rows = (7. / 8) * 100 * 8192, sums = 80 * 2 * rows * (4 + 2) + rows * 2,
                 embedding = rows / 8 * 4 + rows * 2, logits = 7 * 16032. * 4;
    const weft_step_price near = weft_price_step(&config, &layout, &step, 8);
    CHECK_REAL(near.near.bytes, sums + embedding + logits);
    CHECK_REAL(near.near.exchanges, 80 * 4 + 3);
    check_sent_otherwise(&config, step);
    CHECK_REAL(near.far.bytes, 0);
    // Two nodes of 4: four of seven peers are on the other.
    const weft_step_price far = weft_price_step(&config, &layout, &step, 4);
    CHECK_REAL(far.near.bytes + far.far.bytes, near.near.bytes);
    CHECK_REAL(far.far.bytes * 3, far.near.bytes * 4);
    // Every element of a weight of this rank meets every row once, the head's the one row.
    const double layers = 80. * (10 * 128 * 8192 + 8192 * 1024 + 2 * 3584 * 8192 + 8192 * 3584);
    CHECK_REAL(near.operations, 2 * (layers * 100 + 16032. * 8192));
    CHECK_REAL(near.bytes, 2 * (layers + 16032. * 8192));
    CHECK_REAL(near.attention_bytes, 80. * 100 * 512);
    weft_model_config_fini(&config);
}

// Attention over dealt rows sends what is less: a prompt's keys, a token's queries.
static void check_sent_by_attention(void)
{
    weft_model_config config = {0};
    read_shape("llama-3-70b", &config);
    const weft_mesh_shape shape = {.tp = 8, .cp = 4, .dense = WEFT_DENSE_TP};
    const weft_mesh mesh = weft_mesh_at(&shape, 3), alone = weft_mesh_at(&(weft_mesh_shape){.tp = 8, .cp = 1}, 3);
    const weft_layout layout = weft_layout_of(&config, &mesh, 0), other = weft_layout_of(&config, &alone, 0);
    // 8 query heads and one KV head of 128; 2048 rows of one prompt, whose last row sees 4096 + 1024 keys.
    weft_step step = {.rows = 512,
                      .attended = 2048,
                      .share = 0.25,
                      .requests = 1,
                      .keys = 4096,
                      .room = 512,
                      .cache = 512,
                      .weight = 2,
                      .unchanged = 2,
                      .head = 2};
    step.cache_type = WEFT_CACHE_BF16;
    const double linear = sent_of(&config, &other, &step), of_prompt = sent_of(&config, &layout, &step) - linear;
    CHECK_REAL(of_prompt, 80. * 3 * 1280 * 512);
    // A row of each of 4 requests: its queries to the others, and a part of each other's back.
    step.rows = 1;
    step.attended = step.requests = 4;
    const double few = sent_of(&config, &other, &step), of_token = sent_of(&config, &layout, &step) - few;
    CHECK_REAL(of_token, 80. * 3 * 4 * 8 * (128 + 130));
    weft_model_config_fini(&config);
}

static void check_vocab_most(void)
{
    for (int64_t vocab = 1; vocab < 400; vocab += 3)
        for (int ranks = 1; ranks <= 16; ranks++) {
            const weft_model_config config = {.vocab = vocab};
            const weft_mesh mesh = weft_mesh_at(&(weft_mesh_shape){.tp = ranks, .cp = 1, .dense = WEFT_DENSE_TP}, 0);
            int64_t most = 0;
            for (int r = 0; r < ranks; r++) {
                const int64_t rows = weft_range_size(weft_layout_vocab_of(&config, &mesh, r));
                if (rows > most) most = rows;
            }
            CHECK_INT(weft_layout_vocab_most(&config, &mesh), most);
        }
}

static void print_time(void)
{
    weft_model_config config = {0};
    read_shape("llama-3-70b", &config);
    const int64_t start = weft_clock_ns();
    for (int rank = 0; rank < 64; rank++)
        sizes_at(&config, (weft_mesh_shape){.tp = 8, .cp = 8, .dense = WEFT_DENSE_MESH}, rank);
    printf("64 ranks of llama-3-70b: %.3f ms\n", (double)(weft_clock_ns() - start) * 1e-6);
    weft_model_config_fini(&config);
}

int main(void)
{
    static const char *const golden[] = {
        "gemma2",     "gemma3",       "gemma3-inner", "gpt-oss",   "llama-dynamic", "llama-linear",  "llama-llama3",
        "llama-yarn", "llama-plain",  "mistral",      "mixtral",   "phi3",          "phi3-longrope", "phi3-short",
        "qwen2",      "qwen2-window", "qwen3",        "qwen3-moe", "qwen3-moe-raw"};
    int checked = 0;
    cpu = weft_cpu_detect();
    CHECK_OK(weft_isa_choose(&cpu, &isa));
    check_by_hand();
    check_sent();
    check_sent_by_attention();
    check_vocab_most();
    check_shares("llama-3-70b", (weft_mesh_shape){.tp = 8, .cp = 1, .dense = WEFT_DENSE_TP}, true);
    check_shares("llama-3-70b", (weft_mesh_shape){.tp = 4, .cp = 3, .dense = WEFT_DENSE_TP}, true);
    check_shares("llama-3-70b", (weft_mesh_shape){.tp = 8, .cp = 4, .dense = WEFT_DENSE_MESH}, true);
    check_shares("gpt-oss-20b", (weft_mesh_shape){.tp = 6, .cp = 1, .dense = WEFT_DENSE_TP}, false);
    check_shares("mixtral-8x7b", (weft_mesh_shape){.tp = 3, .cp = 2, .dense = WEFT_DENSE_MESH}, false);
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        checked += check_checkpoint(golden[i]);
        check_model(golden[i]);
    }
    printf("%d loads as told\n", checked);
    print_time();
    return 0;
}
