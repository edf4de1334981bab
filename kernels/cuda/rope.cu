// Rotary position embedding. The first thread of a grid's row takes the first pairs of the first head, and so on: the
// angles come from the caches. A thread turns four pairs where their parts lie at 16 bytes, else one. Bound by memory.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/row.cuh"

static __device__ __forceinline__ void turn(float &x, float &y, float c, float s)
{
    const float minus = y * s, plus = x * s;
    x = fmaf(x, c, -minus);
    y = fmaf(y, c, plus);
}

// N pairs a thread: halves lie rotary / 2 apart.
template <int N> static __global__ void rope_halves(weft_rope a)
{
    const size_t row = blockIdx.x, pairs = a.rotary / 2;
    const unsigned each = (unsigned)(pairs / N), items = each * (unsigned)a.heads;
    const float *cosines = a.cos + (size_t)a.positions[row] * a.table_stride;
    const float *sines = a.sin + (size_t)a.positions[row] * a.table_stride;
    for (unsigned item = (unsigned)wi_row_item(); item < items; item += (unsigned)wi_items()) {
        const unsigned head = item / each, i = item % each * N;
        float *at = a.x + row * a.row_stride + head * a.head_stride + i;
        wi_floats<N> x = wi_read<N>(at), y = wi_read<N>(at + pairs);
        const wi_floats<N> c = wi_read<N>(cosines + i), s = wi_read<N>(sines + i);
#pragma unroll
        for (int j = 0; j < N; j++) turn(x.at[j], y.at[j], c.at[j], s.at[j]);
        wi_write<N>(at, x);
        wi_write<N>(at + pairs, y);
    }
}

// The two of a pair side by side; PAIRS a thread.
template <int PAIRS, int N> static __global__ void rope_neighbours(weft_rope a)
{
    const size_t row = blockIdx.x, pairs = a.rotary / 2;
    const unsigned each = (unsigned)(pairs / PAIRS), items = each * (unsigned)a.heads;
    const float *cosines = a.cos + (size_t)a.positions[row] * a.table_stride;
    const float *sines = a.sin + (size_t)a.positions[row] * a.table_stride;
    for (unsigned item = (unsigned)wi_row_item(); item < items; item += (unsigned)wi_items()) {
        const unsigned head = item / each, i = item % each * PAIRS;
        float *at = a.x + row * a.row_stride + head * a.head_stride + 2 * i;
        if (N == 4) {
            wi_floats<4> x = wi_read<4>(at);
            turn(x.at[0], x.at[1], cosines[i], sines[i]);
            turn(x.at[2], x.at[3], cosines[i + 1], sines[i + 1]);
            wi_write<4>(at, x);
        } else {
            float x = at[0], y = at[1];
            turn(x, y, cosines[i], sines[i]);
            at[0] = x, at[1] = y;
        }
    }
}

void wi_cuda_rope(const weft_op *op, const weft_rope *args)
{
    weft_rope a = *args;
    const size_t pairs = a.rotary / 2;
    const bool rows = wi_rows_at16(a.x, a.row_stride) && (a.heads <= 1 || a.head_stride % 4 == 0);
    const bool angles = wi_rows_at16(a.cos, a.table_stride) && wi_rows_at16(a.sin, a.table_stride);
    const bool fours = rows && (a.interleaved ? pairs % 2 == 0 : angles && pairs % 4 == 0);
    const size_t items = a.heads * (fours ? pairs / (a.interleaved ? 2 : 4) : pairs);
    if (a.rows == 0 || items == 0) return;
    const unsigned threads = wi_row_threads(items, 256);
    const dim3 grid = wi_row_grid(a.rows, items, threads), block(threads);
    a.positions = wi_arrived(op, args->positions, args->rows);
    if (a.interleaved && fours)
        wi_launch(op, "rope", rope_neighbours<2, 4>, grid, block, 0, a);
    else if (a.interleaved)
        wi_launch(op, "rope", rope_neighbours<1, 1>, grid, block, 0, a);
    else if (fours)
        wi_launch(op, "rope", rope_halves<4>, grid, block, 0, a);
    else
        wi_launch(op, "rope", rope_halves<1>, grid, block, 0, a);
}
