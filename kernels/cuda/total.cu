// Sums of rows over ranks, with all that follows them: the tree over up to eight arrays, of which those of peers lie in
// their devices' memory, + bias, + residual, and RMSNorm. A block a row. Where ranks meet here, it first says that this
// rank's arrays are written and waits for the peers', and the last block says that they are read: so an exchange of a
// decode step is this one launch. Bound by the links, or by the walk of the norm.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/tree.cuh"

enum { MIDDLE = 1024 };

struct summed {
    const float *in[WI_TREE_TOGETHER];
    int n;
    const float *bias, *residual;
    float *out;
    size_t width;
    bool normed;
};

// Each block waits by itself; the first speaks. What was written before the launch is seen by whoever sees the flag.
static __device__ __forceinline__ void meet(const weft_device_meeting &m)
{
    const uint32_t number = *m.begun + 1;
    const uint64_t began = wi_clock();
    if (blockIdx.x == 0 && threadIdx.x < WI_WARP) {
        __threadfence_system();
        for (int i = (int)threadIdx.x; i < m.here.count; i += WI_WARP) wi_word_set(m.here.flag[i], number);
        __syncwarp();
    }
    if (threadIdx.x < WI_WARP)
        for (int i = (int)threadIdx.x; i < m.there.count; i += WI_WARP)
            for (unsigned looks = 1; (int32_t)(wi_word_get(m.there.flag[i]) - number) < 0; looks++) {
                wi_word_pause();
                if (looks % 1024 == 0 && m.cancel && wi_word_get(m.cancel)) break;
            }
    __syncthreads();
    if (blockIdx.x == 0 && threadIdx.x == 0) wi_waited(m.waited, wi_clock() - began);
}

// Behind the last read of every block: the counters are written by the one who comes last.
static __device__ __forceinline__ void leave(const weft_device_meeting &m)
{
    __syncthreads();
    if (threadIdx.x != 0) return;
    __threadfence();
    if (atomicAdd(m.ticket, 1) != gridDim.x - 1) return;
    __threadfence_system();
    const uint32_t now = *m.released + m.release;
    *m.ticket = 0;
    *m.begun += 1;
    *m.released = now;
    for (int i = 0; m.release && i < m.read.count; i++) wi_word_set(m.read.flag[i], now);
}

template <int N> static __device__ __forceinline__ wi_floats<N> plus(wi_floats<N> x, const float *other)
{
    return other ? wi_tree_sum<N>(x, wi_read<N>(other)) : x;
}

template <int N, int THREADS>
static __global__ void __launch_bounds__(THREADS, 1) total(summed s, weft_norm norm, weft_device_meeting meeting)
{
    float *held = (float *)wi_shared();
    const size_t row = blockIdx.x * s.width;
    float squares = 0;
    if (meeting.begun) meet(meeting);
    for (size_t at = 0; at < s.width; at += WI_PIECE) {
        const size_t n = s.width - at < WI_PIECE ? s.width - at : (size_t)WI_PIECE;
        if (at > 0) __syncthreads();
        for (size_t i = threadIdx.x * N; i < n; i += THREADS * N) {
            bool there;
            wi_floats<N> x = wi_tree_eight<N>(s.in, s.n, row + at + i, there);
            x = plus<N>(x, s.bias ? s.bias + at + i : NULL);
            x = plus<N>(x, s.residual ? s.residual + row + at + i : NULL);
            wi_write<N>(s.out + row + at + i, x);
            if (s.normed) wi_write<N>(held + i, x);
        }
        if (!s.normed) continue;
        __syncthreads();
        squares = wi_norm_walk(held, n, squares);
    }
    if (meeting.begun) leave(meeting);
    if (!s.normed) return;
    const float factor = wi_norm_shared_factor(norm, squares);
    const size_t to = blockIdx.x * norm.out_stride;
    if (s.width <= WI_PIECE) {
        wi_norm_finish<N, THREADS>(norm, to, held, 0, s.width, factor);
        return;
    }
    for (size_t at = 0; at < s.width; at += WI_PIECE) // each thread finds again what it has written itself
        wi_norm_finish<N, THREADS>(norm, to, s.out + row + at, at,
                                   s.width - at < WI_PIECE ? s.width - at : (size_t)WI_PIECE, factor);
}

static bool in_fours(const weft_row_total *a, const weft_norm *norm)
{
    bool fours = a->width % 4 == 0 && wi_at16(a->bias) && wi_at16(a->residual) && wi_at16(a->out);
    for (int i = 0; i < a->n; i++) fours = fours && wi_at16(a->in[i]);
    if (!a->norm) return fours;
    return fours && wi_at16(norm->weight) &&
           wi_rows_at16(norm->halves ? (const void *)norm->halves : norm->out, norm->out_stride);
}

template <int N, int THREADS>
static void launch(const weft_op *op, const weft_row_total *a, const summed &s, const weft_norm &norm)
{
    const size_t piece = a->width < WI_PIECE ? a->width : (size_t)WI_PIECE;
    const weft_device_meeting none = {}, &meeting = a->meeting ? *a->meeting : none;
    wi_launch(op, "total", total<N, THREADS>, dim3((unsigned)a->rows), dim3(THREADS),
              a->norm ? piece * sizeof(float) : 0, s, norm, meeting);
}

void wi_cuda_total(const weft_op *op, const weft_row_total *args)
{
    summed s = {};
    weft_norm norm = {};
    for (int i = 0; i < args->n; i++) s.in[i] = args->in[i];
    s.n = args->n;
    s.bias = args->bias;
    s.residual = args->residual;
    s.out = args->out;
    s.width = args->width;
    s.normed = args->norm != NULL;
    if (args->norm) norm = *args->norm;
    norm.width = args->width;
    if (args->width <= MIDDLE && in_fours(args, &norm))
        launch<4, 64>(op, args, s, norm);
    else if (args->width <= MIDDLE)
        launch<1, 64>(op, args, s, norm);
    else if (in_fours(args, &norm))
        launch<4, 256>(op, args, s, norm);
    else
        launch<1, 256>(op, args, s, norm);
}
