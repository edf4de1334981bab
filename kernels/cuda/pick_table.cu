#include "kernels/cuda/rows.cuh"

void wi_cuda_pick(weft_kernels *table)
{
    table->pick.softmax = wi_cuda_softmax;
    table->pick.argmax = wi_cuda_argmax;
    table->pick.lse_leaves = wi_cuda_lse_leaves;
    table->pick.lse_tree = wi_cuda_lse_tree;
    table->pick.logprob = wi_cuda_logprob;
    table->pick.penalize = wi_cuda_penalize;
    table->pick.bias = wi_cuda_bias;
    table->pick.top = wi_cuda_top;
    table->pick.sample = wi_cuda_sample;
    table->pick.route = wi_cuda_route;
    table->pick.group = wi_cuda_group;
    table->pick.combine = wi_cuda_combine;
}
