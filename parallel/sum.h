// Sums over the ranks of a group, in canonical order: arrays of floats stand at places of a binary tree, each rank
// gives those of some places, and what is at no place is copied past, never added as zero. So the bits depend on the
// places and not on who gave what. Arrays are written straight into the exchange's slot; a large sum is added in
// slices, one a rank, and read in place.
//
//     float *mine[WEFT_SUM_ARRAYS];
//     weft_sum_acquire(sum, count, mine);      // write `count` floats into each array of this rank
//     weft_sum_run(sum, &finish, &result);     // collective
//     ... result.part[p][0 .. result.begin[p + 1] - result.begin[p]) ...
//     weft_sum_release(sum);
//
// A sum of many rows may be dealt instead: a rank adds whole rows, does to them what follows, and gives to all what
// comes of it.
#ifndef WEFT_PARALLEL_SUM_H
#define WEFT_PARALLEL_SUM_H

#include <stddef.h>

#include "comm/comm.h"
#include "kernels/kernels.h"
#include "parallel/mesh.h"
#include "parallel/transfer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_sum weft_sum;

typedef enum {
    WEFT_SUM_AUTO,     // one-shot up to a size, two-shot above it
    WEFT_SUM_ONE_SHOT, // every rank adds everything: one exchange
    WEFT_SUM_TWO_SHOT  // every rank adds a slice, then the slices are gathered: two exchanges, each byte added once
} weft_sum_kind;

enum { WEFT_SUM_ARRAYS = 4 };

typedef struct {
    int count;                  // arrays that a rank gives; may be 0
    int place[WEFT_SUM_ARRAYS]; // where they stand, ascending; no two ranks share one
} weft_sum_places;

typedef struct {
    const char *name; // for reports
    size_t count;     // floats of an array, at most
    weft_sum_kind kind;
    weft_mesh_times *times;        // told how long it took; may be NULL
    weft_device *device;           // that writes the arrays and adds, by finish->op; NULL: the host
    bool devices;                  // such ones add, here or where only sizes are asked for
    const weft_sum_places *places; // [size], copied; NULL: each rank gives one array, at the place of its number
    size_t width;       // of a row, where all sums of weft_rows_dealt_from() rows or more are dealt; 0: none are
    int64_t piece_rows; // for weft_row_pieces, of sums that are dealt over WEFT_LEAVES ranks at most
} weft_sum_spec;

// What becomes of rows that are dealt. Threads of the host call `run` at once, each with rows of its own and an op
// without a team: `sum` are those of [rows.begin, rows.end), with their bias, to be written over; it leaves (rows,
// row_floats) floats at `out`. Then all
// ranks have what `to` has gathered, from the ranks in their order, until they release it.
typedef struct {
    void (*run)(void *arg, const weft_op *op, weft_range rows, float *sum, float *out);
    void *arg;
    float *room;       // (count / width, width): for sums on their way
    size_t row_floats; // at most width
    weft_transfer *to;
} weft_sum_then;

// What follows the tree, once, in this order: + bias, + residual, RMSNorm. A zeroed one adds nothing.
typedef struct {
    const weft_op *op;         // its team shares the additions; NULL, of the host: the caller alone
    size_t width;              // of a row
    const float *bias;         // (width) or NULL
    const float *residual;     // (count / width, width) or NULL; the same on all ranks
    float *out;                // where the whole sum is left, besides the parts; may be the residual. NULL: nowhere
    const weft_norm *norm;     // of `out`, where it goes and how (weft_row_total), or NULL
    const weft_sum_then *then; // of a sum that is dealt, instead of the four above
} weft_sum_finish;

typedef struct {
    int parts;
    const float *const *part; // [parts] views, valid until release
    const size_t *begin;      // [parts + 1] the first float of each part; begin[parts] is count
} weft_sum_result;

// Collective, blocking. The kernels are copied.
weft_status weft_sum_create(weft_comm *comm, const weft_kernels *kernels, const weft_sum_spec *spec, weft_sum **out);
void weft_sum_destroy(weft_sum *sum); // Local; accepts NULL
// The memory of one of `ranks` ranks for it: its channels (weft_channel_bytes) and the sum's own. Local.
size_t weft_sum_bytes(const weft_sum_spec *spec, int ranks, bool shared);
// What of it lies on a device that adds; the channels too, where devices exchange by such links.
size_t weft_sum_device_bytes(const weft_sum_spec *spec, int ranks, bool shared, weft_links links);
weft_sum_kind weft_sum_kind_of(const weft_sum *sum, size_t count);
// Whether all add all of arrays of so many floats, where AUTO was asked for and they are not dealt.
bool weft_sum_one_shot(bool devices, int ranks, bool shared, size_t count);

// `mine` receives as many arrays as this rank has places, aligned to 64, to write until run. The count is the same on
// all ranks.
weft_status weft_sum_acquire(weft_sum *sum, size_t count, float **mine);
// `finish` NULL: nothing follows; `out` NULL: the result is read where `finish` leaves it.
weft_status weft_sum_run(weft_sum *sum, const weft_sum_finish *finish, weft_sum_result *out);
void weft_sum_release(weft_sum *sum);

// Rows that are dealt in several pieces. While a piece is written that the last one's exchange, and what follows, go
// on beside the ops, where these are a device's that orders its channels.
//
//     if (weft_sum_pieces(sum, count) > 1) {
//         weft_sum_acquire_pieces(sum, count);
//         each piece:
//             weft_sum_piece_of(sum, index, &piece);   // write (piece.rows, width) floats into each array
//             weft_sum_give_piece(sum, &finish, index);
//         weft_sum_take_pieces(sum, &finish);          // all is where weft_sum_then says, piece by piece
//     }
typedef struct {
    int64_t rows;
    float *mine[WEFT_SUM_ARRAYS];
    int parts;                      // its rows are no range: of each rank's some, in the order of ranks
    int64_t begin[WEFT_LEAVES + 1]; // [parts + 1] the first row of each in the piece, and
    int64_t first[WEFT_LEAVES];     // [parts] in the sum
} weft_sum_piece;

int weft_sum_pieces(const weft_sum *sum, size_t count); // 1: by the calls above
weft_status weft_sum_acquire_pieces(weft_sum *sum, size_t count);
void weft_sum_piece_of(const weft_sum *sum, int index, weft_sum_piece *out);
weft_status weft_sum_give_piece(weft_sum *sum, const weft_sum_finish *finish, int index); // in their order
weft_status weft_sum_take_pieces(weft_sum *sum, const weft_sum_finish *finish);

#ifdef __cplusplus
}
#endif
#endif
