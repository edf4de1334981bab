// Both sides are this program of the same build on the same kind of processor, so structs travel as they are; all
// pieces have sizes of whole words of eight bytes.
#include "launch/orders.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t kind, id; // the request's number, or what is cancelled
} order_head;

typedef struct {
    wi_request_settings how;
    int64_t token_count, bias_count, stop_id_count, logprobs, part_count;
} request_head;

typedef struct {
    int64_t index, drawn_count;
} part_head;

static size_t padded(size_t bytes) { return (bytes + 7) / 8 * 8; }

static void put(wi_orders *o, const void *data, size_t bytes)
{
    const size_t all = padded(bytes);
    if (o->used + all > o->capacity) {
        const size_t capacity = 2 * (o->used + all) + 4096;
        unsigned char *more = realloc(o->bytes, capacity);
        if (!more) {
            o->failed = true;
            return;
        }
        o->bytes = more;
        o->capacity = capacity;
    }
    if (bytes > 0) memcpy(o->bytes + o->used, data, bytes);
    memset(o->bytes + o->used + bytes, 0, all - bytes);
    o->used += all;
}

void wi_orders_begin(wi_orders *o, const wi_orders_head *head)
{
    o->used = 0;
    put(o, head, sizeof *head);
}

void wi_orders_cancel(wi_orders *o, int64_t id)
{
    const order_head head = {.kind = WI_ORDER_CANCEL, .id = id};
    put(o, &head, sizeof head);
}

void wi_orders_submit(wi_orders *o, const wi_order_request *r)
{
    const order_head head = {.kind = WI_ORDER_SUBMIT, .id = r->request};
    const request_head request = {.how = r->how,
                                  .token_count = r->token_count,
                                  .bias_count = r->bias_count,
                                  .stop_id_count = r->stop_id_count,
                                  .logprobs = r->logprobs,
                                  .part_count = r->part_count};
    put(o, &head, sizeof head);
    put(o, &request, sizeof request);
    put(o, r->tokens, (size_t)r->token_count * sizeof *r->tokens);
    put(o, r->biases, (size_t)r->bias_count * sizeof *r->biases);
    put(o, r->stop_ids, (size_t)r->stop_id_count * sizeof *r->stop_ids);
    for (int i = 0; i < r->part_count; i++) {
        const wi_order_part *p = &r->parts[i];
        const part_head part = {.index = p->index, .drawn_count = p->drawn_count};
        put(o, &part, sizeof part);
        put(o, p->drawn, (size_t)p->drawn_count * sizeof *p->drawn);
    }
}

void wi_orders_free(wi_orders *o)
{
    free(o->bytes);
    *o = (wi_orders){0};
}

static const void *take(wi_orders_reader *r, size_t bytes)
{
    const unsigned char *at = r->at;
    r->at += padded(bytes);
    return at;
}

void wi_orders_read(wi_orders_reader *r, const unsigned char *message, size_t bytes, wi_orders_head *head)
{
    r->at = message;
    r->end = message + bytes;
    memcpy(head, take(r, sizeof *head), sizeof *head);
}

wi_order_kind wi_orders_next(wi_orders_reader *r, wi_order_request *out, int64_t *id)
{
    if (r->at >= r->end) return WI_ORDER_NONE;
    const order_head *head = take(r, sizeof *head);
    *id = head->id;
    if (head->kind == WI_ORDER_CANCEL) return WI_ORDER_CANCEL;
    const request_head *request = take(r, sizeof *request);
    *out = (wi_order_request){.request = head->id,
                              .how = request->how,
                              .token_count = (int)request->token_count,
                              .bias_count = (int)request->bias_count,
                              .stop_id_count = (int)request->stop_id_count,
                              .logprobs = (int)request->logprobs,
                              .parts = r->parts,
                              .part_count = (int)request->part_count};
    out->tokens = take(r, (size_t)out->token_count * sizeof *out->tokens);
    out->biases = take(r, (size_t)out->bias_count * sizeof *out->biases);
    out->stop_ids = take(r, (size_t)out->stop_id_count * sizeof *out->stop_ids);
    for (int i = 0; i < out->part_count; i++) {
        const part_head *part = take(r, sizeof *part);
        r->parts[i] = (wi_order_part){.index = (int)part->index, .drawn_count = (int)part->drawn_count};
        r->parts[i].drawn = take(r, (size_t)part->drawn_count * sizeof(int32_t));
    }
    return WI_ORDER_SUBMIT;
}
