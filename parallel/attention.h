// Attention over a sequence that is dealt over context ranks by places (kernels/fold.h). Each rank attends over the
// keys that it holds, for the queries of all; one part (O, m, l) for each root of its places travels, and who finishes
// a query joins them by the tree over places. Which queries a rank has, and which it finishes, comes in two ways:
//   dealt rows   each rank has some of the rows, with all heads, and finishes those
//   dealt heads  each rank has all rows and finishes some of the heads (--dense mesh)
#ifndef WEFT_PARALLEL_ATTENTION_H
#define WEFT_PARALLEL_ATTENTION_H

#include "kernels/kernels.h"
#include "parallel/mesh.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int rows; // of one rank in one pass, at most
    int heads, k_size, v_size;
    const weft_range *heads_of; // [cp] with dealt heads: those that each rank finishes, out of `heads`; copied
} weft_dealt_shape;

// Rows of one context rank in a pass: runs of positions of requests, with the blocks of the rank that is asked.
typedef struct {
    int rows, run_count;
    const weft_attention_request *runs;
} weft_dealt_rows;

typedef struct weft_dealt weft_dealt;
// Collective over the cp group, blocking.
weft_status weft_dealt_create(const weft_mesh *mesh, const weft_dealt_shape *shape, weft_dealt **out);
void weft_dealt_destroy(weft_dealt *dealt); // Local; accepts NULL

// Which places of the tree this rank holds, before rotation.
uint32_t weft_dealt_places(const weft_mesh *mesh);

// `args` are this rank's rows as weft_attention takes them: q, rows, cache, mask and sinks, and `out`, (rows, heads) or
// with dealt heads (rows, its own). `rows_of` has an entry a context rank; with dealt heads one, of the rows that all
// have. The rows' own keys are in the caches already. Collective over the cp group.
weft_status weft_dealt_attention(weft_dealt *dealt, const weft_op *op, weft_attention_family family,
                                 const weft_attention *args, const weft_dealt_rows *rows_of);

#ifdef __cplusplus
}
#endif
#endif
