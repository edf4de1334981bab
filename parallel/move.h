// Floats on their way between the ranks of a group, written and read in place. A gather gives one block to all; a deal
// gives each rank its own.
//
//     float *slot = NULL;
//     weft_move_acquire(move, &slot);      // write
//     weft_move_gather(move, count);       // collective; or weft_move_deal(move, offset, count)
//     ... weft_move_view(move, peer) ...   // its floats, until release
//     weft_move_release(move);
#ifndef WEFT_PARALLEL_MOVE_H
#define WEFT_PARALLEL_MOVE_H

#include "comm/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_move weft_move;

typedef enum { WEFT_MOVE_GATHER, WEFT_MOVE_DEAL } weft_move_kind;

// `floats`: the most that one rank gives, to one peer where it deals. Collective, blocking.
weft_status weft_move_create(weft_comm *comm, weft_move_kind kind, const char *name, size_t floats, weft_move **out);
void weft_move_destroy(weft_move *move); // Local; accepts NULL

weft_status weft_move_acquire(weft_move *move, float **slot);
weft_status weft_move_gather(weft_move *move, size_t count);
// [size]: what peer p gets stands at slot + offset[p], a multiple of 16.
weft_status weft_move_deal(weft_move *move, const size_t *offset, const size_t *count);
const float *weft_move_view(const weft_move *move, int peer);
size_t weft_move_count(const weft_move *move, int peer);
void weft_move_release(weft_move *move);

#ifdef __cplusplus
}
#endif
#endif
