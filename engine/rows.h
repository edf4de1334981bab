// The rows of one step: positions of requests, dealt over the context ranks that compute them. The same on every rank
// but for what is its own. Inside engine/ only.
#ifndef WEFT_ENGINE_ROWS_H
#define WEFT_ENGINE_ROWS_H

#include "model/model.h"

typedef struct wi_rows wi_rows;

typedef struct {
    int ranks, own;       // that rows are dealt over; 1 and 0 where every rank computes all
    int room, logit_room; // the most rows of one rank; of which the logits are wanted, on all ranks
    int groups;           // of layers, each with tables of its own
    size_t vocab;
} wi_rows_shape;

weft_status wi_rows_create(const wi_rows_shape *shape, wi_rows **out);
size_t wi_rows_bytes(const wi_rows_shape *shape); // what they take
void wi_rows_destroy(wi_rows *rows);              // accepts NULL

typedef struct {
    const int32_t *tokens; // the first to be computed
    int64_t position;      // of it
    int count;
    const int32_t *blocks; // this rank's, of each group, one table behind the other
    int table;             // entries of one
    int key, rotation;     // of the fold; of the tables
    bool all_logits, last_logit;
} wi_rows_wanted;

void wi_rows_begin(wi_rows *rows);
// How many of them there is room for, from the first on.
int wi_rows_fit(wi_rows *rows, const wi_rows_wanted *wanted);
void wi_rows_add(wi_rows *rows, const wi_rows_wanted *wanted); // all of them: they fit
int wi_rows_logits(const wi_rows *rows);                       // wanted so far
int64_t wi_rows_count(const wi_rows *rows);                    // on all ranks together
const weft_batch *wi_rows_batch(wi_rows *rows);                // `layers` and `group_of` are not set

#endif
