#include "launch/model_flags.h"

weft_status wi_weights_of(const wi_model_flags *flags, const weft_cpu *cpu, weft_weights_options *out)
{
    static const weft_dtype types[] = {WEFT_F32, WEFT_F32, WEFT_BF16, WEFT_F16, WEFT_I8, WEFT_I4, WEFT_E4M3};
    const int weights = flags->dtype == 0 ? flags->weights : flags->dtype;
    weft_weights_options w = {.as_stored = weights == 0, .type = types[weights], .cpu = cpu};
    w.group = flags->group ? (int)flags->group : w.type == WEFT_I4 ? 64 : w.type == WEFT_E4M3 ? 128 : 0;
    if (flags->group && flags->group != 32 && flags->group != 64 && flags->group != 128)
        return weft_fail(WEFT_USAGE, "--group %d: must be 32, 64 or 128", (int)flags->group);
    w.has_family = flags->family != NULL;
    if (w.has_family && !weft_family_from_name(flags->family, &w.family))
        return weft_fail(WEFT_USAGE, "--family %.40s: must be fma, bf16dot or amx, on a GPU fma, mma or wgmma",
                         flags->family);
    *out = w;
    return WEFT_OK;
}

weft_dtype wi_stored_of(const weft_model_config *config) { return config->has_dtype ? config->dtype : WEFT_BF16; }

weft_cache_type wi_cache_of(const wi_model_flags *flags, const weft_weights_options *weights, weft_dtype stored)
{
    static const weft_cache_type types[] = {WEFT_CACHE_BF16, WEFT_CACHE_F32, WEFT_CACHE_BF16, WEFT_CACHE_INT8,
                                            WEFT_CACHE_FP8};
    const int kv = flags->dtype == 0 ? flags->kv : flags->dtype;
    const weft_dtype type = weights->as_stored ? stored : weights->type;
    return kv == 0 && type == WEFT_F32 ? WEFT_CACHE_F32 : types[kv];
}

weft_status wi_one_replica(const wi_model_flags *flags, const char *command)
{
    if (flags->dp <= 1) return WEFT_OK;
    return weft_fail(WEFT_USAGE,
                     "--dp %d: replicas share the requests of weft batch and weft bench batch, and %s has no such; "
                     "leave --dp out, and --tp and --cp divide the work among all ranks",
                     (int)flags->dp, command);
}
