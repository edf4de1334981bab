// From the lines of the input to requests with tokens. Inside launch/ only.
#ifndef WEFT_LAUNCH_FEED_H
#define WEFT_LAUNCH_FEED_H

#include "launch/item.h"
#include "launch/progress.h"

typedef struct wi_feed wi_feed;

// All of it is borrowed. `file` is open; `name` is for errors.
weft_status wi_feed_create(int file, const char *name, const weft_tokenizer *tokenizer, const wi_request_rules *rules,
                           wi_feed **out);
void wi_feed_destroy(wi_feed *feed); // accepts NULL

// The next request, one with an error among them. An id that was there before is one.
weft_status wi_feed_next(wi_feed *feed, int wait_ms, wi_lines_found *found, wi_item **out);

// Goes over the input that an earlier run has read: MISMATCH where it is not the same. Gives its requests that are not
// written yet, as far as they had come, one after the other, then NULL.
weft_status wi_feed_again(wi_feed *feed, const wi_progress *progress, wi_item **out);

void wi_feed_tell(const wi_feed *feed, wi_lines_place *place, int64_t *requests);

#endif
