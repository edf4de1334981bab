// The AMX family. The weight is the left operand: its rows are rows of a tile, 32 columns side by side, so that codes
// expand row by row; activations are the right one, in pairs of columns. Two tiles of weights by two of activations,
// and a tile of sums is [weight row][activation row], turned at the end.
#include "kernels/cpu/vec16.inc"
// then what stands on it
#include "kernels/cpu/codes16.inc"
#include "kernels/cpu/gemm_types.inc"
// and on these
#include "kernels/cpu/gemm_groups.inc"
#include "kernels/cpu/levels.h"

#include "kernels/cpu/amx/turn.inc"
// whose pairs the next makes too
#include "kernels/cpu/amx/expand.inc"

enum { ROW_BLOCK = 32, TILE = 16, STEP_BYTES = WI_PANEL * WI_STEP * 2, AHEAD = 3 * STEP_BYTES };

// A run of fewer rows than a tile has narrower tiles, so that less is read and written.
static int64_t tile_columns(const run *r) { return r->chunk_rows < TILE ? r->chunk_rows : TILE; }

static int64_t block_rows(int64_t left) { return left >= ROW_BLOCK ? ROW_BLOCK : left; }

static int64_t tile_rows(const run *r, int64_t rows)
{
    const int64_t columns = tile_columns(r);
    return (rows + columns - 1) / columns * columns;
}

static void thread_begin(const run *r)
{
    struct {
        uint8_t palette, start, zero[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.rows[i] = TILE;
        config.row_bytes[i] = (uint16_t)(i == 4 || i == 5 ? WI_STEP * 2 : tile_columns(r) * 4);
    }
    _tile_loadconfig(&config);
}

static void thread_end(void) { _tile_release(); }

static unsigned char *packed_rows(const run *r, int64_t row) { return r->scratch + (size_t)(row * r->w->padded) * 2; }

static const unsigned char *prepare(const run *r, const span *s, unsigned char *room)
{
    const weft_gemm_weight *w = r->w;
    const unsigned char *codes = s->panel + w->codes_at;
    const int64_t at = w->leaf[s->leaf].at + s->begin - w->leaf[s->leaf].begin;
    switch (w->type) {
    case WEFT_I8:
        expand_i8(w, s, codes + at * WI_PANEL, room);
        return room;
    case WEFT_I4:
        expand_i4(w, s, codes + at * (WI_PANEL / 2), room);
        return room;
    default:
        return codes + at * (WI_PANEL * 2);
    }
}

static void load_sums(const float *tile, int64_t columns, bool two, bool zero)
{
    const size_t stride = (size_t)columns * 4;
    if (zero) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        return;
    }
    _tile_loadd(0, tile, stride);
    _tile_loadd(2, tile + TILE * columns, stride);
    if (!two) return;
    _tile_loadd(1, tile + 2 * TILE * TILE, stride);
    _tile_loadd(3, tile + 3 * TILE * TILE, stride);
}

static void store_sums(float *tile, int64_t columns, bool two)
{
    const size_t stride = (size_t)columns * 4;
    _tile_stored(0, tile, stride);
    _tile_stored(2, tile + TILE * columns, stride);
    if (!two) return;
    _tile_stored(1, tile + 2 * TILE * TILE, stride);
    _tile_stored(3, tile + 3 * TILE * TILE, stride);
}

static inline void fetch_ahead(const unsigned char *p)
{
    for (int i = 0; i < STEP_BYTES; i += WI_LINE) _mm_prefetch((const char *)p + AHEAD + i, _MM_HINT_T0);
}

