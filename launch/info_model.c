// weft info MODEL: architecture, parameters, bytes, tokenizer, and what each layer is.
#include "launch/info_model.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/flags.h"
#include "model/checkpoint.h"
#include "model/synth.h"

typedef struct {
    uint64_t parameters, active, tensors; // active: without the experts that a token does not use
    const weft_model_config *config;
} count;

static weft_status count_tensor(void *arg, const weft_expected *tensor)
{
    count *c = arg;
    uint64_t elements = 1;
    for (int i = 0; i < tensor->rank; i++) elements *= (uint64_t)tensor->shape[i];
    c->parameters += elements;
    c->tensors++;
    const bool expert = tensor->part >= WEFT_PART_EXPERT_GATE;
    c->active += expert ? elements * (uint64_t)c->config->experts_used / (uint64_t)c->config->experts : elements;
    return WEFT_OK;
}

static char *grouped(uint64_t number, char text[32])
{
    char plain[24];
    int length = snprintf(plain, sizeof plain, "%" PRIu64, number), at = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0) text[at++] = ',';
        text[at++] = plain[i];
    }
    text[at] = 0;
    return text;
}

static void print_rope(const weft_rope_config *rope, const char *label, FILE *out)
{
    fprintf(out, "%s%s, base %g, %d elements a head", label, weft_rope_name(rope->type), rope->base, rope->rotary);
    if (rope->type != WEFT_ROPE_PLAIN)
        fprintf(out, ", factor %g of %" PRId64 " positions", rope->factor, rope->original);
    if (rope->attention_factor != 1) fprintf(out, ", cos and sin times %.6g", rope->attention_factor);
    fputc('\n', out);
}

static void print_arithmetic(const weft_model_config *c, FILE *out)
{
    static const char *const norms[] = {"RMS", "RMS, weighted in f32", "RMS by 1 + w"};
    fprintf(out,
            "sizes       hidden %" PRId64 ", %" PRId64 " layers, %" PRId64 " heads and %" PRId64 " kv heads of %" PRId64
            ", FFN %" PRId64 ", vocabulary %" PRId64 ", %" PRId64 " positions\n",
            c->hidden, c->layers, c->heads, c->kv_heads, c->head_dim, c->ffn, c->vocab, c->positions);
    fprintf(out, "attention   scale %.6g%s%s%s%s", c->attention_scale, c->qk_norm ? ", q and k normed" : "",
            c->qkv_bias ? ", bias on q, k, v" : "", c->o_bias ? " and o" : "", c->sinks ? ", sinks" : "");
    if (c->attention_cap != 0) fprintf(out, ", soft-cap %g", c->attention_cap);
    fprintf(out, "\nnorm        %s, eps %g%s\n", norms[c->norm], c->eps, c->sandwich ? ", after each part too" : "");
    bool local = false;
    for (int64_t i = 0; i < c->layers; i++) local = local || c->layer[i].rope == 1;
    print_rope(&c->ropes[0], "rope        ", out);
    if (local) print_rope(&c->ropes[1], "            in windows: ", out);
    fprintf(out, "FFN         %s%s\n", weft_ffn_kind_name(c->ffn_kind), c->ffn_bias ? ", biased" : "");
    if (c->experts)
        fprintf(out, "experts     %" PRId64 " of width %" PRId64 ", %" PRId64 " a token, %s\n", c->experts,
                c->expert_ffn, c->experts_used,
                c->route == WEFT_ROUTE_SELECTED ? "softmax over the chosen"
                : c->route_normalize            ? "softmax over all, normalized"
                                                : "softmax over all");
    fprintf(out, "embedding   %s", c->tied ? "shared with the head" : "and a head of its own");
    if (c->embedding_scale != 1) fprintf(out, ", times %.6g", c->embedding_scale);
    if (c->logit_cap != 0) fprintf(out, ", logits soft-capped at %g", c->logit_cap);
    fprintf(out, "\ncache       %" PRId64 " bytes a token in bf16\n", c->layers * c->kv_heads * c->head_dim * 4);
}

static bool alike(const weft_layer_config *a, const weft_layer_config *b)
{
    return a->window == b->window && a->rope == b->rope && a->moe == b->moe;
}

