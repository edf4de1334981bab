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
            WEFT_TRY_GOTO(weft_detokenizer_create(tokenizer, false, &item->parts[i].detokenizer));
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
        weft_detokenizer_destroy(item->parts[i].detokenizer);
        free(item->parts[i].text);
        wi_draws_free(&item->parts[i].draws);
    }
    free(item->parts);
    wi_request_fini(&item->request);
    free(item);
}

static weft_status append(wi_part *p, const char *text, size_t bytes)
{
    if (p->bytes + bytes + 1 > p->capacity) {
        const size_t capacity = 2 * (p->bytes + bytes) + 256;
        char *more = realloc(p->text, capacity);
        if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for a text of %zu bytes", capacity);
        p->text = more;
        p->capacity = capacity;
    }
    if (bytes > 0) memcpy(p->text + p->bytes, text, bytes);
    p->bytes += bytes;
    p->text[p->bytes] = 0;
    return WEFT_OK;
}

static void finish(wi_part *p, weft_finish how)
{
    p->ended = true;
    p->finish = how;
    p->item->ended++;
}

// Cuts at the first place where a stop text begins. It may have begun before what was added last.
static bool cut_at_stop(wi_part *p)
{
    const wi_query *r = &p->item->request;
    const char *first = NULL;
    for (int i = 0; i < r->stop_count && p->bytes > 0; i++) {
        const size_t length = strlen(r->stops[i]), back = length - 1 < p->searched ? length - 1 : p->searched;
        const size_t from = p->searched - back;
        const char *found = memmem(p->text + from, p->bytes - from, r->stops[i], length);
        if (found && (!first || found < first)) first = found;
    }
    p->searched = p->bytes;
    if (!first) return false;
    p->bytes = (size_t)(first - p->text);
    p->text[p->bytes] = 0;
    return true;
}

weft_status wi_part_add(wi_part *p, const wi_drawn *drawn)
{
    const wi_query *r = &p->item->request;
    const char *text;
    size_t bytes;
    if (p->ended) return WEFT_OK;
    WEFT_TRY(wi_draws_add(&p->draws, drawn));
    WEFT_TRY(weft_detokenizer_push(p->detokenizer, drawn->token, &text, &bytes));
    WEFT_TRY(append(p, text, bytes));
    if (p->draws.count < r->how.min_tokens)
        p->searched = p->bytes; // too early to stop
    else if (cut_at_stop(p))
        finish(p, WEFT_FINISH_STOP);
    return WEFT_OK;
}

weft_status wi_part_end(wi_part *p, weft_finish how)
{
    const char *text;
    size_t bytes;
    if (p->ended) return WEFT_OK;
    WEFT_TRY(weft_detokenizer_finish(p->detokenizer, &text, &bytes));
    WEFT_TRY(append(p, text, bytes));
    finish(p, cut_at_stop(p) ? WEFT_FINISH_STOP : how);
    return WEFT_OK;
}

bool wi_item_is_free(const wi_item *item)
{
    for (int64_t i = 0; item->parts && i < item->request.how.n; i++)
        if (item->parts[i].id != 0) return false;
    return true;
}
