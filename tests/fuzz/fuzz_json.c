// Any text, read as JSON and written again: what comes back is the same.
#include "core/json.h"
#include "tests/fuzz/fuzz.h"

static void rewrite(weft_json_writer *writer, const char *key, const weft_json *value)
{
    switch (weft_json_kind_of(value)) {
    case WEFT_JSON_NULL:
        weft_json_write_string(writer, key, NULL);
        break;
    case WEFT_JSON_BOOL:
        weft_json_write_bool(writer, key, weft_json_bool_value(value));
        break;
    case WEFT_JSON_INT:
        weft_json_write_int(writer, key, weft_json_int_value(value));
        break;
    case WEFT_JSON_REAL:
        weft_json_write_real(writer, key, weft_json_real_value(value));
        break;
    case WEFT_JSON_STRING:
        weft_json_write_string(writer, key, weft_json_string_value(value));
        break;
    case WEFT_JSON_ARRAY:
        weft_json_write_array(writer, key);
        for (size_t i = 0; i < weft_json_size(value); i++) rewrite(writer, NULL, weft_json_at(value, i));
        weft_json_write_end(writer);
        break;
    case WEFT_JSON_OBJECT:
        weft_json_write_object(writer, key);
        for (const char *name = NULL; (name = weft_json_next_key(value, name));)
            rewrite(writer, name, weft_json_get(value, name));
        weft_json_write_end(writer);
        break;
    }
}

static void read_typed(const weft_json *object)
{
    int64_t whole;
    double real;
    bool truth;
    const char *text;
    for (const char *name = NULL; (name = weft_json_next_key(object, name));) {
        weft_json_int(object, name, -5, 5, 0, &whole);
        weft_json_real(object, name, 0, &real);
        weft_json_bool(object, name, false, &truth);
        weft_json_string(object, name, "", &text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const weft_json_limits limits = {.bytes = 1 << 20, .depth = 60, .wide_integers = size && data[0] == ' '};
    weft_json *document = NULL, *again = NULL;
    weft_json_writer writer;
    const char *text;
    size_t bytes;
    if (weft_json_parse((const char *)data, size, "fuzz", &limits, &document) < 0) return 0;
    read_typed(document);
    weft_json_writer_init(&writer, size & 1);
    rewrite(&writer, NULL, document);
    if (weft_json_writer_finish(&writer, &text, &bytes) == WEFT_OK) {
        const weft_json_limits wide = {.bytes = (size_t)64 << 20, .depth = 64, .wide_integers = true};
        if (weft_json_parse(text, bytes, "again", &wide, &again) < 0) abort();
    }
    weft_json_free(again);
    weft_json_writer_fini(&writer);
    weft_json_free(document);
    return 0;
}
