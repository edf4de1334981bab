// config.json: the common part, and what the table of architectures asks for.
#include "model/config.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/checked.h"
#include "model/config_impl.h"

enum { CONFIG_BYTES = 8 << 20, PATH_MAX_HERE = 4096 };
enum { HIDDEN_MAX = 1 << 20, LAYERS_MAX = 4096, HEADS_MAX = 1 << 16, HEAD_DIM_MAX = 1024, VOCAB_MAX = 1 << 24 };

// ---- reading ----

weft_status wi_reader_fail(const wi_reader *r, weft_status status)
{
    return weft_fail(status, "%s: %s", r->name, weft_error_text());
}

weft_status wi_read_int(const wi_reader *r, const char *key, int64_t min, int64_t max, int64_t fallback, int64_t *out)
{
    weft_status status = weft_json_int(r->text, key, min, max, fallback, out);
    return status < 0 ? wi_reader_fail(r, status) : WEFT_OK;
}

weft_status wi_read_bool(const wi_reader *r, const char *key, bool fallback, bool *out)
{
    weft_status status = weft_json_bool(r->text, key, fallback, out);
    return status < 0 ? wi_reader_fail(r, status) : WEFT_OK;
}

weft_status wi_read_string(const wi_reader *r, const char *key, const char *fallback, const char **out)
{
    weft_status status = weft_json_string(r->text, key, fallback, out);
    return status < 0 ? wi_reader_fail(r, status) : WEFT_OK;
}

weft_status wi_read_real(const wi_reader *r, const weft_json *object, const char *key, double min, double max,
                         double fallback, double *out)
{
    double value;
    weft_status status = weft_json_real(object, key, fallback, &value);
    if (status < 0) return wi_reader_fail(r, status);
    if (value != fallback && !(value >= min && value <= max))
        return weft_fail(WEFT_INVALID, "%s: \"%s\" is %g and must be between %g and %g", r->name, key, value, min, max);
    *out = value;
    return WEFT_OK;
}

// A size that must stand in the file unless the architecture has a default for it.
static weft_status read_size(const wi_reader *r, const char *key, int64_t max, int64_t fallback, int64_t *out)
{
    if (fallback == 0 && weft_json_kind_of(weft_json_get(r->text, key)) == WEFT_JSON_NULL)
        return weft_fail(WEFT_INVALID, "%s: lacks \"%s\", which %s needs; is it the model's config.json?", r->name, key,
                         r->a->family);
    return wi_read_int(r, key, 1, max, fallback, out);
}

// ---- what model is it ----

static weft_status find_architecture(wi_reader *r)
{
    const char *type;
    r->text = r->root;
    WEFT_TRY(wi_read_string(r, "model_type", NULL, &type));
    if (!type)
        return weft_fail(WEFT_INVALID, "%s: lacks \"model_type\"; is it the config.json of a Hugging Face model?",
                         r->name);
    if (strcmp(type, "gemma3") == 0) { // text and images: the text model is described inside
        r->text = weft_json_get(r->root, "text_config");
        if (weft_json_kind_of(r->text) != WEFT_JSON_OBJECT)
            return weft_fail(WEFT_INVALID, "%s: a gemma3 without \"text_config\"", r->name);
        type = "gemma3_text";
    }
    for (const weft_architecture *a = wi_architectures; a->family; a++)
        if (strcmp(type, a->model_type) == 0) r->a = a;
    if (!r->a)
        return weft_fail(WEFT_UNSUPPORTED, "%s: \"model_type\" is \"%.60s\", which weft does not know; it knows %s",
                         r->name, type, weft_architecture_list());
    r->c->architecture = r->a;
    return WEFT_OK;
}

static const char *text_of(const weft_json *object, const char *key, const char *fallback)
{
    const char *text = weft_json_string_value(weft_json_get(object, key));
    return text ? text : fallback;
}

