// SHA-256 (FIPS 180-4), for digests that two runs compare.
#ifndef WEFT_CORE_SHA256_H
#define WEFT_CORE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint32_t state[8];
    uint64_t bytes;
    unsigned char block[64];
} weft_sha256;

void weft_sha256_begin(weft_sha256 *hash);
void weft_sha256_add(weft_sha256 *hash, const void *data, size_t bytes);
// The hash as bytes, or in hex. It must begin anew after either.
void weft_sha256_finish(weft_sha256 *hash, unsigned char digest[32]);
void weft_sha256_end(weft_sha256 *hash, char text[65]);

#ifdef __cplusplus
}
#endif
#endif
