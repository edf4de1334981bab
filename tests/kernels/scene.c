#include "tests/kernels/scene.h"

#include <math.h>

#include "kernels/cpu/exp.inc"
#include "tests/check.h"

static size_t align_64(size_t n) { return (n + 63) & ~(size_t)63; }

static void make_tables(weft_walk *walk, scene *s, int *blocks)
{
    const int block = s->shape.block;
    *blocks = 1; // block 0 is nobody's
    for (int i = 0; i < s->shape.requests; i++) {
        s->table_blocks[i] = (size_t)((s->shape.length[i] + block - 1) / block);
        s->tables[i] = weft_walk_memory(walk, s->table_blocks[i] * sizeof(int32_t), 4);
        for (size_t b = 0; b < s->table_blocks[i]; b++) s->tables[i][b] = (*blocks)++;
    }
    for (int i = 0, n = 0; i < s->shape.requests; i++) { // any order, over all requests
        for (size_t b = 0; b < s->table_blocks[i]; b++, n++) {
            const int j = (int)(weft_walk_random(s->shape.seed + 99, (uint64_t)n) % (uint64_t)s->shape.requests);
            if (!s->table_blocks[j]) continue;
            int32_t *other = &s->tables[j][weft_walk_random(s->shape.seed + 98, (uint64_t)n) % s->table_blocks[j]];
            const int32_t mine = s->tables[i][b];
            s->tables[i][b] = *other;
            *other = mine;
        }
    }
}

void weft_scene_scratch(weft_walk *walk)
{
    const size_t host = weft_attention_scratch(256, 256, 3), device = weft_attention_device_scratch(4, 512, 128, 256);
    weft_walk_scratch(walk, host > device ? host : device);
}

void weft_scene_make(weft_walk *walk, const scene_shape *shape, scene *s)
{
    *s = (scene){.shape = *shape};
    int blocks;
    make_tables(walk, s, &blocks);
    weft_cache *c = &s->cache;
    *c = (weft_cache){.type = shape->type,
                      .block = shape->block,
                      .heads = shape->kv_heads,
                      .k_size = shape->k_size,
                      .v_size = shape->v_size,
                      .k_offset = 64};
    c->v_offset = align_64(c->k_offset + weft_cache_k_bytes(c)) + 64;
    c->block_bytes = align_64(c->v_offset + weft_cache_v_bytes(c)) + 128;
    c->pool = weft_walk_memory(walk, c->block_bytes * (size_t)blocks, 0);
    memset(c->pool, 0xff, c->block_bytes * (size_t)blocks);
    for (int i = 0; i < shape->requests; i++) {
        const size_t n = (size_t)shape->length[i] * (size_t)shape->kv_heads;
        s->k[i] = weft_walk_memory(walk, n * (size_t)shape->k_size * sizeof(float), 4);
        s->v[i] = weft_walk_memory(walk, n * (size_t)shape->v_size * sizeof(float), 12);
        weft_walk_fill(s->k[i], n * (size_t)shape->k_size, shape->values, shape->seed + 10 + (uint64_t)i);
        weft_walk_fill(s->v[i], n * (size_t)shape->v_size, shape->values, shape->seed + 20 + (uint64_t)i);
        s->requests[i] = (weft_attention_request){.row = s->rows,
                                                  .rows = shape->rows[i],
                                                  .position = shape->length[i] - shape->rows[i],
                                                  .length = shape->length[i],
                                                  .blocks = s->tables[i],
                                                  .rotation = shape->rotation[i]};
        s->rows += shape->rows[i];
    }
    size_t longest = 1;
    for (int i = 0; i < shape->requests; i++)
        longest = (size_t)shape->length[i] > longest ? (size_t)shape->length[i] : longest;
    s->raw_k = weft_walk_memory(walk, longest * (size_t)shape->k_size * 4, 4);
    s->raw_v = weft_walk_memory(walk, longest * (size_t)shape->v_size * 4, 4);
    s->raw_k_scale = weft_walk_memory(walk, longest * sizeof(float), 4);
    s->raw_v_scale = weft_walk_memory(walk, longest * sizeof(float), 4);
    s->q_stride = (size_t)shape->heads * (size_t)shape->k_size + 3;
    s->q = weft_walk_memory(walk, s->q_stride * (size_t)s->rows * sizeof(float), 4);
    weft_walk_fill(s->q, s->q_stride * (size_t)s->rows, shape->values, shape->seed + 1);
    s->sinks = weft_walk_memory(walk, (size_t)shape->heads * sizeof(float), 8);
    weft_walk_fill(s->sinks, (size_t)shape->heads, WEFT_VALUES_PLAIN, shape->seed + 2);
}

