#include "kernels/cuda/rows.cuh"

void wi_cuda_rows(weft_kernels *table)
{
    table->tree_add = wi_cuda_tree_add;
    table->total = wi_cuda_total;
    table->rows.convert = wi_cuda_convert;
    table->rows.embed = wi_cuda_embed;
    table->rows.sift = wi_cuda_sift;
    table->rows.gather = wi_cuda_gather;
    table->rows.scatter = wi_cuda_scatter;
    table->rows.norm = wi_cuda_norm;
    table->rows.rope = wi_cuda_rope;
    table->rows.gate = wi_cuda_gate;
    table->rows.add = wi_cuda_add;
    table->rows.scale = wi_cuda_scale;
    table->rows.softcap = wi_cuda_softcap;
    table->rows.quantize = wi_cuda_quantize;
    table->rows.dequantize = wi_cuda_dequantize;
}
