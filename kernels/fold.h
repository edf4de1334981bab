// The fold: which rank holds which positions of a sequence, and in which order partial results over them are joined.
// Pure functions of numbers, the same on every rank and for every device.
//
// Positions are cut into chunks of 256. The chunks are dealt to 32 classes like cards to and fro: 0, 1, ... 31, 31, ...
// 1, 0, 0, 1, ... so each class gets its share of a causal triangle. The classes stand in 32 places, in an order in
// which every half, quarter and eighth of the places carries equal work. Partial results are joined by the binary tree
// over the places; the chunks of one class are joined before that, ascending, in a chain.
//
// A rank holds a set of places, one bit each. Where sequences are short, a request's places are rotated: with key k the
// place p of the tree is held by the rank that owns place p ^ k. That moves data between ranks and changes no sum: an
// aligned subtree of places stays one.
#ifndef WEFT_KERNELS_FOLD_H
#define WEFT_KERNELS_FOLD_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { WEFT_FOLD_CHUNK = 256, WEFT_FOLD_PLACES = 32, WEFT_FOLD_ROOTS_MAX = 16 };
#define WEFT_FOLD_ALL UINT32_C(0xffffffff)

int weft_fold_class(int64_t chunk);                     // the class of a chunk, 0..31
int weft_fold_place(int fold_class);                    // where a class stands
int weft_fold_class_at(int place);                      // which class stands at a place
uint32_t weft_fold_owned(int rank, int ranks);          // the places of rank r of 1..32: floor(32r/P) and following
uint32_t weft_fold_rotate(uint32_t places, int key);    // {p ^ key}, key 0..31
int weft_fold_owner(int64_t chunk, int ranks, int key); // which rank holds a chunk of a request rotated by key

// The maximal aligned subtrees of a set of places, in place order. Returns how many, at most WEFT_FOLD_ROOTS_MAX.
typedef struct {
    int first, places; // places is 1, 2, 4, ... 32 and divides first
} weft_fold_root;
int weft_fold_roots(uint32_t places, weft_fold_root out[WEFT_FOLD_ROOTS_MAX]);

#ifdef __cplusplus
}
#endif
#endif