static void print_layers(const weft_model_config *c, FILE *out)
{
    const char *label = "layers     ";
    for (int64_t first = 0, last; first < c->layers; first = last + 1) {
        for (last = first; last + 1 < c->layers && alike(&c->layer[first], &c->layer[last + 1]);) last++;
        fprintf(out, "%s %" PRId64, label, first);
        if (last > first) fprintf(out, "-%" PRId64, last);
        if (c->layer[first].window)
            fprintf(out, ": attention to %" PRId64 " keys", c->layer[first].window);
        else
            fprintf(out, ": full attention");
        fprintf(out, ", %s\n", c->layer[first].moe ? "experts" : "dense");
        label = "           ";
    }
}

static void print_stops(const weft_model_config *c, FILE *out)
{
    fprintf(out, "stops at   ");
    for (int i = 0; i < c->stop_count; i++) fprintf(out, " %d", c->stops[i]);
    fprintf(out, "%s\n", c->stop_count ? "" : " nothing");
}

static weft_status print_files(const char *model, const weft_model_config *config, FILE *out)
{
    weft_checkpoint *checkpoint = NULL;
    weft_name_style style;
    char size[16];
    weft_status status = weft_checkpoint_open(model, &checkpoint);
    if (status == WEFT_OK) status = weft_checkpoint_check(checkpoint, config, &style);
    if (status == WEFT_OK) {
        const weft_tensor_entry *first = weft_checkpoint_at(checkpoint, 0);
        const int files = weft_checkpoint_files(checkpoint);
        fprintf(out, "weights     %s in %d file%s, %zu tensors, %s\n",
                weft_format_bytes((int64_t)weft_checkpoint_bytes(checkpoint), size), files, files > 1 ? "s" : "",
                weft_checkpoint_count(checkpoint), first ? weft_dtype_name(first->type) : "none");
    }
    weft_checkpoint_close(checkpoint);
    return status;
}

static weft_status print_tokenizer(const char *model, FILE *out)
{
    const weft_json_limits limits = {.bytes = (size_t)256 << 20, .wide_integers = true};
    char path[4096];
    weft_json *root = NULL;
    const char *type = NULL;
    if (snprintf(path, sizeof path, "%s/tokenizer.json", model) >= (int)sizeof path || access(path, F_OK) < 0) {
        fprintf(out, "tokenizer   none\n");
        return WEFT_OK;
    }
    WEFT_TRY(weft_json_read(path, &limits, &root));
    const weft_json *inner = weft_json_get(root, "model");
    type = weft_json_string_value(weft_json_get(inner, "type"));
    fprintf(out, "tokenizer   %s, %zu tokens, %zu added\n", type ? type : "of no stated kind",
            weft_json_size(weft_json_get(inner, "vocab")), weft_json_size(weft_json_get(root, "added_tokens")));
    weft_json_free(root);
    return WEFT_OK;
}

weft_status wi_config_find(const char *model, bool *directory, weft_model_config *config)
{
    const weft_model_shape *shape = weft_model_shape_find(model);
    struct stat info;
    *directory = stat(model, &info) == 0 && S_ISDIR(info.st_mode);
    if (!shape || access(model, F_OK) == 0) return weft_model_config_read(model, config);
    weft_json_writer writer = {0};
    const char *text;
    size_t bytes;
    weft_status status = weft_model_shape_config(shape, WEFT_BF16, &writer, &text, &bytes);
    if (status == WEFT_OK) status = weft_model_config_parse(text, bytes, model, NULL, 0, config);
    weft_json_writer_fini(&writer);
    return status;
}

weft_status wi_info_model(const char *model, FILE *out)
{
    weft_model_config config = {0};
    count c = {.config = &config};
    char number[32];
    bool directory;
    weft_status status;
    WEFT_TRY_GOTO(wi_config_find(model, &directory, &config));
    WEFT_TRY_GOTO(weft_model_tensors(&config, WEFT_NAMES_PLAIN, count_tensor, &c));
    fprintf(out, "model       %s (%s)\n", weft_architecture_class(config.architecture),
            weft_architecture_family(config.architecture));
    fprintf(out, "parameters  %s", grouped(c.parameters, number));
    if (c.active != c.parameters) fprintf(out, ", of which a token uses %s", grouped(c.active, number));
    fputc('\n', out);
    if (directory) {
        WEFT_TRY_GOTO(print_files(model, &config, out));
        WEFT_TRY_GOTO(print_tokenizer(model, out));
    }
    print_arithmetic(&config, out);
    print_layers(&config, out);
    print_stops(&config, out);
fail:
    weft_model_config_fini(&config);
    return status;
}
