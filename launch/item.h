// A request of a batch on its way through rank 0: its line, its continuations as they grow, its line of the output.
// Inside launch/ only.
#ifndef WEFT_LAUNCH_ITEM_H
#define WEFT_LAUNCH_ITEM_H

#include "launch/answer.h"
#include "launch/draws.h"

typedef struct wi_item wi_item;

// One continuation.
typedef struct {
    wi_item *item;
    int index;
    wi_answer answer;
    wi_draws draws;
    bool away;  // with an engine, or on its way there
    bool ended; // nothing is added any more, whatever the engine still draws
} wi_part;

struct wi_item {
    wi_item *next;  // in input order
    int64_t number; // of requests, from 0
    size_t line_bytes;
    wi_query request;
    wi_part *parts;   // [n]; NULL where the request failed
    int ended;        // of them
    int away;         // of them
    int slot;         // while some are away: what the request is called there
    int64_t promised; // positions that it may come to there
    int returned;     // so often by a replica that had not begun it
    bool written;
};

// Takes the request over, also when it fails.
weft_status wi_item_create(const weft_tokenizer *tokenizer, int64_t number, wi_query *request, wi_item **out);
void wi_item_destroy(wi_item *item); // accepts NULL

// A token was drawn. The part has ended when that was the last one that counts.
weft_status wi_part_add(wi_part *part, const wi_drawn *drawn);
weft_status wi_part_end(wi_part *part, weft_finish finish);
// The calling thread's error is the item's: nothing of it will be answered otherwise.
weft_status wi_item_fail(wi_item *item);
static inline bool wi_item_has_ended(const wi_item *item)
{
    return item->request.error || item->ended == item->request.how.n;
}

#endif
