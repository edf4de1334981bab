// The units of the pools of all context ranks, by number alone: which are free, which make up a block, who holds it and
// by what name it can be found. Every rank keeps the same books of all ranks, so what one decides all decide, without a
// message. No memory of keys and values is touched here.
//
// A block is one or more units of one rank and is known by its first. It may be named once its positions are computed:
// by its kind, by the hash of all tokens up to its end, and by the fold's key that says which rank has it. A named
// block that nobody holds stays until its units are wanted. Inside engine/ only.
#ifndef WEFT_ENGINE_BLOCKS_H
#define WEFT_ENGINE_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

typedef struct wi_blocks wi_blocks;

typedef struct {
    uint64_t word[2];
} wi_digest;

// Which block that nobody holds goes first.
typedef enum {
    WEFT_EVICT_LRU,     // the one let go longest ago
    WEFT_EVICT_FIFO,    // the one computed longest ago
    WEFT_EVICT_PRIORITY // that of the request of the lowest priority, then as LRU
} weft_eviction;

weft_status wi_blocks_create(int ranks, int64_t units, weft_eviction eviction, wi_blocks **out);
uint64_t wi_blocks_bytes(int ranks, int64_t units); // what that takes
void wi_blocks_destroy(wi_blocks *blocks);          // accepts NULL

int64_t wi_blocks_units(const wi_blocks *blocks);           // of each rank
int64_t wi_blocks_room(const wi_blocks *blocks, int rank);  // units that can be taken: free, or of blocks nobody holds
int64_t wi_blocks_named(const wi_blocks *blocks, int rank); // of these, those that can still be found
int64_t wi_blocks_evicted(const wi_blocks *blocks);         // blocks so far that were found no more

// A block of so many units, with one holder. The caller knows that there is room.
int32_t wi_blocks_take(wi_blocks *blocks, int rank, int units);
void wi_blocks_hold(wi_blocks *blocks, int32_t block);
void wi_blocks_give(wi_blocks *blocks, int32_t block, int priority);
int wi_blocks_holders(const wi_blocks *blocks, int32_t block);

int32_t wi_blocks_next(const wi_blocks *blocks, int32_t unit);    // the next unit of its block, or -1
int wi_blocks_rank(const wi_blocks *blocks, int32_t unit);        // whose it is
int32_t wi_blocks_in_pool(const wi_blocks *blocks, int32_t unit); // its number there

// Names a block, unless it has its name already; false where another one has it.
bool wi_blocks_name(wi_blocks *blocks, int32_t block, int kind, const wi_digest *hash, int key);
void wi_blocks_unname(wi_blocks *blocks, int32_t block); // one without a name is left alone
int32_t wi_blocks_find(const wi_blocks *blocks, int kind, const wi_digest *hash, int key); // -1: there is none
uint32_t wi_blocks_keys(const wi_blocks *blocks, int kind, const wi_digest *hash); // bit k: there is one of key k

// That the books agree with themselves, and with how often each block is held by `holders` [ranks * units]. INTERNAL.
weft_status wi_blocks_check(const wi_blocks *blocks, const int32_t *holders);

#endif
