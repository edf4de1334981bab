// CRC-32C against published values, in pieces, and with every bit flipped.
#include "core/crc32c.h"
#include "tests/check.h"

int main(void)
{
    unsigned char zeros[32] = {0}, ones[32], rising[32];
    memset(ones, 0xFF, sizeof ones);
    for (int i = 0; i < 32; i++) rising[i] = (unsigned char)i;
    CHECK_INT(weft_crc32c(0, "123456789", 9), 0xE3069283);
    CHECK_INT(weft_crc32c(0, zeros, 32), 0x8A9136AA); // RFC 3720, B.4
    CHECK_INT(weft_crc32c(0, ones, 32), 0x62A8AB43);
    CHECK_INT(weft_crc32c(0, rising, 32), 0x46DD794E);
    CHECK_INT(weft_crc32c(0, "", 0), 0);
    for (size_t cut = 0; cut <= 32; cut++)
        CHECK_INT(weft_crc32c(weft_crc32c(0, rising, cut), rising + cut, 32 - cut), 0x46DD794E);
    for (int bit = 0; bit < 256; bit++) {
        rising[bit / 8] ^= (unsigned char)(1 << bit % 8);
        CHECK(weft_crc32c(0, rising, 32) != 0x46DD794E);
        rising[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    return 0;
}
