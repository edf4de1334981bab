// What the files of attention share. Inside parallel/ only.
#ifndef WEFT_PARALLEL_ATTENTION_IMPL_H
#define WEFT_PARALLEL_ATTENTION_IMPL_H

#include "parallel/attention.h"
#include "parallel/room.h"
#include "parallel/transfer.h"

enum { WI_LINE_FLOATS = 16 };

typedef struct wi_keys wi_keys;

struct weft_dealt {
    weft_mesh mesh; // its groups are borrowed
    weft_dealt_shape shape;
    int roots; // of this rank's places, whatever the key
    bool by_heads, near;
    weft_transfer *moved;   // dealt rows: each rank's queries to all, or its keys and values
    weft_transfer *parts;   // each rank's parts to who finishes them
    wi_keys *keys;          // dealt rows
    wi_room own;            // dealt heads: parts of all heads, before they are cut
    size_t *offset, *count; // [cp] of what goes to each rank
    const float **from;     // [cp] parts over the places of each rank, of the rows here; NULL: it has no keys of them
};

int wi_dealt_roots(int rank, int ranks);                                                // of its places
size_t wi_part_floats(const weft_dealt_shape *s, int roots, size_t rows, size_t heads); // of O, m and l
size_t wi_dealt_room(const weft_dealt_shape *s);                                        // floats that a rank moves

// Who asks: rows of queries, and into how many parts each is cut.
typedef struct {
    int rows, run_count;
    const weft_attention_request *runs;
    const float *q;
    size_t q_stride;
    int roots;
} wi_asked;
static inline wi_asked wi_asked_of(const weft_dealt_rows *rows, int roots, const float *q, size_t q_stride)
{
    return (wi_asked){rows->rows, rows->run_count, rows->runs, q, q_stride, roots};
}

// Parts over args->places, to `to`.
void wi_attend(const weft_dealt *d, const weft_op *op, weft_attention_family family, const weft_attention *args,
               const wi_asked *of, float *to);
// The parts at d->from, to args->out.
void wi_join(const weft_dealt *d, const weft_op *op, const weft_attention *args, const weft_dealt_rows *mine,
             size_t heads, const float *sinks);

// ---- attention_keys.c ----

weft_status wi_keys_create(const weft_dealt_shape *shape, int ranks, wi_keys **out); // Local
size_t wi_keys_bytes(const weft_dealt_shape *shape, int ranks);
void wi_keys_destroy(wi_keys *keys); // accepts NULL
// Whether keys travel in this pass, and then which. All ranks find the same.
bool wi_keys_plan(weft_dealt *d, const weft_attention *args, const weft_dealt_rows *rows_of);
weft_status wi_by_keys(weft_dealt *d, const weft_op *op, weft_attention_family family, const weft_attention *args,
                       const weft_dealt_rows *rows_of);

#endif
