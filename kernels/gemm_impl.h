// What the files of the GEMM share: the layout of a packed weight and the division of a run.
//
// A weight is a row of panels of 32 packed rows; a panel is scales, zeros, codes. Behind a gate the first 16 rows of a
// panel are gate's and the others the matching ones of up. `row` stands for the row inside the panel, `k` for the
// column held. Families FMA and dot share their layouts, so that one pack serves every level:
//   F32, F16  [k][row]
//   BF16      [k/2][row][k%2], and a zero column behind an odd K
//   I8, E4M3  [k][row], likewise
//   I4        [k/8][row] words of 32 bits: the even columns' codes in the low half, the odd columns' in the high half,
//             ascending; code of level nearest 0 behind the end
// AMX has the weight on the left, so that a row's codes lie side by side and one table per row serves a permute:
//   BF16      [step][row][32], a step being 32 columns of a leaf, padded with zeros
//   I8        exact: [step][row/2][32] words of 16 bits: a column of the even row in the low byte, of the odd row in
//   the
//             high one; else [step][row/2][16] words of 32 bits: columns j and 16 + j of the even row, then of the odd
//   E4M3      as I8 when exact
//   I4        [4 steps][row][32] words of 16 bits: column j of the 4 steps in the 4 nibbles of word j, ascending
// Scales and zeros: [group][row], the groups that hold a column, or one for the row.
// MMA and WGMMA: kernels/gemm_records.h. BLAS: bf16, [row][column], each leaf padded to 8 columns, so that panels
// follow each other as one matrix of rows; behind a gate every 8 rows of gate's are followed by the matching 8 of up.
#ifndef WEFT_KERNELS_GEMM_IMPL_H
#define WEFT_KERNELS_GEMM_IMPL_H

#include "kernels/gemm_records.h"
#include "kernels/kernels.h"

enum {
    WI_PANEL = 32,     // packed rows in a panel
    WI_STEP = 32,      // columns in a step of AMX
    WI_STEPS_I4 = 4,   // steps that share the words of I4
    WI_TILE_ROWS = 16, // rows of a tile
    WI_CHUNK = 512,    // activation rows that are packed at once
    WI_K_BLOCK = 512,  // columns that a panel keeps in L1 while it meets many rows; a multiple of every group
    WI_LINE = 64,
};

// Whether a code is a byte.
static inline bool wi_gemm_is_byte(weft_dtype type) { return type == WEFT_I8 || type == WEFT_E4M3; }

// The place of such a code in the layout of AMX, from a padded column.
static inline int64_t wi_gemm_tile_byte(const weft_gemm_weight *w, int row, int64_t at)
{
    const int64_t column = at % WI_STEP, half = WI_STEP / 2;
    const bool words = w->exact || w->type == WEFT_E4M3;
    const int64_t in_line = words ? column * 2 + row % 2 : column % half * 4 + row % 2 * 2 + column / half;
    return at / WI_STEP * WI_STEP * WI_PANEL + row / 2 * WI_LINE + in_line;
}

// Levels that AMX multiplies as they are, and what meets them: f16 to bf16 by a shift leaves the exponent where it is,
// 2^112 too small, and a code comes in the high byte of its word.
#define WI_EXACT_LEVEL 0x1p-104F
#define WI_EXACT_ACTIVATION 0x1p64F
#define WI_EXACT_SCALE 0x1p40F

// How a run is cut: what a thread holds in its caches.
typedef struct {
    int64_t chunk;        // rows packed at once
    int64_t k_block;      // columns of a leaf done at once
    int64_t group;        // panels done at once
    int n_parts, m_parts; // threads along the panels, and along the rows of a chunk
    int slots;            // depth of the stack of leaves
    unsigned passing;     // bits: leaves of one span that are merged at once and need no slot
    int64_t segments;     // sums of activations a row; 0 without zeros
    // scratch: packed rows, then sums, then for each thread `slots` accumulators and an expanded panel
    size_t sums_at, threads_at, slot_bytes, expanded_bytes, thread_bytes, bytes;
} wi_gemm_cut;

wi_gemm_cut wi_gemm_cut_of(const weft_gemm_weight *weight, int64_t m, int threads);

// A row of activations: floats or bf16.
typedef struct {
    const void *at;
    bool halves;
} wi_gemm_row;

static inline wi_gemm_row wi_gemm_row_of(const weft_gemm_args *args, int64_t row)
{
    const weft_gemm_rows *rows = args->rows;
    int piece = 0;
    if (!rows) {
        const int64_t at = args->index ? args->index[row] : row;
        return (wi_gemm_row){.at = args->a + (size_t)at * args->a_stride};
    }
    while (rows->begin[piece + 1] <= row) piece++;
    const size_t at = (size_t)(row - rows->begin[piece]) * args->a_stride;
    if (rows->halves) return (wi_gemm_row){(const uint16_t *)rows->piece[piece] + at, true};
    return (wi_gemm_row){(const float *)rows->piece[piece] + at, false};
}

// Checks, and all of the weight but its memory. `leaves` may be NULL.
weft_status wi_gemm_layout(weft_family family, const weft_gemm_source *sources, int count, weft_fuse fuse,
                           const weft_gemm_leaves *leaves, weft_gemm_weight *out, size_t *bytes);

#endif
