// Loaded weights against the tensors of the golden checkpoints: f32 weights give their own elements back when they
// multiply rows of the identity, and packing panel by panel gives the bytes of packing at once.
#include "model/weights.h"
#include "tests/check.h"

static const weft_model_config *config;
static const weft_checkpoint *checkpoint;
static weft_name_style style;
static weft_kernels table;
static weft_op op = {.table = &table};

static const weft_tensor_entry *find(weft_part part, int64_t layer, int64_t expert)
{
    weft_expected expected;
    if (!weft_model_tensor(config, style, part, layer, expert, &expected)) return NULL;
    return weft_checkpoint_find(checkpoint, expected.name);
}

// A whole tensor in f32.
static float *read_tensor(const weft_tensor_entry *tensor)
{
    const size_t size = (size_t)weft_dtype_bits(tensor->type) / 8, count = tensor->bytes / size;
    const int64_t width = tensor->shape[tensor->rank - 1];
    void *raw = malloc(tensor->bytes);
    float *floats = malloc(count * sizeof *floats);
    CHECK(raw && floats);
    weft_read read = {.tensor = tensor,
                      .rows = (int64_t)count / width,
                      .columns = width,
                      .to = raw,
                      .to_stride = (size_t)width * size};
    CHECK_OK(weft_checkpoint_read(checkpoint, &read, 1, &(weft_read_options){0}));
    table.rows.convert(&op, floats, WEFT_F32, raw, tensor->type, count);
    free(raw);
    return floats;
}

// out[k][n], the weight's column k as a result; behind a gate the product of gate and up.
static float *multiply_identity(const weft_gemm_weight *weight, int64_t k, int64_t n)
{
    float *identity = calloc((size_t)(k * k), sizeof *identity), *out = malloc((size_t)(k * n) * sizeof *out);
    weft_op own = op;
    CHECK(identity && out);
    for (int64_t i = 0; i < k; i++) identity[i * k + i] = 1;
    own.scratch_bytes = (weft_gemm_scratch(weight, k, 1) + 63) / 64 * 64;
    own.scratch = aligned_alloc(64, own.scratch_bytes + 64);
    own.team = NULL;
    weft_gemm_run(
        &own, weight,
        &(weft_gemm_args){.m = k, .a = identity, .a_stride = (size_t)k, .out = {out}, .out_stride = (size_t)n});
    free(own.scratch);
    free(identity);
    return out;
}

static void check_stack(const weft_gemm_weight *weight, const weft_part *parts, int count, int64_t layer,
                        int64_t expert)
{
    int64_t n = 0, k = 0, at = 0;
    for (int i = 0; i < count; i++) {
        const weft_tensor_entry *t = find(parts[i], layer, expert);
        CHECK(t);
        n += t->shape[0];
        k = t->shape[1];
    }
    float *out = multiply_identity(weight, k, n);
    for (int i = 0; i < count; i++) {
        const weft_tensor_entry *t = find(parts[i], layer, expert);
        float *w = read_tensor(t);
        for (int64_t row = 0; row < t->shape[0]; row++)
            for (int64_t c = 0; c < k; c++) CHECK_REAL((double)out[c * n + at + row], (double)w[row * k + c]);
        at += t->shape[0];
        free(w);
    }
    free(out);
}

static void check_gate(const weft_gemm_weight *weight, int64_t layer, int64_t expert)
{
    const bool moe = expert >= 0;
    const weft_tensor_entry *both = moe ? NULL : find(WEFT_PART_GATE_UP, layer, -1);
    const weft_tensor_entry *g = both ? both : find(moe ? WEFT_PART_EXPERT_GATE : WEFT_PART_GATE, layer, expert);
    const weft_tensor_entry *u = both ? both : find(moe ? WEFT_PART_EXPERT_UP : WEFT_PART_UP, layer, expert);
    CHECK(g && u);
    const int64_t n = both ? g->shape[0] / 2 : g->shape[0], k = g->shape[1];
    float *gate = read_tensor(g), *up = read_tensor(u), *out = multiply_identity(weight, k, n);
    for (int64_t row = 0; row < n; row++)
        for (int64_t c = 0; c < k; c++)
            CHECK_REAL((double)out[c * n + row], (double)(gate[row * k + c] * up[(row + (both ? n : 0)) * k + c]));
    free(gate);
    free(up);
    free(out);
}

