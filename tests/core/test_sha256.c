// The examples of FIPS 180-4, and that pieces of any size give what one piece gives.
#include "core/sha256.h"
#include "tests/check.h"

static void expect(const char *text, size_t bytes, const char *digest)
{
    for (size_t piece = 1; piece <= 130; piece += 7) {
        weft_sha256 hash;
        char got[65];
        weft_sha256_begin(&hash);
        for (size_t at = 0; at < bytes; at += piece)
            weft_sha256_add(&hash, text + at, bytes - at < piece ? bytes - at : piece);
        weft_sha256_end(&hash, got);
        CHECK_TEXT(got, digest);
    }
}

int main(void)
{
    static char many[1000000];
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    expect("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect(two, strlen(two), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    memset(many, 'a', sizeof many);
    expect(many, sizeof many, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    return 0;
}
