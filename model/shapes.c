// Shapes that have a name, and config.json from a shape.
#include <string.h>

#include "model/config_impl.h"
#include "model/synth.h"

// name, family, hidden, layers, heads, kv, head_dim, ffn, vocab, positions, window, experts, used, expert_ffn, base,
// eps, tied
static const weft_model_shape shapes[] = {
    {"tinyllama-1.1b", "llama", 2048, 22, 32, 4, 64, 5632, 32000, 2048, 0, 0, 0, 0, 1e4, 1e-5, false},
    {"llama-2-7b", "llama", 4096, 32, 32, 32, 128, 11008, 32000, 4096, 0, 0, 0, 0, 1e4, 1e-5, false},
    {"llama-3-8b", "llama", 4096, 32, 32, 8, 128, 14336, 128256, 8192, 0, 0, 0, 0, 5e5, 1e-5, false},
    {"llama-3-70b", "llama", 8192, 80, 64, 8, 128, 28672, 128256, 8192, 0, 0, 0, 0, 5e5, 1e-5, false},
    {"llama-2-70b", "llama", 8192, 80, 64, 8, 128, 28672, 32000, 4096, 0, 0, 0, 0, 1e4, 1e-5, false},
    {"llama-3.1-405b", "llama", 16384, 126, 128, 8, 128, 53248, 128256, 131072, 0, 0, 0, 0, 5e5, 1e-5, false},
    {"mistral-7b", "mistral", 4096, 32, 32, 8, 128, 14336, 32000, 32768, 4096, 0, 0, 0, 1e4, 1e-5, false},
    {"qwen2.5-0.5b", "qwen2", 896, 24, 14, 2, 64, 4864, 151936, 32768, 0, 0, 0, 0, 1e6, 1e-6, true},
    {"qwen2.5-7b", "qwen2", 3584, 28, 28, 4, 128, 18944, 152064, 32768, 0, 0, 0, 0, 1e6, 1e-6, false},
    {"qwen2.5-72b", "qwen2", 8192, 80, 64, 8, 128, 29568, 152064, 32768, 0, 0, 0, 0, 1e6, 1e-6, false},
    {"qwen3-8b", "qwen3", 4096, 36, 32, 8, 128, 12288, 151936, 40960, 0, 0, 0, 0, 1e6, 1e-6, false},
    {"qwen3-32b", "qwen3", 5120, 64, 64, 8, 128, 25600, 151936, 40960, 0, 0, 0, 0, 1e6, 1e-6, false},
    {"qwen3-30b-a3b", "qwen3-moe", 2048, 48, 32, 4, 128, 6144, 151936, 40960, 0, 128, 8, 768, 1e6, 1e-6, false},
    {"qwen3-235b-a22b", "qwen3-moe", 4096, 94, 64, 4, 128, 12288, 151936, 40960, 0, 128, 8, 1536, 1e6, 1e-6, false},
    {"mixtral-8x7b", "mixtral", 4096, 32, 32, 8, 128, 14336, 32000, 32768, 0, 8, 2, 14336, 1e6, 1e-5, false},
    {"gpt-oss-20b", "gpt-oss", 2880, 24, 64, 8, 64, 2880, 201088, 131072, 128, 32, 4, 2880, 150000, 1e-5, false},
    {"gpt-oss-120b", "gpt-oss", 2880, 36, 64, 8, 64, 2880, 201088, 131072, 128, 128, 4, 2880, 150000, 1e-5, false},
    {"llama", "llama", 256, 4, 8, 4, 32, 704, 4096, 2048, 0, 0, 0, 0, 0, 0, false},
    {"mistral", "mistral", 256, 4, 8, 4, 32, 704, 4096, 2048, 256, 0, 0, 0, 0, 0, false},
    {"qwen2", "qwen2", 256, 4, 8, 4, 32, 704, 4096, 2048, 0, 0, 0, 0, 1e6, 0, false},
    {"qwen3", "qwen3", 256, 4, 8, 4, 64, 704, 4096, 2048, 0, 0, 0, 0, 1e6, 0, false},
    {"gemma2", "gemma2", 256, 4, 8, 4, 64, 704, 4096, 2048, 256, 0, 0, 0, 0, 0, true},
    {"gemma3", "gemma3", 256, 6, 8, 4, 64, 704, 4096, 2048, 256, 0, 0, 0, 0, 0, true},
    {"phi3", "phi3", 256, 4, 8, 8, 32, 704, 4096, 2048, 0, 0, 0, 0, 0, 0, false},
    {"mixtral", "mixtral", 256, 4, 8, 4, 32, 512, 4096, 2048, 0, 8, 2, 512, 0, 0, false},
    {"qwen3-moe", "qwen3-moe", 256, 4, 8, 4, 64, 704, 4096, 2048, 0, 16, 4, 128, 1e6, 0, false},
    {"gpt-oss", "gpt-oss", 256, 4, 8, 4, 64, 256, 4096, 2048, 128, 8, 2, 256, 0, 0, false},
};