// gpt-oss: (E, H, 2*I) with gate and up in turns, (E, I, H).
static void check_stacked_expert(const weft_ffn_weights *w, int64_t layer, int64_t expert)
{
    const int64_t hidden = config->hidden, ffn = config->expert_ffn;
    float *gate_up = read_tensor(find(WEFT_PART_EXPERTS_GATE_UP, layer, -1));
    float *down = read_tensor(find(WEFT_PART_EXPERTS_DOWN, layer, -1));
    float *bias = read_tensor(find(WEFT_PART_EXPERTS_GATE_UP_BIAS, layer, -1));
    float *out = multiply_identity(&w->gate_up, hidden, 2 * ffn), *second = multiply_identity(&w->down, ffn, hidden);
    for (int64_t h = 0; h < hidden; h++)
        for (int64_t i = 0; i < ffn; i++) {
            const float *pair = gate_up + ((expert * hidden + h) * ffn + i) * 2;
            CHECK_REAL((double)out[h * 2 * ffn + i], (double)pair[0]);
            CHECK_REAL((double)out[h * 2 * ffn + ffn + i], (double)pair[1]);
            CHECK_REAL((double)second[i * hidden + h], (double)down[(expert * ffn + i) * hidden + h]);
        }
    for (int64_t i = 0; i < ffn; i++) {
        CHECK_REAL((double)w->gate_up_bias[i], (double)bias[(expert * ffn + i) * 2]);
        CHECK_REAL((double)w->gate_up_bias[ffn + i], (double)bias[(expert * ffn + i) * 2 + 1]);
    }
    free(gate_up);
    free(down);
    free(bias);
    free(out);
    free(second);
}

static void check_vector(const float *vector, weft_part part, int64_t layer)
{
    const weft_tensor_entry *t = find(part, layer, -1);
    CHECK(!t == !vector);
    if (!t) return;
    float *expected = read_tensor(t);
    for (int64_t i = 0; i < t->shape[0]; i++) CHECK_REAL((double)vector[i], (double)expected[i]);
    free(expected);
}

static void check_layer(const weft_layer_weights *w, int64_t layer)
{
    static const weft_part separate[] = {WEFT_PART_Q, WEFT_PART_K, WEFT_PART_V}, fused[] = {WEFT_PART_QKV},
                           o[] = {WEFT_PART_O}, down[] = {WEFT_PART_DOWN}, router[] = {WEFT_PART_ROUTER},
                           expert_down[] = {WEFT_PART_EXPERT_DOWN};
    const bool is_fused = find(WEFT_PART_QKV, layer, -1);
    const int64_t q = config->heads * config->head_dim, kv = config->kv_heads * config->head_dim;
    check_stack(&w->qkv, is_fused ? fused : separate, is_fused ? 1 : 3, layer, -1);
    check_stack(&w->o, o, 1, layer, -1);
    check_vector(w->input_norm, WEFT_PART_INPUT_NORM, layer);
    check_vector(w->after_attention_norm, WEFT_PART_AFTER_ATTENTION_NORM, layer);
    check_vector(w->ffn_norm, WEFT_PART_FFN_NORM, layer);
    check_vector(w->after_ffn_norm, WEFT_PART_AFTER_FFN_NORM, layer);
    check_vector(w->q_norm, WEFT_PART_Q_NORM, layer);
    check_vector(w->k_norm, WEFT_PART_K_NORM, layer);
    check_vector(w->qkv_bias, WEFT_PART_Q_BIAS, layer);
    check_vector(w->qkv_bias ? w->qkv_bias + q : NULL, WEFT_PART_K_BIAS, layer);
    check_vector(w->qkv_bias ? w->qkv_bias + q + kv : NULL, WEFT_PART_V_BIAS, layer);
    check_vector(w->o_bias, WEFT_PART_O_BIAS, layer);
    check_vector(w->sinks, WEFT_PART_SINKS, layer);
    CHECK(!w->expert == !config->layer[layer].moe);
    if (!w->expert) {
        check_gate(&w->ffn.gate_up, layer, -1);
        check_stack(&w->ffn.down, down, 1, layer, -1);
        check_vector(w->ffn.gate_up_bias, WEFT_PART_GATE_BIAS, layer);
        check_vector(w->ffn.gate_up_bias ? w->ffn.gate_up_bias + config->ffn : NULL, WEFT_PART_UP_BIAS, layer);
        check_vector(w->ffn.down_bias, WEFT_PART_DOWN_BIAS, layer);
        return;
    }
    check_stack(&w->router, router, 1, layer, -1);
    check_vector(w->router_bias, WEFT_PART_ROUTER_BIAS, layer);
    for (int64_t e = 0; e < config->experts; e++) {
        if (find(WEFT_PART_EXPERTS_DOWN, layer, -1)) {
            check_stacked_expert(&w->expert[e], layer, e);
            continue;
        }
        check_gate(&w->expert[e].gate_up, layer, e);
        check_stack(&w->expert[e].down, expert_down, 1, layer, e);
    }
}

