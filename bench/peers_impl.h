// The functions of the peers, as far as they are called. oneDNN 2's descriptors are plain structs, which it fills
// itself: room for them is enough.
#ifndef WEFT_BENCH_PEERS_IMPL_H
#define WEFT_BENCH_PEERS_IMPL_H

#include <sched.h>
#include <stddef.h>

#include "bench/peers.h"

typedef struct {
    _Alignas(16) unsigned char room[2048]; // 696 bytes in 2.6
} wi_dnnl_memory_desc;
typedef struct {
    _Alignas(16) unsigned char room[8192]; // 2800 bytes in 2.6
} wi_dnnl_matmul_desc;
typedef struct {
    int arg;
    void *memory;
} wi_dnnl_argument;

enum {
    WI_DNNL_ANY = 1, // format tags
    WI_DNNL_AB = 3,
    WI_DNNL_BF16 = 2, // types
    WI_DNNL_F32 = 3,
    WI_DNNL_WEIGHTS_DESC = 131, // a query
    WI_DNNL_SRC = 1,            // arguments
    WI_DNNL_DST = 17,
    WI_DNNL_WEIGHTS = 33,
};

struct wi_peers {
    bool there[WI_PEER_COUNT];
    char text[WI_PEER_COUNT][96];
    void *library[WI_PEER_COUNT];
    void (*set_threads[WI_PEER_COUNT])(int threads);
    cpu_set_t all_cpus, own_cpus;
    int threads; // of the turn
    void *engine, *stream;
    int (*engine_create)(void **engine, int kind, size_t index);
    int (*engine_destroy)(void *engine);
    int (*stream_destroy)(void *stream);
    int (*stream_create)(void **stream, void *engine, unsigned flags);
    void (*sgemm)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                  const float *b, int ldb, float beta, float *c, int ldc);
};

// Puts the address of a library's function into the pointer that `function` points to; false where there is none.
bool wi_peer_find(void *library, const char *name, void *function);

#endif