const weft_model_shape *weft_model_shape_at(int index)
{
    return index >= 0 && index < (int)(sizeof shapes / sizeof *shapes) ? &shapes[index] : NULL;
}

const weft_model_shape *weft_model_shape_find(const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(shapes[i].name, name) == 0) return &shapes[i];
    return NULL;
}

static const weft_architecture *architecture_of(const weft_model_shape *shape)
{
    for (const weft_architecture *a = wi_architectures; a->family; a++)
        if (strcmp(a->family, shape->family) == 0) return a;
    return NULL;
}

static void write_sizes(weft_json_writer *w, const weft_model_shape *s)
{
    weft_json_write_int(w, "hidden_size", s->hidden);
    weft_json_write_int(w, "num_hidden_layers", s->layers);
    weft_json_write_int(w, "num_attention_heads", s->heads);
    weft_json_write_int(w, "num_key_value_heads", s->kv_heads);
    weft_json_write_int(w, "intermediate_size", s->ffn);
    weft_json_write_int(w, "vocab_size", s->vocab);
    weft_json_write_int(w, "max_position_embeddings", s->positions);
}

static void write_experts(weft_json_writer *w, const weft_model_shape *s, wi_moe_rule rule)
{
    if (rule == WI_MOE_NONE) return;
    weft_json_write_int(w, rule == WI_MOE_SPARSE ? "num_experts" : "num_local_experts", s->experts);
    weft_json_write_int(w, "num_experts_per_tok", s->experts_used);
    if (rule != WI_MOE_SPARSE) return;
    weft_json_write_int(w, "moe_intermediate_size", s->expert_ffn);
    weft_json_write_bool(w, "norm_topk_prob", true);
}

static const char *dtype_name(weft_dtype type)
{
    return type == WEFT_F32 ? "float32" : type == WEFT_F16 ? "float16" : "bfloat16";
}

weft_status weft_model_shape_config(const weft_model_shape *shape, weft_dtype dtype, weft_json_writer *writer,
                                    const char **text, size_t *bytes)
{
    const weft_architecture *a = architecture_of(shape);
    weft_model_config config = {0};
    weft_json_writer_init(writer, true);
    if (!a)
        return weft_fail(WEFT_INVALID, "a shape of the family \"%.40s\"; weft knows %s", shape->family,
                         weft_architecture_list());
    weft_json_write_object(writer, NULL);
    weft_json_write_array(writer, "architectures");
    weft_json_write_string(writer, NULL, a->class_name);
    weft_json_write_end(writer);
    weft_json_write_string(writer, "model_type", a->model_type);
    weft_json_write_string(writer, "torch_dtype", dtype_name(dtype));
    write_sizes(writer, shape);
    if (shape->head_dim * shape->heads != shape->hidden || a->head_dim)
        weft_json_write_int(writer, "head_dim", shape->head_dim);
    weft_json_write_string(writer, a->activation_key ? "hidden_activation" : "hidden_act",
                           a->activation_key ? "gelu_pytorch_tanh" : "silu");
    weft_json_write_real(writer, "rms_norm_eps", shape->eps != 0 ? shape->eps : a->eps);
    weft_json_write_real(writer, "rope_theta", shape->base != 0 ? shape->base : a->base);
    if (a->query_scalar) weft_json_write_int(writer, "query_pre_attn_scalar", shape->head_dim);
    if (a->windows != WI_WINDOW_NONE) {
        if (shape->window)
            weft_json_write_int(writer, "sliding_window", shape->window);
        else
            weft_json_write_string(writer, "sliding_window", NULL);
        if (a->windows == WI_WINDOW_FROM_LAYER || a->windows == WI_WINDOW_ALL_ON_ASK)
            weft_json_write_bool(writer, "use_sliding_window", shape->window > 0);
    }
    write_experts(writer, shape, a->moe);
    weft_json_write_bool(writer, "tie_word_embeddings", shape->tied);
    weft_json_write_int(writer, "bos_token_id", shape->vocab - 2);
    weft_json_write_int(writer, "eos_token_id", shape->vocab - 1);
    weft_json_write_int(writer, "pad_token_id",
                        shape->vocab - 1); // some classes have a default beyond small vocabularies
    weft_json_write_end(writer);
    WEFT_TRY(weft_json_writer_finish(writer, text, bytes));
    WEFT_TRY(weft_model_config_parse(*text, *bytes, shape->name, NULL, 0, &config));
    weft_model_config_fini(&config);
    return WEFT_OK;
}
