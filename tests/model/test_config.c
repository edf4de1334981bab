// config.json in both spellings, for every architecture; and what is refused.
#include <math.h>

#include "model/config.h"
#include "tests/check.h"

#define SIZES                                                                                                          \
    "\"hidden_size\":64,\"num_hidden_layers\":4,\"num_attention_heads\":4,\"num_key_value_heads\":2,"                  \
    "\"intermediate_size\":96,\"vocab_size\":128,\"max_position_embeddings\":256"
#define LLAMA "{\"model_type\":\"llama\"," SIZES
#define FP8 ",\"quantization_config\":{\"quant_method\":\"fp8\","

static weft_status parse(const char *text, weft_model_config *out)
{
    return weft_model_config_parse(text, strlen(text), "c/config.json", NULL, 0, out);
}

static weft_model_config good(const char *text)
{
    weft_model_config config = {0};
    CHECK_OK(parse(text, &config));
    return config;
}

static void refuse(const char *text, weft_status status, const char *reason)
{
    weft_model_config config = {0};
    CHECK_FAILS(parse(text, &config), status, reason);
    CHECK_HAS(weft_error_text(), "config.json");
    CHECK(!config.layer && !config.architecture);
}

static void check_near(double actual, double expected)
{
    if (!(fabs(actual - expected) <= 1e-6 * fabs(expected))) CHECK_FAIL("%.9g, expected %.9g", actual, expected);
}

static void reads_llama(void)
{
    weft_model_config c = good(LLAMA ",\"torch_dtype\":\"bfloat16\",\"rms_norm_eps\":1e-5,\"rope_theta\":500000.0,"
                                     "\"eos_token_id\":[7,9,7],\"rope_scaling\":{\"factor\":8.0,\"high_freq_factor\":"
                                     "4.0,\"low_freq_factor\":1.0,\"original_max_position_embeddings\":64,"
                                     "\"rope_type\":\"llama3\"}}");
    CHECK_TEXT(weft_architecture_family(c.architecture), "llama");
    CHECK_INT(c.dtype, WEFT_BF16);
    CHECK_INT(c.head_dim, 16);
    CHECK_INT(c.kv_heads, 2);
    CHECK_REAL(c.eps, 1e-5);
    CHECK_REAL(c.attention_scale, 0.25);
    CHECK(!c.tied && !c.qkv_bias && !c.qk_norm && c.norm == WEFT_NORM_ROUND_THEN_WEIGHT);
    CHECK_INT(c.ropes[0].type, WEFT_ROPE_LLAMA3);
    CHECK_REAL(c.ropes[0].base, 500000);
    CHECK_INT(c.ropes[0].original, 64);
    CHECK_INT(c.stop_count, 2);
    CHECK_INT(c.stops[1], 9);
    weft_model_config_fini(&c);
    // transformers 5, and stop ids from the other file
    const char *text = LLAMA ",\"dtype\":\"float16\",\"tie_word_embeddings\":true,\"attention_bias\":true,\"mlp_bias\":"
                             "true,\"eos_token_id\":7,\"rope_parameters\":{\"rope_theta\":300,\"rope_type\":\"yarn\","
                             "\"factor\":4.0,\"original_max_position_embeddings\":32}}";
    const char *generation = "{\"eos_token_id\":5,\"temperature\":0.6}";
    CHECK_OK(weft_model_config_parse(text, strlen(text), "config.json", generation, strlen(generation), &c));
    CHECK_INT(c.dtype, WEFT_F16);
    CHECK(c.tied && c.qkv_bias && c.o_bias && c.ffn_bias);
    CHECK_REAL(c.ropes[0].base, 300);
    check_near(c.ropes[0].attention_factor, 0.1 * log(4) + 1);
    CHECK_INT(c.stop_count, 1);
    CHECK_INT(c.stops[0], 5);
    weft_model_config_fini(&c);
}

