// Checkpoints of e4m3 by blocks: what is packed of them is what packing whole tensors gives, kept as codes or turned
// into other types, and takes what is told before; and what does not fit is refused.
#include "kernels/convert.inc"
#include "model/sizes.h"
#include "tests/check.h"
#include "tests/model/fp8_checkpoint.h"

static const weft_model_config *config;
static const weft_checkpoint *checkpoint;
static weft_name_style style;
static weft_kernels table;
static weft_op op = {.table = &table};
static char folder[] = "/tmp/weft_fp8_XXXXXX";

static const weft_tensor_entry *find(weft_part part, int64_t layer, int64_t expert)
{
    weft_expected expected;
    if (!weft_model_tensor(config, style, part, layer, expert, &expected)) return NULL;
    return weft_checkpoint_find(checkpoint, expected.name);
}

static void *read_raw(const weft_tensor_entry *t)
{
    const size_t size = (size_t)weft_dtype_bits(t->type) / 8;
    const int64_t width = t->shape[t->rank - 1];
    void *raw = malloc(t->bytes + 1);
    CHECK(raw);
    weft_read read = {.tensor = t,
                      .rows = (int64_t)(t->bytes / size) / width,
                      .columns = width,
                      .to = raw,
                      .to_stride = (size_t)width * size};
    CHECK_OK(weft_checkpoint_read(checkpoint, &read, 1, &(weft_read_options){0}));
    return raw;
}

// A whole tensor as a source: `kept` with its own scales, or of the type that its values are rounded to.
typedef struct {
    weft_gemm_source source;
    void *data, *scales;
} whole;

static whole whole_tensor(const weft_tensor_entry *t, bool kept, weft_dtype type)
{
    const int64_t n = t->shape[0], k = t->shape[1], wide = (k + config->fp8_columns - 1) / config->fp8_columns;
    whole w = {.data = read_raw(t)};
    w.source = (weft_gemm_source){.type = WEFT_E4M3, .n = n, .k = k, .row_bytes = (size_t)k, .data = w.data};
    const weft_tensor_entry *scales = weft_checkpoint_scales(checkpoint, t);
    CHECK(t->type == WEFT_E4M3 && scales);
    void *raw = read_raw(scales);
    float *floats = malloc((size_t)(scales->shape[0] * wide) * sizeof *floats);
    CHECK(floats);
    table.rows.convert(&op, floats, WEFT_F32, raw, scales->type, (size_t)(scales->shape[0] * wide));
    free(raw);
    w.scales = floats;
    w.source.scales = floats;
    w.source.scale_type = WEFT_F32;
    w.source.scale_row_bytes = (size_t)wide * sizeof(float);
    w.source.scale_rows = config->fp8_rows;
    w.source.group = config->fp8_columns;
    if (kept) return w;
    const uint8_t *codes = w.data;
    float *values = malloc((size_t)(n * k) * sizeof *values);
    CHECK(values);
    for (int64_t i = 0; i < n * k; i++)
        values[i] = wi_float_of_e4m3(codes[i]) * floats[i / k / config->fp8_rows * wide + i % k / config->fp8_columns];
    const size_t size = (size_t)weft_dtype_bits(type) / 8;
    free(w.data);
    w.data = malloc((size_t)(n * k) * size);
    CHECK(w.data);
    table.rows.convert(&op, w.data, type, values, WEFT_F32, (size_t)(n * k));
    free(values);
    w.source = (weft_gemm_source){.type = type, .n = n, .k = k, .row_bytes = (size_t)k * size, .data = w.data};
    return w;
}

