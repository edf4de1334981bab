// Headers of safetensors files: what is valid is read, and each way of being malformed is refused in one line that
// names the file, the tensor and the reason.
#include "core/json.h"
#include "model/safetensors.h"
#include "tests/check.h"

#define T "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":"

static weft_status parse(const char *header, uint64_t data, weft_safetensors *out)
{
    return weft_safetensors_parse(header, strlen(header), 8 + strlen(header) + data, "m.safetensors", out);
}

static void refuse(const char *header, uint64_t data, weft_status status, const char *tensor, const char *reason)
{
    weft_safetensors file = {0};
    CHECK_FAILS(parse(header, data, &file), status, reason);
    CHECK_HAS(weft_error_text(), "m.safetensors");
    if (tensor) CHECK_HAS(weft_error_text(), tensor);
    CHECK(!file.at && !file.document);
}

static void accepts(void)
{
    weft_safetensors file = {0};
    CHECK_OK(parse("{\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                   "\"__metadata__\":{\"format\":\"pt\"},\"a\":{" T "[0,8]}}   \n",
                   20, &file));
    CHECK_INT(file.count, 2);
    CHECK_TEXT(file.at[0].name, "a");
    CHECK_TEXT(file.at[1].name, "b");
    CHECK_INT(file.at[1].type, WEFT_BF16);
    CHECK_INT(file.at[1].rank, 2);
    CHECK_INT(file.at[1].shape[1], 3);
    CHECK_INT(file.at[1].bytes, 12);
    CHECK_INT(file.at[1].offset - file.at[0].offset, 8);
    weft_safetensors_fini(&file);

    // no tensors at all; rank 0; nothing in a dimension, beside what has the same place
    CHECK_OK(parse("{}", 0, &file));
    CHECK_INT(file.count, 0);
    weft_safetensors_fini(&file);
    CHECK_OK(parse("{\"s\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]},"
                   "\"z\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[0,0]},"
                   "\"y\":{\"dtype\":\"F32\",\"shape\":[7,0],\"data_offsets\":[8,8]}}",
                   8, &file));
    CHECK_INT(file.count, 3);
    CHECK_TEXT(file.at[0].name, "z");
    CHECK_INT(file.at[1].rank, 0);
    CHECK_TEXT(file.at[2].name, "y");
    weft_safetensors_fini(&file);
}

static void refuses_lengths(void)
{
    const unsigned char huge[8] = {255, 255, 255, 255, 255, 255, 255, 255}, over[8] = {1, 225, 245, 5}, ten[8] = {10},
                        none[8] = {0};
    size_t bytes = 77;
    CHECK_FAILS(weft_safetensors_length(ten, 7, "m", &bytes), WEFT_FORMAT, "m: 7 bytes, too short");
    CHECK_FAILS(weft_safetensors_length(ten, 0, "m", &bytes), WEFT_FORMAT, "too short");
    CHECK_FAILS(weft_safetensors_length(huge, 1000, "m", &bytes), WEFT_LIMIT, "18446744073709551615");
    CHECK_FAILS(weft_safetensors_length(over, UINT64_C(1) << 40, "m", &bytes), WEFT_LIMIT, "100000001");
    CHECK_FAILS(weft_safetensors_length(ten, 17, "m", &bytes), WEFT_FORMAT, "10 bytes and the file has 17");
    CHECK_FAILS(weft_safetensors_length(none, 17, "m", &bytes), WEFT_FORMAT, "0 bytes");
    CHECK_INT(bytes, 77);
    CHECK_OK(weft_safetensors_length(ten, 18, "m", &bytes));
    CHECK_INT(bytes, 10);
}

