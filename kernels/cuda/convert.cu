// Between f32, bf16 and f16. A thread takes eight elements: 16 bytes of the narrow type. Bound by memory.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/convert.cuh"

enum { EACH = 8, THREADS = 256 };

template <typename T> struct alignas(16) eight {
    T at[EACH];
};

template <weft_dtype TYPE> struct stored {
    typedef uint16_t type;
};
template <> struct stored<WEFT_F32> {
    typedef float type;
};

template <weft_dtype FROM> static __device__ __forceinline__ float wide(typename stored<FROM>::type x)
{
    return FROM == WEFT_BF16  ? wi_float_of_bf16((uint16_t)x)
           : FROM == WEFT_F16 ? wi_float_of_f16((uint16_t)x)
                              : (float)x;
}

template <weft_dtype TO> static __device__ __forceinline__ typename stored<TO>::type narrow(float x)
{
    if constexpr (TO == WEFT_BF16) return wi_bf16_of_float(x);
    if constexpr (TO == WEFT_F16) return wi_f16_of_float(x);
    return (typename stored<TO>::type)x;
}

template <weft_dtype TO, weft_dtype FROM>
static __global__ void __launch_bounds__(THREADS)
    convert_eights(typename stored<TO>::type *out, const typename stored<FROM>::type *in, size_t count)
{
    typedef typename stored<TO>::type to;
    typedef typename stored<FROM>::type from;
    const size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x, whole = count / EACH;
    if (i < whole) {
        const eight<from> x = ((const eight<from> *)in)[i];
        eight<to> y;
#pragma unroll
        for (int j = 0; j < EACH; j++) y.at[j] = narrow<TO>(wide<FROM>(x.at[j]));
        ((eight<to> *)out)[i] = y;
    } else if (i == whole) {
        for (size_t j = whole * EACH; j < count; j++) out[j] = narrow<TO>(wide<FROM>(in[j]));
    }
}

// Where something is not aligned.
template <weft_dtype TO, weft_dtype FROM>
static __global__ void __launch_bounds__(THREADS)
    convert_ones(typename stored<TO>::type *out, const typename stored<FROM>::type *in, size_t count)
{
    const size_t first = (size_t)blockIdx.x * EACH * THREADS + threadIdx.x;
#pragma unroll
    for (size_t j = 0; j < EACH; j++) {
        const size_t i = first + j * THREADS;
        if (i < count) out[i] = narrow<TO>(wide<FROM>(in[i]));
    }
}

template <weft_dtype TO, weft_dtype FROM> static void run(const weft_op *op, void *to, const void *from, size_t count)
{
    typename stored<TO>::type *out = (typename stored<TO>::type *)to;
    const typename stored<FROM>::type *in = (const typename stored<FROM>::type *)from;
    if ((uintptr_t)to % 16 == 0 && (uintptr_t)from % 16 == 0)
        wi_launch(op, "convert", convert_eights<TO, FROM>,
                  dim3(wi_grid_of(count / EACH + (count % EACH != 0), THREADS)), dim3(THREADS), 0, out, in, count);
    else
        wi_launch(op, "convert", convert_ones<TO, FROM>, dim3(wi_grid_of(count, EACH * THREADS)), dim3(THREADS), 0, out,
                  in, count);
}

void wi_cuda_convert(const weft_op *op, void *out, weft_dtype to, const void *in, weft_dtype from, size_t count)
{
    if (to == from) {
        if (out != in) wi_cuda_copy(op, out, in, count * (from == WEFT_F32 ? sizeof(float) : sizeof(uint16_t)));
    } else if (from == WEFT_F32) {
        if (to == WEFT_BF16)
            run<WEFT_BF16, WEFT_F32>(op, out, in, count);
        else
            run<WEFT_F16, WEFT_F32>(op, out, in, count);
    } else if (to == WEFT_F32) {
        if (from == WEFT_BF16)
            run<WEFT_F32, WEFT_BF16>(op, out, in, count);
        else
            run<WEFT_F32, WEFT_F16>(op, out, in, count);
    } else if (to == WEFT_F16) {
        run<WEFT_F16, WEFT_BF16>(op, out, in, count);
    } else {
        run<WEFT_BF16, WEFT_F16>(op, out, in, count);
    }
}
