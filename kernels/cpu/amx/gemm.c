// The AMX family. The weight is the left operand: its rows are rows of a tile, 32 columns side by side, so that codes
// expand row by row; activations are the right one, in pairs of columns. Two tiles of weights by two of activations,
// and a tile of sums is [weight row][activation row], turned at the end.
#include "kernels/cpu/vec16.inc"
// then what stands on it
#include "kernels/cpu/codes16.inc"
#include "kernels/cpu/gemm_types.inc"
#include "kernels/cpu/pairs.inc"
// and on these
#include "kernels/cpu/gemm_groups.inc"
#include "kernels/cpu/levels.h"

enum { ROW_BLOCK = 32, TILE = 16, STEP_BYTES = WI_PANEL * WI_STEP * 2 };

#include "kernels/cpu/amx/expand.inc"
#include "kernels/cpu/amx/turn.inc"

// A run of fewer rows than a tile has narrower tiles, so that less is read and written.
static int64_t tile_columns(const run *r) { return r->chunk_rows < TILE ? r->chunk_rows : TILE; }

static int64_t block_rows(int64_t left) { return left >= TILE ? TILE : left; }

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
    __asm__ volatile("" : : "r"(&config) : "memory"); // the intrinsic names only its first bytes as read
    _tile_loadconfig(&config);
}

static void thread_end(void)
{
    _tile_release();
    _mm_sfence(); // results that went past the caches are seen before what says that they are there
}

// Packed rows stand span by span, in a span tile row by tile row: what is read together lies together, whatever K is.
static unsigned char *packed_at(const run *r, int64_t row, int64_t at, int64_t steps)
{
    const int64_t columns = tile_columns(r), tiles = (r->chunk_rows + columns - 1) / columns;
    return r->scratch + (size_t)(at * tiles * columns + row / TILE * steps * WI_STEP * columns) * 2;
}

static int64_t steps_of(int64_t begin, int64_t end) { return (end - begin + WI_STEP - 1) / WI_STEP; }

static const unsigned char *prepare(const run *r, const span *s, unsigned char *room)
{
    if (r->w->type == WEFT_BF16) return s->codes;
    if (r->w->exact)
        expand_exact(r->w, s, room);
    else if (r->w->type != WEFT_I4)
        expand_bytes(r->w, s, room);
    else
        expand_i4(r->w, s, room);
    return room;
}

static void finish(const run *r, int root, const float *tile, int64_t row, int64_t rows, int64_t panel);

#include "kernels/cpu/amx/few.inc"

// What is left when blocks of two tiles are done.
static void multiply(const run *r, const span *s, unsigned char *room, const unsigned char *codes, int64_t row,
                     int64_t rows, float *tile)
{
    const int64_t steps = steps_of(s->begin, s->end);
    multiply_few(r, s, codes, packed_at(r, row, s->at, steps), steps, tile);
}

static void end_leaf(const run *r, const span *s, int64_t row, int64_t rows, float *tile)
{
    const int64_t columns = tile_columns(r);
    float scale[WI_PANEL];
    if (!r->w->exact) return;
    exact_scales(r->w, s->panel, scale);
    for (int64_t i = 0; i < WI_PANEL; i++)
        for (int64_t j = 0; j < columns; j++) tile[i * columns + j] *= scale[i];
}

// Sixteen rows and the columns of a span, in pairs; rows and columns that are not there are zeros.
static void pack_tile(const run *r, int64_t row, int64_t rows, int64_t begin, int64_t end, unsigned char *to)
{
    const weft_gemm_weight *w = r->w;
    const int64_t columns = tile_columns(r);
    wi_gemm_row from[TILE];
    for (int i = 0; i < rows; i++) from[i] = wi_gemm_row_of(r->args, r->chunk_row + row + i);
    const vec factor = v_set(w->exact ? WI_EXACT_ACTIVATION : 1);
    for (int64_t k = begin; k < end; k += WI_STEP, to += TILE * columns * 4) {
        const int count = end - k < WI_STEP ? (int)(end - k) : WI_STEP;
        __m512i pairs[TILE];
        for (int i = 0; i < TILE; i++) {
            pairs[i] = _mm512_setzero_si512();
            if (i >= rows) continue;
            pairs[i] = activation_pairs(from[i], w->permutation, k, count, factor);
        }
        if (columns < TILE) {
            store_few(to, pairs, (int)columns);
            continue;
        }
        turn(pairs);
        for (int i = 0; i < TILE; i++) _mm512_store_si512(to + i * WI_LINE, pairs[i]);
    }
}

