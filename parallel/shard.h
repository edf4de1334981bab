// Which part of a sum and of a row a rank has: pure functions of numbers, the same on every rank.
//
// What is divided is counted in units (a head; 32 columns or a group of an FFN). Unit u of U belongs to leaf
// floor(u * V / U), so leaves may differ by a unit and nothing has to divide anything. Up to V ranks, a rank owns a
// range of leaves. Beyond V, ranks share a leaf: each computes a slice of the leaf's units and, after they have
// gathered the leaf's activations from each other, a slice of the output's columns.
#ifndef WEFT_PARALLEL_SHARD_H
#define WEFT_PARALLEL_SHARD_H

#include <stdint.h>

#include "kernels/gemm.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int64_t begin, end;
} weft_range;

typedef struct {
    int leaf, leaves;  // the leaves [leaf, leaf + leaves)
    int slice, slices; // of what the leaf has, the slice-th of so many; 0 of 1 unless ranks share a leaf
} weft_shard;

// Of rank `rank` of a group of `ranks`. A rank alone has all.
weft_shard weft_shard_of(int rank, int ranks);
weft_range weft_shard_units(const weft_shard *shard, int64_t units); // those of its leaves
weft_range weft_shard_own(const weft_shard *shard, int64_t units);   // those of them that it computes
// Part `part` of `parts` of [0, count), as even as whole grains allow.
weft_range weft_range_part(int64_t count, int64_t grain, int part, int parts);
static inline int64_t weft_range_size(weft_range r) { return r.end - r.begin; }

// Many rows of floats, so wide, that ranks have between them, each some whole ones: from so many on, those of a rank,
// and the most that any of them has. Where they begin is a multiple of 16 floats.
int64_t weft_rows_dealt_from(int ranks);
weft_range weft_rows_of(int64_t rows, int64_t width, int rank, int ranks);
int64_t weft_rows_most(int64_t rows, int64_t width, int ranks);

// Many rows that devices deal go in pieces: while one is exchanged the next is multiplied. They are as few as have at
// most `each` rows, and at most WEFT_ROW_PIECES; `each` 0: one.
enum { WEFT_ROW_PIECES = 4, WEFT_PIECE_ROWS = 512 };
int weft_row_pieces(int64_t rows, int64_t each);
// Of the rows of one rank those in one piece.
weft_range weft_rows_of_piece(weft_range own, int64_t width, int piece, int pieces);
// The most that a rank has in a piece, of so many rows or fewer.
int64_t weft_piece_rows_most(int64_t rows, int64_t width, int ranks, int64_t each);

// K in units, cut into leaves. All are held; weft_shard_leaves holds those of a shard.
weft_gemm_leaves weft_leaves_of_units(int64_t k, int64_t unit);
weft_gemm_leaves weft_shard_leaves(const weft_shard *shard, int64_t k, int64_t unit);

#ifdef __cplusplus
}
#endif
#endif
