// Values of a parsed document, and typed reads of an object's members.
#include "core/json_value.h"

#include <inttypes.h>
#include <math.h>

weft_json_kind weft_json_kind_of(const weft_json *value)
{
    if (!value) return WEFT_JSON_NULL;
    switch (json_typeof(wi_json_of(value))) {
    case JSON_OBJECT:
        return WEFT_JSON_OBJECT;
    case JSON_ARRAY:
        return WEFT_JSON_ARRAY;
    case JSON_STRING:
        return WEFT_JSON_STRING;
    case JSON_INTEGER:
        return WEFT_JSON_INT;
    case JSON_REAL:
        return WEFT_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return WEFT_JSON_BOOL;
    case JSON_NULL:
        break;
    }
    return WEFT_JSON_NULL;
}

const weft_json *weft_json_get(const weft_json *object, const char *key)
{
    return (const weft_json *)json_object_get(wi_json_of(object), key); // accepts NULL and other kinds
}

size_t weft_json_size(const weft_json *value)
{
    weft_json_kind kind = weft_json_kind_of(value);
    if (kind == WEFT_JSON_ARRAY) return json_array_size(wi_json_of(value));
    return kind == WEFT_JSON_OBJECT ? json_object_size(wi_json_of(value)) : 0;
}

const weft_json *weft_json_at(const weft_json *array, size_t index)
{
    return (const weft_json *)json_array_get(wi_json_of(array), index);
}

const char *weft_json_next_key(const weft_json *object, const char *key)
{
    json_t *json = wi_json_of(object);
    if (!json_is_object(json)) return NULL;
    void *at = key ? json_object_iter_next(json, json_object_key_to_iter(key)) : json_object_iter(json);
    return at ? json_object_iter_key(at) : NULL;
}

static weft_status kind_error(const weft_json *value, const char *key, const char *wanted)
{
    static const char *const kinds[] = {"null",     "true or false", "a whole number", "a number",
                                        "a string", "an array",      "an object"};
    return weft_fail(WEFT_INVALID, "\"%.80s\" is %s and must be %s", key, kinds[weft_json_kind_of(value)], wanted);
}

weft_status weft_json_int(const weft_json *object, const char *key, int64_t min, int64_t max, int64_t fallback,
                          int64_t *out)
{
    const weft_json *member = weft_json_get(object, key);
    if (weft_json_kind_of(member) == WEFT_JSON_NULL) {
        *out = fallback;
        return WEFT_OK;
    }
    if (weft_json_kind_of(member) != WEFT_JSON_INT) return kind_error(member, key, "a whole number");
    int64_t value = json_integer_value(wi_json_of(member));
    if (value >= min && value <= max) {
        *out = value;
        return WEFT_OK;
    }
    if (max == INT64_MAX)
        return weft_fail(WEFT_INVALID, "\"%.80s\" is %" PRId64 " and must be at least %" PRId64, key, value, min);
    if (min == INT64_MIN)
        return weft_fail(WEFT_INVALID, "\"%.80s\" is %" PRId64 " and must be at most %" PRId64, key, value, max);
    return weft_fail(WEFT_INVALID, "\"%.80s\" is %" PRId64 " and must be between %" PRId64 " and %" PRId64, key, value,
                     min, max);
}

weft_status weft_json_real(const weft_json *object, const char *key, double fallback, double *out)
{
    const weft_json *member = weft_json_get(object, key);
    weft_json_kind kind = weft_json_kind_of(member);
    if (kind != WEFT_JSON_NULL && kind != WEFT_JSON_INT && kind != WEFT_JSON_REAL)
        return kind_error(member, key, "a number");
    *out = kind == WEFT_JSON_NULL ? fallback : json_number_value(wi_json_of(member));
    return WEFT_OK;
}

weft_status weft_json_bool(const weft_json *object, const char *key, bool fallback, bool *out)
{
    const weft_json *member = weft_json_get(object, key);
    weft_json_kind kind = weft_json_kind_of(member);
    if (kind != WEFT_JSON_NULL && kind != WEFT_JSON_BOOL) return kind_error(member, key, "true or false");
    *out = kind == WEFT_JSON_NULL ? fallback : json_is_true(wi_json_of(member));
    return WEFT_OK;
}

weft_status weft_json_string(const weft_json *object, const char *key, const char *fallback, const char **out)
{
    const weft_json *member = weft_json_get(object, key);
    weft_json_kind kind = weft_json_kind_of(member);
    if (kind != WEFT_JSON_NULL && kind != WEFT_JSON_STRING) return kind_error(member, key, "a string");
    *out = kind == WEFT_JSON_NULL ? fallback : json_string_value(wi_json_of(member));
    return WEFT_OK;
}

int64_t weft_json_int_value(const weft_json *value) { return json_integer_value(wi_json_of(value)); }
double weft_json_real_value(const weft_json *value) { return json_number_value(wi_json_of(value)); }
bool weft_json_bool_value(const weft_json *value) { return json_is_true(wi_json_of(value)); }
const char *weft_json_string_value(const weft_json *value) { return json_string_value(wi_json_of(value)); }
