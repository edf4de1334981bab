#include "tests/model/fp8_checkpoint.h"

#include "kernels/convert.inc"
#include "model/checkpoint.h"
#include "tests/check.h"

typedef struct {
    const fp8_options *options;
    const weft_checkpoint *checkpoint;
    FILE *header, *data;
    long at; // bytes of data so far
    int count;
} writer;

static void describe(writer *w, const char *name, const char *type, int rank, const int64_t *shape, size_t bytes)
{
    fprintf(w->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", w->count++ ? "," : "", name, type);
    for (int i = 0; i < rank; i++) fprintf(w->header, "%s%lld", i ? "," : "", (long long)shape[i]);
    fprintf(w->header, "],\"data_offsets\":[%ld,%ld]}", w->at, w->at + (long)bytes);
    w->at += (long)bytes;
}

static void *read_raw(const writer *w, const weft_tensor_entry *t)
{
    const int64_t width = t->shape[t->rank - 1];
    const size_t row = (size_t)width * (size_t)weft_dtype_bits(t->type) / 8;
    void *raw = malloc(t->bytes + 1);
    CHECK(raw);
    weft_read read = {.tensor = t, .rows = (int64_t)(t->bytes / row), .columns = width, .to = raw, .to_stride = row};
    CHECK_OK(weft_checkpoint_read(w->checkpoint, &read, 1, &(weft_read_options){0}));
    return raw;
}

static float element(const void *raw, weft_dtype type, int64_t index)
{
    if (type == WEFT_F32) return ((const float *)raw)[index];
    const uint16_t half = ((const uint16_t *)raw)[index];
    return type == WEFT_BF16 ? wi_float_of_bf16(half) : wi_float_of_f16(half);
}

static void write_matrix(writer *w, const weft_tensor_entry *t)
{
    const int64_t n = t->shape[0], k = t->shape[1], high = w->options->rows, wide = w->options->columns;
    const int64_t blocks[] = {(n + high - 1) / high, (k + wide - 1) / wide};
    const size_t size = w->options->half ? 2 : 4, count = (size_t)(blocks[0] * blocks[1]);
    void *raw = read_raw(w, t);
    float *scales = calloc(count, sizeof *scales);
    uint8_t *codes = malloc((size_t)(n * k));
    char name[256];
    CHECK(scales && codes);
    for (int64_t i = 0; i < n * k; i++) {
        float *scale = &scales[i / k / high * blocks[1] + i % k / wide];
        const float x = element(raw, t->type, i), largest = (x < 0 ? -x : x) / 448;
        if (largest > *scale) *scale = w->options->half ? wi_float_of_bf16(wi_bf16_of_float(largest)) : largest;
    }
    for (int64_t i = 0; i < n * k; i++) {
        const float scale = scales[i / k / high * blocks[1] + i % k / wide];
        codes[i] = wi_e4m3_of_float(scale > 0 ? element(raw, t->type, i) / scale : 0);
    }
    describe(w, t->name, "F8_E4M3", 2, t->shape, (size_t)(n * k));
    CHECK(fwrite(codes, 1, (size_t)(n * k), w->data) == (size_t)(n * k));
    snprintf(name, sizeof name, "%s_scale_inv", t->name);
    describe(w, name, w->options->half ? "BF16" : "F32", 2, blocks, count * size);
    for (size_t i = 0; i < count; i++) {
        const uint16_t half = wi_bf16_of_float(scales[i]);
        CHECK(fwrite(w->options->half ? (const void *)&half : &scales[i], size, 1, w->data) == 1);
    }
    free(raw);
    free(scales);
    free(codes);
}

static bool is_quantized(const writer *w, const weft_tensor_entry *t)
{
    const char *const kept[] = {"v_proj", "down_proj"};
    if (t->rank != 2 || !strstr(t->name, "_proj.weight")) return false;
    for (int i = 0; i < 2 && w->options->mixed; i++)
        if (strstr(t->name, kept[i])) return false;
    return true;
}

static void write_tensor(writer *w, const weft_tensor_entry *t)
{
    const char *type = t->type == WEFT_F32 ? "F32" : t->type == WEFT_BF16 ? "BF16" : "F16";
    if (is_quantized(w, t)) {
        write_matrix(w, t);
        return;
    }
    void *raw = read_raw(w, t);
    describe(w, t->name, type, t->rank, t->shape, t->bytes);
    CHECK(fwrite(raw, 1, t->bytes, w->data) == t->bytes);
    free(raw);
}

// A file of the folder with something behind its first brace; none where there is none.
static void copy_file(const fp8_options *o, const char *name, const char *more)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", o->from, name);
    FILE *from = fopen(path, "rb");
    if (!from) return;
    snprintf(path, sizeof path, "%s/%s", o->to, name);
    FILE *to = fopen(path, "wb");
    CHECK(to);
    for (int c; (c = fgetc(from)) != EOF;) {
        fputc(c, to);
        if (c == '{') fputs(more, to), more = "";
    }
    CHECK(fclose(to) == 0);
    fclose(from);
}

void make_fp8(const fp8_options *o)
{
    char path[1024], more[256], *header = NULL;
    size_t length = 0;
    weft_checkpoint *checkpoint = NULL;
    CHECK_OK(weft_checkpoint_open(o->from, &checkpoint));
    writer w = {.options = o, .checkpoint = checkpoint, .header = open_memstream(&header, &length), .data = tmpfile()};
    CHECK(w.header && w.data);
    fputc('{', w.header);
    for (size_t i = 0; i < weft_checkpoint_count(checkpoint); i++) write_tensor(&w, weft_checkpoint_at(checkpoint, i));
    fputc('}', w.header);
    while (ftell(w.header) % 8) fputc(' ', w.header);
    CHECK(fclose(w.header) == 0);
    snprintf(path, sizeof path, "%s/model.safetensors", o->to);
    FILE *out = fopen(path, "wb");
    CHECK(out);
    const uint64_t bytes = length;
    CHECK(fwrite(&bytes, 8, 1, out) == 1 && fwrite(header, 1, length, out) == length);
    rewind(w.data);
    for (int c; (c = fgetc(w.data)) != EOF;) fputc(c, out);
    CHECK(fclose(out) == 0);
    fclose(w.data);
    free(header);
    weft_checkpoint_close(checkpoint);
    snprintf(more, sizeof more,
             "\"quantization_config\":{\"activation_scheme\":\"dynamic\",\"fmt\":\"e4m3\",\"quant_method\":\"fp8\","
             "\"weight_block_size\":[%d,%d]},",
             o->rows, o->columns);
    copy_file(o, "config.json", more);
    copy_file(o, "generation_config.json", "");
    copy_file(o, "tokenizer.json", "");
}
