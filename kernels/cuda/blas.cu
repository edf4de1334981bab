// cuBLASLt, opened where it is installed. A product is a call like a kernel's launch: kept on tape, captured into
// graphs. Which algorithm, the library is asked once for each shape.
#include <dlfcn.h>
#include <stdlib.h>

#include "kernels/cuda/blas_api.cuh"
#include "kernels/cuda/stream.cuh"
#include "kernels/gemm_records.h"

enum { CHOICES = 256 };

// All that the choice of an algorithm depends on.
struct shape {
    int64_t m, n, k, w_stride, a_stride, add_stride, out_stride;
    uint32_t align[4]; // of w, a, add, out
    bool adds;
};

struct choice {
    shape of;
    wi_blas_algo algo;
    bool there;
};

struct wi_blas {
    void *library, *handle;
#define MEMBER(name, arguments) int(*name) arguments;
    WI_BLAS_CALLS(MEMBER)
#undef MEMBER
    choice choices[CHOICES];
};

// A product on tape.
struct call {
    wi_blas *blas;
    wi_blas_product product;
    wi_blas_algo algo;
};

// ---- the library ----------------------------------------------------------------------------------------------------

static void *open_library(void)
{
    const char *wanted = getenv("WEFT_CUBLASLT");
    if (wanted) return dlopen(wanted, RTLD_NOW | RTLD_LOCAL);
#ifdef WEFT_EMULATED
    return dlopen("cuBLASLt for an emulated device: name one in WEFT_CUBLASLT", RTLD_NOW);
#else
    void *library = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
    if (!library) library = dlopen("libcublasLt.so.12", RTLD_NOW | RTLD_LOCAL);
    return library ? library : dlopen("libcublasLt.so", RTLD_NOW | RTLD_LOCAL);
#endif
}

template <typename T> static bool find(void *library, const char *name, T *out)
{
    void *at = dlsym(library, name);
    memcpy(out, &at, sizeof at);
    return at != NULL;
}

weft_status wi_blas_open(wi_blas **out)
{
    wi_blas *blas = (wi_blas *)calloc(1, sizeof *blas);
    if (!blas) return weft_fail(WEFT_NO_MEMORY, "no memory for cuBLASLt");
    blas->library = open_library();
    bool there = blas->library != NULL;
#define FIND(name, arguments) there = there && find(blas->library, "cublasLt" #name, &blas->name);
    WI_BLAS_CALLS(FIND)
#undef FIND
    if (!there) {
        const char *why = dlerror();
        const weft_status said = weft_fail(WEFT_NOT_FOUND, "cuBLASLt: %s", why ? why : "it lacks what is called");
        wi_blas_close(blas);
        return said;
    }
    const int status = blas->Create(&blas->handle);
    if (status != 0) {
        blas->handle = NULL;
        wi_blas_close(blas);
        return weft_fail(WEFT_NOT_FOUND, "cuBLASLt: status %d when it was opened", status);
    }
    *out = blas;
    return WEFT_OK;
}

void wi_blas_close(wi_blas *blas)
{
    if (!blas) return;
    if (blas->handle) blas->Destroy(blas->handle);
    free(blas); // the library stays open: what it registered runs when the program ends
}

// ---- a product ------------------------------------------------------------------------------------------------------

// What the library is told of it: out^T (n, m) = w (n, k) * a^T (k, m), each column by column.
struct described {
    wi_blas_desc desc;
    wi_blas_layout w, a, add, out;
};

static int describe(wi_blas *b, const wi_blas_product *p, described *d)
{
    const int turned = WI_BLAS_OP_T;
    const uint64_t m = (uint64_t)p->m, n = (uint64_t)p->n, k = (uint64_t)p->k;
    *d = {};
    int status = b->MatmulDescCreate(&d->desc, WI_BLAS_COMPUTE_32F, WI_BLAS_R_32F);
    if (!status) status = b->MatmulDescSetAttribute(d->desc, WI_BLAS_DESC_TRANSA, &turned, sizeof turned);
    if (!status) status = b->MatrixLayoutCreate(&d->w, WI_BLAS_R_16BF, k, n, (int64_t)p->w_stride);
    if (!status) status = b->MatrixLayoutCreate(&d->a, WI_BLAS_R_16BF, k, m, (int64_t)p->a_stride);
    if (!status)
        status = b->MatrixLayoutCreate(&d->add, WI_BLAS_R_32F, n, m, (int64_t)(p->add ? p->add_stride : p->out_stride));
    if (!status) status = b->MatrixLayoutCreate(&d->out, WI_BLAS_R_32F, n, m, (int64_t)p->out_stride);
    return status;
}

