// config.json and, behind a NUL, generation_config.json.
#include <math.h>

#include "model/names.h"
#include "tests/fuzz/fuzz.h"

enum { TENSORS_MAX = 2000, FREQUENCIES_MAX = 1024 };

static weft_status count(void *arg, const weft_expected *tensor)
{
    int *left = arg;
    for (int i = 0; i < tensor->rank; i++)
        if (tensor->shape[i] < 1) abort();
    return --*left ? WEFT_OK : WEFT_LIMIT;
}

static void use(const weft_model_config *config)
{
    float inverse[FREQUENCIES_MAX];
    int left = TENSORS_MAX;
    for (int i = 0; i < WEFT_ROPES_MAX; i++) {
        const weft_rope_config *rope = &config->ropes[i];
        if (rope->rotary == 0) continue;
        if (rope->rotary > FREQUENCIES_MAX * 2 || !isfinite(rope->attention_factor)) abort();
        weft_rope_frequencies(rope, 1, inverse);
        weft_rope_frequencies(rope, INT32_MAX, inverse);
        for (int f = 0; f < rope->rotary / 2; f++)
            if (isnan(inverse[f])) abort();
    }
    for (int64_t i = 0; i < config->layers; i++)
        if (config->layer[i].window < 0 || config->layer[i].rope >= WEFT_ROPES_MAX) abort();
    for (int style = 0; style < WEFT_NAMES_COUNT; style++) {
        left = TENSORS_MAX;
        weft_model_tensors(config, (weft_name_style)style, count, &left);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weft_model_config config = {0};
    const char *text = (const char *)data, *split = size ? memchr(data, 0, size) : NULL;
    const size_t first = split ? (size_t)(split - text) : size;
    if (weft_model_config_parse(text, first, "config.json", split ? split + 1 : NULL, split ? size - first - 1 : 0,
                                &config) == WEFT_OK)
        use(&config);
    weft_model_config_fini(&config);
    return 0;
}