static void reads_windows(void)
{
    weft_model_config c = good("{\"model_type\":\"mistral\"," SIZES ",\"sliding_window\":9,\"head_dim\":32}");
    CHECK_INT(c.head_dim, 32);
    for (int i = 0; i < 4; i++) CHECK_INT(c.layer[i].window, 9);
    weft_model_config_fini(&c);
    c = good("{\"model_type\":\"mistral\"," SIZES ",\"sliding_window\":null}");
    CHECK_INT(c.layer[0].window, 0);
    weft_model_config_fini(&c);
    c = good("{\"model_type\":\"mistral\"," SIZES "}");
    CHECK_INT(c.layer[0].window, 4096);
    weft_model_config_fini(&c);
    c = good("{\"model_type\":\"qwen2\"," SIZES ",\"sliding_window\":9,\"use_sliding_window\":false}");
    CHECK(c.qkv_bias && !c.o_bias);
    CHECK_INT(c.layer[3].window, 0);
    weft_model_config_fini(&c);
    c = good("{\"model_type\":\"qwen3\"," SIZES ",\"sliding_window\":9,\"use_sliding_window\":true,"
             "\"max_window_layers\":2}");
    CHECK(c.qk_norm && !c.qkv_bias);
    CHECK_INT(c.head_dim, 128);
    CHECK_INT(c.layer[1].window, 0);
    CHECK_INT(c.layer[2].window, 9);
    weft_model_config_fini(&c);
    c = good("{\"model_type\":\"qwen2\"," SIZES ",\"sliding_window\":9,\"use_sliding_window\":true,\"layer_types\":["
             "\"sliding_attention\",\"full_attention\",\"full_attention\",\"full_attention\"]}");
    CHECK_INT(c.layer[0].window, 9);
    CHECK_INT(c.layer[1].window, 0);
    weft_model_config_fini(&c);
}

static void reads_gemma(void)
{
    weft_model_config c = good("{\"model_type\":\"gemma2\"," SIZES ",\"head_dim\":8,\"sliding_window\":9,"
                               "\"query_pre_attn_scalar\":16}");
    CHECK(c.tied && c.sandwich && c.norm == WEFT_NORM_ONE_PLUS);
    CHECK_REAL(c.embedding_scale, 8);
    CHECK_REAL(c.attention_scale, 0.25);
    CHECK_REAL(c.attention_cap, 50);
    CHECK_REAL(c.logit_cap, 30);
    CHECK_INT(c.ffn_kind, WEFT_FFN_GELU_TANH);
    CHECK_INT(c.layer[0].window, 9);
    CHECK_INT(c.layer[1].window, 0);
    weft_model_config_fini(&c);
    // the sparse text_config of a hub's Gemma 3
    c = good("{\"model_type\":\"gemma3\",\"eos_token_id\":[1,106],\"text_config\":{\"hidden_size\":2560,"
             "\"intermediate_size\":10240,\"model_type\":\"gemma3_text\",\"num_hidden_layers\":8,\"rope_scaling\":{"
             "\"factor\":8.0,\"rope_type\":\"linear\"},\"sliding_window\":1024}}");
    CHECK_INT(c.vocab, 262208);
    CHECK_INT(c.heads, 8);
    CHECK_INT(c.head_dim, 256);
    CHECK_INT(c.stop_count, 2);
    CHECK(c.qk_norm && c.attention_cap == 0 && c.logit_cap == 0);
    CHECK_INT(c.layer[4].window, 1024);
    CHECK_INT(c.layer[4].rope, 1);
    CHECK_INT(c.layer[5].window, 0);
    CHECK_INT(c.layer[5].rope, 0);
    CHECK_INT(c.ropes[0].type, WEFT_ROPE_LINEAR);
    CHECK_REAL(c.ropes[0].base, 1e6);
    CHECK_INT(c.ropes[1].type, WEFT_ROPE_PLAIN);
    CHECK_REAL(c.ropes[1].base, 1e4);
    weft_model_config_fini(&c);
    c = good("{\"model_type\":\"gemma3_text\"," SIZES ",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":500,"
             "\"rope_type\":\"linear\",\"factor\":2},\"sliding_attention\":{\"rope_theta\":70}},"
             "\"sliding_window_pattern\":2}");
    CHECK_REAL(c.ropes[0].base, 500);
    CHECK_REAL(c.ropes[0].factor, 2);
    CHECK_REAL(c.ropes[1].base, 70);
    CHECK_INT(c.layer[0].rope, 1);
    CHECK_INT(c.layer[1].rope, 0);
    weft_model_config_fini(&c);
}

