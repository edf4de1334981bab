#include "launch/item.h"

#include <stdlib.h>
#include <string.h>

weft_status wi_item_create(const weft_tokenizer *tokenizer, int64_t number, wi_query *request, wi_item **out)
{
    wi_item *item = calloc(1, sizeof *item);
    weft_status status;
    if (!item) {
        wi_request_fini(request);
        return weft_fail(WEFT_NO_MEMORY, "no memory for request %lld", (long long)number);
    }
    item->number = number;
    item->request = *request;
    *request = (wi_query){0};
    const size_t parts = (size_t)item->request.how.n;
    if (!item->request.error) {
        item->parts = calloc(parts, sizeof *item->parts);
        if (!item->parts) {
            status = weft_fail(WEFT_NO_MEMORY, "no memory for %zu continuations", parts);
            goto fail;
        }
        for (size_t i = 0; i < parts; i++) {
            item->parts[i].item = item;
            item->parts[i].index = (int)i;
            const wi_query *r = &item->request;
            WEFT_TRY_GOTO(wi_answer_init(&item->parts[i].answer, tokenizer, (const char *const *)r->stops,
                                         r->stop_count, (int)r->how.max_tokens));
        }
    }
    *out = item;
    return WEFT_OK;
fail:
    wi_item_destroy(item);
    return status;
}

void wi_item_destroy(wi_item *item)
{
    if (!item) return;
    for (int64_t i = 0; item->parts && i < item->request.how.n; i++) {
        wi_answer_fini(&item->parts[i].answer);
        wi_draws_free(&item->parts[i].draws);
    }
    free(item->parts);
    wi_request_fini(&item->request);
    free(item);
}

static void finish(wi_part *p)
{
    p->ended = true;
    p->item->ended++;
}

weft_status wi_part_add(wi_part *p, const wi_drawn *drawn)
{
    if (p->ended) return WEFT_OK;
    WEFT_TRY(wi_draws_add(&p->draws, drawn));
    WEFT_TRY(wi_answer_token(&p->answer, drawn->token));
    if (!p->answer.stopped) return WEFT_OK;
    WEFT_TRY(wi_answer_end(&p->answer, WEFT_FINISH_STOP));
    finish(p);
    return WEFT_OK;
}

weft_status wi_part_end(wi_part *p, weft_finish how)
{
    if (p->ended) return WEFT_OK;
    WEFT_TRY(wi_answer_end(&p->answer, how));
    finish(p);
    return WEFT_OK;
}

weft_status wi_item_fail(wi_item *item)
{
    for (int64_t i = 0; i < item->request.how.n; i++)
        if (!item->parts[i].ended) finish(&item->parts[i]);
    return wi_request_fail(&item->request, NULL);
}
