// How positions are rotated: rope_scaling and rope_theta (transformers 4), rope_parameters (5).
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/config_impl.h"

static const char *const names[] = {"default", "linear", "dynamic", "llama3", "yarn", "longrope"};
#define BASE_MIN 1.0 // frequencies fall from 1
#define BASE_MAX 1e12
#define FACTOR_MAX 1e6

const char *weft_rope_name(weft_rope_type type)
{
    return (size_t)type < sizeof names / sizeof *names ? names[type] : "?";
}

static weft_status read_type(const wi_reader *r, const weft_json *scaling, weft_rope_type *out)
{
    const char *name = NULL;
    weft_status status = weft_json_string(scaling, "rope_type", NULL, &name);
    if (status >= 0 && !name) status = weft_json_string(scaling, "type", "default", &name);
    if (status < 0) return wi_reader_fail(r, status);
    if (r->a->rope == WI_ROPE_PHI3 && (strcmp(name, "su") == 0 || strcmp(name, "yarn") == 0)) name = "longrope";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (weft_rope_type)i;
            return WEFT_OK;
        }
    return weft_fail(WEFT_UNSUPPORTED,
                     "%s: \"rope_type\" is \"%.40s\"; weft knows default, linear, dynamic, llama3, yarn and longrope",
                     r->name, name);
}

static weft_status read_rotary(const wi_reader *r, const weft_json *scaling, weft_rope_config *rope)
{
    const int64_t dim = r->c->head_dim;
    double part;
    WEFT_TRY(wi_read_real(r, r->text, "partial_rotary_factor", 1e-3, 1, 1, &part));
    WEFT_TRY(wi_read_real(r, scaling, "partial_rotary_factor", 1e-3, 1, part, &part));
    if (part != 1 && r->a->rope != WI_ROPE_PHI3)
        return weft_fail(WEFT_UNSUPPORTED, "%s: \"partial_rotary_factor\" is %g; weft knows it for phi3 alone", r->name,
                         part);
    rope->rotary = (int)((double)dim * part);
    if (rope->rotary < 2 || rope->rotary % 2)
        return weft_fail(WEFT_INVALID,
                         "%s: %d of %" PRId64 " elements of a head are rotated; it must be an even number", r->name,
                         rope->rotary, dim);
    return WEFT_OK;
}

// The positions before the stretch. Phi-3 keeps them beside rope_scaling and that wins; elsewhere they stand inside.
static weft_status read_original(const wi_reader *r, const weft_json *scaling, weft_rope_config *rope)
{
    const char *key = "original_max_position_embeddings";
    weft_status status = weft_json_int(scaling, key, 1, INT32_MAX, 0, &rope->original);
    if (status < 0) return wi_reader_fail(r, status);
    int64_t above = 0;
    WEFT_TRY(wi_read_int(r, key, 1, INT32_MAX, 0, &above));
    if (above) rope->original = above;
    if (rope->original == 0) rope->original = r->a->rope == WI_ROPE_PHI3 ? 4096 : r->c->positions;
    return WEFT_OK;
}

static double yarn_scale(double factor, double m) { return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1; }

static weft_status read_yarn(const wi_reader *r, const weft_json *scaling, weft_rope_config *rope)
{
    double m, m_all, given;
    WEFT_TRY(wi_read_real(r, scaling, "beta_fast", 1e-6, FACTOR_MAX, 0, &rope->fast));
    WEFT_TRY(wi_read_real(r, scaling, "beta_slow", 1e-6, FACTOR_MAX, 0, &rope->slow));
    if (rope->fast == 0) rope->fast = 32;
    if (rope->slow == 0) rope->slow = 1;
    WEFT_TRY(wi_read_real(r, scaling, "mscale", -FACTOR_MAX, FACTOR_MAX, 0, &m));
    WEFT_TRY(wi_read_real(r, scaling, "mscale_all_dim", -FACTOR_MAX, FACTOR_MAX, 0, &m_all));
    WEFT_TRY(wi_read_real(r, scaling, "attention_factor", 1e-6, FACTOR_MAX, 0, &given));
    weft_status status = weft_json_bool(scaling, "truncate", true, &rope->truncate);
    if (status < 0) return wi_reader_fail(r, status);
    if (rope->base <= 1)
        return weft_fail(WEFT_INVALID, "%s: \"rope_theta\" is %g; yarn needs more than 1", r->name, rope->base);
    rope->attention_factor = m != 0 && m_all != 0 ? yarn_scale(rope->factor, m) / yarn_scale(rope->factor, m_all)
                                                  : yarn_scale(rope->factor, 1);
    if (given != 0) rope->attention_factor = given;
    if (!isfinite(rope->attention_factor))
        return weft_fail(WEFT_INVALID, "%s: \"mscale\" and \"mscale_all_dim\" give no finite factor", r->name);
    return WEFT_OK;
}

