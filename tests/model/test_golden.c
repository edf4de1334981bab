// The checkpoints that transformers saved (make_golden.py): every one is known, whole, and what it says is understood.
#include <dirent.h>

#include "model/checkpoint.h"
#include "tests/check.h"

static weft_status count_tensor(void *arg, const weft_expected *tensor)
{
    int64_t elements = 1;
    for (int i = 0; i < tensor->rank; i++) elements *= tensor->shape[i];
    *(int64_t *)arg += elements;
    return WEFT_OK;
}

static void check_case(const char *root, const char *name)
{
    char path[512];
    weft_model_config config = {0};
    weft_checkpoint *checkpoint = NULL;
    weft_name_style style = WEFT_NAMES_COUNT;
    int64_t elements = 0;
    snprintf(path, sizeof path, "%s/%s", root, name);
    CHECK_OK(weft_model_config_read(path, &config));
    CHECK_OK(weft_checkpoint_open(path, &checkpoint));
    CHECK_OK(weft_checkpoint_check(checkpoint, &config, &style));
    CHECK_INT(style, strcmp(name, "gemma3-inner") == 0 ? WEFT_NAMES_INNER : WEFT_NAMES_PLAIN);
    CHECK_OK(weft_model_tensors(&config, style, count_tensor, &elements));
    const weft_tensor_entry *first = weft_checkpoint_at(checkpoint, weft_checkpoint_count(checkpoint) - 1);
    CHECK(elements > 10000);
    if (style == WEFT_NAMES_PLAIN)
        CHECK_INT(weft_checkpoint_bytes(checkpoint), elements * weft_dtype_bits(first->type) / 8);
    CHECK_INT(config.stop_count, 1);
    CHECK_INT(config.stops[0], 2);
    CHECK_INT(config.vocab, 128);
    weft_checkpoint_close(checkpoint);
    weft_model_config_fini(&config);
}

int main(void)
{
    const char *root = WEFT_GOLDEN;
    DIR *folder = opendir(root);
    int count = 0;
    CHECK(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        check_case(root, entry->d_name);
        count++;
    }
    closedir(folder);
    CHECK(count >= 19);
    return 0;
}
