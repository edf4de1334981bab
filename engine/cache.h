// The paged cache of a replica, by number alone: which blocks the positions of each sequence lie in, on every context
// rank at once. Every rank runs the same books (blocks.h), so admission, sharing and eviction need no message.
//
// Layers are of one or a few kinds: those that see all positions, and those with a window. A block of a kind holds
// `block` positions of all its layers, at absolute positions, in `units` units of the pool; blocks behind the window of
// their kind are let go. Blocks that are full get a name, the chained hash of all tokens up to their end, and whoever
// has the same tokens finds them.
//
// A sequence may reserve what it will come to. What is reserved and not taken yet is promised: no other gets it. So a
// sequence that stays within what it reserved never lacks a block. Inside engine/ only.
#ifndef WEFT_ENGINE_CACHE_H
#define WEFT_ENGINE_CACHE_H

#include "engine/blocks.h"

enum { WI_KINDS_MAX = 4 };

typedef struct {
    int64_t window; // a row sees so many positions, itself among them; 0: all
    int units;      // of a block
} wi_kind;

typedef struct {
    int ranks, rank; // that positions are dealt over; this one
    int64_t units;   // of the pool of each rank
    int block;       // positions
    int room;        // blocks of each kind that a sequence has room for
    int rows;        // of one sequence in one step, at most
    int requests;    // sequences that hold blocks at once, at most
    wi_kind kinds[WI_KINDS_MAX];
    int kind_count;
    weft_eviction eviction;
    bool sharing; // of what is alike; false: nothing is named, nothing found
} wi_kv_shape;

typedef struct wi_kv wi_kv;

// The blocks of one request.
typedef struct {
    int room;                 // blocks of each kind
    int key, priority;        // of the fold; for eviction
    int count;                // blocks of each kind, those let go among them
    int32_t *heads;           // [kinds][room] the first unit of each block; -1: let go
    int32_t *units;           // [groups][room] numbers in this rank's pool, for the kernels; -1: not here
    int behind[WI_KINDS_MAX]; // blocks let go, from the first on
    wi_digest *hashes;        // [room] of full blocks, chained
    int hashed, named;        // blocks with a hash; blocks with a name
    wi_digest root;           // what the chain begins with: all that changes bits beside the tokens
    int joined;               // blocks that were shared when it began
    int borrowed;             // a block that others hold and that will be written: copied before that; -1
    int64_t *bound, *held;    // [ranks] units reserved; taken
} wi_sequence;

weft_status wi_kv_create(const wi_kv_shape *shape, wi_kv **out);
void wi_kv_destroy(wi_kv *cache); // accepts NULL
const wi_kv_shape *wi_cache_shape_of(const wi_kv *cache);
const wi_blocks *wi_kv_blocks(const wi_kv *cache);

// With room for so many positions.
weft_status wi_sequence_create(const wi_kv *cache, int64_t positions, wi_sequence *out);
void wi_sequence_free(wi_sequence *sequence); // it holds nothing by then

// Hashes what is full of so many tokens and was not hashed yet. `turned`: the key of its rotations, the same until
// `hashed` is set back to 0.
void wi_kv_hash(const wi_kv *cache, wi_sequence *sequence, int turned, const int32_t *tokens, int count);

// Whether a sequence of so many positions fits where there is no other.
bool wi_kv_fits(const wi_kv *cache, int64_t positions);

// Begins a sequence: finds the longest prefix of at most `share` positions that is cached, and reserves what
// `positions` take. Returns how many positions were found, -1 where there is no room now: nothing is held then.
// `margin`: units of each rank that must be left over.
int64_t wi_kv_admit(wi_kv *cache, wi_sequence *sequence, int64_t share, int64_t positions, int64_t margin);
// Likewise beside `parent`, whose first `share` positions are its own too. -1 also where these are no longer there.
int64_t wi_kv_fork(wi_kv *cache, const wi_sequence *parent, wi_sequence *sequence, int64_t share, int64_t positions,
                   int64_t margin);
// Begins a sequence whose first `cached` positions are about to come from elsewhere, dealt under that key: takes blocks
// for those that a row behind them sees, and reserves what `positions` take. False: there is no room; nothing is held.
bool wi_kv_place(wi_kv *cache, wi_sequence *sequence, int key, int64_t cached, int64_t positions);
// Blocks for so many positions, which may be written then. False: there is no room; nothing has changed.
bool wi_kv_extend(wi_kv *cache, wi_sequence *sequence, int64_t positions);
// So many positions have been computed: names what is full, lets go what lies behind windows.
void wi_kv_computed(wi_kv *cache, wi_sequence *sequence, int64_t positions);
// Takes positions back. False where a window has let go what the first ones need: nothing has changed then.
bool wi_kv_truncate(wi_kv *cache, wi_sequence *sequence, int64_t positions);
void wi_kv_release(wi_kv *cache, wi_sequence *sequence); // it may begin anew

// Units of this rank that are to be copied before positions are written, in this order; forgotten by wi_kv_copied.
typedef struct {
    int32_t from, to;
} wi_copy;
int wi_kv_copies(const wi_kv *cache, const wi_copy **out);
void wi_kv_copied(wi_kv *cache);

int64_t wi_kv_freed(const wi_kv *cache); // a number that changes when there may be more room than before
// Beside what wi_blocks_check says: that what sequences hold and reserved is what the books say, and, where none went
// beyond what it reserved, that there is room for all that was promised. INTERNAL. Allocates.
weft_status wi_kv_check(const wi_kv *cache, const wi_sequence *const *sequences, int count, bool kept);

#endif
