// The peers' matrix products. oneDNN is given what it likes best: activations that are bf16 already, and weights in the
// order that it asks for.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench/peers_impl.h"
#include "core/checked.h"

enum { COPIES_MAX = 256 };

typedef struct {
    int (*desc_by_tag)(wi_dnnl_memory_desc *desc, int dims, const int64_t *dim, int type, int tag);
    int (*desc_by_strides)(wi_dnnl_memory_desc *desc, int dims, const int64_t *dim, int type, const int64_t *strides);
    size_t (*desc_bytes)(const void *desc);
    int (*matmul_desc)(wi_dnnl_matmul_desc *desc, const void *src, const void *weights, const void *bias,
                       const void *dst);
    int (*primitive_desc)(void **out, const void *desc, const void *attr, void *engine, const void *hint);
    const void *(*primitive_desc_md)(const void *primitive_desc, int query, int index);
    int (*primitive)(void **out, const void *primitive_desc);
    int (*reorder_desc)(void **out, const void *src, void *src_engine, const void *dst, void *dst_engine,
                        const void *attr);
    int (*execute)(const void *primitive, void *stream, int count, const wi_dnnl_argument *arguments);
    int (*wait)(void *stream);
    int (*memory)(void **out, const void *desc, void *engine, void *handle);
    int (*primitive_destroy)(void *primitive);
    int (*primitive_desc_destroy)(void *primitive_desc);
    int (*memory_destroy)(void *memory);
} dnnl;

struct wi_peer_gemm {
    wi_peers *peers;
    wi_peer_gemm_spec spec;
    dnnl api;
    int next;
    void *a;        // in the type
    float *out;     // (m, n)
    void *w;        // the copies
    size_t w_bytes; // of one
    // oneDNN's
    void *product, *product_desc, *src, *dst, *weights[COPIES_MAX];
};

static bool find_dnnl(void *library, dnnl *api)
{
    const struct {
        const char *name;
        void *function;
    } all[] = {
        {"dnnl_memory_desc_init_by_tag", &api->desc_by_tag},
        {"dnnl_memory_desc_init_by_strides", &api->desc_by_strides},
        {"dnnl_memory_desc_get_size", &api->desc_bytes},
        {"dnnl_matmul_desc_init", &api->matmul_desc},
        {"dnnl_primitive_desc_create", &api->primitive_desc},
        {"dnnl_primitive_desc_query_md", &api->primitive_desc_md},
        {"dnnl_primitive_create", &api->primitive},
        {"dnnl_reorder_primitive_desc_create", &api->reorder_desc},
        {"dnnl_primitive_execute", &api->execute},
        {"dnnl_stream_wait", &api->wait},
        {"dnnl_memory_create", &api->memory},
        {"dnnl_primitive_destroy", &api->primitive_destroy},
        {"dnnl_primitive_desc_destroy", &api->primitive_desc_destroy},
        {"dnnl_memory_destroy", &api->memory_destroy},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!wi_peer_find(library, all[i].name, all[i].function)) return false;
    return true;
}

void *wi_bench_memory(size_t bytes)
{
    const size_t page = 4096, whole = weft_align_up(bytes, page);
    void *memory = aligned_alloc(page, whole);
    if (memory) madvise(memory, whole, MADV_HUGEPAGE);
    return memory;
}

// (n, k) of equal rows, as a checkpoint has them.
static unsigned char *plain_weights(const wi_peer_gemm_spec *spec)
{
    const size_t row = (size_t)spec->k * (spec->type == WEFT_F32 ? 4 : 2);
    unsigned char *to = aligned_alloc(64, weft_align_up(row * (size_t)spec->n, 64));
    for (int64_t i = 0; to && i < spec->n; i++) memcpy(to + (size_t)i * row, spec->row, row);
    return to;
}