static void note(void *arg, uint64_t done, uint64_t total)
{
    CHECK(done <= total);
    *(uint64_t *)arg = done;
}

static void check_elements(const char *name, weft_device *device, const weft_cpu *cpu)
{
    static const weft_part head[] = {WEFT_PART_HEAD}, tied[] = {WEFT_PART_EMBEDDING};
    weft_weights w = {0};
    uint64_t told = 0;
    const weft_layout layout = weft_layout_of(config, NULL, 0);
    const weft_weights_options options = {.type = WEFT_F32, .cpu = cpu, .progress = note, .progress_arg = &told};
    CHECK_OK(weft_weights_load(checkpoint, config, &layout, &options, &op, device, &w));
    CHECK(told > 0 && w.bytes > 0 && w.plain == WEFT_F32);
    for (int64_t i = 0; i < config->layers; i++) check_layer(&w.layer[i], i);
    check_vector(w.final_norm, WEFT_PART_FINAL_NORM, -1);
    check_stack(&w.head, config->tied ? tied : head, 1, -1, -1);
    check_stack(&w.embedding, tied, 1, -1, -1);
    CHECK((w.embedding.data == w.head.data) == config->tied); // one copy for both
    weft_weights_free(&w);
    CHECK(!w.layer && !w.memory);
    CHECK_INT(device->allocated, 0);
    printf("%s\n", name);
}

// A whole tensor in a type, as a source of a pack; codes and scales are the caller's to free.
typedef struct {
    weft_gemm_source source;
    unsigned char *codes;
    float *scales;
} whole_tensor;

static whole_tensor convert_tensor(const weft_tensor_entry *t, weft_dtype type, int group)
{
    const int64_t n = t->shape[0], k = t->shape[1];
    const size_t groups = group ? (size_t)((k + group - 1) / group) : 1,
                 row = (size_t)k * (size_t)weft_dtype_bits(type) / 8;
    whole_tensor w = {.codes = malloc((size_t)n * row), .scales = malloc((size_t)n * groups * sizeof(float))};
    float *floats = read_tensor(t);
    CHECK(w.codes && w.scales);
    if (type == WEFT_I8 || type == WEFT_I4)
        table.rows.quantize(&op, &(weft_quantize){.in = floats,
                                                  .in_stride = (size_t)k,
                                                  .codes = w.codes,
                                                  .code_stride = row,
                                                  .type = type,
                                                  .scales = w.scales,
                                                  .scale_stride = groups,
                                                  .group = (size_t)group,
                                                  .rows = (size_t)n,
                                                  .width = (size_t)k});
    else
        table.rows.convert(&op, w.codes, type, floats, WEFT_F32, (size_t)(n * k));
    free(floats);
    w.source = (weft_gemm_source){.type = type,
                                  .data = w.codes,
                                  .n = n,
                                  .k = k,
                                  .row_bytes = row,
                                  .scales = w.scales,
                                  .scale_type = WEFT_F32,
                                  .scale_row_bytes = groups * sizeof(float),
                                  .group = group};
    return w;
}

// The bytes of a loaded weight are those of packing the whole tensors at once.
static void check_packed(const weft_gemm_weight *weight, const weft_weights_options *how, weft_fuse fuse,
                         const weft_part *parts, int count, const weft_gemm_leaves *leaves)
{
    whole_tensor tensor[3];
    weft_gemm_source source[3];
    weft_gemm_weight whole;
    size_t bytes;
    for (int i = 0; i < count; i++) {
        tensor[i] = convert_tensor(find(parts[i], 0, 0), how->type, how->group);
        source[i] = tensor[i].source;
    }
    CHECK_OK(weft_gemm_pack_bytes(how->family, source, count, fuse, leaves, &bytes));
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    CHECK_OK(weft_gemm_pack(&op, how->family, source, count, fuse, leaves, memory, &whole));
    CHECK_BYTES(weight->data, memory, bytes);
    free(memory);
    for (int i = 0; i < count; i++) {
        free(tensor[i].codes);
        free(tensor[i].scales);
    }
}

