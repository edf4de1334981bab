// Element types and views.
#include "core/tensor.h"

#include "tests/check.h"

static void test_types(void)
{
    weft_dtype type;
    CHECK_INT(weft_dtype_bits(WEFT_BF16), 16);
    CHECK_INT(weft_dtype_bits(WEFT_I4), 4);
    CHECK_INT(weft_dtype_bits((weft_dtype)99), 0);
    CHECK_TEXT(weft_dtype_name(WEFT_BF16), "bf16");
    CHECK(weft_dtype_from_name("int4", &type) && type == WEFT_I4);
    CHECK(weft_dtype_from_file("F8_E4M3", &type) && type == WEFT_E4M3);
    CHECK(!weft_dtype_from_name("BF16", &type) && !weft_dtype_from_file("bf16", &type) && type == WEFT_E4M3);
    for (int i = 0; i < WEFT_DTYPE_COUNT; i++)
        CHECK(weft_dtype_from_name(weft_dtype_name((weft_dtype)i), &type) && type == (weft_dtype)i);
}

static void test_view(void)
{
    float data[24];
    weft_tensor t;
    char text[64];
    CHECK_OK(weft_tensor_view(data, WEFT_F32, 3, (const int64_t[]){2, 3, 4}, &t));
    CHECK_INT(t.stride[0], 12);
    CHECK_INT(t.stride[1], 4);
    CHECK_INT(t.stride[2], 1);
    CHECK_INT(weft_tensor_count(&t), 24);
    CHECK_INT(weft_tensor_bytes(&t), 96);
    CHECK(weft_tensor_dense(&t));
    CHECK_TEXT(weft_tensor_describe(&t, text, sizeof text), "f32 (2, 3, 4)");
    CHECK_OK(weft_tensor_view(data, WEFT_BF16, 0, NULL, &t));
    CHECK_INT(weft_tensor_count(&t), 1);
    CHECK_INT(weft_tensor_bytes(&t), 2);
    CHECK_TEXT(weft_tensor_describe(&t, text, sizeof text), "bf16 ()");
    CHECK_OK(weft_tensor_view(data, WEFT_I4, 2, (const int64_t[]){3, 10}, &t));
    CHECK_INT(weft_tensor_bytes(&t), 15);
    CHECK_OK(weft_tensor_view(data, WEFT_F32, 2, (const int64_t[]){0, 7}, &t));
    CHECK_INT(weft_tensor_bytes(&t), 0);
    CHECK(weft_tensor_dense(&t));
    CHECK_OK(weft_tensor_view(NULL, WEFT_U8, 1, (const int64_t[]){INT64_MAX / 2}, &t));
    CHECK_INT(weft_tensor_bytes(&t), INT64_MAX / 2);
    CHECK_OK(weft_tensor_view(NULL, WEFT_I4, 1, (const int64_t[]){INT64_MAX - 1}, &t));
    CHECK_INT(weft_tensor_bytes(&t), INT64_MAX / 2);
}

static void test_refused(void)
{
    weft_tensor t = {.rank = 77};
    CHECK_FAILS(weft_tensor_view(NULL, WEFT_F32, 6, (const int64_t[]){1, 1, 1, 1, 1, 1}, &t), WEFT_LIMIT,
                "6 dimensions");
    CHECK_FAILS(weft_tensor_view(NULL, WEFT_F32, -1, NULL, &t), WEFT_LIMIT, "-1 dimensions");
    CHECK_FAILS(weft_tensor_view(NULL, WEFT_F32, 2, (const int64_t[]){3, -2}, &t), WEFT_INVALID,
                "dimension 1 of a tensor is -2");
    CHECK_FAILS(weft_tensor_view(NULL, (weft_dtype)99, 0, NULL, &t), WEFT_INVALID, "unknown type 99");
    CHECK_FAILS(weft_tensor_view(NULL, WEFT_F32, 2, (const int64_t[]){INT64_MAX, 4}, &t), WEFT_OVERFLOW,
                "f32 (9223372036854775807, 4)");
    CHECK_FAILS(weft_tensor_view(NULL, WEFT_F32, 1, (const int64_t[]){INT64_MAX / 2}, &t), WEFT_OVERFLOW, "more bytes");
    CHECK_FAILS(weft_tensor_view(NULL, WEFT_F32, 3, (const int64_t[]){INT64_MAX, 4, 0}, &t), WEFT_OVERFLOW,
                "more bytes");
    CHECK_FAILS(weft_tensor_view(NULL, WEFT_F32, 3, (const int64_t[]){INT64_MAX, 2, 0}, &t), WEFT_OVERFLOW,
                "more bytes");
    CHECK_FAILS(weft_tensor_view(NULL, WEFT_I4, 2, (const int64_t[]){2, 7}, &t), WEFT_INVALID,
                "a row of 7 int4 elements");
    CHECK_FAILS(weft_tensor_view(NULL, WEFT_I4, 0, NULL, &t), WEFT_INVALID, "does not end on a byte");
    CHECK_INT(t.rank, 77);
}

static void test_slice(void)
{
    float data[24];
    uint8_t nibbles[16];
    weft_tensor t, rows, columns;
    CHECK_OK(weft_tensor_view(data, WEFT_F32, 2, (const int64_t[]){4, 6}, &t));
    CHECK_OK(weft_tensor_slice(&t, 0, 1, 3, &rows));
    CHECK(rows.data == &data[6] && rows.shape[0] == 2 && weft_tensor_dense(&rows));
    CHECK_OK(weft_tensor_slice(&rows, 1, 2, 5, &columns));
    CHECK(columns.data == &data[8] && columns.shape[1] == 3 && columns.stride[0] == 6 && !weft_tensor_dense(&columns));
    CHECK_OK(weft_tensor_slice(&columns, 0, 1, 2, &columns)); // one row of it is dense; out may be the input
    CHECK(columns.data == &data[14] && weft_tensor_dense(&columns));
    CHECK_OK(weft_tensor_slice(&t, 0, 4, 4, &rows));
    CHECK_INT(weft_tensor_count(&rows), 0);
    CHECK_FAILS(weft_tensor_slice(&t, 2, 0, 1, &rows), WEFT_INVALID, "no dimension 2 in f32 (4, 6)");
    CHECK_FAILS(weft_tensor_slice(&t, 0, 0, 5, &rows), WEFT_INVALID,
                "part [0, 5) of dimension 0 is not inside f32 (4, 6)");
    CHECK_FAILS(weft_tensor_slice(&t, 0, 2, 1, &rows), WEFT_INVALID, "part [2, 1)");
    CHECK_FAILS(weft_tensor_slice(&t, 0, -1, 1, &rows), WEFT_INVALID, "part [-1, 1)");

    CHECK_OK(weft_tensor_view(nibbles, WEFT_I4, 2, (const int64_t[]){4, 8}, &t));
    CHECK_OK(weft_tensor_slice(&t, 0, 1, 4, &rows));
    CHECK(rows.data == &nibbles[4]);
    CHECK_OK(weft_tensor_slice(&t, 1, 2, 6, &columns));
    CHECK(columns.data == &nibbles[1]);
    CHECK_FAILS(weft_tensor_slice(&t, 1, 1, 4, &columns), WEFT_INVALID, "begin and end on a byte");
    CHECK_FAILS(weft_tensor_slice(&t, 1, 2, 5, &columns), WEFT_INVALID, "begin and end on a byte");
}

int main(void)
{
    test_types();
    test_view();
    test_refused();
    test_slice();
    return 0;
}