static void refuses_json(void)
{
    weft_safetensors file;
    refuse("[1]", 0, WEFT_FORMAT, NULL, "does not begin with {");
    refuse(" {}", 0, WEFT_FORMAT, NULL, "does not begin with {");
    refuse("{\"a\":", 0, WEFT_FORMAT, NULL, "too early");
    refuse("{} x", 0, WEFT_FORMAT, NULL, "nothing after");
    refuse("{\"\xff\":{" T "[0,8]}}", 8, WEFT_FORMAT, NULL, "UTF-8");
    refuse("{\"tw\":{" T "[0,8]},\"tw\":{" T "[0,8]}}", 8, WEFT_FORMAT, "tw", "keep one of the two");
    refuse("{\"a\":{\"shape\":[[[[[1]]]]]}}", 8, WEFT_LIMIT, NULL, "nested deeper");
    refuse("{\"__metadata__\":{\"n\":1}}", 0, WEFT_FORMAT, NULL, "object of strings");
    refuse("{\"__metadata__\":[]}", 0, WEFT_FORMAT, NULL, "object of strings");
    refuse("{\"a\\u001bb\":{" T "[0,8]}}", 8, WEFT_FORMAT, NULL, "control characters");
    CHECK_FAILS(weft_safetensors_parse("{}", 2, 9, "m.safetensors", &file), WEFT_FORMAT, "shorter than its header");
    // deeper than any stack
    enum { DEEP = 100000 };
    char *deep = malloc(DEEP + 6);
    CHECK(deep);
    memset(deep, '[', DEEP + 6);
    for (int i = 0; i < 5; i++) deep[i] = "{\"a\":"[i];
    CHECK_FAILS(weft_safetensors_parse(deep, DEEP + 5, DEEP + 13, "m.safetensors", &file), WEFT_LIMIT, "nested deeper");
    free(deep);
}

static void refuses_tensors(void)
{
    refuse("{\"wt\":3}", 0, WEFT_FORMAT, "wt", "no object");
    refuse("{\"wt\":{}}", 0, WEFT_FORMAT, "wt", "type");
    refuse("{\"wt\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, WEFT_UNSUPPORTED, "wt", "F31");
    refuse("{\"wt\":{\"dtype\":1,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, WEFT_FORMAT, "wt", "not a string");
    refuse("{\"wt\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, WEFT_FORMAT, "wt", "not an array");
    refuse("{\"wt\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, WEFT_FORMAT, "wt", "no size");
    refuse("{\"wt\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, WEFT_FORMAT, "wt", "no size");
    refuse("{\"wt\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8, WEFT_LIMIT, "wt",
           "6 dimensions");
    refuse("{\"wt\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", 8, WEFT_OVERFLOW,
           "wt", "m.safetensors");
    refuse("{\"wt\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807],\"data_offsets\":[0,8]}}", 8, WEFT_OVERFLOW,
           "wt", "m.safetensors");
    refuse("{\"wt\":{\"dtype\":\"I4\",\"shape\":[2,3],\"data_offsets\":[0,3]}}", 3, WEFT_INVALID, "wt", "byte");
    refuse("{\"wt\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8, WEFT_FORMAT, "wt",
           "nothing else");
}

static void refuses_offsets(void)
{
    refuse("{\"wt\":{" T "[0]}}", 8, WEFT_FORMAT, "wt", "two sizes");
    refuse("{\"wt\":{" T "[0,-8]}}", 8, WEFT_FORMAT, "wt", "two sizes");
    refuse("{\"wt\":{" T "[-8,0]}}", 8, WEFT_FORMAT, "wt", "two sizes");
    refuse("{\"wt\":{" T "[0,1e400]}}", 8, WEFT_FORMAT, NULL, "too large");
    refuse("{\"wt\":{" T "[0,18446744073709551615]}}", 8, WEFT_FORMAT, NULL, "too large");
    refuse("{\"wt\":{" T "[8,0]}}", 8, WEFT_FORMAT, "wt", "before its beginning");
    refuse("{\"wt\":{" T "[0,7]}}", 8, WEFT_FORMAT, "wt", "its shape and type make 8");
    refuse("{\"wt\":{" T "[0,8]}}", 7, WEFT_FORMAT, "wt", "ends at 8 of 7");
    refuse("{\"wt\":{" T "[0,8]}}", 9, WEFT_FORMAT, NULL, "not what was written");
    refuse("{}", 1, WEFT_FORMAT, NULL, "not what was written");
    refuse("{\"wt\":{" T "[4,12]}}", 12, WEFT_FORMAT, "wt", "4 bytes before it");
    refuse("{\"a\":{" T "[0,8]},\"wt\":{" T "[12,20]}}", 20, WEFT_FORMAT, "wt", "4 bytes before it");
    refuse("{\"a\":{" T "[0,8]},\"wt\":{" T "[4,12]}}", 12, WEFT_FORMAT, "wt", "overlaps tensor a");
    refuse("{\"a\":{" T "[0,8]},\"wt\":{" T "[0,8]}}", 8, WEFT_FORMAT, "wt", "overlaps tensor a");
}

int main(void)
{
    accepts();
    refuses_lengths();
    refuses_json();
    refuses_tensors();
    refuses_offsets();
    return 0;
}
