// Changes of logits before sampling: plain at every level, for they touch few numbers.
#include "kernels/cpu/levels.h"

static void penalize(const weft_op *op, const weft_penalty *a)
{
    (void)op;
    for (size_t i = 0; i < a->seen_count; i++) {
        const int64_t at = (int64_t)a->seen[i].id - a->first;
        if (at < 0 || (uint64_t)at >= a->width) continue;
        float x = a->logits[at];
        x = x > 0 ? x / a->repetition : x * a->repetition;
        x -= a->frequency * (float)a->seen[i].count;
        if (a->seen[i].count > 0) x -= a->presence;
        a->logits[at] = x;
    }
}

static void bias(const weft_op *op, float *logits, size_t width, int32_t first, const weft_bias *biases, size_t count)
{
    (void)op;
    for (size_t i = 0; i < count; i++) {
        const int64_t at = (int64_t)biases[i].id - first;
        if (at >= 0 && (uint64_t)at < width) logits[at] += biases[i].add;
    }
}

void wi_logits_ref(weft_kernels *table)
{
    table->pick.penalize = penalize;
    table->pick.bias = bias;
}
