// What a replica is told before a step, as bytes: requests that begin, continuations that are not wanted any more, and
// whether there is a next step. Rank 0 writes it for each replica; the replica's own rank 0 tells it to all its ranks,
// with continuations as the engine numbers them. Inside launch/ only.
#ifndef WEFT_LAUNCH_ORDERS_H
#define WEFT_LAUNCH_ORDERS_H

#include <stdint.h>

#include "core/status.h"
#include "kernels/pick.h"
#include "launch/request.h"
#include "launch/words.h"

typedef enum { WI_GO_ON, WI_STOP_DONE, WI_STOP_DRAINED, WI_STOP_FAILED } wi_stop;

// One continuation, with the tokens that were drawn of it before.
typedef struct {
    int index, drawn_count;
    const int32_t *drawn;
} wi_order_part;

// A request as every rank needs it.
typedef struct {
    int slot; // what it is called between rank 0 and this replica while it is there
    wi_request_settings how;
    const int32_t *tokens;
    int token_count;
    const weft_bias *biases;
    int bias_count;
    const int32_t *stop_ids;
    int stop_id_count;
    int logprobs;
    bool stays;                 // is not to be returned
    const wi_order_part *parts; // those that have not ended
    int part_count;
} wi_order_request;

typedef struct {
    wi_stop stop;
    uint64_t decisions; // a hash of all that the scheduler of the replica's rank 0 had decided by then
} wi_orders_head;

typedef enum {
    WI_ORDER_SUBMIT,
    WI_ORDER_CANCEL, // the engine's number
    WI_ORDER_DROP,   // from rank 0 to a replica: a slot and the index of its continuation
    WI_ORDER_RETURN, // likewise: up to so many continuations that wait
    WI_ORDER_NONE
} wi_order_kind;

void wi_orders_begin(wi_words *orders, const wi_orders_head *head);
void wi_orders_submit(wi_words *orders, const wi_order_request *request);
void wi_orders_cancel(wi_words *orders, int64_t id);
void wi_orders_drop(wi_words *orders, int slot, int index);
void wi_orders_return(wi_words *orders, int count);

// Reading them. What is given belongs to the message and to the reader.
typedef struct {
    wi_words_reader words;
    wi_order_part parts[WI_CONTINUATIONS_MAX];
} wi_orders_reader;
typedef struct {
    wi_order_kind kind;
    int64_t id; // the engine's number, the slot, or how many
    int index;
    wi_order_request request;
} wi_order_item;

void wi_orders_read(wi_orders_reader *reader, const unsigned char *message, size_t bytes, wi_orders_head *head);
void wi_orders_next(wi_orders_reader *reader, wi_order_item *out);

#endif
