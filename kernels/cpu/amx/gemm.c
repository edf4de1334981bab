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

#include "kernels/cpu/amx/expand.inc"
#include "kernels/cpu/amx/turn.inc"

enum { ROW_BLOCK = 32, TILE = 16, STEP_BYTES = WI_PANEL * WI_STEP * 2 };

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
    __asm__ volatile("" : : "r"(&config) : "memory"); // the intrinsic names only its first bytes as read
    _tile_loadconfig(&config);
}

static void thread_end(void) { _tile_release(); }

// Packed rows stand span by span, in a span tile row by tile row: what is read together lies together, whatever K is.
static unsigned char *packed_at(const run *r, int64_t row, int64_t at, int64_t steps)
{
    const int64_t columns = tile_columns(r), tiles = (r->chunk_rows + columns - 1) / columns;
    return r->scratch + (size_t)(at * tiles * columns + row / TILE * steps * WI_STEP * columns) * 2;
}

static int64_t steps_of(int64_t begin, int64_t end) { return (end - begin + WI_STEP - 1) / WI_STEP; }

// A tile of rows or less: codes expand step by step, beside the tiles at work.
static bool expands_beside(const run *r) { return r->w->type != WEFT_BF16 && r->chunk_rows <= TILE; }

static const unsigned char *prepare(const run *r, const span *s, unsigned char *room)
{
    if (r->w->type == WEFT_BF16) return s->codes;
    if (expands_beside(r)) return room;
    if (r->w->type == WEFT_I8)
        expand_i8(r->w, s, room);
    else
        expand_i4(r->w, s, room);
    return room;
}

// Blocks of two tiles take turns between tiles 0 to 3 and 4 to 7 for their sums: those of the next block are loaded
// before those of this one are stored, for a load that follows a store to the same place in another page waits for it.
// `turned` says which four hold the sums, the other four are for operands.
static inline void load_four(const float *tile, bool turned)
{
    if (turned) {
        _tile_loadd(4, tile, WI_LINE);
        _tile_loadd(6, tile + TILE * TILE, WI_LINE);
        _tile_loadd(5, tile + 2 * TILE * TILE, WI_LINE);
        _tile_loadd(7, tile + 3 * TILE * TILE, WI_LINE);
    } else {
        _tile_loadd(0, tile, WI_LINE);
        _tile_loadd(2, tile + TILE * TILE, WI_LINE);
        _tile_loadd(1, tile + 2 * TILE * TILE, WI_LINE);
        _tile_loadd(3, tile + 3 * TILE * TILE, WI_LINE);
    }
}