static void reads_phi3(void)
{
    weft_model_config c = good("{\"model_type\":\"phi3\"," SIZES ",\"sliding_window\":47,\"partial_rotary_factor\":0.5,"
                               "\"original_max_position_embeddings\":64,\"rope_scaling\":{\"type\":\"su\","
                               "\"short_factor\":[1,1.5,2,3],\"long_factor\":[4,5,6,7.5]}}");
    CHECK_INT(c.ropes[0].type, WEFT_ROPE_LONGROPE);
    CHECK_INT(c.ropes[0].rotary, 8);
    CHECK_REAL(c.ropes[0].factor, 4);
    check_near(c.ropes[0].attention_factor, sqrt(1 + log(4) / log(64)));
    CHECK_REAL(c.ropes[0].long_factor[3], 7.5);
    CHECK_INT(c.layer[0].window, 47);
    weft_model_config_fini(&c);
    refuse("{\"model_type\":\"phi3\"," SIZES ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1],"
           "\"long_factor\":[1]}}",
           WEFT_INVALID, "array of 8 numbers");
    refuse("{\"model_type\":\"phi3\"," SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}", WEFT_UNSUPPORTED,
           "phi3 has default and longrope");
}

static void reads_experts(void)
{
    weft_model_config c =
        good("{\"model_type\":\"mixtral\"," SIZES ",\"num_local_experts\":4,\"num_experts_per_tok\":2}");
    CHECK_INT(c.experts, 4);
    CHECK_INT(c.expert_ffn, 96);
    CHECK(c.route == WEFT_ROUTE_SOFTMAX && c.route_normalize && c.layer[3].moe);
    CHECK_REAL(c.ropes[0].base, 1e6);
    weft_model_config_fini(&c);
    c = good("{\"model_type\":\"qwen3_moe\"," SIZES ",\"num_experts\":8,\"num_experts_per_tok\":3,"
             "\"moe_intermediate_size\":24,\"decoder_sparse_step\":2,\"mlp_only_layers\":[3],\"norm_topk_prob\":true}");
    CHECK_INT(c.expert_ffn, 24);
    CHECK(!c.layer[0].moe && c.layer[1].moe && !c.layer[2].moe && !c.layer[3].moe && c.route_normalize);
    CHECK_INT(c.head_dim, 16);
    weft_model_config_fini(&c);
    c = good("{\"model_type\":\"gpt_oss\"," SIZES ",\"head_dim\":16,\"num_local_experts\":4,\"sliding_window\":12}");
    CHECK(c.sinks && c.qkv_bias && c.o_bias && c.ffn_bias && c.route_bias && c.route == WEFT_ROUTE_SELECTED);
    CHECK_INT(c.experts_used, 4);
    CHECK_INT(c.ffn_kind, WEFT_FFN_CLAMPED_SWISH);
    CHECK_INT(c.ropes[0].type, WEFT_ROPE_YARN);
    CHECK(!c.ropes[0].truncate && c.ropes[0].factor == 32 && c.ropes[0].rotary == 16);
    CHECK_INT(c.layer[0].window, 12);
    CHECK_INT(c.layer[1].window, 0);
    weft_model_config_fini(&c);
    refuse("{\"model_type\":\"mixtral\"," SIZES ",\"num_local_experts\":2,\"num_experts_per_tok\":3}", WEFT_INVALID,
           "3 of 2 experts");
    refuse("{\"model_type\":\"qwen3_moe\"," SIZES ",\"mlp_only_layers\":[4]}", WEFT_INVALID, "mlp_only_layers");
}