void weft_scene_write(const weft_op *op, const scene *s)
{
    for (int i = 0; i < s->shape.requests; i++) {
        // in two spans, cut at an odd place
        const int first = (int)(s->shape.length[i] / 3), rest = (int)s->shape.length[i] - first;
        const weft_cache_span spans[] = {{.rows = first, .blocks = s->tables[i]},
                                         {.row = first, .rows = rest, .position = first, .blocks = s->tables[i]}};
        for (int part = 0; part < 2; part++) {
            op->table->attention.cache_write(
                op, &(weft_cache_write){.cache = &s->cache,
                                        .k = s->k[i],
                                        .v = s->v[i],
                                        .k_stride = (size_t)s->shape.kv_heads * (size_t)s->shape.k_size,
                                        .v_stride = (size_t)s->shape.kv_heads * (size_t)s->shape.v_size,
                                        .spans = spans + part,
                                        .span_count = 1});
        }
    }
}

weft_attention weft_scene_args(const scene *s)
{
    return (weft_attention){.cache = &s->cache,
                            .requests = s->requests,
                            .request_count = s->shape.requests,
                            .rows = s->rows,
                            .heads = s->shape.heads,
                            .first_head = s->shape.first_head,
                            .q = s->q,
                            .q_stride = s->q_stride,
                            .scale = 1.0F / sqrtf((float)s->shape.k_size),
                            .softcap = s->shape.softcap,
                            .causal = !s->shape.bidirectional,
                            .window = s->shape.window,
                            .sinks = s->shape.sinks ? s->sinks : NULL,
                            .places = WEFT_FOLD_ALL,
                            .out_stride = (size_t)s->shape.heads * (size_t)s->shape.v_size};
}

size_t weft_scene_out_floats(const scene *s)
{
    return (size_t)s->rows * (size_t)s->shape.heads * (size_t)s->shape.v_size;
}

int weft_scene_kv_head(const scene *s, int head)
{
    if (!s->shape.first_head) return head / (s->shape.heads / s->shape.kv_heads);
    int h = 0;
    while (head >= s->shape.first_head[h + 1]) h++;
    return h;
}

static void widen(float *to, const void *from, weft_cache_type type, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (type == WEFT_CACHE_F32) {
            memcpy(to + i, (const float *)from + i, sizeof(float));
        } else if (type == WEFT_CACHE_BF16) {
            const uint32_t bits = (uint32_t)((const uint16_t *)from)[i] << 16;
            memcpy(to + i, &bits, sizeof bits);
        } else if (type == WEFT_CACHE_FP8) {
            const int code = ((const uint8_t *)from)[i], exponent = code >> 3 & 15, mantissa = code & 7;
            const float size = ldexpf((float)(exponent ? mantissa + 8 : mantissa), (exponent ? exponent : 1) - 10);
            to[i] = code & 0x80 ? -size : size;
        } else {
            to[i] = ((const int8_t *)from)[i];
        }
    }
}

// int8 and fp8 stay without their scale, which follows the values: k has length * size floats and then length scales.
void weft_scene_stored(const weft_op *op, const scene *s, int request, int kv_head, float *k, float *v)
{
    const size_t length = (size_t)s->shape.length[request], ks = (size_t)s->shape.k_size, vs = (size_t)s->shape.v_size;
    float *k_scale = k + length * ks, *v_scale = v + length * vs;
    op->table->attention.cache_copy(op, &(weft_cache_copy){.cache = &s->cache,
                                                           .head = kv_head,
                                                           .span = {.rows = (int)length, .blocks = s->tables[request]},
                                                           .k = s->raw_k,
                                                           .v = s->raw_v,
                                                           .k_scale = s->raw_k_scale,
                                                           .v_scale = s->raw_v_scale});
    widen(k, s->raw_k, s->shape.type, length * ks);
    widen(v, s->raw_v, s->shape.type, length * vs);
    for (size_t i = 0; i < length; i++) {
        k_scale[i] = s->shape.type >= WEFT_CACHE_INT8 ? s->raw_k_scale[i] : 1;
        v_scale[i] = s->shape.type >= WEFT_CACHE_INT8 ? s->raw_v_scale[i] : 1;
    }
}