// E4M3 by blocks is read, and activations are not rounded; every other way is refused.
static weft_status read_quantization(const wi_reader *r)
{
    const weft_json *q = weft_json_get(r->root, "quantization_config");
    if (!q) q = weft_json_get(r->text, "quantization_config");
    if (weft_json_kind_of(q) == WEFT_JSON_NULL) return WEFT_OK;
    const char *method = text_of(q, "quant_method", ""), *format = text_of(q, "fmt", "e4m3");
    if (strcmp(method, "fp8") != 0 || strcmp(format, "e4m3") != 0)
        return weft_fail(WEFT_UNSUPPORTED,
                         "%s: the checkpoint is quantized (\"quantization_config\": %.40s); weft reads fp8 (e4m3), "
                         "f32, f16 and bf16, and quantizes by --weights",
                         r->name, strcmp(method, "fp8") == 0 ? format : method);
    const weft_json *block = weft_json_get(q, "weight_block_size");
    const int64_t rows = weft_json_int_value(weft_json_at(block, 0)),
                  columns = weft_json_int_value(weft_json_at(block, 1));
    if (weft_json_size(block) != 2 || rows < 1 || rows > 1 << 20 ||
        (columns != 16 && columns != 32 && columns != 64 && columns != 128))
        return weft_fail(
            WEFT_UNSUPPORTED,
            "%s: \"weight_block_size\" of fp8 must be [ROWS, COLUMNS] with 16, 32, 64 or 128 columns; weft "
            "reads no other scales",
            r->name);
    if (strcmp(text_of(q, "activation_scheme", "dynamic"), "dynamic") != 0)
        return weft_fail(WEFT_UNSUPPORTED, "%s: \"activation_scheme\" is %.40s; weft reads fp8 with dynamic", r->name,
                         text_of(q, "activation_scheme", ""));
    r->c->fp8_rows = (int)rows;
    r->c->fp8_columns = (int)columns;
    return WEFT_OK;
}

// What would change the arithmetic and is not computed here.
static weft_status refuse_unknown(const wi_reader *r)
{
    bool both_ways;
    WEFT_TRY(wi_read_bool(r, "use_bidirectional_attention", false, &both_ways));
    if (both_ways)
        return weft_fail(WEFT_UNSUPPORTED, "%s: \"use_bidirectional_attention\" is true; weft runs causal decoders",
                         r->name);
    if (!r->a->caps && weft_json_kind_of(weft_json_get(r->text, "attn_logit_softcapping")) != WEFT_JSON_NULL)
        return weft_fail(WEFT_UNSUPPORTED, "%s: \"attn_logit_softcapping\" is known for gemma2 alone, not for %s",
                         r->name, r->a->family);
    return WEFT_OK;
}

static weft_status read_dtype(const wi_reader *r)
{
    const char *name;
    WEFT_TRY(wi_read_string(r, "dtype", NULL, &name));
    if (!name) WEFT_TRY(wi_read_string(r, "torch_dtype", NULL, &name));
    if (!name || strcmp(name, "auto") == 0) return WEFT_OK;
    if (strncmp(name, "torch.", 6) == 0) name += 6;
    r->c->has_dtype = true;
    if (strcmp(name, "float32") == 0)
        r->c->dtype = WEFT_F32;
    else if (strcmp(name, "float16") == 0)
        r->c->dtype = WEFT_F16;
    else if (strcmp(name, "bfloat16") == 0)
        r->c->dtype = WEFT_BF16;
    else
        return weft_fail(WEFT_UNSUPPORTED, "%s: \"dtype\" is \"%.40s\"; weft reads float32, float16 and bfloat16",
                         r->name, name);
    return WEFT_OK;
}

// ---- sizes ----