static weft_status convert_rows(wi_peer_gemm *g)
{
    const wi_peer_gemm_spec *s = &g->spec;
    const int64_t count = s->m * s->k;
    g->a = wi_bench_memory((size_t)count * 4);
    g->out = wi_bench_memory((size_t)(s->m * s->n) * 4);
    if (!g->a || !g->out) return weft_fail(WEFT_NO_MEMORY, "no memory for a peer's product");
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &s->a[i], sizeof bits);
        if (s->type == WEFT_F32)
            ((float *)g->a)[i] = s->a[i];
        else
            ((uint16_t *)g->a)[i] = (uint16_t)(bits >> 16); // the values are short: exact
    }
    return WEFT_OK;
}

static weft_status room_for_copies(wi_peer_gemm *g, size_t bytes)
{
    g->w_bytes = weft_align_up(bytes, 4096);
    g->w = wi_bench_memory(g->w_bytes * (size_t)g->spec.copies);
    return g->w ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for a peer's product");
}

static void *copy_at(const wi_peer_gemm *g, int i) { return (unsigned char *)g->w + (size_t)i * g->w_bytes; }

// The product itself, with its weights in any order.
static int make_product(wi_peer_gemm *g)
{
    const wi_peer_gemm_spec *s = &g->spec;
    const dnnl *api = &g->api;
    const int type = s->type == WEFT_F32 ? WI_DNNL_F32 : WI_DNNL_BF16;
    wi_dnnl_memory_desc src, any, dst;
    wi_dnnl_matmul_desc desc;
    int bad = api->desc_by_tag(&src, 2, (int64_t[]){s->m, s->k}, type, WI_DNNL_AB);
    bad = bad || api->desc_by_tag(&any, 2, (int64_t[]){s->k, s->n}, type, WI_DNNL_ANY);
    bad = bad || api->desc_by_tag(&dst, 2, (int64_t[]){s->m, s->n}, WI_DNNL_F32, WI_DNNL_AB);
    bad = bad || api->matmul_desc(&desc, &src, &any, NULL, &dst);
    bad = bad || api->primitive_desc(&g->product_desc, &desc, NULL, g->peers->engine, NULL);
    bad = bad || api->primitive(&g->product, g->product_desc);
    bad = bad || api->memory(&g->src, &src, g->peers->engine, g->a);
    return bad || api->memory(&g->dst, &dst, g->peers->engine, g->out);
}

// The weights in the order that the product asks for.
static int reorder(wi_peer_gemm *g, void *plain)
{
    const wi_peer_gemm_spec *s = &g->spec;
    const dnnl *api = &g->api;
    const int type = s->type == WEFT_F32 ? WI_DNNL_F32 : WI_DNNL_BF16;
    const void *wanted = api->primitive_desc_md(g->product_desc, WI_DNNL_WEIGHTS_DESC, 0);
    wi_dnnl_memory_desc given;
    void *from = NULL, *desc = NULL, *primitive = NULL, *engine = g->peers->engine, *stream = g->peers->stream;
    int bad = api->desc_by_strides(&given, 2, (int64_t[]){s->k, s->n}, type, (int64_t[]){1, s->k});
    bad = bad || api->memory(&from, &given, engine, plain);
    for (int i = 0; i < s->copies; i++) bad = bad || api->memory(&g->weights[i], wanted, engine, copy_at(g, i));
    bad = bad || api->reorder_desc(&desc, &given, engine, wanted, engine, NULL);
    bad = bad || api->primitive(&primitive, desc);
    const wi_dnnl_argument arguments[] = {{WI_DNNL_SRC, from}, {WI_DNNL_DST, g->weights[0]}};
    bad = bad || api->execute(primitive, stream, 2, arguments) || api->wait(stream);
    if (primitive) api->primitive_destroy(primitive);
    if (desc) api->primitive_desc_destroy(desc);
    if (from) api->memory_destroy(from);
    return bad;
}

