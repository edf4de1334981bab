// The stream behind op->stream, for the files that are not kernels: device.cu, stream.cu and tape.cu.
#ifndef WEFT_KERNELS_CUDA_STREAM_CUH
#define WEFT_KERNELS_CUDA_STREAM_CUH

#include "kernels/cuda/cuda.cuh"

enum { WI_SLOTS = 2, WI_SLOT_BYTES = 8 << 20 }; // of arrivals: the host fills one while the device reads the other

struct wi_held {
    const unsigned char *begin, *end;
};

// A run of arrivals. Its bytes lie at the same place in `staged` (the host's) and `arrived` (the device's).
struct wi_slot {
    unsigned char *staged, *arrived;
    size_t used, sent;
    cudaEvent_t read; // the ops that read it are done
    bool reads;       // it was recorded
};

struct wi_tape;
struct wi_blas;

struct wi_stream {
    weft_device *device;
    cudaStream_t at;                      // the lane that work goes to as it is run
    cudaStream_t lane[WEFT_DEVICE_LANES]; // BESIDE: NULL until it is wanted
    cudaEvent_t turned[WEFT_DEVICE_LANES];
    weft_device_lane now_on; // as it is asked for, which with a step on tape is before it is run
    bool apart;              // something may go on beside the ops that they do not wait for yet
    int processors, capability;
    size_t shared_bytes;
    wi_held *held; // the device's memory, ascending
    size_t held_count, held_room;
    wi_slot slot[WI_SLOTS];
    int now; // the slot in use
    wi_tape *tape;
    weft_device_watch watch; // once ranks depend on each other's devices (links.cu)
    uint64_t
        *waited;    // [3] nanoseconds that ops waited for other ranks, where the host reads them, since when they wait
    uint64_t *told; // there; NULL until ranks are watched
    cudaStream_t aside; // for what runs beside the ops; NULL until it is wanted
    cudaEvent_t mark[WEFT_DEVICE_MARKS];
    cudaEvent_t fork[WEFT_DEVICE_FORKS]; // each NULL until it is wanted
    cudaEvent_t back;                    // from `aside`
    wi_blas *blas;                       // NULL where it was not asked for
    cudaEvent_t began, ended;            // of the clock
    bool clock_waits;                    // for the step on tape to be started
    cudaError_t failure;                 // the first since the last sync
    const char *failed;                  // the op
};

cudaError_t wi_stream_init(wi_stream *stream);
void wi_stream_fini(wi_stream *stream);
bool wi_stream_hold(wi_stream *stream, const void *memory, size_t bytes); // false: no memory for the list
void wi_stream_drop(wi_stream *stream, const void *memory);
void wi_stream_note(wi_stream *stream, const char *name, cudaError_t failure);
void wi_stream_next_slot(wi_stream *stream);   // waits until what it held before was read
cudaError_t wi_stream_wait(wi_stream *stream); // until all is done
// What the lane is given from now on begins when all is done that the other was given so far.
cudaError_t wi_stream_meet(wi_stream *stream, weft_device_lane lane);
void wi_stream_turn(weft_device *device, weft_device_lane lane, bool behind); // lanes.cu: as weft_device_links has it
cudaError_t wi_stream_wait_event(wi_stream *stream, cudaEvent_t event);
void wi_stream_submit(wi_stream *stream, const wi_kernel_call *work, const unsigned char *arguments); // now, or on tape
void wi_stream_send(wi_stream *stream); // what arrived in the slot and was not sent
void wi_stream_run(wi_stream *stream, const wi_kernel_call *work, const unsigned char *arguments);

extern const weft_device_links wi_links; // links.cu

// blas.cu: cuBLASLt, opened at run time.
weft_status wi_blas_open(wi_blas **out);
void wi_blas_close(wi_blas *blas); // accepts NULL

// out (m, n) = a (m, k) * w (n, k)^T, or that + add; strides in elements. Scratch: WI_BLAS_WORKSPACE bytes.
struct wi_blas_product {
    int64_t m, n, k;
    const uint16_t *w, *a;
    const float *add; // NULL: none
    float *out;
    size_t w_stride, a_stride, add_stride, out_stride;
    void *workspace;
};
void wi_blas_multiply(const weft_op *op, const wi_blas_product *product);

// Launches kept as data between begin and end: a step that comes again with the same launches and the same arguments is
// one graph, whatever the arrivals hold.
cudaError_t wi_tape_create(wi_tape **out);
void wi_tape_destroy(wi_tape *tape);
void wi_tape_forget(wi_tape *tape);    // all steps that it has kept
bool wi_tape_begin(wi_stream *stream); // false: launches are not kept (WEFT_GRAPHS=off)
bool wi_tape_keeps(const wi_tape *tape);
void wi_tape_add(wi_stream *stream, const wi_kernel_call *work, const unsigned char *arguments);
void wi_tape_end(wi_stream *stream);
// A step between whose ends a mark stands without its call, or a call without its mark, is never a graph; nor is one
// that ends while something goes on beside the ops.
void wi_tape_fork(wi_tape *tape, int which);
void wi_tape_call(wi_tape *tape, int which);

#endif
