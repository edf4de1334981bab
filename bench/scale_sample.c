// A sample: the line of one job (weft.cell/1), read back.
#include <stdlib.h>
#include <string.h>

#include "bench/scale.h"

static weft_status malformed(const weft_scale_cell *cell, const char *what)
{
    return weft_fail(WEFT_FORMAT, "%s: the job's line has no proper %s (weft.cell/1)", cell->key, what);
}

static double real_at(const weft_json *object, const char *key)
{
    return weft_json_real_value(weft_json_get(object, key));
}

static void copy_text(const weft_json *object, const char *key, char *out, size_t capacity)
{
    const char *text = weft_json_string_value(weft_json_get(object, key));
    snprintf(out, capacity, "%s", text ? text : "");
}

// That the job did what the cell is.
static weft_status check_facts(const weft_json *root, const weft_scale_cell *cell)
{
    const struct {
        const char *key;
        int64_t wanted;
    } facts[] = {{"ranks", cell->ranks},
                 {"nodes", cell->nodes},
                 {"prompt", cell->context},
                 {"generate", cell->generate},
                 {"batch", cell->batch}};
    const char *schema = weft_json_string_value(weft_json_get(root, "schema"));
    if (!schema || strcmp(schema, "weft.cell/1") != 0) return malformed(cell, "schema");
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        const int64_t had = weft_json_int_value(weft_json_get(root, facts[i].key));
        if (had != facts[i].wanted)
            return weft_fail(WEFT_MISMATCH, "%s: the job had %s %lld where %lld were asked for: look at the launcher",
                             cell->key, facts[i].key, (long long)had, (long long)facts[i].wanted);
    }
    return WEFT_OK;
}

static bool read_part(const weft_json *round, const char *seconds, const char *compute, int ranks, weft_scale_part *out)
{
    const weft_json *all = weft_json_get(round, compute);
    *out = (weft_scale_part){.seconds = real_at(round, seconds)};
    for (int r = 0; r < ranks; r++) {
        const double one = weft_json_real_value(weft_json_at(all, (size_t)r));
        if (one > out->busiest) out->busiest = one;
        out->mean += one / ranks;
    }
    return out->seconds > 0 && out->mean > 0 && weft_json_size(all) == (size_t)ranks;
}

static weft_status read_rounds(const weft_json *root, const weft_scale_cell *cell, weft_scale_sample *out)
{
    const weft_json *all = weft_json_get(root, "rounds");
    out->rounds = (int)weft_json_size(all);
    if (out->rounds < 1) return malformed(cell, "rounds");
    out->part = calloc((size_t)out->rounds, sizeof *out->part);
    if (!out->part) return weft_fail(WEFT_NO_MEMORY, "no memory for a sample");
    for (int i = 0; i < out->rounds; i++) {
        const weft_json *one = weft_json_at(all, (size_t)i);
        if (!read_part(one, "prompts_s", "prompts_compute_s", cell->ranks, &out->part[i][WEFT_SCALE_PROMPTS]) ||
            !read_part(one, "steps_s", "steps_compute_s", cell->ranks, &out->part[i][WEFT_SCALE_STEPS]))
            return malformed(cell, "round");
    }
    return WEFT_OK;
}

static weft_status read_digests(const weft_json *root, const weft_scale_cell *cell, weft_scale_sample *out)
{
    const weft_json *all = weft_json_get(root, "digests");
    if ((int64_t)weft_json_size(all) != cell->batch) return malformed(cell, "digests");
    out->digests = (int)cell->batch;
    out->digest = calloc((size_t)cell->batch, sizeof *out->digest);
    if (!out->digest) return weft_fail(WEFT_NO_MEMORY, "no memory for a sample");
    for (int i = 0; i < out->digests; i++) {
        const char *text = weft_json_string_value(weft_json_at(all, (size_t)i));
        if (!text || strlen(text) != 64) return malformed(cell, "digest");
        memcpy(out->digest[i], text, 65);
    }
    return WEFT_OK;
}

// Points of bytes and seconds, ascending; whatever else it is counts as not there.
static weft_link read_link(const weft_json *points)
{
    weft_link link = {0};
    if (weft_json_size(points) != WEFT_LINK_POINTS) return link;
    for (size_t i = 0; i < WEFT_LINK_POINTS; i++) {
        const weft_json *point = weft_json_at(points, i);
        link.bytes[i] = weft_json_real_value(weft_json_at(point, 0));
        link.seconds[i] = weft_json_real_value(weft_json_at(point, 1));
        if (link.seconds[i] <= 0 || link.bytes[i] <= (i > 0 ? link.bytes[i - 1] : 0)) return (weft_link){0};
    }
    return link;
}

static void read_machine(const weft_json *root, weft_scale_sample *out)
{
    const weft_json *machine = weft_json_get(root, "machine");
    out->read = real_at(machine, "rank_bytes_per_s");
    out->operations = real_at(machine, "rank_operations_per_s");
    out->linear = real_at(machine, "linear_operations_per_s");
    out->stream = real_at(machine, "linear_bytes_per_s");
    out->near = read_link(weft_json_get(machine, "near"));
    out->far = read_link(weft_json_get(machine, "far"));
}

static weft_status read_sample(const weft_json *root, const weft_scale_cell *cell, weft_scale_sample *out)
{
    char dense[8];
    WEFT_TRY(check_facts(root, cell));
    WEFT_TRY(read_rounds(root, cell, out));
    WEFT_TRY(read_digests(root, cell, out));
    out->tp = (int)weft_json_int_value(weft_json_get(root, "tp"));
    out->cp = (int)weft_json_int_value(weft_json_get(root, "cp"));
    copy_text(root, "dense", dense, sizeof dense);
    out->dense = strcmp(dense, "mesh") == 0 ? 2 : 1;
    if (out->tp * out->cp != cell->ranks) return malformed(cell, "mesh");
    copy_text(root, "transport", out->transport, sizeof out->transport);
    copy_text(root, "family", out->family, sizeof out->family);
    copy_text(root, "weights", out->weights, sizeof out->weights);
    out->load_s = real_at(root, "load_s");
    read_machine(root, out);
    return WEFT_OK;
}

weft_status weft_scale_sample_parse(const char *line, size_t bytes, const weft_scale_cell *cell, weft_scale_sample *out)
{
    weft_json *root = NULL;
    weft_scale_sample sample = {0};
    weft_status status;
    WEFT_TRY(weft_json_parse(line, bytes, cell->key, NULL, &root));
    WEFT_TRY_GOTO(read_sample(root, cell, &sample));
    weft_json_free(root);
    *out = sample;
    return WEFT_OK;
fail:
    weft_json_free(root);
    weft_scale_sample_free(&sample);
    return status;
}

void weft_scale_sample_free(weft_scale_sample *sample)
{
    free(sample->part);
    free(sample->digest);
    *sample = (weft_scale_sample){0};
}
