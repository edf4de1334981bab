// Size arithmetic at its borders.
#include "core/checked.h"

#include "core/status.h"
#include "tests/check.h"

int main(void)
{
    size_t out = 7;
    CHECK(weft_size_add(SIZE_MAX - 1, 1, &out) && out == SIZE_MAX);
    out = 7;
    CHECK(!weft_size_add(SIZE_MAX, 1, &out) && out == 7);
    CHECK(weft_size_mul((size_t)1 << 32, (size_t)1 << 31, &out) && out == (size_t)1 << 63);
    out = 7;
    CHECK(!weft_size_mul((size_t)1 << 32, (size_t)1 << 32, &out) && out == 7);
    CHECK(weft_size_mul(0, SIZE_MAX, &out) && out == 0);

    CHECK(weft_size_product((const int64_t[]){2, 3, 7}, 3, &out) && out == 42);
    CHECK(weft_size_product(NULL, 0, &out) && out == 1);
    CHECK(weft_size_product((const int64_t[]){5, 0}, 2, &out) && out == 0);
    out = 7;
    CHECK(!weft_size_product((const int64_t[]){0, -1}, 2, &out) && out == 7);
    CHECK(!weft_size_product((const int64_t[]){INT64_MAX, 4}, 2, &out) && out == 7);
    CHECK(!weft_size_product((const int64_t[]){0, INT64_MAX, 4}, 3, &out) && out == 7);

    CHECK(weft_size_round_up(0, 64, &out) && out == 0);
    CHECK(weft_size_round_up(65, 64, &out) && out == 128);
    CHECK(weft_size_round_up(10, 3, &out) && out == 12);
    CHECK(weft_size_round_up(SIZE_MAX - 63, 64, &out) && out == SIZE_MAX - 63);
    out = 7;
    CHECK(!weft_size_round_up(SIZE_MAX - 62, 64, &out) && out == 7);
    CHECK(weft_size_from_i64(INT64_MAX, &out) && out == INT64_MAX);
    out = 7;
    CHECK(!weft_size_from_i64(-1, &out) && out == 7);
    CHECK_INT(weft_align_up(65, 64), 128);
    CHECK_INT(weft_align_up(64, 64), 64);
    return 0;
}