typedef struct {
    float o[WEFT_HEAD_SIZE_MAX], m, l;
} part;

typedef struct {
    const scene *s;
    const float *q, *k, *v;
    int64_t low, high, length;
} row;

static part plain_join(const part *x, const part *y, int n)
{
    if (y->l == 0) return *x;
    if (x->l == 0) return *y;
    part both;
    both.m = x->m > y->m ? x->m : y->m;
    const float a = wi_expf1(x->m - both.m), b = wi_expf1(y->m - both.m);
    for (int i = 0; i < n; i++) {
        const float left = a * x->o[i], right = b * y->o[i];
        both.o[i] = left + right;
    }
    const float left = a * x->l, right = b * y->l;
    both.l = left + right;
    return both;
}

static float plain_score(const row *r, int64_t at)
{
    const scene_shape *shape = &r->s->shape;
    float x = 0;
    for (int d = 0; d < shape->k_size; d++) x = fmaf(r->q[d], r->k[at * shape->k_size + d], x);
    if (shape->type >= WEFT_CACHE_INT8) x *= r->k[r->length * shape->k_size + at];
    x *= weft_scene_args(r->s).scale;
    if (shape->softcap > 0) {
        const float y = x / shape->softcap, e = wi_expf1(y + y);
        x = shape->softcap * (1 - 2 / (e + 1));
    }
    return x;
}

static part plain_chunk(const row *r, int64_t chunk)
{
    const scene_shape *shape = &r->s->shape;
    const int64_t first = chunk * 256;
    int64_t low = first > r->low ? first : r->low, high = first + 256 < r->high ? first + 256 : r->high;
    part p = {.m = -INFINITY};
    float score[256] = {0}, lane[16] = {0};
    for (int64_t at = low; at < high; at++) {
        score[at - first] = plain_score(r, at);
        p.m = score[at - first] > p.m ? score[at - first] : p.m;
    }
    p.m += 0.0F;
    for (int64_t at = low; at < high; at++) {
        float w = wi_expf1(score[at - first] - (p.m == -INFINITY ? 0 : p.m));
        lane[at % 16] += w;
        if (shape->type >= WEFT_CACHE_INT8) w *= r->v[r->length * shape->v_size + at];
        for (int d = 0; d < shape->v_size; d++) p.o[d] = fmaf(w, r->v[at * shape->v_size + d], p.o[d]);
    }
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    p.l = lane[0];
    return p;
}

static part plain_tree(const row *r, int place, int places)
{
    part p = {.m = -INFINITY};
    if (places > 1) {
        const part x = plain_tree(r, place, places / 2), y = plain_tree(r, place + places / 2, places / 2);
        return plain_join(&x, &y, r->s->shape.v_size);
    }
    for (int64_t chunk = 0; chunk * 256 < r->high; chunk++) {
        if (weft_fold_class(chunk) != weft_fold_class_at(place)) continue;
        const part next = plain_chunk(r, chunk);
        p = plain_join(&p, &next, r->s->shape.v_size);
    }
    return p;
}

static void row_limits(const scene *s, int request, int at, row *r)
{
    const int64_t p = s->requests[request].position + at;
    r->low = s->shape.window > 0 && p - s->shape.window + 1 > 0 ? p - s->shape.window + 1 : 0;
    r->high = s->shape.bidirectional ? s->shape.length[request] : p + 1;
    r->length = s->shape.length[request];
}

static void plain_finish(const scene *s, part p, int head, float *out, float *m, float *l)
{
    const part sink = {.m = s->sinks[head], .l = 1};
    if (s->shape.sinks) p = plain_join(&p, &sink, s->shape.v_size);
    for (int d = 0; d < s->shape.v_size; d++) out[d] = p.l == 0 ? 0 : p.o[d] / p.l;
    *m = p.m;
    *l = p.l;
}