static void check_bytes(weft_device *device, const weft_cpu *cpu, weft_dtype type, int group, weft_family family)
{
    static const weft_part o[] = {WEFT_PART_O}, qkv[] = {WEFT_PART_Q, WEFT_PART_K, WEFT_PART_V},
                           dense[] = {WEFT_PART_GATE, WEFT_PART_UP}, down[] = {WEFT_PART_DOWN},
                           expert[] = {WEFT_PART_EXPERT_GATE, WEFT_PART_EXPERT_UP};
    weft_weights w = {0};
    const weft_layout layout = weft_layout_of(config, NULL, group);
    const weft_weights_options how = {.type = type, .group = group, .cpu = cpu, .has_family = true, .family = family};
    CHECK_OK(weft_weights_load(checkpoint, config, &layout, &how, &op, device, &w));
    const weft_gemm_leaves heads = weft_leaves_of_units(config->heads * config->head_dim, config->head_dim),
                           units = weft_leaves_of_units(config->ffn, 32);
    check_packed(&w.layer[0].o, &how, WEFT_FUSE_STACK, o, 1, &heads);
    if (find(WEFT_PART_Q, 0, -1)) check_packed(&w.layer[0].qkv, &how, WEFT_FUSE_STACK, qkv, 3, NULL);
    if (find(WEFT_PART_GATE, 0, -1)) check_packed(&w.layer[0].ffn.gate_up, &how, WEFT_FUSE_GATE, dense, 2, NULL);
    if (find(WEFT_PART_DOWN, 0, -1)) check_packed(&w.layer[0].ffn.down, &how, WEFT_FUSE_STACK, down, 1, &units);
    if (find(WEFT_PART_EXPERT_GATE, 0, 0))
        check_packed(&w.layer[0].expert[0].gate_up, &how, WEFT_FUSE_GATE, expert, 2, NULL);
    weft_weights_free(&w);
}

static void check_refusals(weft_device *device, const weft_cpu *cpu)
{
    weft_weights w = {0};
    const weft_layout layout = weft_layout_of(config, NULL, 0);
    weft_weights_options options = {.type = WEFT_I4, .cpu = cpu};
    CHECK_FAILS(weft_weights_load(checkpoint, config, &layout, &options, &op, device, &w), WEFT_INVALID,
                "use 32, 64 or 128");
    options.type = WEFT_U8;
    CHECK_FAILS(weft_weights_load(checkpoint, config, &layout, &options, &op, device, &w), WEFT_INVALID,
                "int8 or int4");
    CHECK(!w.layer && device->allocated == 0);
}

// Units go to leaves as the canon says.
static void check_leaves(void)
{
    const weft_gemm_leaves heads = weft_leaves_of_units(14 * 64, 64), few = weft_leaves_of_units(3 * 32, 32);
    for (int64_t unit = 0; unit < 14; unit++) {
        const int64_t leaf = unit * WEFT_LEAVES / 14;
        CHECK(heads.begin[leaf] <= unit * 64 && unit * 64 < heads.begin[leaf + 1]);
    }
    for (int64_t unit = 0; unit < 3; unit++) {
        const int64_t leaf = unit * WEFT_LEAVES / 3;
        CHECK(few.begin[leaf] <= unit * 32 && unit * 32 < few.begin[leaf + 1]);
    }
    const weft_gemm_leaves ragged = weft_leaves_of_units(11008 + 8, 128);
    CHECK_INT(ragged.begin[WEFT_LEAVES], 11016);
    CHECK_INT(ragged.begin[1], 1408);
}

int main(void)
{
    static const char *const cases[] = {"llama-plain", "llama-linear", "llama-dynamic", "llama-yarn",
                                        "qwen2",       "gemma2",       "gemma3-inner",  "phi3",
                                        "mixtral",     "qwen3-moe",    "gpt-oss"};
    const weft_cpu cpu = weft_cpu_detect();
    weft_device *device = NULL;
    weft_team *team = NULL;
    table = weft_kernels_for(cpu.isa);
    CHECK_OK(weft_team_create(&(weft_team_options){.threads = 3}, &team));
    CHECK_OK(weft_device_host(team, &device));
    op.team = team;
    check_leaves();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[512];
        weft_model_config c = {0};
        weft_checkpoint *files = NULL;
        snprintf(path, sizeof path, "%s/%s", WEFT_GOLDEN, cases[i]);
        CHECK_OK(weft_model_config_read(path, &c));
        CHECK_OK(weft_checkpoint_open(path, &files));
        CHECK_OK(weft_checkpoint_check(files, &c, &style));
        config = &c;
        checkpoint = files;
        op.team = i % 2 ? NULL : team;
        check_elements(cases[i], device, &cpu);
        check_bytes(device, &cpu, WEFT_BF16, 0, WEFT_FAMILY_AMX);
        check_bytes(device, &cpu, WEFT_F16, 0, WEFT_FAMILY_FMA);
        check_bytes(device, &cpu, WEFT_I8, 0, WEFT_FAMILY_AMX);
        check_bytes(device, &cpu, WEFT_I8, 32, WEFT_FAMILY_BF16_DOT);
        check_bytes(device, &cpu, WEFT_I4, 32, WEFT_FAMILY_FMA);
        check_refusals(device, &cpu);
        weft_checkpoint_close(files);
        weft_model_config_fini(&c);
    }
    weft_device_destroy(device);
    weft_team_destroy(team);
    return 0;
}
