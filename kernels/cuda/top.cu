// Top-k lists. Two launches: the largest of each group over the whole device, then a block a row. There the k-th
// largest of the groups' largest is a number that at least k logits reach, and few more: these are listed and sorted.
// Only where they are too many for the block's memory, by ties or by k, the k-th is found first. Bound by the sort,
// some microseconds.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/pick_cut.cuh"

static __global__ void __launch_bounds__(WI_PICK_MOST, 1)
    top_rows(weft_logits logits, size_t first, unsigned k, weft_choice *out, unsigned char *memory, size_t row_bytes)
{
    wi_pick_block *block = (wi_pick_block *)wi_shared();
    const size_t which = first + blockIdx.x;
    wi_pick_at at = {};
    at.row = wi_pick_row_at(logits, which, NULL, memory + blockIdx.x * row_bytes);
    uint64_t *list = block->list;
    if (at.row.groups >= k && at.row.groups <= WI_LIST) {
        for (unsigned g = threadIdx.x; g < at.row.groups; g += blockDim.x) list[g] = wi_key(at.row.tops[g], g);
        wi_sort(list, at.row.groups);
        at.least = list[k - 1] >> 32 << 32;
    }
    unsigned count = wi_list<WI_KEYS_FROM>(at, block, list, WI_LIST);
    if (count > WI_LIST) {
        const uint64_t cut = wi_select<WI_KEYS_FROM, false>(at, block, k < count ? k : count);
        at.least = cut;
        if (k > WI_LIST) list = (uint64_t *)at.row.behind;
        count = wi_list<WI_KEYS_FROM>(at, block, list, k);
    }
    wi_sort(list, count);
    for (unsigned i = threadIdx.x; i < k; i += blockDim.x) {
        const uint32_t id = i < count ? wi_key_id(list[i]) : 0;
        weft_choice *to = out + which * k + i;
        to->id = i < count ? logits.first + (int32_t)id : -1;
        to->logit = i < count ? at.row.x[id] : -wi_infinity();
    }
}

void wi_cuda_top(const weft_op *op, const weft_logits *logits, size_t k, weft_choice *out)
{
    size_t row_bytes = wi_pick_bytes(logits->width), long_list = 1;
    const unsigned threads = wi_row_threads(logits->width / 16, WI_PICK_MOST);
    if (k == 0) return;
    while (k > WI_LIST && long_list < (k < logits->width ? k : logits->width)) long_list *= 2;
    if (k > WI_LIST) row_bytes += long_list * sizeof(uint64_t);
    const size_t room = op->scratch_bytes / row_bytes, most = room < 65535 ? room : 65535;
    for (size_t first = 0; first < logits->rows && most > 0; first += most) {
        const size_t rows = logits->rows - first < most ? logits->rows - first : most;
        wi_pick_tops(op, "top", logits, first, rows, NULL, row_bytes);
        wi_launch(op, "top", top_rows, dim3((unsigned)rows), dim3(threads), sizeof(wi_pick_block), *logits, first,
                  (unsigned)k, out, (unsigned char *)op->scratch, row_bytes);
    }
}
