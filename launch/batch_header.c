#include "launch/batch_header.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sha256.h"

enum { SAMPLES = 256, SAMPLE_COLUMNS = 64 }; // tensors of which some values are looked at

static weft_status add_file(weft_sha256 *hash, const char *folder, const char *name)
{
    char *path = NULL, piece[1 << 14];
    size_t got;
    if (asprintf(&path, "%s/%s", folder, name) < 0) return weft_fail(WEFT_NO_MEMORY, "no memory for a path");
    FILE *in = fopen(path, "rb");
    weft_status status = WEFT_OK;
    weft_sha256_add(hash, name, strlen(name) + 1);
    while (in && (got = fread(piece, 1, sizeof piece, in)) > 0) weft_sha256_add(hash, piece, got);
    if (in && ferror(in)) status = weft_fail(WEFT_IO, "%s: %s", path, strerror(errno));
    if (in) fclose(in); // one that is not there was not needed to load the model
    free(path);
    return status;
}

// A model that was trained on has the shapes that it had: the first values of some tensors tell.
static weft_status add_values(weft_sha256 *hash, const weft_checkpoint *checkpoint, const weft_tensor_entry *tensor)
{
    unsigned char values[SAMPLE_COLUMNS * 8];
    const int64_t width = tensor->rank > 0 ? tensor->shape[tensor->rank - 1] : 1;
    const size_t size = (size_t)weft_dtype_bits(tensor->type) / 8;
    const int64_t columns = width < SAMPLE_COLUMNS ? width : SAMPLE_COLUMNS;
    const weft_read range = {
        .tensor = tensor, .rows = 1, .columns = columns, .to = values, .to_stride = (size_t)columns * size};
    if (tensor->bytes == 0 || size == 0 || size > 8) return WEFT_OK;
    if (!weft_checkpoint_read_range(checkpoint, &range)) return weft_checkpoint_read_failure(checkpoint, &range);
    weft_sha256_add(hash, values, (size_t)columns * size);
    return WEFT_OK;
}

static weft_status hash_model(const wi_model *m, const char *folder, char text[65])
{
    static const char *const files[] = {"config.json", "generation_config.json", "tokenizer.json"};
    const size_t count = weft_checkpoint_count(m->checkpoint), every = count / SAMPLES + 1;
    weft_sha256 hash;
    weft_sha256_begin(&hash);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) WEFT_TRY(add_file(&hash, folder, files[i]));
    for (size_t i = 0; i < count; i++) {
        const weft_tensor_entry *t = weft_checkpoint_at(m->checkpoint, i);
        const int64_t facts[] = {t->type, t->rank, (int64_t)t->bytes};
        weft_sha256_add(&hash, t->name, strlen(t->name) + 1);
        weft_sha256_add(&hash, facts, sizeof facts);
        weft_sha256_add(&hash, t->shape, (size_t)t->rank * sizeof *t->shape);
        if (i % every == 0) WEFT_TRY(add_values(&hash, m->checkpoint, t));
    }
    weft_sha256_end(&hash, text);
    return WEFT_OK;
}

static const char *cache_name(weft_cache_type type)
{
    static const char *const names[] = {"f32", "bf16", "int8", "fp8"};
    return names[type];
}

weft_status wi_batch_header(const wi_model *m, const char *folder, const wi_request_rules *rules, bool unordered,
                            char **out)
{
    const weft_weights *weights = weft_model_weights_of(m->model);
    const weft_model_options *options = weft_model_options_of(m->model);
    const wi_request_settings *d = &rules->defaults;
    char model[65], stop[65] = "none", mesh[48] = "invariant";
    WEFT_TRY(hash_model(m, folder, model));
    if (rules->stop_count > 0) {
        weft_sha256 hash;
        weft_sha256_begin(&hash);
        for (int i = 0; i < rules->stop_count; i++)
            weft_sha256_add(&hash, rules->stops[i], strlen(rules->stops[i]) + 1);
        weft_sha256_end(&hash, stop);
    }
    // Without the contract the layout matters as well.
    if (m->mesh.shape.fast)
        snprintf(mesh, sizeof mesh, "fast tp %d cp %d dense %d", m->mesh.shape.tp, m->mesh.shape.cp,
                 (int)m->mesh.shape.dense);
    const int length = asprintf(
        out,
        "contract %d\nfamily %s\nattention %s\nnumerics %s\nmodel %s\nweights %s\ngroup %d\nkv %s\ncontext %" PRId64
        "\norder %s\nmax-tokens %" PRId64 "\ntemperature %.17g\ntop-k %" PRId64
        "\ntop-p %.17g\nmin-p %.17g\nseed %" PRIu64 "\nn %" PRId64 "\nignore-eos %d\nstop %s\n",
        WEFT_CONTRACT_VERSION, weft_family_name(weights->family), weft_model_attention_name(m->model), mesh, model,
        weft_dtype_name(weights->type), options->weights.group, cache_name(options->cache), rules->context,
        unordered ? "as they finish" : "input", d->max_tokens, d->temperature, d->top_k, d->top_p, d->min_p,
        rules->seed, d->n, (int)d->ignore_eos, stop);
    if (length >= 0) return WEFT_OK;
    *out = NULL;
    return weft_fail(WEFT_NO_MEMORY, "no memory for the header of a journal");
}