typedef void each_row(const scene *s, const row *r, int head, size_t at, void *arg);

// Calls f for each row and head, with the stored K and V of its request and KV head.
static void for_rows(const weft_op *op, const scene *s, each_row *f, void *arg)
{
    for (int i = 0; i < s->shape.requests; i++) {
        const size_t length = (size_t)s->shape.length[i];
        float *k = calloc(length * ((size_t)s->shape.k_size + 1) + 1, sizeof *k);
        float *v = calloc(length * ((size_t)s->shape.v_size + 1) + 1, sizeof *v);
        CHECK(k && v);
        for (int kv = 0; kv < s->shape.kv_heads; kv++) {
            weft_scene_stored(op, s, i, kv, k, v);
            for (int head = 0; head < s->shape.heads; head++) {
                if (weft_scene_kv_head(s, head) != kv) continue;
                for (int at = 0; at < s->shape.rows[i]; at++) {
                    const size_t n = (size_t)s->requests[i].row + (size_t)at;
                    row r = {
                        .s = s, .k = k, .v = v, .q = s->q + n * s->q_stride + (size_t)head * (size_t)s->shape.k_size};
                    row_limits(s, i, at, &r);
                    f(s, &r, head, n * (size_t)s->shape.heads + (size_t)head, arg);
                }
            }
        }
        free(k);
        free(v);
    }
}

typedef struct {
    float *out, *m, *l;
} finished;

static void expect_row(const scene *s, const row *r, int head, size_t at, void *arg)
{
    const finished *f = arg;
    const part p = plain_tree(r, 0, 32);
    float m, l;
    plain_finish(s, p, head, f->out + at * (size_t)s->shape.v_size, &m, &l);
    if (f->m) f->m[at] = m;
    if (f->l) f->l[at] = l;
}

void weft_scene_expected(const weft_op *op, const scene *s, float *out, float *m, float *l)
{
    for_rows(op, s, expect_row, &(finished){.out = out, .m = m, .l = l});
}

typedef struct {
    bool bf16_queries;
    double *out;
} exact;

static float to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void exact_row(const scene *s, const row *r, int head, size_t at, void *arg)
{
    const exact *e = arg;
    const scene_shape *shape = &s->shape;
    const bool scaled = shape->type >= WEFT_CACHE_INT8;
    double *out = e->out + at * (size_t)shape->v_size, *score = malloc((size_t)(r->length + 1) * sizeof *score);
    double top = shape->sinks ? (double)s->sinks[head] : -INFINITY, sum = 0;
    CHECK(score);
    for (int64_t i = r->low; i < r->high; i++) {
        double x = 0;
        for (int d = 0; d < shape->k_size; d++)
            x += (double)(e->bf16_queries ? to_bf16(r->q[d]) : r->q[d]) * (double)r->k[i * shape->k_size + d];
        x *= (double)weft_scene_args(s).scale * (scaled ? (double)r->k[r->length * shape->k_size + i] : 1);
        score[i] = shape->softcap > 0 ? (double)shape->softcap * tanh(x / (double)shape->softcap) : x;
        top = score[i] > top ? score[i] : top;
    }
    for (int d = 0; d < shape->v_size; d++) out[d] = 0;
    for (int64_t i = r->low; i < r->high; i++) {
        const double w = exp(score[i] - top);
        sum += w;
        for (int d = 0; d < shape->v_size; d++)
            out[d] +=
                w * (double)r->v[i * shape->v_size + d] * (scaled ? (double)r->v[r->length * shape->v_size + i] : 1);
    }
    if (shape->sinks) sum += exp((double)s->sinks[head] - top);
    for (int d = 0; d < shape->v_size; d++) out[d] = sum > 0 ? out[d] / sum : 0;
    free(score);
}

void weft_scene_exact(const weft_op *op, const scene *s, bool bf16_queries, double *out)
{
    for_rows(op, s, exact_row, &(exact){.bf16_queries = bf16_queries, .out = out});
}