static void refuses_sizes(void)
{
    refuse("{}", WEFT_INVALID, "lacks \"model_type\"");
    refuse("[]", WEFT_FORMAT, "object");
    refuse("{\"model_type\":\"mamba\"}", WEFT_UNSUPPORTED, "it knows llama, mistral, qwen2");
    refuse("{\"model_type\":\"llama\"}", WEFT_INVALID, "lacks \"hidden_size\"");
    refuse("{\"model_type\":\"llama\",\"hidden_size\":0}", WEFT_INVALID, "between 1 and");
    refuse("{\"model_type\":\"llama\",\"hidden_size\":-64}", WEFT_INVALID, "between 1 and");
    refuse("{\"model_type\":\"llama\",\"hidden_size\":\"64\"}", WEFT_INVALID, "must be a whole number");
    refuse("{\"model_type\":\"llama\",\"hidden_size\":64.0}", WEFT_INVALID, "must be a whole number");
    refuse("{\"model_type\":\"llama\",\"hidden_size\":100000000000000000000}", WEFT_INVALID, "whole number");
#define WITH(heads, kv, vocab, layers)                                                                                 \
    "{\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":96,\"max_position_embeddings\":256,"           \
    "\"num_attention_heads\":" heads ",\"num_key_value_heads\":" kv ",\"vocab_size\":" vocab                           \
    ",\"num_hidden_layers\":" layers "}"
    refuse(WITH("0", "1", "128", "4"), WEFT_INVALID, "num_attention_heads");
    refuse(WITH("5", "5", "128", "4"), WEFT_INVALID, "not a multiple of \"num_attention_heads\"");
    refuse(WITH("4", "3", "128", "4"), WEFT_INVALID, "not a multiple of \"num_key_value_heads\"");
    refuse(WITH("4", "0", "128", "4"), WEFT_INVALID, "num_key_value_heads");
    refuse(WITH("4", "2", "1099511627776", "4"), WEFT_INVALID, "vocab_size");
    refuse(WITH("4", "2", "128", "1000000000"), WEFT_INVALID, "num_hidden_layers");
    refuse(WITH("16", "2", "128", "4"), WEFT_UNSUPPORTED, "multiples of 8");
    refuse(LLAMA ",\"rms_norm_eps\":NaN}", WEFT_FORMAT, "config.json");
    refuse(LLAMA ",\"rms_norm_eps\":0}", WEFT_INVALID, "rms_norm_eps");
    refuse(LLAMA ",\"rms_norm_eps\":-1e-5}", WEFT_INVALID, "rms_norm_eps");
    refuse(LLAMA ",\"rms_norm_eps\":1e400}", WEFT_FORMAT, "too large");
    refuse(LLAMA ",\"eos_token_id\":128}", WEFT_INVALID, "eos_token_id");
    refuse(LLAMA ",\"eos_token_id\":-1}", WEFT_INVALID, "eos_token_id");
    refuse(LLAMA ",\"eos_token_id\":[\"x\"]}", WEFT_INVALID, "eos_token_id");
}

static void refuses_what_is_not_known(void)
{
    refuse(LLAMA ",\"hidden_act\":\"relu\"}", WEFT_UNSUPPORTED, "weft knows silu");
    refuse(LLAMA ",\"torch_dtype\":\"float8\"}", WEFT_UNSUPPORTED, "bfloat16");
    refuse(LLAMA ",\"quantization_config\":{\"quant_method\":\"awq\"}}", WEFT_UNSUPPORTED, "awq");
    refuse(LLAMA FP8 "\"fmt\":\"e5m2\",\"weight_block_size\":[128,128]}}", WEFT_UNSUPPORTED, "e5m2");
    refuse(LLAMA FP8 "\"fmt\":\"e4m3\"}}", WEFT_UNSUPPORTED, "weight_block_size");
    refuse(LLAMA FP8 "\"weight_block_size\":[128,100]}}", WEFT_UNSUPPORTED, "weight_block_size");
    refuse(LLAMA FP8 "\"weight_block_size\":[0,128]}}", WEFT_UNSUPPORTED, "weight_block_size");
    refuse(LLAMA FP8 "\"weight_block_size\":[128,128],\"activation_scheme\":\"static\"}}", WEFT_UNSUPPORTED, "static");
    refuse(LLAMA ",\"attn_logit_softcapping\":50.0}", WEFT_UNSUPPORTED, "gemma2 alone");
    refuse(LLAMA ",\"use_bidirectional_attention\":true}", WEFT_UNSUPPORTED, "causal");
    refuse(LLAMA ",\"partial_rotary_factor\":0.5}", WEFT_UNSUPPORTED, "phi3 alone");
    refuse(LLAMA ",\"rope_theta\":1e300}", WEFT_INVALID, "rope_theta");
    refuse(LLAMA ",\"rope_theta\":-1}", WEFT_INVALID, "rope_theta");
    refuse(LLAMA ",\"rope_scaling\":7}", WEFT_INVALID, "must be an object");
    refuse(LLAMA ",\"rope_scaling\":{\"type\":\"warp\"}}", WEFT_UNSUPPORTED, "weft knows default, linear");
    refuse(LLAMA ",\"rope_scaling\":{\"type\":\"linear\"}}", WEFT_INVALID, "lacks its \"factor\"");
    refuse(LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":1e9}}", WEFT_INVALID, "factor");
    refuse(LLAMA ",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8}}", WEFT_INVALID, "low_freq_factor");
    refuse(LLAMA ",\"rope_parameters\":{\"full_attention\":{}}}", WEFT_UNSUPPORTED, "by layer type");
    refuse("{\"model_type\":\"gemma2\"," SIZES ",\"layer_types\":[\"full_attention\"]}", WEFT_INVALID, "4 layers");
    refuse("{\"model_type\":\"gemma2\"," SIZES ",\"layer_types\":[\"full_attention\",\"full_attention\","
           "\"full_attention\",\"chunked_attention\"]}",
           WEFT_UNSUPPORTED, "chunked_attention");
    refuse("{\"model_type\":\"mistral\"," SIZES ",\"sliding_window\":0}", WEFT_INVALID, "sliding_window");
    refuse("{\"model_type\":\"gemma3\"," SIZES "}", WEFT_INVALID, "text_config");
    weft_model_config c = {0};
    const char *text = LLAMA "}";
    CHECK_FAILS(weft_model_config_parse(text, strlen(text), "config.json", "[]", 2, &c), WEFT_FORMAT,
                "generation_config.json");
    CHECK_FAILS(weft_model_config_read("/nowhere/at/all", &c), WEFT_NOT_FOUND, "MODEL is a directory");
}