static void multiply(const run *r, const span *s, const unsigned char *codes, int64_t row, int64_t rows, float *tile)
{
    const weft_gemm_weight *w = r->w;
    const int64_t columns = tile_columns(r), first = w->leaf[s->leaf].at + s->begin - w->leaf[s->leaf].begin;
    const int64_t steps = (s->end - s->begin + WI_STEP - 1) / WI_STEP;
    const size_t stride = (size_t)columns * 4, act_bytes = (size_t)(TILE * columns) * 4;
    const unsigned char *low = packed_rows(r, row) + (size_t)(first / WI_STEP) * act_bytes;
    const unsigned char *high = low + (size_t)(TILE * w->padded) * 2;
    load_sums(tile, columns, rows > TILE, s->first);
    if (rows > TILE) {
        for (int64_t i = 0; i < steps; i++, codes += STEP_BYTES, low += act_bytes, high += act_bytes) {
            _tile_loadd(4, codes, WI_STEP * 2);
            _tile_loadd(6, low, TILE * 4);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, high, TILE * 4);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, codes + STEP_BYTES / 2, WI_STEP * 2);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    } else {
        for (int64_t i = 0; i < steps; i++, codes += STEP_BYTES, low += act_bytes) {
            fetch_ahead(codes);
            _tile_loadd(4, codes, WI_STEP * 2);
            _tile_loadd(6, low, stride);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(5, codes + STEP_BYTES / 2, WI_STEP * 2);
            _tile_dpbf16ps(2, 5, 6);
        }
    }
    store_sums(tile, columns, rows > TILE);
}

static void end_leaf(const run *r, const span *s, int64_t row, int64_t rows, float *tile) {}

// Sixteen rows and the columns of a leaf, in pairs; rows and columns that are not there are zeros.
static void pack_tile(const run *r, int64_t row, int64_t rows, int leaf, unsigned char *to)
{
    const weft_gemm_weight *w = r->w;
    const int64_t columns = tile_columns(r);
    const float *from = r->args->a + (size_t)(r->chunk_row + row) * r->args->a_stride;
    to += (size_t)(w->leaf[leaf].at * columns) * 2;
    const int64_t end = w->leaf[leaf].end;
    for (int64_t k = w->leaf[leaf].begin; k < end; k += WI_STEP, to += TILE * columns * 4) {
        const int count = end - k < WI_STEP ? (int)(end - k) : WI_STEP;
        __m512i pairs[TILE];
        for (int i = 0; i < TILE; i++) {
            pairs[i] = _mm512_setzero_si512();
            if (i >= rows) continue;
            const float *at = from + (size_t)i * r->args->a_stride;
            pairs[i] = w->permutation ? gathered_pairs(at, w->permutation + k, count) : row_pairs(at + k, count);
        }
        if (columns < TILE) {
            store_few(to, pairs, (int)columns);
            continue;
        }
        turn(pairs);
        for (int i = 0; i < TILE; i++) _mm512_store_si512(to + i * WI_LINE, pairs[i]);
    }
}

static void pack_block(const run *r, int64_t row, int64_t rows)
{
    for (int64_t i = 0; i < rows; i += TILE) {
        const int64_t left = rows - i < TILE ? rows - i : TILE;
        for (int leaf = 0; leaf < r->w->leaves; leaf++) pack_tile(r, row + i, left, leaf, packed_rows(r, row + i));
    }
}

static void finish(const run *r, int root, const float *tile, int64_t row, int64_t rows, int64_t panel)
{
    const int64_t columns = tile_columns(r);
    float sums[TILE][WI_PANEL] __attribute__((aligned(64)));
    for (int64_t i = 0; i < rows; i += TILE) {
        const float *from = tile + i * WI_PANEL;
        for (int half = 0; half < 2; half++) {
            if (columns < TILE)
                turn_few(from + half * TILE * columns, (int)columns, &sums[0][half * TILE], WI_PANEL);
            else
                turn_sums(from + half * TILE * TILE, &sums[0][half * TILE], WI_PANEL);
        }
        const int64_t left = rows - i < TILE ? rows - i : TILE;
        for (int64_t j = 0; j < left; j++) finish_row(r->w, r->args, root, sums[j], r->chunk_row + row + i + j, panel);
    }
}

#include "kernels/cpu/gemm_driver.inc"

void wi_gemm_amx(weft_kernels *table) { table->gemm.run[WEFT_FAMILY_AMX] = gemm; }