static weft_status read_heads(const wi_reader *r)
{
    weft_model_config *c = r->c;
    WEFT_TRY(read_size(r, "num_attention_heads", HEADS_MAX, r->a->heads, &c->heads));
    WEFT_TRY(
        wi_read_int(r, "num_key_value_heads", 1, HEADS_MAX, r->a->kv_heads ? r->a->kv_heads : c->heads, &c->kv_heads));
    WEFT_TRY(wi_read_int(r, "head_dim", 1, HEAD_DIM_MAX, r->a->head_dim, &c->head_dim));
    if (c->head_dim == 0) {
        if (c->hidden % c->heads)
            return weft_fail(WEFT_INVALID,
                             "%s: \"hidden_size\" is %" PRId64 ", not a multiple of \"num_attention_heads\", %" PRId64
                             ", and there is no \"head_dim\"",
                             r->name, c->hidden, c->heads);
        c->head_dim = c->hidden / c->heads;
    }
    if (c->head_dim % 8 || c->head_dim > HEAD_DIM_MAX)
        return weft_fail(WEFT_UNSUPPORTED, "%s: heads of %" PRId64 " elements; weft computes multiples of 8 up to %d",
                         r->name, c->head_dim, HEAD_DIM_MAX);
    if (c->heads % c->kv_heads)
        return weft_fail(WEFT_INVALID,
                         "%s: \"num_attention_heads\", %" PRId64
                         ", is not a multiple of \"num_key_value_heads\", %" PRId64,
                         r->name, c->heads, c->kv_heads);
    return WEFT_OK;
}

static weft_status read_sizes(const wi_reader *r)
{
    weft_model_config *c = r->c;
    size_t bytes;
    WEFT_TRY(read_size(r, "hidden_size", HIDDEN_MAX, 0, &c->hidden));
    WEFT_TRY(read_size(r, "num_hidden_layers", LAYERS_MAX, 0, &c->layers));
    WEFT_TRY(read_size(r, "intermediate_size", VOCAB_MAX, 0, &c->ffn));
    WEFT_TRY(read_size(r, "vocab_size", VOCAB_MAX, r->a->vocab, &c->vocab));
    WEFT_TRY(read_size(r, "max_position_embeddings", INT32_MAX, r->a->positions, &c->positions));
    WEFT_TRY(read_heads(r));
    const int64_t widest = c->vocab > c->ffn ? c->vocab : c->ffn, both = 2 * c->heads * c->head_dim;
    if (!weft_size_product((const int64_t[]){widest > both ? widest : both, c->hidden, 8}, 3, &bytes))
        return weft_fail(WEFT_OVERFLOW, "%s: a matrix of this model does not fit memory", r->name);
    WEFT_TRY(wi_read_real(r, r->text, "rms_norm_eps", 1e-12, 1, r->a->eps, &c->eps));
    return wi_read_bool(r, "tie_word_embeddings", r->a->tied, &c->tied);
}

static weft_status read_experts(const wi_reader *r)
{
    weft_model_config *c = r->c;
    const wi_moe_rule rule = r->a->moe;
    if (rule == WI_MOE_NONE) return WEFT_OK;
    const char *key = weft_json_kind_of(weft_json_get(r->text, "num_experts")) != WEFT_JSON_NULL ? "num_experts"
                                                                                                 : "num_local_experts";
    WEFT_TRY(wi_read_int(r, key, 1, WEFT_EXPERTS_MAX, r->a->experts, &c->experts));
    WEFT_TRY(wi_read_int(r, "num_experts_per_tok", 1, WEFT_EXPERTS_MAX, r->a->experts_used, &c->experts_used));
    if (c->experts_used > c->experts)
        return weft_fail(WEFT_INVALID, "%s: \"num_experts_per_tok\" is %" PRId64 " of %" PRId64 " experts", r->name,
                         c->experts_used, c->experts);
    c->expert_ffn = c->ffn;
    c->route = WEFT_ROUTE_SOFTMAX;
    c->route_normalize = true;
    if (rule == WI_MOE_SPARSE) {
        WEFT_TRY(wi_read_int(r, "moe_intermediate_size", 1, VOCAB_MAX, r->a->expert_ffn, &c->expert_ffn));
        WEFT_TRY(wi_read_bool(r, "norm_topk_prob", false, &c->route_normalize));
    }
    if (rule != WI_MOE_BIASED) return WEFT_OK;
    c->route = WEFT_ROUTE_SELECTED;
    c->route_bias = c->ffn_bias = true;
    return WEFT_OK;
}