// Frequencies against formulas in double.
static void rotates(void)
{
    float inverse[8];
    weft_rope_config rope = {.rotary = 16, .base = 10000, .factor = 4, .original = 64, .attention_factor = 1};
    weft_rope_frequencies(&rope, 100, inverse);
    for (int i = 0; i < 8; i++) check_near((double)inverse[i], pow(10000, -2.0 * i / 16));
    rope.type = WEFT_ROPE_LINEAR;
    weft_rope_frequencies(&rope, 100, inverse);
    check_near((double)inverse[1], pow(10000, -2.0 / 16) / 4);
    rope.type = WEFT_ROPE_DYNAMIC;
    weft_rope_frequencies(&rope, 64, inverse);
    check_near((double)inverse[1], pow(10000, -2.0 / 16));
    weft_rope_frequencies(&rope, 128, inverse);
    check_near((double)inverse[1], pow(10000 * pow(5, 16.0 / 14), -2.0 / 16));
    rope.type = WEFT_ROPE_LLAMA3, rope.low = 1, rope.high = 4;
    weft_rope_frequencies(&rope, 128, inverse);
    CHECK_REAL((double)inverse[0], 1); // a wave of 6.3 positions is short
    check_near((double)inverse[7], pow(10000, -14.0 / 16) / 4);
    const double wave = 2 * 3.14159265358979 / pow(10000, -4.0 / 16), smooth = (64 / wave - 1) / 3;
    check_near((double)inverse[2], ((1 - smooth) / 4 + smooth) * pow(10000, -4.0 / 16));
    rope.type = WEFT_ROPE_YARN, rope.fast = 32, rope.slow = 1, rope.truncate = true;
    weft_rope_frequencies(&rope, 128, inverse);
    CHECK_REAL((double)inverse[0], 1);
    check_near((double)inverse[7], pow(10000, -14.0 / 16) / 4);
    const float half[8] = {1, 1, 1, 2, 2, 2, 2, 2}, whole[8] = {3, 3, 3, 3, 3, 3, 3, 3};
    rope.type = WEFT_ROPE_LONGROPE, rope.short_factor = half, rope.long_factor = whole;
    weft_rope_frequencies(&rope, 64, inverse);
    check_near((double)inverse[3], pow(10000, -6.0 / 16) / 2);
    weft_rope_frequencies(&rope, 65, inverse);
    check_near((double)inverse[3], pow(10000, -6.0 / 16) / 3);
}

int main(void)
{
    reads_llama();
    reads_windows();
    reads_gemma();
    reads_phi3();
    reads_experts();
    refuses_sizes();
    refuses_what_is_not_known();
    rotates();
    return 0;
}
