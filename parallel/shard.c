#include "parallel/shard.h"

weft_shard weft_shard_of(int rank, int ranks)
{
    if (ranks <= WEFT_LEAVES) {
        const int leaf = rank * WEFT_LEAVES / ranks;
        return (weft_shard){.leaf = leaf, .leaves = (rank + 1) * WEFT_LEAVES / ranks - leaf, .slices = 1};
    }
    const int leaf = (int)((int64_t)rank * WEFT_LEAVES / ranks);
    const int first = (leaf * ranks + WEFT_LEAVES - 1) / WEFT_LEAVES; // the lowest rank of this leaf
    const int next = ((leaf + 1) * ranks + WEFT_LEAVES - 1) / WEFT_LEAVES;
    return (weft_shard){.leaf = leaf, .leaves = 1, .slice = rank - first, .slices = next - first};
}

// The first unit of a leaf: the least u with floor(u * V / U) >= leaf.
static int64_t first_unit(int leaf, int64_t units) { return (leaf * units + WEFT_LEAVES - 1) / WEFT_LEAVES; }

weft_range weft_shard_units(const weft_shard *s, int64_t units)
{
    return (weft_range){first_unit(s->leaf, units), first_unit(s->leaf + s->leaves, units)};
}

weft_range weft_shard_own(const weft_shard *s, int64_t units)
{
    const weft_range all = weft_shard_units(s, units);
    const weft_range part = weft_range_part(weft_range_size(all), 1, s->slice, s->slices);
    return (weft_range){all.begin + part.begin, all.begin + part.end};
}

weft_range weft_range_part(int64_t count, int64_t grain, int part, int parts)
{
    const int64_t grains = (count + grain - 1) / grain, begin = part * grains / parts * grain,
                  end = (part + 1) * grains / parts * grain;
    return (weft_range){begin < count ? begin : count, end < count ? end : count};
}

// Of fewer a rank would wait for the one that has most of them, or for one that has any.
int64_t weft_rows_dealt_from(int ranks) { return ranks > WEFT_LEAVES ? ranks : 4 * (int64_t)ranks; }

static int64_t row_grain(int64_t width)
{
    int64_t grain = 16;
    while (grain > 1 && grain / 2 * width % 16 == 0) grain /= 2;
    return grain;
}

weft_range weft_rows_of(int64_t rows, int64_t width, int rank, int ranks)
{
    return weft_range_part(rows, row_grain(width), rank, ranks);
}

int64_t weft_rows_most(int64_t rows, int64_t width, int ranks)
{
    const int64_t grain = row_grain(width), grains = (rows + grain - 1) / grain;
    const int64_t most = (grains + ranks - 1) / ranks * grain;
    return most < rows ? most : rows;
}

int weft_row_pieces(int64_t rows, int64_t each)
{
    const int64_t pieces = each > 0 ? (rows + each - 1) / each : 1;
    return pieces > WEFT_ROW_PIECES ? WEFT_ROW_PIECES : pieces > 1 ? (int)pieces : 1;
}

weft_range weft_rows_of_piece(weft_range own, int64_t width, int piece, int pieces)
{
    const weft_range part = weft_range_part(weft_range_size(own), row_grain(width), piece, pieces);
    return (weft_range){own.begin + part.begin, own.begin + part.end};
}

int64_t weft_piece_rows_most(int64_t rows, int64_t width, int ranks, int64_t each)
{
    const int64_t grain = row_grain(width);
    int64_t most = 0;
    for (int pieces = weft_row_pieces(rows, each), p = 1; p <= pieces; p++) {
        const int64_t own = weft_rows_most(p < pieces ? p * each : rows, width, ranks);
        const int64_t part = ((own + grain - 1) / grain + p - 1) / p * grain;
        if (part > most) most = part;
    }
    return most < rows ? most : rows;
}

weft_gemm_leaves weft_leaves_of_units(int64_t k, int64_t unit)
{
    weft_gemm_leaves leaves = {.count = WEFT_LEAVES};
    const int64_t units = (k + unit - 1) / unit;
    for (int i = 0; i <= WEFT_LEAVES; i++) {
        const int64_t begin = first_unit(i, units) * unit;
        leaves.begin[i] = begin < k ? begin : k;
    }
    return leaves;
}

weft_gemm_leaves weft_shard_leaves(const weft_shard *shard, int64_t k, int64_t unit)
{
    weft_gemm_leaves leaves = weft_leaves_of_units(k, unit);
    leaves.first = shard->leaf;
    leaves.count = shard->leaves;
    return leaves;
}