static weft_status create_onednn(wi_peer_gemm *g)
{
    if (!find_dnnl(g->peers->library[WI_PEER_ONEDNN], &g->api))
        return weft_fail(WEFT_UNSUPPORTED, "libdnnl.so.2 lacks functions of oneDNN 2; leave it out with --no-peers");
    wi_peer_begin(g->peers, WI_PEER_ONEDNN, g->spec.threads);
    unsigned char *plain = plain_weights(&g->spec);
    int bad = !plain || make_product(g);
    weft_status status = WEFT_OK;
    if (!bad)
        status =
            room_for_copies(g, g->api.desc_bytes(g->api.primitive_desc_md(g->product_desc, WI_DNNL_WEIGHTS_DESC, 0)));
    bad = bad || status != WEFT_OK || reorder(g, plain);
    for (int i = 1; i < g->spec.copies && !bad; i++) memcpy(copy_at(g, i), copy_at(g, 0), g->w_bytes);
    free(plain);
    wi_peer_end(g->peers, WI_PEER_ONEDNN);
    if (status == WEFT_OK && bad)
        status = weft_fail(WEFT_FAILED, "oneDNN refused a product of %lld rows; leave it out with --no-peers",
                           (long long)g->spec.m);
    return status;
}

static weft_status create_openblas(wi_peer_gemm *g)
{
    const wi_peer_gemm_spec *s = &g->spec;
    const size_t row = (size_t)s->k * 4;
    WEFT_TRY(room_for_copies(g, row * (size_t)s->n));
    for (int copy = 0; copy < s->copies; copy++)
        for (int64_t i = 0; i < s->n; i++) memcpy((unsigned char *)copy_at(g, copy) + (size_t)i * row, s->row, row);
    return WEFT_OK;
}

weft_status wi_peer_gemm_create(wi_peers *peers, const wi_peer_gemm_spec *spec, wi_peer_gemm **out)
{
    weft_status status;
    *out = NULL;
    if (!wi_peer_there(peers, spec->peer) || (spec->type != WEFT_F32 && spec->type != WEFT_BF16)) return WEFT_OK;
    if (spec->peer == WI_PEER_OPENBLAS && spec->type != WEFT_F32) return WEFT_OK;
    wi_peer_gemm *g = calloc(1, sizeof *g);
    if (!g) return weft_fail(WEFT_NO_MEMORY, "no memory for a peer's product");
    g->peers = peers;
    g->spec = *spec;
    if (g->spec.copies > COPIES_MAX) g->spec.copies = COPIES_MAX;
    WEFT_TRY_GOTO(convert_rows(g));
    WEFT_TRY_GOTO(spec->peer == WI_PEER_ONEDNN ? create_onednn(g) : create_openblas(g));
    *out = g;
    return WEFT_OK;
fail:
    wi_peer_gemm_destroy(g);
    return status;
}

void wi_peer_gemm_destroy(wi_peer_gemm *g)
{
    if (!g) return;
    for (int i = 0; i < g->spec.copies; i++)
        if (g->weights[i]) g->api.memory_destroy(g->weights[i]);
    if (g->src) g->api.memory_destroy(g->src);
    if (g->dst) g->api.memory_destroy(g->dst);
    if (g->product) g->api.primitive_destroy(g->product);
    if (g->product_desc) g->api.primitive_desc_destroy(g->product_desc);
    free(g->a);
    free(g->out);
    free(g->w);
    free(g);
}

void wi_peer_gemm_run(void *gemm)
{
    enum { ROW_MAJOR = 101, AS_IT_IS = 111, TURNED = 112 };
    wi_peer_gemm *g = gemm;
    const wi_peer_gemm_spec *s = &g->spec;
    const int i = g->next;
    g->next = (g->next + 1) % s->copies;
    if (s->peer == WI_PEER_OPENBLAS) {
        g->peers->sgemm(ROW_MAJOR, AS_IT_IS, TURNED, (int)s->m, (int)s->n, (int)s->k, 1, g->a, (int)s->k, copy_at(g, i),
                        (int)s->k, 0, g->out, (int)s->n);
        return;
    }
    const wi_dnnl_argument arguments[] = {
        {WI_DNNL_SRC, g->src}, {WI_DNNL_WEIGHTS, g->weights[i]}, {WI_DNNL_DST, g->dst}};
    g->api.execute(g->product, g->peers->stream, 3, arguments);
    g->api.wait(g->peers->stream);
}

const float *wi_peer_gemm_out(const wi_peer_gemm *g) { return g->out; }