// ---- arithmetic ----

static weft_status read_activation(const wi_reader *r)
{
    static const struct {
        const char *name;
        weft_ffn_kind kind;
    } known[] = {{"silu", WEFT_FFN_SILU},
                 {"swish", WEFT_FFN_SILU},
                 {"gelu_pytorch_tanh", WEFT_FFN_GELU_TANH},
                 {"gelu_new", WEFT_FFN_GELU_TANH},
                 {"gelu", WEFT_FFN_GELU_ERF}};
    const bool gemma = r->a->activation_key;
    const char *key = gemma ? "hidden_activation" : "hidden_act", *name;
    size_t i = 0;
    WEFT_TRY(wi_read_string(r, key, gemma ? "gelu_pytorch_tanh" : "silu", &name));
    while (i < sizeof known / sizeof *known && strcmp(name, known[i].name) != 0) i++;
    if (i == sizeof known / sizeof *known || (r->a->moe == WI_MOE_BIASED && known[i].kind != WEFT_FFN_SILU))
        return weft_fail(WEFT_UNSUPPORTED, "%s: \"%s\" is \"%.40s\"; weft knows silu%s", r->name, key, name,
                         r->a->moe == WI_MOE_BIASED ? " here" : ", gelu and gelu_pytorch_tanh");
    r->c->ffn_kind = known[i].kind;
    if (r->a->moe != WI_MOE_BIASED) return WEFT_OK;
    r->c->ffn_kind = WEFT_FFN_CLAMPED_SWISH;
    WEFT_TRY(wi_read_real(r, r->text, "swiglu_alpha", 1e-3, 1e3, 1.702, &r->c->ffn_alpha));
    return wi_read_real(r, r->text, "swiglu_limit", 1e-3, 1e6, 7, &r->c->ffn_limit);
}

// A soft-cap that is null is none, one that is absent is the default.
static weft_status read_cap(const wi_reader *r, const char *key, double fallback, double *out)
{
    const weft_json *member = weft_json_get(r->text, key);
    if (member && weft_json_kind_of(member) == WEFT_JSON_NULL) fallback = 0;
    return wi_read_real(r, r->text, key, 1e-3, 1e6, fallback, out);
}

static weft_status read_arithmetic(const wi_reader *r)
{
    weft_model_config *c = r->c;
    const weft_architecture *a = r->a;
    bool bias = false;
    double scalar = (double)c->head_dim;
    c->norm = a->norm;
    c->qk_norm = a->qk_norm;
    c->sandwich = a->sandwich;
    c->sinks = a->sinks;
    if (a->bias == WI_BIAS_ON_ASK) WEFT_TRY(wi_read_bool(r, "attention_bias", a->attention_default, &bias));
    c->o_bias = bias;
    c->qkv_bias = bias || a->bias == WI_BIAS_QKV;
    if (a->mlp_bias_flag) WEFT_TRY(wi_read_bool(r, "mlp_bias", false, &c->ffn_bias));
    if (a->query_scalar) WEFT_TRY(wi_read_real(r, r->text, "query_pre_attn_scalar", 1e-3, 1e6, 256, &scalar));
    c->attention_scale = 1 / sqrt(scalar);
    c->embedding_scale = a->scaled_embedding ? sqrt((double)c->hidden) : 1;
    if (a->caps) WEFT_TRY(read_cap(r, "attn_logit_softcapping", a->attention_cap, &c->attention_cap));
    if (a->caps || a->logit_cap) WEFT_TRY(read_cap(r, "final_logit_softcapping", a->final_cap, &c->logit_cap));
    return read_activation(r);
}