static void check_packed(const weft_gemm_weight *weight, weft_fuse fuse, const weft_part *parts, int count,
                         const weft_gemm_leaves *leaves, bool kept, weft_dtype type)
{
    whole tensor[3];
    weft_gemm_source source[3];
    weft_gemm_weight packed;
    size_t bytes;
    for (int i = 0; i < count; i++) {
        tensor[i] = whole_tensor(find(parts[i], 0, 0), kept, type);
        source[i] = tensor[i].source;
    }
    CHECK_OK(weft_gemm_pack_bytes(weight->family, source, count, fuse, leaves, &bytes));
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    CHECK_OK(weft_gemm_pack(&op, weight->family, source, count, fuse, leaves, memory, &packed));
    CHECK_INT(packed.type, weight->type);
    CHECK_BYTES(weight->data, memory, bytes);
    free(memory);
    for (int i = 0; i < count; i++) {
        free(tensor[i].data);
        free(tensor[i].scales);
    }
}

static void check_bytes(weft_device *device, const weft_cpu *cpu, weft_weights_options how, bool kept, weft_dtype type)
{
    static const weft_part o[] = {WEFT_PART_O}, qkv[] = {WEFT_PART_Q, WEFT_PART_K, WEFT_PART_V},
                           all[] = {WEFT_PART_QKV}, gate[] = {WEFT_PART_GATE, WEFT_PART_UP}, down[] = {WEFT_PART_DOWN},
                           expert[] = {WEFT_PART_EXPERT_GATE, WEFT_PART_EXPERT_UP};
    weft_weights w = {0};
    how.cpu = cpu;
    how.has_family = true;
    const int group = weft_weights_group(config, &how);
    const weft_layout layout = weft_layout_of(config, NULL, group);
    CHECK_OK(weft_weights_load(checkpoint, config, &layout, &how, &op, device, &w));
    CHECK_INT(w.type, kept ? WEFT_E4M3 : type);
    const weft_tensor_entry *embedding = find(WEFT_PART_EMBEDDING, -1, -1);
    const weft_sizes_options options = {
        .model = {.weights = how, .cache = WEFT_CACHE_BF16, .rows = 64, .logit_rows = 4, .positions = 64},
        .stored = embedding->type,
        .isa = table.isa,
        .threads = 1,
        .node_ranks = 1,
        .block = 64};
    weft_model_sizes sizes = {0};
    CHECK_OK(weft_model_sizes_of(config, &layout, &options, &sizes));
    CHECK_INT(sizes.weights, w.bytes);
    const weft_gemm_leaves heads = weft_leaves_of_units(config->heads * config->head_dim, config->head_dim),
                           units = weft_leaves_of_units(config->ffn, group > 32 ? group : 32);
    check_packed(&w.layer[0].o, WEFT_FUSE_STACK, o, 1, &heads, kept, type);
    if (find(WEFT_PART_Q, 0, -1)) check_packed(&w.layer[0].qkv, WEFT_FUSE_STACK, qkv, 3, NULL, kept, type);
    if (find(WEFT_PART_QKV, 0, -1)) check_packed(&w.layer[0].qkv, WEFT_FUSE_STACK, all, 1, NULL, kept, type);
    if (find(WEFT_PART_GATE, 0, -1)) check_packed(&w.layer[0].ffn.gate_up, WEFT_FUSE_GATE, gate, 2, NULL, kept, type);
    if (find(WEFT_PART_DOWN, 0, -1)) check_packed(&w.layer[0].ffn.down, WEFT_FUSE_STACK, down, 1, &units, kept, type);
    if (find(WEFT_PART_EXPERT_GATE, 0, 0))
        check_packed(&w.layer[0].expert[0].gate_up, WEFT_FUSE_GATE, expert, 2, NULL, kept, type);
    weft_weights_free(&w);
}

static void with_checkpoint(const fp8_options *made, weft_device *device, const weft_cpu *cpu,
                            void (*check)(weft_device *device, const weft_cpu *cpu))
{
    weft_model_config c = {0};
    weft_checkpoint *files = NULL;
    make_fp8(made);
    CHECK_OK(weft_model_config_read(folder, &c));
    CHECK_INT(c.fp8_rows, made->rows);
    CHECK_INT(c.fp8_columns, made->columns);
    CHECK_OK(weft_checkpoint_open(folder, &files));
    CHECK_OK(weft_checkpoint_check(files, &c, &style));
    config = &c;
    checkpoint = files;
    check(device, cpu);
    weft_checkpoint_close(files);
    weft_model_config_fini(&c);
}

