// The ops of kernels/rows.h and kernels/pick.h on the device; rows_table.cu and pick_table.cu put them into the table.
#ifndef WEFT_KERNELS_CUDA_ROWS_CUH
#define WEFT_KERNELS_CUDA_ROWS_CUH

#include "kernels/cuda/cuda.cuh"

void wi_cuda_tree_add(const weft_op *op, float *out, const float *const *in, int n, size_t count);
void wi_cuda_total(const weft_op *op, const weft_row_total *args);

void wi_cuda_convert(const weft_op *op, void *out, weft_dtype to, const void *in, weft_dtype from, size_t count);
void wi_cuda_embed(const weft_op *op, const weft_embed *args);
void wi_cuda_sift(const weft_op *op, const weft_sift *args);
void wi_cuda_gather(const weft_op *op, const weft_move *args);
void wi_cuda_scatter(const weft_op *op, const weft_move *args);
void wi_cuda_copy(const weft_op *op, void *out, const void *in, size_t bytes); // from device to device
void wi_cuda_norm(const weft_op *op, const weft_norm *args);
void wi_cuda_rope(const weft_op *op, const weft_rope *args);
void wi_cuda_gate(const weft_op *op, const weft_gate *args);
void wi_cuda_add(const weft_op *op, float *out, const float *in, const float *other, size_t count);
void wi_cuda_scale(const weft_op *op, float *out, const float *in, float factor, size_t count);
void wi_cuda_softcap(const weft_op *op, float *out, const float *in, float cap, size_t count);
void wi_cuda_quantize(const weft_op *op, const weft_quantize *args);
void wi_cuda_dequantize(const weft_op *op, const weft_dequantize *args);

void wi_cuda_softmax(const weft_op *op, float *out, size_t out_stride, const float *in, size_t in_stride, size_t rows,
                     size_t width);
void wi_cuda_argmax(const weft_op *op, const weft_logits *logits, weft_choice *out);
void wi_cuda_lse_leaves(const weft_op *op, const weft_logits *logits, const size_t *begin, size_t leaves,
                        weft_lse *out);
void wi_cuda_lse_tree(const weft_op *op, const weft_lse *in, size_t leaves, size_t rows, weft_lse *out);
void wi_cuda_logprob(const weft_op *op, const weft_logits *logits, const weft_lse *lse, const int32_t *ids, size_t each,
                     float *out);
void wi_cuda_penalize(const weft_op *op, const weft_penalty *args);
void wi_cuda_bias(const weft_op *op, float *logits, size_t width, int32_t first, const weft_bias *biases, size_t count);
void wi_cuda_top(const weft_op *op, const weft_logits *logits, size_t k, weft_choice *out);
void wi_cuda_sample(const weft_op *op, const weft_sample *args);
void wi_cuda_route(const weft_op *op, const weft_route *args);
void wi_cuda_group(const weft_op *op, const weft_route_group *args);
void wi_cuda_combine(const weft_op *op, const weft_combine *args);

#endif
