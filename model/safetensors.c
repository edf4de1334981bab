// The header of a safetensors file. Rules: sorted by their beginning, each tensor begins where the one before ended;
// the first at 0, the last ends with the file; the length of each is its shape times its type.
#include "model/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/checked.h"

enum { HEADER_DEPTH = 4, SHOWN = 80, MEMBERS = 3 };

weft_status weft_safetensors_length(const unsigned char first[8], uint64_t file_bytes, const char *name,
                                    size_t *header_bytes)
{
    uint64_t length = 0;
    if (file_bytes < 8)
        return weft_fail(WEFT_FORMAT, "%s: %" PRIu64 " bytes, too short for a safetensors file; is it complete?", name,
                         file_bytes);
    for (int i = 7; i >= 0; i--) length = length << 8 | first[i];
    if (length > WEFT_SAFETENSORS_HEADER_MAX)
        return weft_fail(WEFT_LIMIT,
                         "%s: its header is said to be %" PRIu64 " bytes, more than the %d that the format allows; is "
                         "it a safetensors file?",
                         name, length, WEFT_SAFETENSORS_HEADER_MAX);
    if (length > file_bytes - 8)
        return weft_fail(WEFT_FORMAT,
                         "%s: its header is said to be %" PRIu64 " bytes and the file has %" PRIu64 "; is it complete?",
                         name, length, file_bytes);
    if (length < 2) return weft_fail(WEFT_FORMAT, "%s: its header of %" PRIu64 " bytes is no JSON", name, length);
    *header_bytes = (size_t)length;
    return WEFT_OK;
}

static bool printable(const char *name)
{
    for (; *name; name++)
        if ((unsigned char)*name < ' ' || *name == 0x7f) return false;
    return true;
}

static weft_status read_type(const weft_json *value, const char *file, const char *tensor, weft_dtype *out)
{
    const weft_json *member = weft_json_get(value, "dtype");
    const char *name = weft_json_string_value(member);
    if (name && weft_dtype_from_file(name, out)) return WEFT_OK;
    return weft_fail(name ? WEFT_UNSUPPORTED : WEFT_FORMAT,
                     "%s: tensor %.*s: its type is %.20s, which weft does not know", file, SHOWN, tensor,
                     name ? name : "not a string");
}

static weft_status read_shape(const weft_json *value, const char *file, weft_tensor_entry *out)
{
    const weft_json *shape = weft_json_get(value, "shape");
    const size_t rank = weft_json_size(shape);
    weft_tensor view;
    if (weft_json_kind_of(shape) != WEFT_JSON_ARRAY)
        return weft_fail(WEFT_FORMAT, "%s: tensor %.*s: its shape is not an array", file, SHOWN, out->name);
    if (rank > WEFT_TENSOR_RANK_MAX)
        return weft_fail(WEFT_LIMIT, "%s: tensor %.*s: %zu dimensions, more than the %d that weft reads", file, SHOWN,
                         out->name, rank, WEFT_TENSOR_RANK_MAX);
    out->rank = (int)rank;
    for (size_t i = 0; i < rank; i++) {
        const weft_json *size = weft_json_at(shape, i);
        out->shape[i] = weft_json_int_value(size);
        if (weft_json_kind_of(size) != WEFT_JSON_INT || out->shape[i] < 0)
            return weft_fail(WEFT_FORMAT, "%s: tensor %.*s: its shape holds something that is no size", file, SHOWN,
                             out->name);
    }
    weft_status status = weft_tensor_view(NULL, out->type, out->rank, out->shape, &view);
    if (status < 0) return weft_fail(status, "%s: tensor %.*s: %.200s", file, SHOWN, out->name, weft_error_text());
    out->bytes = weft_tensor_bytes(&view);
    return WEFT_OK;
}

// `base` is where the tensors' bytes begin in the file, `data` how many there are.
static weft_status read_offsets(const weft_json *value, const char *file, uint64_t base, uint64_t data,
                                weft_tensor_entry *out)
{
    const weft_json *offsets = weft_json_get(value, "data_offsets"), *first = weft_json_at(offsets, 0),
                    *second = weft_json_at(offsets, 1);
    const int64_t begin = weft_json_int_value(first), end = weft_json_int_value(second);
    if (weft_json_size(offsets) != 2 || weft_json_kind_of(first) != WEFT_JSON_INT ||
        weft_json_kind_of(second) != WEFT_JSON_INT || begin < 0 || end < 0)
        return weft_fail(WEFT_FORMAT, "%s: tensor %.*s: data_offsets must be two sizes", file, SHOWN, out->name);
    if (end < begin)
        return weft_fail(WEFT_FORMAT, "%s: tensor %.*s: ends at %" PRId64 ", before its beginning at %" PRId64, file,
                         SHOWN, out->name, end, begin);
    if ((uint64_t)end > data)
        return weft_fail(WEFT_FORMAT,
                         "%s: tensor %.*s: ends at %" PRId64 " of %" PRIu64 " bytes; is the file complete?", file,
                         SHOWN, out->name, end, data);
    if ((uint64_t)(end - begin) != out->bytes)
        return weft_fail(WEFT_FORMAT, "%s: tensor %.*s: %" PRId64 " bytes, and its shape and type make %" PRIu64, file,
                         SHOWN, out->name, end - begin, out->bytes);
    out->offset = base + (uint64_t)begin;
    return WEFT_OK;
}

