#include "launch/orders.h"

#include <string.h>

typedef struct {
    int64_t kind, id, index;
} order_head;

typedef struct {
    wi_request_settings how;
    int64_t token_count, bias_count, stop_id_count, logprobs, stays, part_count;
} request_head;

typedef struct {
    int64_t index, drawn_count;
} part_head;

void wi_orders_begin(wi_words *o, const wi_orders_head *head)
{
    o->used = 0;
    wi_words_put(o, head, sizeof *head);
}

static void put_head(wi_words *o, wi_order_kind kind, int64_t id, int index)
{
    const order_head head = {.kind = kind, .id = id, .index = index};
    wi_words_put(o, &head, sizeof head);
}

void wi_orders_cancel(wi_words *o, int64_t id) { put_head(o, WI_ORDER_CANCEL, id, 0); }

void wi_orders_drop(wi_words *o, int slot, int index) { put_head(o, WI_ORDER_DROP, slot, index); }

void wi_orders_return(wi_words *o, int count) { put_head(o, WI_ORDER_RETURN, count, 0); }

void wi_orders_submit(wi_words *o, const wi_order_request *r)
{
    const request_head request = {.how = r->how,
                                  .token_count = r->token_count,
                                  .bias_count = r->bias_count,
                                  .stop_id_count = r->stop_id_count,
                                  .logprobs = r->logprobs,
                                  .stays = r->stays,
                                  .part_count = r->part_count};
    put_head(o, WI_ORDER_SUBMIT, r->slot, 0);
    wi_words_put(o, &request, sizeof request);
    wi_words_put(o, r->tokens, (size_t)r->token_count * sizeof *r->tokens);
    wi_words_put(o, r->biases, (size_t)r->bias_count * sizeof *r->biases);
    wi_words_put(o, r->stop_ids, (size_t)r->stop_id_count * sizeof *r->stop_ids);
    for (int i = 0; i < r->part_count; i++) {
        const wi_order_part *p = &r->parts[i];
        const part_head part = {.index = p->index, .drawn_count = p->drawn_count};
        wi_words_put(o, &part, sizeof part);
        wi_words_put(o, p->drawn, (size_t)p->drawn_count * sizeof *p->drawn);
    }
}

void wi_orders_read(wi_orders_reader *r, const unsigned char *message, size_t bytes, wi_orders_head *head)
{
    r->words = (wi_words_reader){.at = message, .end = message + bytes};
    memcpy(head, wi_words_take(&r->words, sizeof *head), sizeof *head);
}

static void read_request(wi_orders_reader *r, int slot, wi_order_request *out)
{
    const request_head *request = wi_words_take(&r->words, sizeof *request);
    *out = (wi_order_request){.slot = slot,
                              .how = request->how,
                              .token_count = (int)request->token_count,
                              .bias_count = (int)request->bias_count,
                              .stop_id_count = (int)request->stop_id_count,
                              .logprobs = (int)request->logprobs,
                              .stays = request->stays != 0,
                              .parts = r->parts,
                              .part_count = (int)request->part_count};
    out->tokens = wi_words_take(&r->words, (size_t)out->token_count * sizeof *out->tokens);
    out->biases = wi_words_take(&r->words, (size_t)out->bias_count * sizeof *out->biases);
    out->stop_ids = wi_words_take(&r->words, (size_t)out->stop_id_count * sizeof *out->stop_ids);
    for (int i = 0; i < out->part_count; i++) {
        const part_head *part = wi_words_take(&r->words, sizeof *part);
        r->parts[i] = (wi_order_part){.index = (int)part->index, .drawn_count = (int)part->drawn_count};
        r->parts[i].drawn = wi_words_take(&r->words, (size_t)part->drawn_count * sizeof(int32_t));
    }
}

void wi_orders_next(wi_orders_reader *r, wi_order_item *out)
{
    out->kind = WI_ORDER_NONE;
    if (r->words.at >= r->words.end) return;
    const order_head *head = wi_words_take(&r->words, sizeof *head);
    out->kind = (wi_order_kind)head->kind;
    out->id = head->id;
    out->index = (int)head->index;
    if (out->kind == WI_ORDER_SUBMIT) read_request(r, (int)head->id, &out->request);
}
