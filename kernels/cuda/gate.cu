// Activations row by row, and what is done element by element. A thread takes four elements where rows lie at 16 bytes,
// else one. Bound by memory; silu and gelu come close to what the processor computes meanwhile.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/math.cuh"
#include "kernels/cuda/row.cuh"

enum { THREADS = 256 };

template <int N, weft_act ACT> static __global__ void __launch_bounds__(THREADS) gate_rows(weft_gate a)
{
    const size_t row = blockIdx.x;
    for (size_t i = wi_row_item() * N; i < a.width; i += wi_items() * N) {
        wi_floats<N> x = wi_read<N>(a.in + row * a.in_stride + i), up;
        if (a.up) up = wi_read<N>(a.up + row * a.up_stride + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            x.at[j] = wi_act<ACT>(x.at[j]);
            if (a.up) x.at[j] *= up.at[j];
        }
        wi_write<N>(a.out + row * a.out_stride + i, x);
    }
}

// A NaN stays one: the least and the largest of two are the second where one is NaN.
template <int N> static __global__ void __launch_bounds__(THREADS) clamped_rows(weft_gate a)
{
    const size_t row = blockIdx.x;
    const float limit = a.limit;
    for (size_t i = wi_row_item() * N; i < a.width; i += wi_items() * N) {
        wi_floats<N> x = wi_read<N>(a.in + row * a.in_stride + i);
        const wi_floats<N> up = wi_read<N>(a.up + row * a.up_stride + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            const float g = limit < x.at[j] ? limit : x.at[j], least = limit < up.at[j] ? limit : up.at[j];
            const float u = -limit > least ? -limit : least;
            x.at[j] = (u + 1.0F) * (wi_silu(a.alpha * g) / a.alpha);
        }
        wi_write<N>(a.out + row * a.out_stride + i, x);
    }
}

template <int N> static void launch(const weft_op *op, const weft_gate *a)
{
    const size_t items = (a->width + N - 1) / N;
    const unsigned threads = wi_row_threads(items, THREADS);
    const dim3 grid = wi_row_grid(a->rows, items, threads), block(threads);
    if (a->clamped)
        wi_launch(op, "gate", clamped_rows<N>, grid, block, 0, *a);
    else if (a->act == WEFT_ACT_SILU)
        wi_launch(op, "gate", gate_rows<N, WEFT_ACT_SILU>, grid, block, 0, *a);
    else if (a->act == WEFT_ACT_GELU_TANH)
        wi_launch(op, "gate", gate_rows<N, WEFT_ACT_GELU_TANH>, grid, block, 0, *a);
    else if (a->act == WEFT_ACT_GELU_ERF)
        wi_launch(op, "gate", gate_rows<N, WEFT_ACT_GELU_ERF>, grid, block, 0, *a);
    else
        wi_launch(op, "gate", gate_rows<N, WEFT_ACT_NONE>, grid, block, 0, *a);
}

void wi_cuda_gate(const weft_op *op, const weft_gate *args)
{
    const weft_gate *a = args;
    if (a->rows == 0 || a->width == 0) return;
    if (a->width % 4 == 0 && wi_rows_at16(a->out, a->out_stride) && wi_rows_at16(a->in, a->in_stride) &&
        wi_rows_at16(a->up, a->up_stride))
        launch<4>(op, a);
    else
        launch<1>(op, a);
}

typedef enum { FLAT_ADD, FLAT_SCALE, FLAT_CAP } flat_kind;

template <flat_kind KIND> static __device__ __forceinline__ float flat_of(float x, float y, float factor)
{
    return KIND == FLAT_ADD ? x + y : KIND == FLAT_SCALE ? x * factor : factor * wi_tanh(x / factor);
}

template <int N, flat_kind KIND>
static __global__ void __launch_bounds__(THREADS)
    flat_all(float *out, const float *in, const float *other, float factor, size_t count)
{
    const size_t i = ((size_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (i + N <= count) {
        wi_floats<N> x = wi_read<N>(in + i), y = x;
        if (KIND == FLAT_ADD) y = wi_read<N>(other + i);
#pragma unroll
        for (int j = 0; j < N; j++) x.at[j] = flat_of<KIND>(x.at[j], y.at[j], factor);
        wi_write<N>(out + i, x);
    } else {
        for (size_t j = i; j < count; j++) out[j] = flat_of<KIND>(in[j], KIND == FLAT_ADD ? other[j] : 0.0F, factor);
    }
}

template <flat_kind KIND>
static void flat(const weft_op *op, const char *name, float *out, const float *in, const float *other, float factor,
                 size_t count)
{
    if (wi_at16(out) && wi_at16(in) && wi_at16(other))
        wi_launch(op, name, flat_all<4, KIND>, dim3(wi_grid_of(count, 4 * THREADS)), dim3(THREADS), 0, out, in, other,
                  factor, count);
    else
        wi_launch(op, name, flat_all<1, KIND>, dim3(wi_grid_of(count, THREADS)), dim3(THREADS), 0, out, in, other,
                  factor, count);
}

void wi_cuda_add(const weft_op *op, float *out, const float *in, const float *other, size_t count)
{
    flat<FLAT_ADD>(op, "add", out, in, other, 0.0F, count);
}

void wi_cuda_scale(const weft_op *op, float *out, const float *in, float factor, size_t count)
{
    flat<FLAT_SCALE>(op, "scale", out, in, NULL, factor, count);
}

void wi_cuda_softcap(const weft_op *op, float *out, const float *in, float cap, size_t count)
{
    flat<FLAT_CAP>(op, "softcap", out, in, NULL, cap, count);
}
