// Inverse frequencies of all kinds of rope, each operation in the precision that transformers takes.
#include <math.h>
#include <stdbool.h>

#include "model/config.h"

#define TWO_PI 6.283185307179586

static float power(double base, int i, int rotary) { return powf((float)base, (float)(2 * i) / (float)rotary); }

static void stretch_llama3(const weft_rope_config *r, float *inverse)
{
    const float length = (float)r->original, low = (float)r->low, high = (float)r->high;
    const float long_wave = (float)((double)r->original / r->low), short_wave = (float)((double)r->original / r->high);
    for (int i = 0; i < r->rotary / 2; i++) {
        const float wave = (float)TWO_PI / inverse[i], slow = inverse[i] / (float)r->factor;
        const float smooth = (length / wave - low) / (high - low);
        if (wave > long_wave)
            inverse[i] = slow;
        else if (wave >= short_wave)
            inverse[i] = (1 - smooth) * slow + smooth * inverse[i];
    }
}

static double yarn_bound(const weft_rope_config *r, double turns)
{
    return r->rotary * log((double)r->original / (turns * TWO_PI)) / (2 * log(r->base));
}

static void stretch_yarn(const weft_rope_config *r, float *inverse)
{
    double low = yarn_bound(r, r->fast), high = yarn_bound(r, r->slow);
    if (r->truncate) low = floor(low), high = ceil(high);
    low = fmax(low, 0);
    high = fmin(high, r->rotary - 1);
    if (low == high) high += 0.001;
    for (int i = 0; i < r->rotary / 2; i++) {
        const float wave = power(r->base, i, r->rotary);
        const float slow = 1 / ((float)r->factor * wave), fast = 1 / wave;
        const float ramp = fminf(fmaxf(((float)i - (float)low) / (float)(high - low), 0), 1), keep = 1 - ramp;
        inverse[i] = slow * (1 - keep) + fast * keep;
    }
}

void weft_rope_frequencies(const weft_rope_config *rope, int64_t length, float *inverse)
{
    double base = rope->base;
    const int half = rope->rotary / 2;
    const float *factor = length > rope->original ? rope->long_factor : rope->short_factor;
    if (rope->type == WEFT_ROPE_DYNAMIC && length > rope->original)
        base *= pow(rope->factor * (double)length / (double)rope->original - (rope->factor - 1),
                    (double)rope->rotary / (rope->rotary - 2));
    for (int i = 0; i < half; i++) {
        const float wave = power(base, i, rope->rotary);
        inverse[i] = 1 / (rope->type == WEFT_ROPE_LONGROPE ? factor[i] * wave : wave);
        if (rope->type == WEFT_ROPE_LINEAR) inverse[i] /= (float)rope->factor;
    }
    if (rope->type == WEFT_ROPE_LLAMA3) stretch_llama3(rope, inverse);
    if (rope->type == WEFT_ROPE_YARN) stretch_yarn(rope, inverse);
}
