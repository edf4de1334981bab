// What rank 0 tells all ranks before a step, as bytes: requests that begin, continuations that are not wanted any
// more, and whether there is a next step. Inside launch/ only.
#ifndef WEFT_LAUNCH_ORDERS_H
#define WEFT_LAUNCH_ORDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "kernels/pick.h"
#include "launch/request.h"

typedef enum { WI_GO_ON, WI_STOP_DONE, WI_STOP_DRAINED, WI_STOP_FAILED } wi_stop;

// One continuation, with the tokens that an earlier run has drawn of it.
typedef struct {
    int index, drawn_count;
    const int32_t *drawn;
} wi_order_part;

// A request as every rank needs it.
typedef struct {
    int64_t request;
    wi_request_settings how;
    const int32_t *tokens;
    int token_count;
    const weft_bias *biases;
    int bias_count;
    const int32_t *stop_ids;
    int stop_id_count;
    int logprobs;
    const wi_order_part *parts; // those that have not ended
    int part_count;
} wi_order_request;

typedef struct {
    unsigned char *bytes; // (capacity)
    size_t used, capacity;
    bool failed; // no memory
} wi_orders;

typedef struct {
    wi_stop stop;
    uint64_t decisions; // a hash of all that rank 0's scheduler has decided when the message was begun
} wi_orders_head;

void wi_orders_begin(wi_orders *orders, const wi_orders_head *head);
void wi_orders_submit(wi_orders *orders, const wi_order_request *request);
void wi_orders_cancel(wi_orders *orders, int64_t id);
void wi_orders_free(wi_orders *orders);

// Reading them. What is given belongs to the message and to the reader.
typedef struct {
    const unsigned char *at, *end;
    wi_order_part parts[WI_CONTINUATIONS_MAX];
} wi_orders_reader;
typedef enum { WI_ORDER_SUBMIT, WI_ORDER_CANCEL, WI_ORDER_NONE } wi_order_kind;

void wi_orders_read(wi_orders_reader *reader, const unsigned char *message, size_t bytes, wi_orders_head *head);
wi_order_kind wi_orders_next(wi_orders_reader *reader, wi_order_request *request, int64_t *id);

#endif