static span span_from(const run *r, int leaf, int64_t k);
static bool span_after(const run *r, const span *s, span *next);

static void pack_block(const run *r, int64_t row, int64_t rows)
{
    span s = span_from(r, 0, r->w->leaf[0].begin);
    do {
        for (int64_t i = 0; i < rows; i += TILE) {
            const int64_t left = rows - i < TILE ? rows - i : TILE;
            pack_tile(r, row + i, left, s.begin, s.end, packed_at(r, row + i, s.at, steps_of(s.begin, s.end)));
        }
    } while (span_after(r, &s, &s));
}

// What the epilogue leaves as it is goes to the result without a stop.
static inline bool is_bare(const run *r, int64_t panel)
{
    const weft_gemm_args *g = r->args;
    return r->w->fuse == WEFT_FUSE_STACK && (panel + 1) * WI_PANEL <= r->w->columns &&
           !(g->bias || g->addend || g->residual || g->act);
}

// A result that no cache would keep is written past them: its lines need not be read before.
static inline bool is_streamed(const run *r, int64_t panel)
{
    const weft_gemm_args *g = r->args;
    const size_t kept = (size_t)1 << 20;
    bool whole = g->out_stride % LANES == 0 && (size_t)(g->m * r->w->columns) * sizeof(float) > kept;
    for (int root = 0; root < r->w->roots; root++) whole = whole && (uintptr_t)g->out[root] % WI_LINE == 0;
    return whole && is_bare(r, panel);
}

// `scale`: of the panel's rows, or NULL. Tiles narrower than sixteen columns have theirs from end_leaf().
static void finish_scaled(const run *r, int root, const float *tile, int64_t row, int64_t rows, int64_t panel,
                          const float *scale)
{
    const float *scale_down = scale ? scale + TILE : NULL;
    const int64_t columns = tile_columns(r);
    const bool bare = columns == TILE && is_bare(r, panel), past = is_streamed(r, panel);
    float sums[TILE][WI_PANEL] __attribute__((aligned(64)));
    for (int64_t i = 0; i < rows; i += TILE) {
        const float *from = tile + i * WI_PANEL;
        if (bare && rows - i >= TILE) {
            float *out = r->args->out[root] + (size_t)(r->chunk_row + row + i) * r->args->out_stride + panel * WI_PANEL;
            turn_sums(from, scale, out, r->args->out_stride, past);
            turn_sums(from + TILE * TILE, scale_down, out + TILE, r->args->out_stride, past);
            continue;
        }
        for (int half = 0; half < 2; half++) {
            if (columns < TILE)
                turn_few(from + half * TILE * columns, (int)columns, &sums[0][half * TILE], WI_PANEL);
            else
                turn_sums(from + half * TILE * TILE, half ? scale_down : scale, &sums[0][half * TILE], WI_PANEL, false);
        }
        const int64_t left = rows - i < TILE ? rows - i : TILE;
        for (int64_t j = 0; j < left; j++) finish_row(r->w, r->args, root, sums[j], r->chunk_row + row + i + j, panel);
    }
}

static void finish(const run *r, int root, const float *tile, int64_t row, int64_t rows, int64_t panel)
{
    finish_scaled(r, root, tile, row, rows, panel, NULL);
}

static float *tile_at(const run *r, int thread, int slot, int64_t panel_in_group, int64_t row);

#include "kernels/cpu/amx/many.inc"
// what multiplies fewer rows or other columns than a thread is given
#include "kernels/cpu/gemm_driver.inc"

void wi_gemm_amx(weft_kernels *table) { table->gemm.run[WEFT_FAMILY_AMX] = gemm; }
