// CRC-32C (Castagnoli), for records that may be torn or damaged: it finds every burst of up to 32 bits.
#ifndef WEFT_CORE_CRC32C_H
#define WEFT_CORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Of `data` behind what gave `before`; 0 for nothing before: the sum of two pieces is that of both together. Local.
uint32_t weft_crc32c(uint32_t before, const void *data, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
