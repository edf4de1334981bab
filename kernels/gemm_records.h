// The layout of weights that NVIDIA's tensor cores multiply (families MMA and WGMMA): packed on the host, copied as it
// is. A panel is 32 packed rows, a row of records, one a step of 64 columns of a leaf (I4: 128), padded with zeros.
// Behind a gate every 8 rows of gate's are followed by the matching 8 of up, so that a tile of 16 rows holds both.
//   BF16    [row][64]: as a tensor's box or a warp's copies take it to shared memory
//   I8, I4, E4M3  codes in the order in which a warp's lanes hold the left operand of 16 x 16: [row/16][half of the
//           columns][lane] 16 bytes, in these one fragment of 16 columns behind the other, 8 codes each. Of I4 the
//           codes of a word stand at the bits where they become floats with the fewest instructions. Then, unless
//           exact, the scales and the zeros of the record: [sub][row], `sub` columns each. Exact: a scale a row before
//           all records.
#ifndef WEFT_KERNELS_GEMM_RECORDS_H
#define WEFT_KERNELS_GEMM_RECORDS_H

#include "kernels/gemm.h"

#ifdef __CUDACC__
#define WI_BOTH_SIDES static inline __host__ __device__
#else
#define WI_BOTH_SIDES static inline
#endif

enum {
    WI_RECORD = 64,     // columns of a record
    WI_RECORD_I4 = 128, // likewise
    WI_RECORD_CODES = 2048,
};

WI_BOTH_SIDES bool wi_gemm_in_records(weft_family family)
{
    return family == WEFT_FAMILY_MMA || family == WEFT_FAMILY_WGMMA;
}

// Behind a gate: 8 rows of gate's, 8 of up's.
WI_BOTH_SIDES bool wi_gemm_by_eights(weft_family family) { return family >= WEFT_FAMILY_MMA; }

WI_BOTH_SIDES int64_t wi_gemm_record_columns(weft_dtype type) { return type == WEFT_I4 ? WI_RECORD_I4 : WI_RECORD; }

// The place of a code among the codes of its record, in codes, from its row in the panel and its column in the record.
WI_BOTH_SIDES int64_t wi_gemm_in_record(weft_dtype type, int row, int64_t column)
{
    const int64_t each = type == WEFT_I4 ? 4 : 2, fragment = column / 16, inside = column % 16;
    const int64_t lane = row % 8 * 4 + inside % 8 / 2;
    const int64_t code = (inside / 8 * 2 + row % 16 / 8) * 2 + inside % 2;
    const int64_t nibble = 0x73625140 >> code * 4 & 15;
    return ((row / 16 * 2 + fragment / each) * 32 + lane) * each * 8 + fragment % each * 8 +
           (type == WEFT_I4 ? nibble : code);
}

// Scratch of a run: rounded rows, then a count and the roots of leaves where few rows are dealt to blocks by leaves.
enum { WI_DEALT_ROWS = 32 }; // at most so many

typedef struct {
    size_t tickets_at, roots_at, bytes;
} wi_gemm_records_scratch;

static inline wi_gemm_records_scratch wi_gemm_records_scratch_of(const weft_gemm_weight *w, int64_t m)
{
    const size_t line = 256, rows = (size_t)m * (size_t)w->padded * 2, tickets = (size_t)w->panels * sizeof(int32_t);
    const size_t tokens = m <= 8 ? 8 : WI_DEALT_ROWS, tile = 128; // packed rows, at most
    wi_gemm_records_scratch s = {0, 0, 0};
    s.tickets_at = (rows + line - 1) / line * line;
    s.roots_at = s.bytes = s.tickets_at + (tickets + line - 1) / line * line;
    if (m <= WI_DEALT_ROWS && w->leaves > 1)
        s.bytes +=
            (size_t)w->leaves * ((size_t)w->panels * WEFT_GEMM_PANEL + tile) / tile * tile * tokens * sizeof(float);
    return s;
}

// Of a run of the family BLAS: rounded rows, sums of some rows at once, what the library wants.
enum { WI_BLAS_ROWS = 2048, WI_BLAS_WORKSPACE = 32 << 20 };

typedef struct {
    size_t sums_at, workspace_at, bytes;
} wi_gemm_blas_scratch;

static inline wi_gemm_blas_scratch wi_gemm_blas_scratch_of(const weft_gemm_weight *w, int64_t m)
{
    const size_t line = 256, rows = (size_t)m * (size_t)w->padded * 2;
    const size_t most = WI_BLAS_ROWS, some = (size_t)m < most ? (size_t)m : most;
    const size_t n = (size_t)w->panels * WEFT_GEMM_PANEL;
    wi_gemm_blas_scratch s = {0, 0, 0};
    s.sums_at = (rows + line - 1) / line * line;
    s.workspace_at = s.sums_at + (some * n * sizeof(float) + line - 1) / line * line;
    s.bytes = s.workspace_at + WI_BLAS_WORKSPACE;
    return s;
}

#endif
