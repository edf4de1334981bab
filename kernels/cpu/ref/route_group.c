// Which rows go to which expert: counting, at every level the same.
#include "kernels/cpu/levels.h"

static void group(const weft_op *op, const weft_route_group *a)
{
    (void)op;
    const size_t all = a->rows * a->k;
    int32_t *offsets = a->offsets;
    for (size_t e = 0; e <= a->experts; e++) offsets[e] = 0;
    // offsets[e + 1] counts, then says where expert e begins, then where it ends.
    for (size_t i = 0; i < all; i++) {
        const int64_t e = (int64_t)a->ids[i] - a->first;
        if (e >= 0 && (uint64_t)e < a->experts) offsets[e + 1]++;
    }
    int32_t sum = 0;
    for (size_t e = 0; e < a->experts; e++) {
        const int32_t count = offsets[e + 1];
        offsets[e + 1] = sum;
        sum += count;
    }
    for (size_t i = 0; i < all; i++) {
        const int64_t e = (int64_t)a->ids[i] - a->first;
        a->place[i] = -1;
        if (e < 0 || (uint64_t)e >= a->experts) continue;
        a->place[i] = offsets[e + 1]++;
        a->row_of[a->place[i]] = (int32_t)(i / a->k);
    }
}

void wi_route_group_ref(weft_kernels *table) { table->pick.group = group; }