static weft_status read_factors(const wi_reader *r, const weft_json *scaling, const char *key, int count, float *out)
{
    const weft_json *list = weft_json_get(scaling, key);
    if (weft_json_kind_of(list) != WEFT_JSON_ARRAY || weft_json_size(list) != (size_t)count)
        return weft_fail(WEFT_INVALID, "%s: \"%s\" must be an array of %d numbers, half the rotated elements", r->name,
                         key, count);
    for (int i = 0; i < count; i++) {
        const double value = weft_json_real_value(weft_json_at(list, (size_t)i));
        if (!(value >= 1e-6 && value <= FACTOR_MAX))
            return weft_fail(WEFT_INVALID, "%s: \"%s\"[%d] must be a number between 1e-6 and %g", r->name, key, i,
                             FACTOR_MAX);
        out[i] = (float)value;
    }
    return WEFT_OK;
}

static weft_status read_longrope(const wi_reader *r, const weft_json *scaling, weft_rope_config *rope)
{
    const int half = rope->rotary / 2;
    double given;
    if (r->c->factors) return weft_fail(WEFT_UNSUPPORTED, "%s: weft knows one longrope a model", r->name);
    r->c->factors = calloc(2 * (size_t)half, sizeof(float));
    if (!r->c->factors) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for its rope", r->name);
    WEFT_TRY(read_factors(r, scaling, "short_factor", half, r->c->factors));
    WEFT_TRY(read_factors(r, scaling, "long_factor", half, r->c->factors + half));
    rope->short_factor = r->c->factors;
    rope->long_factor = r->c->factors + half;
    WEFT_TRY(wi_read_real(r, scaling, "attention_factor", 1e-6, FACTOR_MAX, 0, &given));
    const double f = rope->factor;
    rope->attention_factor = given != 0                     ? given
                             : f <= 1 || rope->original < 2 ? 1
                                                            : sqrt(1 + log(f) / log((double)rope->original));
    return WEFT_OK;
}

static weft_status read_llama3(const wi_reader *r, const weft_json *scaling, weft_rope_config *rope)
{
    WEFT_TRY(wi_read_real(r, scaling, "low_freq_factor", 1e-6, FACTOR_MAX, 0, &rope->low));
    WEFT_TRY(wi_read_real(r, scaling, "high_freq_factor", 1e-6, FACTOR_MAX, 0, &rope->high));
    if (rope->low > 0 && rope->high > rope->low) return WEFT_OK;
    return weft_fail(WEFT_INVALID,
                     "%s: rope llama3 needs \"low_freq_factor\" above 0 and \"high_freq_factor\" above that", r->name);
}