static inline void zero_four(bool turned)
{
    if (turned) {
        _tile_zero(4);
        _tile_zero(5);
        _tile_zero(6);
        _tile_zero(7);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
}

static inline void store_four(float *tile, bool turned)
{
    if (turned) {
        _tile_stored(4, tile, WI_LINE);
        _tile_stored(6, tile + TILE * TILE, WI_LINE);
        _tile_stored(5, tile + 2 * TILE * TILE, WI_LINE);
        _tile_stored(7, tile + 3 * TILE * TILE, WI_LINE);
    } else {
        _tile_stored(0, tile, WI_LINE);
        _tile_stored(2, tile + TILE * TILE, WI_LINE);
        _tile_stored(1, tile + 2 * TILE * TILE, WI_LINE);
        _tile_stored(3, tile + 3 * TILE * TILE, WI_LINE);
    }
}

static inline const unsigned char *fetch_lines(const unsigned char *at, int64_t lines)
{
    for (int64_t i = 0; i < lines; i++, at += WI_LINE) _mm_prefetch((const char *)at, _MM_HINT_T1);
    return at;
}

// What the blocks of rows of a panel and span fetch while they multiply, a few lines a step: the next panel's codes and
// this panel's part of the packed rows of the next span. Planned once, at the first block from `row`.
static void plan_fetches(const run *r, span *s, int64_t row, int64_t steps)
{
    const int64_t blocks = (r->chunk_rows + ROW_BLOCK - 1) / ROW_BLOCK, block = row / ROW_BLOCK;
    if (s->ahead) {
        const int64_t part = steps * STEP_BYTES * weft_dtype_bits(r->w->type) / 16 / blocks;
        s->ahead += block * part;
        s->ahead_lines = (part / steps + WI_LINE - 1) / WI_LINE;
    }
    if (s->rows_ahead >= 0) {
        const int64_t next_steps = steps_of(s->rows_ahead, s->rows_ahead_end);
        const int64_t part = next_steps * WI_LINE * ((r->chunk_rows + TILE - 1) / TILE * TILE) / (blocks * s->turns);
        s->rows_from = packed_at(r, 0, s->rows_ahead, next_steps) + (s->turn * blocks + block) * part;
        s->rows_lines = (part / steps + WI_LINE - 1) / WI_LINE;
        s->rows_part = part;
    }
}

// Two tiles of rows: the weights stay in L1 from one block of rows to the next, the rows pass through.
static inline void step_two(const unsigned char *codes, const unsigned char *low, const unsigned char *high,
                            bool turned)
{
    if (turned) {
        _tile_loadd(0, codes, WI_LINE);
        _tile_loadd(1, codes + STEP_BYTES / 2, WI_LINE);
        _tile_stream_loadd(2, low, WI_LINE);
        _tile_dpbf16ps(4, 0, 2);
        _tile_dpbf16ps(6, 1, 2);
        _tile_stream_loadd(3, high, WI_LINE);
        _tile_dpbf16ps(5, 0, 3);
        _tile_dpbf16ps(7, 1, 3);
    } else {
        _tile_loadd(4, codes, WI_LINE);
        _tile_loadd(5, codes + STEP_BYTES / 2, WI_LINE);
        _tile_stream_loadd(6, low, WI_LINE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(2, 5, 6);
        _tile_stream_loadd(7, high, WI_LINE);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
    }
}

// `sums` are those of the next block, or NULL; `out` is where this one goes after its last span, or NULL.
static inline void multiply_two(const unsigned char *codes, const unsigned char *low, int64_t steps, span *s,
                                const float *sums, const float *out, int64_t out_rows, size_t out_stride, bool turned)
{
    const unsigned char *high = low + steps * TILE * WI_LINE, *ahead = s->ahead, *rows = s->rows_from;
    const float *out_end = out + out_rows * (int64_t)out_stride;
    const bool folds = s->folding.count > 0;
    const int64_t ahead_lines = s->ahead_lines, rows_lines = s->rows_lines;
    for (int64_t i = 0; i < steps; i++, codes += STEP_BYTES, low += TILE * WI_LINE, high += TILE * WI_LINE) {
        ahead = fetch_lines(ahead, ahead_lines);
        rows = fetch_lines(rows, rows_lines);
        for (int j = 0; j < 4 && out < out_end; j++, out += out_stride) {
            _mm_prefetch((const char *)out, _MM_HINT_T1);
            _mm_prefetch((const char *)(out + WI_LINE / 4), _MM_HINT_T1);
        }
        if (sums)
            for (int j = 0; j < 4; j++, sums += 16) _mm_prefetch((const char *)sums, _MM_HINT_T0);
        if (folds) fold_some(&s->folding, 4);
        step_two(codes, low, high, turned);
    }
    s->ahead = ahead;
    if (s->rows_from) s->rows_from += s->rows_part;
}

#include "kernels/cpu/amx/few.inc"

static inline void multiply_block(const run *r, span *s, const unsigned char *codes, int64_t row, int64_t rows,
                                  float *tile, int64_t rows_after, bool turned)
{
    const int64_t steps = steps_of(s->begin, s->end);
    const weft_gemm_weight *w = r->w;
    const float *out = NULL;
    int64_t out_rows = 0;
    if (s->last && s->leaf + 1 == w->leaves) {
        const int64_t panel = (s->panel - w->data) / (int64_t)w->panel_bytes;
        out_rows = rows;
        out = r->args->out[0] + (size_t)(r->chunk_row + row) * r->args->out_stride +
              panel * (w->fuse == WEFT_FUSE_GATE ? WI_PANEL / 2 : WI_PANEL);
    }
    if (!s->loaded) plan_fetches(r, s, row, steps);
    if (s->first)
        zero_four(turned);
    else if (!s->loaded)
        load_four(tile, turned);
    multiply_two(codes, packed_at(r, row, s->at, steps), steps, s,
                 rows_after > TILE && !s->first ? tile + ROW_BLOCK * WI_PANEL : NULL, out, out_rows,
                 r->args->out_stride, turned);
    if (rows_after > TILE && !s->first) load_four(tile + ROW_BLOCK * WI_PANEL, !turned);
    store_four(tile, turned);
}

static void multiply(const run *r, span *s, unsigned char *room, const unsigned char *codes, int64_t row, int64_t rows,
                     float *tile, int64_t rows_after)
{
    const int64_t steps = steps_of(s->begin, s->end);
    if (rows <= TILE) {
        multiply_few(r, s, room, codes, packed_at(r, row, s->at, steps), steps, tile);
        return;
    }
    if (s->turned)
        multiply_block(r, s, codes, row, rows, tile, rows_after, true);
    else
        multiply_block(r, s, codes, row, rows, tile, rows_after, false);
    s->turned = !s->turned;
    s->loaded = true;
}

static void end_leaf(const run *r, const span *s, int64_t row, int64_t rows, float *tile) {}

// Sixteen rows and the columns of a span, in pairs; rows and columns that are not there are zeros.
static void pack_tile(const run *r, int64_t row, int64_t rows, int64_t begin, int64_t end, unsigned char *to)
{
    const weft_gemm_weight *w = r->w;
    const int64_t columns = tile_columns(r);
    const float *from = r->args->a + (size_t)(r->chunk_row + row) * r->args->a_stride;
    for (int64_t k = begin; k < end; k += WI_STEP, to += TILE * columns * 4) {
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

static void finish(const run *r, int root, const float *tile, int64_t row, int64_t rows, int64_t panel)
{
    const int64_t columns = tile_columns(r);
    const bool bare = columns == TILE && is_bare(r, panel);
    float sums[TILE][WI_PANEL] __attribute__((aligned(64)));
    for (int64_t i = 0; i < rows; i += TILE) {
        const float *from = tile + i * WI_PANEL;
        if (bare && rows - i >= TILE) {
            float *out = r->args->out[root] + (size_t)(r->chunk_row + row + i) * r->args->out_stride + panel * WI_PANEL;
            turn_sums(from, out, r->args->out_stride);
            turn_sums(from + TILE * TILE, out + TILE, r->args->out_stride);
            continue;
        }
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