static void check_all(weft_device *device, const weft_cpu *cpu)
{
    static const weft_family families[] = {WEFT_FAMILY_FMA, WEFT_FAMILY_BF16_DOT, WEFT_FAMILY_AMX};
    for (int i = 0; i < 3; i++) {
        check_bytes(device, cpu, (weft_weights_options){.as_stored = true, .family = families[i]}, true, WEFT_E4M3);
        check_bytes(device, cpu, (weft_weights_options){.type = WEFT_E4M3, .group = 64, .family = families[i]}, true,
                    WEFT_E4M3);
        check_bytes(device, cpu, (weft_weights_options){.type = WEFT_BF16, .family = families[i]}, false, WEFT_BF16);
    }
    check_bytes(device, cpu, (weft_weights_options){.type = WEFT_F32, .family = WEFT_FAMILY_FMA}, false, WEFT_F32);
}

// Of q, k and v one is not e4m3: then all are what it is. Others stay.
static void check_mixed(weft_device *device, const weft_cpu *cpu)
{
    static const weft_part gate[] = {WEFT_PART_GATE, WEFT_PART_UP};
    const weft_weights_options how = {.as_stored = true, .cpu = cpu, .has_family = true, .family = WEFT_FAMILY_AMX};
    const weft_layout layout = weft_layout_of(config, NULL, weft_weights_group(config, &how));
    weft_weights w = {0};
    CHECK_OK(weft_weights_load(checkpoint, config, &layout, &how, &op, device, &w));
    CHECK_INT(w.type, WEFT_E4M3);
    CHECK_INT(w.layer[0].qkv.type, WEFT_BF16);
    CHECK_INT(w.layer[0].o.type, WEFT_E4M3);
    CHECK_INT(w.layer[0].ffn.down.type, WEFT_BF16);
    check_packed(&w.layer[0].ffn.gate_up, WEFT_FUSE_GATE, gate, 2, NULL, true, WEFT_E4M3);
    weft_weights_free(&w);
}

// A config of other blocks, and one that says nothing of e4m3.
static void check_refusals(weft_device *device, const weft_cpu *cpu)
{
    weft_model_config other = *config;
    (void)device, (void)cpu;
    other.fp8_rows = 16;
    CHECK_FAILS(weft_checkpoint_check(checkpoint, &other, &style), WEFT_INVALID, "_scale_inv");
    other.fp8_rows = 0;
    CHECK_FAILS(weft_checkpoint_check(checkpoint, &other, &style), WEFT_UNSUPPORTED, "e4m3");
}

int main(void)
{
    const weft_cpu cpu = weft_cpu_detect();
    const fp8_options made[] = {
        {WEFT_DEMO, folder, 128, 128, false, false},
        {WEFT_DEMO, folder, 48, 32, true, false},
        {WEFT_GOLDEN "/qwen3-moe", folder, 128, 128, false, false},
        {WEFT_GOLDEN "/phi3", folder, 32, 16, false, false},
    };
    char command[sizeof folder + 16];
    weft_device *device = NULL;
    weft_isa isa;
    CHECK_OK(weft_isa_choose(&cpu, &isa));
    table = weft_kernels_for(isa);
    CHECK_OK(weft_team_create(&(weft_team_options){.threads = 3}, &op.team));
    CHECK_OK(weft_device_host(op.team, &device));
    CHECK(mkdtemp(folder));
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) with_checkpoint(&made[i], device, &cpu, check_all);
    with_checkpoint(&(fp8_options){WEFT_DEMO, folder, 128, 128, false, true}, device, &cpu, check_mixed);
    with_checkpoint(&made[0], device, &cpu, check_refusals);
    weft_device_destroy(device);
    weft_team_destroy(op.team);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0);
    return 0;
}
