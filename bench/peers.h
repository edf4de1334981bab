// Other libraries at the same work, opened where they are installed: oneDNN 2 (libdnnl.so.2) and OpenBLAS. They are
// never linked and their headers are not needed. Inside bench/ only.
#ifndef WEFT_BENCH_PEERS_H
#define WEFT_BENCH_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/tensor.h"

typedef enum { WI_PEER_ONEDNN, WI_PEER_OPENBLAS, WI_PEER_COUNT } wi_peer;

typedef struct wi_peers wi_peers;

// Never fails for a library that is absent. Called before threads are bound: theirs inherit where they may run.
weft_status wi_peers_open(wi_peers **out);
void wi_peers_close(wi_peers *peers); // accepts NULL

const char *wi_peer_name(wi_peer peer);                        // "oneDNN"
const char *wi_peer_text(const wi_peers *peers, wi_peer peer); // "oneDNN 2.6.3", or that it is not installed
bool wi_peer_there(const wi_peers *peers, wi_peer peer);
// Around a peer's turn: it may run on all cpus by so many threads; then its threads, which spin for a while, come to
// rest.
void wi_peer_begin(wi_peers *peers, wi_peer peer, int threads);
void wi_peer_end(wi_peers *peers, wi_peer peer);

// out (m, n) f32 = a (m, k) * w (n, k)^T, by oneDNN with a in the type of w and w in the order that oneDNN wants, by
// OpenBLAS with w turned. All rows of w are `row`.
typedef struct wi_peer_gemm wi_peer_gemm;
typedef struct {
    wi_peer peer;
    weft_dtype type; // bf16 (oneDNN alone) or f32
    int64_t m, n, k;
    const float *a;  // (m, k)
    const void *row; // (k) of the type
    int copies;      // of w, which take turns
    int threads;
} wi_peer_gemm_spec;
// NULL in *out where the library is absent or has no such product.
weft_status wi_peer_gemm_create(wi_peers *peers, const wi_peer_gemm_spec *spec, wi_peer_gemm **out);
void wi_peer_gemm_destroy(wi_peer_gemm *gemm); // accepts NULL
void wi_peer_gemm_run(void *gemm);
// In large pages where there are, as an engine's memory is, for weft and its peers alike; NULL without. free() it.
void *wi_bench_memory(size_t bytes);
const float *wi_peer_gemm_out(const wi_peer_gemm *gemm);

#endif
