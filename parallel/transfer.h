// Floats on their way between the ranks of a group, written and read in place. A gather gives one block to all; a deal
// gives each rank its own.
//
//     float *slot = NULL;
//     weft_transfer_acquire(transfer, &slot);      // write
//     weft_transfer_gather(transfer, count);       // collective; or weft_transfer_deal(transfer, offset, count)
//     ... weft_transfer_view(transfer, peer) ...   // its floats, until release
//     weft_transfer_release(transfer);
#ifndef WEFT_PARALLEL_TRANSFER_H
#define WEFT_PARALLEL_TRANSFER_H

#include "parallel/mesh.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_transfer weft_transfer;

typedef enum {
    WEFT_TRANSFER_GATHER,
    WEFT_TRANSFER_PIECES, // a gather whose next one may be begun while the last is read
    WEFT_TRANSFER_DEAL
} weft_transfer_kind;

// `floats`: the most that one rank gives, to one peer where it deals. Collective over `comm`, a group of the mesh,
// blocking. The mesh's times are told how long it took; its device writes slots and reads views.
weft_status weft_transfer_create(const weft_mesh *mesh, weft_comm *comm, weft_transfer_kind kind, const char *name,
                                 size_t floats, weft_transfer **out);
// The memory that it takes of one of `ranks` ranks, as weft_channel_bytes says. Local.
size_t weft_transfer_bytes(weft_transfer_kind kind, size_t floats, int ranks, bool shared);
// What of a device's, as weft_channel_device_bytes says. Local.
size_t weft_transfer_device_bytes(weft_transfer_kind kind, size_t floats, int ranks, weft_links links);
// A gather in up to `pieces` (WEFT_ROW_PIECES at most) of so many floats, each acquired, gathered and viewed, and
// released together.
weft_status weft_transfer_create_pieces(const weft_mesh *mesh, weft_comm *comm, int pieces, const char *name,
                                        size_t floats, weft_transfer **out);
size_t weft_transfer_pieces_bytes(int pieces, size_t floats, int ranks, bool shared);
size_t weft_transfer_pieces_device_bytes(int pieces, size_t floats, int ranks, weft_links links);
void weft_transfer_destroy(weft_transfer *transfer); // Local; accepts NULL

weft_status weft_transfer_acquire(weft_transfer *transfer, float **slot);
void weft_transfer_cancel(weft_transfer *transfer); // gives the slot back, and nothing has been. Local
weft_status weft_transfer_gather(weft_transfer *transfer, size_t count);
// The same in two halves. Between them this rank computes; of pieces the views of the one before stay until its
// release.
weft_status weft_transfer_begin(weft_transfer *transfer, size_t count);
weft_status weft_transfer_end(weft_transfer *transfer);
// [size]: what peer p gets stands at slot + offset[p], a multiple of 16.
weft_status weft_transfer_deal(weft_transfer *transfer, const size_t *offset, const size_t *count);
const float *weft_transfer_view(const weft_transfer *transfer, int peer);
const float *weft_transfer_view_of(const weft_transfer *transfer, int piece, int peer); // of those not yet released
size_t weft_transfer_count(const weft_transfer *transfer, int peer);
void weft_transfer_release(weft_transfer *transfer);

#ifdef __cplusplus
}
#endif
#endif
