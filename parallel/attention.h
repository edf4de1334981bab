// Attention over a sequence that is dealt over context ranks by places (kernels/fold.h). Each rank attends over the
// keys that it holds, for the queries of all; one part (O, m, l) for each root of its places travels, and who finishes
// a query joins them by the tree over places. Which queries a rank has, and which it finishes, comes in two ways:
//   dealt rows   each rank has some of the rows, with all heads, and finishes those
//   dealt heads  each rank has all rows and finishes some of the heads (--dense mesh)
// With dealt rows it may also be the keys that travel: each rank then attends over the keys of all, for its own
// queries, and nothing comes back. What moves fewer bytes is done, pass by pass and layer by layer; the bits are the
// same.
#ifndef WEFT_PARALLEL_ATTENTION_H
#define WEFT_PARALLEL_ATTENTION_H

#include "kernels/kernels.h"
#include "parallel/mesh.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    WEFT_DEALT_FEWER,   // what moves fewer bytes
    WEFT_DEALT_QUERIES, // always queries, for tests
    WEFT_DEALT_KEYS     // always keys where their pieces have room, for tests
} weft_dealt_way;

typedef struct {
    int rows; // of one rank in one pass, at most
    int heads, k_size, v_size;
    const weft_range *heads_of; // [cp] with dealt heads: those that each rank finishes, out of `heads`; copied
    // Of dealt rows:
    int kv_heads;
    weft_cache_type cache;
    weft_dealt_way way;
} weft_dealt_shape;

// Rows of one context rank in a pass: runs of positions of requests, with the blocks of the rank that is asked.
typedef struct {
    int rows, run_count;
    const weft_attention_request *runs;
    const int
        *request; // [run_count] dealt rows: which request of the pass each run is of, ascending, alike on all ranks
} weft_dealt_rows;

// ---- which way, with dealt rows: pure functions of what all ranks know alike ----

// Bytes that a rank sends in a pass where queries travel: its queries to the others, and their parts back. `rows`:
// [ranks] of each.
double weft_dealt_query_bytes(const weft_dealt_shape *shape, int ranks, int rank, const double *rows);
// Bytes that it sends where keys travel and it gives keys and values of so many positions.
double weft_dealt_key_bytes(const weft_dealt_shape *shape, int ranks, double positions);
// Keys travel while all ranks together give at most so many positions; negative: never.
double weft_dealt_most(const weft_dealt_shape *shape, int ranks, const double *rows);
// In how many pieces, where the rank that gives most gives so many positions; 0: there is no room, and queries travel.
int weft_dealt_pieces(const weft_dealt_shape *shape, bool near, double positions);

typedef struct weft_dealt weft_dealt;
// Collective over the cp group, blocking.
weft_status weft_dealt_create(const weft_mesh *mesh, const weft_dealt_shape *shape, weft_dealt **out);
// The memory that it takes of this rank, where groups stand as `near` says. Local; the mesh's groups are not looked at.
size_t weft_dealt_bytes(const weft_mesh *mesh, const weft_dealt_shape *shape, const weft_mesh_near *near);
// What of it lies on a device.
size_t weft_dealt_device_bytes(const weft_mesh *mesh, const weft_dealt_shape *shape, const weft_mesh_near *near);
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