// One rope from its object, which may be NULL: plain.
static weft_status read_rope(const wi_reader *r, const weft_json *scaling, double base, weft_rope_config *rope)
{
    const bool stretched = scaling != NULL;
    WEFT_TRY(read_type(r, scaling, &rope->type));
    WEFT_TRY(wi_read_real(r, scaling, "rope_theta", BASE_MIN, BASE_MAX, base, &rope->base));
    WEFT_TRY(read_rotary(r, scaling, rope));
    rope->attention_factor = 1;
    rope->factor = 1;
    rope->original = r->c->positions;
    if (!stretched || rope->type == WEFT_ROPE_PLAIN) return WEFT_OK;
    if (r->a->rope == WI_ROPE_PHI3 && rope->type != WEFT_ROPE_LONGROPE)
        return weft_fail(WEFT_UNSUPPORTED, "%s: \"rope_type\" is \"%s\"; phi3 has default and longrope", r->name,
                         weft_rope_name(rope->type));
    const bool derives = rope->type == WEFT_ROPE_YARN || rope->type == WEFT_ROPE_LONGROPE;
    if (derives || rope->type == WEFT_ROPE_LLAMA3) WEFT_TRY(read_original(r, scaling, rope));
    WEFT_TRY(wi_read_real(r, scaling, "factor", 1e-3, FACTOR_MAX, 0, &rope->factor));
    if (rope->factor == 0 && !derives)
        return weft_fail(WEFT_INVALID, "%s: rope %s lacks its \"factor\"", r->name, weft_rope_name(rope->type));
    if (rope->factor == 0) rope->factor = (double)r->c->positions / (double)rope->original;
    if (rope->type == WEFT_ROPE_DYNAMIC && rope->rotary < 4)
        return weft_fail(WEFT_INVALID, "%s: rope dynamic needs 4 rotated elements", r->name);
    if (rope->type == WEFT_ROPE_LLAMA3) return read_llama3(r, scaling, rope);
    if (rope->type == WEFT_ROPE_YARN) return read_yarn(r, scaling, rope);
    return rope->type == WEFT_ROPE_LONGROPE ? read_longrope(r, scaling, rope) : WEFT_OK;
}

// A member that is an object, or NULL where it is absent or null.
static weft_status get_object(const wi_reader *r, const weft_json *from, const char *key, const weft_json **out)
{
    const weft_json *member = weft_json_get(from, key);
    const weft_json_kind kind = weft_json_kind_of(member);
    if (kind != WEFT_JSON_NULL && kind != WEFT_JSON_OBJECT)
        return weft_fail(WEFT_INVALID, "%s: \"%s\" must be an object", r->name, key);
    *out = kind == WEFT_JSON_OBJECT ? member : NULL;
    return WEFT_OK;
}

weft_status wi_config_ropes(wi_reader *r)
{
    weft_rope_config *ropes = r->c->ropes;
    const weft_json *both = NULL, *scaling = NULL, *global = NULL, *local = NULL;
    double base = 0, local_base = 0;
    WEFT_TRY(wi_read_real(r, r->text, "rope_theta", BASE_MIN, BASE_MAX, r->a->base, &base));
    WEFT_TRY(get_object(r, r->text, "rope_parameters", &both));
    WEFT_TRY(get_object(r, r->text, "rope_scaling", &scaling));
    WEFT_TRY(get_object(r, both, "full_attention", &global));
    WEFT_TRY(get_object(r, both, "sliding_attention", &local));
    if (r->a->rope != WI_ROPE_LOCAL_AND_GLOBAL) {
        if (global || local)
            return weft_fail(WEFT_UNSUPPORTED,
                             "%s: \"rope_parameters\" by layer type; weft knows that for gemma3 alone", r->name);
        // What gpt-oss is without a word.
        static const weft_rope_config yarn = {
            .type = WEFT_ROPE_YARN, .factor = 32, .fast = 32, .slow = 1, .original = 4096};
        if (r->a->moe != WI_MOE_BIASED || scaling || both)
            return read_rope(r, scaling ? scaling : both, base, &ropes[0]);
        ropes[0] = yarn;
        ropes[0].base = base;
        ropes[0].attention_factor = yarn_scale(32, 1);
        ropes[0].rotary = (int)r->c->head_dim;
        return WEFT_OK;
    }
    WEFT_TRY(wi_read_real(r, r->text, "rope_local_base_freq", BASE_MIN, BASE_MAX, 1e4, &local_base));
    if (both && !global && !local) global = both; // one object for both kinds stretches the global one
    WEFT_TRY(read_rope(r, scaling ? scaling : global, base, &ropes[0]));
    return read_rope(r, local, local_base, &ropes[1]);
}