static weft_status read_entry(const weft_json *value, const char *file, uint64_t base, uint64_t data,
                              weft_tensor_entry *out)
{
    if (!printable(out->name)) return weft_fail(WEFT_FORMAT, "%s: the name of a tensor holds control characters", file);
    if (weft_json_kind_of(value) != WEFT_JSON_OBJECT)
        return weft_fail(WEFT_FORMAT, "%s: tensor %.*s: described by something that is no object", file, SHOWN,
                         out->name);
    WEFT_TRY(read_type(value, file, out->name, &out->type));
    WEFT_TRY(read_shape(value, file, out));
    WEFT_TRY(read_offsets(value, file, base, data, out));
    if (weft_json_size(value) == MEMBERS) return WEFT_OK;
    return weft_fail(WEFT_FORMAT, "%s: tensor %.*s: must have dtype, shape and data_offsets and nothing else", file,
                     SHOWN, out->name);
}

static weft_status check_metadata(const weft_json *metadata, const char *file)
{
    if (weft_json_kind_of(metadata) != WEFT_JSON_OBJECT)
        return weft_fail(WEFT_FORMAT, "%s: __metadata__ must be an object of strings", file);
    for (const char *key = NULL; (key = weft_json_next_key(metadata, key));)
        if (weft_json_kind_of(weft_json_get(metadata, key)) != WEFT_JSON_STRING)
            return weft_fail(WEFT_FORMAT, "%s: __metadata__ must be an object of strings", file);
    return WEFT_OK;
}

static int by_offset(const void *left, const void *right)
{
    const weft_tensor_entry *a = left, *b = right;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? -1 : 1;
    return strcmp(a->name, b->name);
}

// Each begins where the one before ended, from the header to the end of the file.
static weft_status check_places(const weft_safetensors *s, const char *file, uint64_t base, uint64_t end)
{
    uint64_t expected = base;
    for (size_t i = 0; i < s->count; i++) {
        const weft_tensor_entry *e = &s->at[i];
        if (e->offset < expected)
            return weft_fail(WEFT_FORMAT, "%s: tensor %.*s: overlaps tensor %.*s", file, SHOWN, e->name, SHOWN,
                             s->at[i - 1].name);
        if (e->offset > expected)
            return weft_fail(WEFT_FORMAT, "%s: tensor %.*s: %" PRIu64 " bytes before it belong to no tensor", file,
                             SHOWN, e->name, e->offset - expected);
        expected = e->offset + e->bytes;
    }
    if (expected == end) return WEFT_OK;
    return weft_fail(WEFT_FORMAT,
                     "%s: the tensors end at byte %" PRIu64 " and the file at %" PRIu64 "; it is not what was written",
                     file, expected, end);
}

static weft_status read_document(weft_safetensors *s, size_t header_bytes, uint64_t file_bytes, const char *file)
{
    const uint64_t base = 8 + (uint64_t)header_bytes;
    const size_t members = weft_json_size(s->document);
    if (weft_json_kind_of(s->document) != WEFT_JSON_OBJECT)
        return weft_fail(WEFT_FORMAT, "%s: its header must be a JSON object", file);
    s->at = calloc(members ? members : 1, sizeof *s->at);
    if (!s->at) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for %zu tensors", file, members);
    for (const char *key = NULL; (key = weft_json_next_key(s->document, key));) {
        const weft_json *value = weft_json_get(s->document, key);
        if (strcmp(key, "__metadata__") == 0) {
            WEFT_TRY(check_metadata(value, file));
            continue;
        }
        weft_tensor_entry *entry = &s->at[s->count++];
        entry->name = key;
        WEFT_TRY(read_entry(value, file, base, file_bytes - base, entry));
    }
    qsort(s->at, s->count, sizeof *s->at, by_offset);
    return check_places(s, file, base, file_bytes);
}

weft_status weft_safetensors_parse(const char *header, size_t header_bytes, uint64_t file_bytes, const char *name,
                                   weft_safetensors *out)
{
    const weft_json_limits limits = {.bytes = WEFT_SAFETENSORS_HEADER_MAX, .depth = HEADER_DEPTH};
    weft_safetensors result = {0};
    weft_status status;
    if (header_bytes == 0 || header[0] != '{')
        return weft_fail(WEFT_FORMAT, "%s: its header does not begin with {; is it a safetensors file?", name);
    if (file_bytes < 8 || file_bytes - 8 < header_bytes)
        return weft_fail(WEFT_FORMAT, "%s: shorter than its header; is it complete?", name);
    WEFT_TRY_GOTO(weft_json_parse(header, header_bytes, name, &limits, &result.document));
    WEFT_TRY_GOTO(read_document(&result, header_bytes, file_bytes, name));
    *out = result;
    return WEFT_OK;
fail:
    weft_safetensors_fini(&result);
    return status;
}

void weft_safetensors_fini(weft_safetensors *file)
{
    free(file->at);
    weft_json_free(file->document);
    *file = (weft_safetensors){0};
}
