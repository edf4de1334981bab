// The largest of each group of a row of logits: a warp a group. Bound by memory.
#include "kernels/cuda/pick.cuh"

static __global__ void __launch_bounds__(WI_TOPS_WARPS *WI_WARP)
    group_tops(weft_logits logits, size_t first, const wi_pick_how *how, unsigned char *memory, size_t row_bytes)
{
    const wi_pick_row row = wi_pick_row_at(logits, first + blockIdx.y, how ? how[blockIdx.y].allowed : NULL,
                                           memory + blockIdx.y * row_bytes);
    const unsigned group = blockIdx.x * WI_TOPS_WARPS + threadIdx.x / WI_WARP, lane = threadIdx.x % WI_WARP;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < WI_BUCKETS; i += gridDim.x * blockDim.x)
        row.bucket_mass[i] = row.bucket_count[i] = 0;
    if (group >= row.groups) return;
    float top = -wi_infinity();
#pragma unroll
    for (unsigned j = 0; j < WI_GROUP_EACH; j++) {
        const float x = wi_pick_load(row, (size_t)group * WI_GROUP + j * WI_WARP + lane);
        top = x > top ? x : top;
    }
    top = wi_warp_max(top);
    if (lane == 0) row.tops[group] = top;
}

void wi_pick_tops(const weft_op *op, const char *name, const weft_logits *logits, size_t first, size_t rows,
                  const wi_pick_how *how, size_t row_bytes)
{
    const dim3 grid(wi_grid_of(wi_pick_groups(logits->width), WI_TOPS_WARPS), (unsigned)rows);
    wi_launch(op, name, group_tops, grid, dim3(WI_TOPS_WARPS * WI_WARP), 0, *logits, first, how,
              (unsigned char *)op->scratch, row_bytes);
}
