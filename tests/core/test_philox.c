// Philox against the known answers of Random123, and the packing that journals rest on.
#include "core/philox.h"

#include "core/status.h"
#include "tests/check.h"

static void check_words(weft_philox4 got, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    const uint32_t expected[4] = {a, b, c, d};
    for (int i = 0; i < 4; i++) CHECK_INT(got.word[i], expected[i]);
}

int main(void)
{
    const uint32_t ones = 0xffffffff;
    check_words(weft_philox((const uint32_t[]){0, 0, 0, 0}, (const uint32_t[]){0, 0}), 0x6627e8d5, 0xe169c58d,
                0xbc57ac4c, 0x9b00dbd8);
    check_words(weft_philox((const uint32_t[]){ones, ones, ones, ones}, (const uint32_t[]){ones, ones}), 0x408f276d,
                0x41c83b0e, 0xa20bc7c6, 0x6d5451fd);
    check_words(weft_philox((const uint32_t[]){0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                            (const uint32_t[]){0xa4093822, 0x299f31d0}),
                0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1);

    // A frozen packing: this line may never need another value.
    check_words(weft_draw4(0x0123456789abcdef, 3, 0x100000002, WEFT_DRAW_WEIGHTS), 0xcd8c54d8, 0x7aa4181d, 0xe6b44937,
                0x877a22df);
    weft_philox4 raw = weft_philox((const uint32_t[]){2, 1, 3, 1}, (const uint32_t[]){0x89abcdef, 0x01234567});
    check_words(weft_draw4(0x0123456789abcdef, 3, 0x100000002, WEFT_DRAW_WEIGHTS), raw.word[0], raw.word[1],
                raw.word[2], raw.word[3]);

    CHECK_REAL(weft_unit_float(0), 0);
    CHECK(weft_unit_float(ones) < 1.0f);
    CHECK_REAL(weft_unit_float(0x80000000), 0.5);
    CHECK_REAL(weft_unit_double(0, 0), 0);
    CHECK(weft_unit_double(ones, ones) < 1.0);
    CHECK_REAL(weft_unit_double(0x80000000, 0), 0.5);
    return 0;
}
