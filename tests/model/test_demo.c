// The demo model (train_demo.py): its config and weights are one model that weft knows, no larger than promised, and
// its tokenizer gives the held-out text back.
#include "model/checkpoint.h"
#include "model/tokenizer.h"
#include "tests/check.h"

static weft_model_config config;

static void check_weights(void)
{
    weft_checkpoint *checkpoint = NULL;
    weft_name_style style = WEFT_NAMES_COUNT;
    CHECK_OK(weft_model_config_read(WEFT_DEMO, &config));
    CHECK_OK(weft_checkpoint_open(WEFT_DEMO, &checkpoint));
    CHECK_OK(weft_checkpoint_check(checkpoint, &config, &style));
    CHECK(weft_checkpoint_bytes(checkpoint) <= 8000000);
    CHECK(strcmp(weft_architecture_family(config.architecture), "llama") == 0);
    CHECK_INT(config.positions, 1024);
    CHECK(config.tied);
    CHECK_INT(config.stop_count, 1);
    weft_checkpoint_close(checkpoint);
}

static char *read_text(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    char *text = malloc(1 << 20);
    CHECK(file && text);
    *bytes = fread(text, 1, 1 << 20, file);
    CHECK(*bytes > 30000 && *bytes < 1 << 20);
    fclose(file);
    return text;
}

static void check_back(const weft_tokenizer *tokenizer, const int32_t *ids, size_t count, const char *text,
                       size_t bytes)
{
    weft_detokenizer *detokenizer = NULL;
    const char *piece = NULL;
    size_t at = 0, length = 0;
    CHECK_OK(weft_detokenizer_create(tokenizer, false, &detokenizer));
    for (size_t i = 0; i <= count; i++) {
        if (i < count)
            CHECK_OK(weft_detokenizer_push(detokenizer, ids[i], &piece, &length));
        else
            CHECK_OK(weft_detokenizer_finish(detokenizer, &piece, &length));
        CHECK(length <= bytes - at);
        CHECK(length == 0 || memcmp(text + at, piece, length) == 0);
        at += length;
    }
    CHECK_INT(at, bytes);
    weft_detokenizer_destroy(detokenizer);
}

static void check_tokenizer(void)
{
    weft_tokenizer *tokenizer = NULL;
    weft_encoder *encoder = NULL;
    const int32_t *ids = NULL;
    size_t bytes = 0, count = 0;
    char *text = read_text(WEFT_DEMO "/heldout.txt", &bytes);
    CHECK_OK(weft_tokenizer_read(WEFT_DEMO, &tokenizer));
    CHECK_INT(weft_tokenizer_size(tokenizer), config.vocab);
    CHECK_INT(weft_tokenizer_id(tokenizer, "<|end|>", 7), config.stops[0]);
    CHECK_OK(weft_encoder_create(tokenizer, &encoder));
    CHECK_OK(weft_encoder_run(encoder, text, bytes, true, &ids, &count));
    CHECK_INT(ids[0], weft_tokenizer_id(tokenizer, "<|begin|>", 9));
    CHECK(weft_tokenizer_is_special(tokenizer, ids[0]));
    CHECK(count < bytes / 3); // its vocabulary is made for such text
    check_back(tokenizer, ids, count, text, bytes);
    weft_encoder_destroy(encoder);
    weft_tokenizer_destroy(tokenizer);
    free(text);
}

int main(void)
{
    check_weights();
    check_tokenizer();
    weft_model_config_fini(&config);
    return 0;
}
