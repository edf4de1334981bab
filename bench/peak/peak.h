// The loops that reach a level's ceilings, compiled with its flags. Each does `rounds` of its work and returns the
// operations or bytes that this was.
#ifndef WEFT_BENCH_PEAK_PEAK_H
#define WEFT_BENCH_PEAK_PEAK_H

#include <stddef.h>
#include <stdint.h>

double wi_peak_fma_avx2(int64_t rounds);
double wi_peak_fma_avx512(int64_t rounds);
double wi_peak_dot_avx512(int64_t rounds);
double wi_peak_chain_avx2(int64_t rounds); // each waits for the one before
double wi_peak_chain_avx512(int64_t rounds);
double wi_peak_bf16_amx(int64_t rounds);
double wi_peak_int8_amx(int64_t rounds);

// Reads the bytes, a multiple of 512 that is aligned to 64, once.
uint64_t wi_read_ref(const void *data, size_t bytes);
uint64_t wi_read_avx2(const void *data, size_t bytes);
uint64_t wi_read_avx512(const void *data, size_t bytes);

// Copies as many, from and to what is aligned to 64.
void wi_copy_ref(void *to, const void *from, size_t bytes);
void wi_copy_avx2(void *to, const void *from, size_t bytes);
void wi_copy_avx512(void *to, const void *from, size_t bytes);

#endif