// ---- the whole ----

static weft_status read_all(wi_reader *r, const weft_json *generation)
{
    if (weft_json_kind_of(r->root) != WEFT_JSON_OBJECT)
        return weft_fail(WEFT_FORMAT, "%s: must be a JSON object", r->name);
    WEFT_TRY(find_architecture(r));
    WEFT_TRY(read_quantization(r));
    WEFT_TRY(refuse_unknown(r));
    WEFT_TRY(read_dtype(r));
    WEFT_TRY(read_sizes(r));
    WEFT_TRY(read_arithmetic(r));
    WEFT_TRY(read_experts(r));
    WEFT_TRY(wi_config_ropes(r));
    WEFT_TRY(wi_config_layers(r));
    return wi_config_stops(r, generation);
}

static weft_status read_documents(const weft_json *root, const char *name, const weft_json *generation,
                                  weft_model_config *out)
{
    weft_model_config config = {0};
    wi_reader reader = {.name = name, .root = root, .c = &config};
    weft_status status = read_all(&reader, generation);
    if (status < 0)
        weft_model_config_fini(&config);
    else
        *out = config;
    return status;
}

weft_status weft_model_config_parse(const char *text, size_t bytes, const char *name, const char *generation,
                                    size_t generation_bytes, weft_model_config *out)
{
    const weft_json_limits limits = {.bytes = CONFIG_BYTES, .wide_integers = true};
    weft_json *root = NULL, *second = NULL;
    weft_status status;
    WEFT_TRY_GOTO(weft_json_parse(text, bytes, name, &limits, &root));
    if (generation)
        WEFT_TRY_GOTO(weft_json_parse(generation, generation_bytes, "generation_config.json", &limits, &second));
    status = read_documents(root, name, second, out);
fail:
    weft_json_free(root);
    weft_json_free(second);
    return status;
}

weft_status weft_model_config_read(const char *path, weft_model_config *out)
{
    const weft_json_limits limits = {.bytes = CONFIG_BYTES, .wide_integers = true};
    char config[PATH_MAX_HERE], generation[PATH_MAX_HERE];
    weft_json *root = NULL, *second = NULL;
    struct stat info;
    weft_status status;
    if (stat(path, &info) < 0)
        return weft_fail(errno == ENOENT ? WEFT_NOT_FOUND : WEFT_IO, "%s: %s; MODEL is a directory with a config.json",
                         path, strerror(errno));
    const bool directory = S_ISDIR(info.st_mode);
    int length = snprintf(config, sizeof config, directory ? "%s/config.json" : "%s", path);
    int second_length = snprintf(generation, sizeof generation, "%s/generation_config.json", directory ? path : "");
    if (length >= (int)sizeof config || second_length >= (int)sizeof generation)
        return weft_fail(WEFT_LIMIT, "%.60s...: a path of %zu bytes is too long", path, strlen(path));
    WEFT_TRY_GOTO(weft_json_read(config, &limits, &root));
    if (directory && access(generation, F_OK) == 0) WEFT_TRY_GOTO(weft_json_read(generation, &limits, &second));
    status = read_documents(root, config, second, out);
fail:
    weft_json_free(root);
    weft_json_free(second);
    return status;
}

void weft_model_config_fini(weft_model_config *config)
{
    free(config->layer);
    free(config->factors);
    *config = (weft_model_config){0};
}

const char *weft_ffn_kind_name(weft_ffn_kind kind)
{
    switch (kind) {
    case WEFT_FFN_SILU:
        return "silu";
    case WEFT_FFN_GELU_TANH:
        return "gelu_tanh";
    case WEFT_FFN_GELU_ERF:
        return "gelu";
    case WEFT_FFN_CLAMPED_SWISH:
        return "clamped swish";
    }
    return "?";
}