static void forget(wi_blas *b, described *d)
{
    if (d->out) b->MatrixLayoutDestroy(d->out);
    if (d->add) b->MatrixLayoutDestroy(d->add);
    if (d->a) b->MatrixLayoutDestroy(d->a);
    if (d->w) b->MatrixLayoutDestroy(d->w);
    if (d->desc) b->MatmulDescDestroy(d->desc);
}

static cudaError_t run(const cudaLaunchConfig_t *config, const void *kernel, const unsigned char *bytes)
{
    const call *c = (const call *)(const void *)bytes;
    const wi_blas_product *p = &c->product;
    const float one = 1, beta = p->add ? 1 : 0;
    described d;
    int status = describe(c->blas, p, &d);
    if (!status)
        status = c->blas->Matmul(c->blas->handle, d.desc, &one, p->w, d.w, p->a, d.a, &beta, p->add ? p->add : p->out,
                                 d.add, p->out, d.out, &c->algo, p->workspace, WI_BLAS_WORKSPACE, config->stream);
    forget(c->blas, &d);
    return status == 0 ? cudaSuccess : cudaErrorLaunchFailure;
}

static uint32_t alignment_of(const void *at)
{
    uint32_t align = 256;
    while ((uintptr_t)at % align) align /= 2;
    return align;
}

static shape shape_of(const wi_blas_product *p)
{
    shape s;
    memset((void *)&s, 0, sizeof s); // gaps are compared too
    s.m = p->m, s.n = p->n, s.k = p->k;
    s.w_stride = (int64_t)p->w_stride, s.a_stride = (int64_t)p->a_stride;
    s.add_stride = p->add ? (int64_t)p->add_stride : 0, s.out_stride = (int64_t)p->out_stride;
    s.align[0] = alignment_of(p->w), s.align[1] = alignment_of(p->a);
    s.align[2] = alignment_of(p->add ? p->add : p->out), s.align[3] = alignment_of(p->out);
    s.adds = p->add != NULL;
    return s;
}

static int ask(wi_blas *b, const wi_blas_product *p, const shape *s, wi_blas_algo *out)
{
    const uint64_t workspace = WI_BLAS_WORKSPACE;
    wi_blas_preference preference = NULL;
    wi_blas_found found;
    described d;
    int count = 0, status = describe(b, p, &d);
    if (!status) status = b->MatmulPreferenceCreate(&preference);
    if (!status)
        status = b->MatmulPreferenceSetAttribute(preference, WI_BLAS_PREF_WORKSPACE, &workspace, sizeof workspace);
    for (int i = 0; i < 4 && !status; i++)
        status =
            b->MatmulPreferenceSetAttribute(preference, WI_BLAS_PREF_ALIGN_A + i, &s->align[i], sizeof s->align[i]);
    if (!status)
        status = b->MatmulAlgoGetHeuristic(b->handle, d.desc, d.w, d.a, d.add, d.out, preference, 1, &found, &count);
    if (!status && (count < 1 || found.state != 0)) status = -1;
    if (!status) *out = found.algo;
    if (preference) b->MatmulPreferenceDestroy(preference);
    forget(b, &d);
    return status;
}

static uint32_t place_of(const shape *s)
{
    const unsigned char *bytes = (const unsigned char *)s;
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < sizeof *s; i++) hash = (hash ^ bytes[i]) * 16777619u;
    return hash % CHOICES;
}

void wi_blas_multiply(const weft_op *op, const wi_blas_product *product)
{
    wi_blas *blas = wi_stream_of(op)->blas;
    const shape s = shape_of(product);
    choice *chosen = &blas->choices[place_of(&s)];
    if (!chosen->there || memcmp((const void *)&chosen->of, (const void *)&s, sizeof s) != 0) {
        if (ask(blas, product, &s, &chosen->algo) != 0) {
            chosen->there = false;
            wi_failed(op, "gemm: cuBLASLt knows no way for this shape", cudaErrorInvalidValue);
            return;
        }
        memcpy((void *)&chosen->of, (const void *)&s, sizeof s);
        chosen->there = true;
    }
    call c;
    memset((void *)&c, 0, sizeof c);
    c.blas = blas;
    c.product = *product;
    c.algo = chosen->algo;
    const wi_kernel_call work = {"gemm: cuBLASLt", NULL, run, dim3(1), dim3(1), 0, sizeof c};
    wi_submit(op, &work, (const unsigned char *)&c);
}
