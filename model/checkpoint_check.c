// A checkpoint beside its config: every tensor that the model has, of the right shape, and none that nobody reads.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint_impl.h"

enum { SHOWN = 80 };

typedef struct {
    const weft_checkpoint *checkpoint;
    const weft_model_config *config;
    weft_name_style style;
    bool *read; // [count]: some part of the model is there
    size_t missing;
    char first[WEFT_NAME_MAX];
} checker;

static char *shape_text(int rank, const int64_t *shape, char text[96])
{
    size_t used = (size_t)snprintf(text, 96, "(");
    for (int i = 0; i < rank && used < 96; i++)
        used += (size_t)snprintf(text + used, 96 - used, "%s%" PRId64, i ? ", " : "", shape[i]);
    if (used < 96) snprintf(text + used, 96 - used, ")");
    return text;
}

static bool is_float(weft_dtype type) { return type == WEFT_F32 || type == WEFT_F16 || type == WEFT_BF16; }

const weft_tensor_entry *weft_checkpoint_scales(const weft_checkpoint *checkpoint, const weft_tensor_entry *matrix)
{
    char name[WEFT_NAME_MAX + 16];
    const int length = snprintf(name, sizeof name, "%s_scale_inv", matrix->name);
    return length < (int)sizeof name ? weft_checkpoint_find(checkpoint, name) : NULL;
}

// An e4m3 matrix needs a scale for each block.
static weft_status check_scales(checker *k, const weft_tensor_entry *matrix)
{
    const weft_checkpoint *c = k->checkpoint;
    const weft_tensor_entry *scales = weft_checkpoint_scales(c, matrix);
    const int64_t block[] = {k->config->fp8_rows, k->config->fp8_columns};
    char is[96], should[96];
    if (!scales) {
        if (k->missing++ == 0) snprintf(k->first, sizeof k->first, "%.*s_scale_inv", SHOWN, matrix->name);
        return WEFT_OK;
    }
    k->read[scales - c->tensor] = true;
    int64_t blocks[2];
    for (int i = 0; i < 2; i++) blocks[i] = (matrix->shape[i] + block[i] - 1) / block[i];
    if (scales->rank == 2 && scales->shape[0] == blocks[0] && scales->shape[1] == blocks[1] && is_float(scales->type))
        return WEFT_OK;
    return weft_fail(WEFT_INVALID, "%s: tensor %.*s: is %s %s, and by config.json it must be %s of f32, f16 or bf16",
                     c->file[scales->file].path, SHOWN, scales->name, weft_dtype_name(scales->type),
                     shape_text(scales->rank, scales->shape, is), shape_text(2, blocks, should));
}

static weft_status check_tensor(void *arg, const weft_expected *expected)
{
    checker *k = arg;
    const weft_checkpoint *c = k->checkpoint;
    const weft_tensor_entry *entry = weft_checkpoint_find(c, expected->name);
    char is[96], should[96];
    if (!entry) {
        if (k->missing++ == 0) snprintf(k->first, sizeof k->first, "%s", expected->name);
        return WEFT_OK;
    }
    k->read[entry - c->tensor] = true;
    bool same = entry->rank == expected->rank;
    for (int i = 0; i < expected->rank && same; i++) same = entry->shape[i] == expected->shape[i];
    if (!same)
        return weft_fail(WEFT_INVALID, "%s: tensor %.*s: is %s, and by config.json it must be %s",
                         c->file[entry->file].path, SHOWN, entry->name, shape_text(entry->rank, entry->shape, is),
                         shape_text(expected->rank, expected->shape, should));
    if (entry->type == WEFT_E4M3 && entry->rank == 2 && k->config->fp8_rows) return check_scales(k, entry);
    if (!is_float(entry->type))
        return weft_fail(WEFT_UNSUPPORTED, "%s: tensor %.*s: is %s; weft reads f32, f16 and bf16, and e4m3 with scales",
                         c->file[entry->file].path, SHOWN, entry->name, weft_dtype_name(entry->type));
    return WEFT_OK;
}

static weft_status check_extra(const checker *k, const weft_model_config *config)
{
    const weft_checkpoint *c = k->checkpoint;
    size_t extra = 0, first = 0;
    for (size_t i = c->count; i-- > 0;) {
        if (k->read[i] || weft_name_ignored(config, k->style, c->tensor[i].name)) continue;
        extra++;
        first = i;
    }
    if (extra == 0) return WEFT_OK;
    return weft_fail(WEFT_INVALID,
                     "%s: tensor %.*s%s: a %s of this config.json has no such tensor; is the config the model's?",
                     c->file[c->tensor[first].file].path, SHOWN, c->tensor[first].name, extra > 1 ? " and others" : "",
                     weft_architecture_class(config->architecture));
}

weft_status weft_checkpoint_check(const weft_checkpoint *checkpoint, const weft_model_config *config,
                                  weft_name_style *style)
{
    checker k = {.checkpoint = checkpoint, .config = config, .style = WEFT_NAMES_PLAIN};
    weft_expected tensor;
    weft_status status;
    k.read = calloc(checkpoint->count ? checkpoint->count : 1, sizeof *k.read);
    if (!k.read) return weft_fail(WEFT_NO_MEMORY, "no memory to check %s", checkpoint->directory);
    for (int i = WEFT_NAMES_COUNT - 1; i >= 0; i--)
        if (weft_model_tensor(config, (weft_name_style)i, WEFT_PART_EMBEDDING, -1, -1, &tensor) &&
            weft_checkpoint_find(checkpoint, tensor.name))
            k.style = (weft_name_style)i;
    WEFT_TRY_GOTO(weft_model_tensors(config, k.style, check_tensor, &k));
    if (k.missing)
        status = weft_fail(WEFT_INVALID, "%s: tensor %s: is missing, and %zu more; is the download complete?",
                           checkpoint->directory, k.first, k.missing - 1);
    else
        status = check_extra(&k, config);
    if (status == WEFT_OK) *style = k.style;
fail:
    free(k.read);
    return status;
}
