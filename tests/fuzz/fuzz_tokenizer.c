// libFuzzer: any bytes as a tokenizer.json; what loads must encode and decode without harm.
#include <stdint.h>
#include <string.h>

#include "model/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char sample[] =
    " Hello, World! caf\xC3\xA9 \xE2\x96\x81\xE4\xBD\xA0\xF0\x9F\x98\x80 123\n\n<s>x</s>\x00\x7F";

static void use(const weft_tokenizer *tokenizer)
{
    weft_encoder *encoder = NULL;
    weft_detokenizer *detokenizer = NULL;
    const int32_t *ids;
    const char *text;
    size_t count, bytes;
    if (weft_encoder_create(tokenizer, &encoder) == WEFT_OK &&
        weft_detokenizer_create(tokenizer, true, &detokenizer) == WEFT_OK &&
        weft_encoder_run(encoder, sample, sizeof sample - 1, true, &ids, &count) == WEFT_OK) {
        for (size_t i = 0; i < count; i++)
            if (weft_detokenizer_push(detokenizer, ids[i], &text, &bytes) < 0) break;
        (void)weft_detokenizer_finish(detokenizer, &text, &bytes);
    }
    for (int32_t id = -1; detokenizer && id <= weft_tokenizer_size(tokenizer) && id < 300; id++)
        if (weft_detokenizer_push(detokenizer, id, &text, &bytes) < 0) break;
    weft_detokenizer_destroy(detokenizer);
    weft_encoder_destroy(encoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weft_tokenizer *tokenizer = NULL;
    if (weft_tokenizer_parse((const char *)data, size, "fuzz", &tokenizer) == WEFT_OK) use(tokenizer);
    weft_tokenizer_destroy(tokenizer);
    weft_error_clear();
    return 0;
}
