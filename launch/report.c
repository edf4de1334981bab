#include "launch/report.h"

#include <string.h>

typedef struct {
    int32_t kind, slot, index;
    int32_t what;  // the token, or how it ended
    float logprob; // TOKEN
    int32_t has_logprob, others;
    int32_t text; // bytes of the error, its NUL included
} event_head;

void wi_report_begin(wi_words *w)
{
    const wi_report_head head = {0};
    w->used = 0;
    wi_words_put(w, &head, sizeof head);
}

void wi_report_add(wi_words *w, const wi_event *e)
{
    const bool token = e->kind == WI_EVENT_TOKEN, failed = e->kind == WI_EVENT_END && e->finish == WEFT_FINISH_FAILED;
    event_head head = {.kind = (int32_t)e->kind, .slot = e->slot, .index = e->index};
    if (token) {
        head.what = e->drawn.token;
        head.logprob = e->drawn.logprob;
        head.has_logprob = e->drawn.has_logprob;
        head.others = e->drawn.others;
    } else {
        head.what = (int32_t)e->finish;
        head.text = failed ? (int32_t)strlen(e->error) + 1 : 0;
    }
    wi_words_put(w, &head, sizeof head);
    if (token) wi_words_put(w, e->drawn.other, (size_t)head.others * sizeof e->drawn.other[0]);
    if (failed) wi_words_put(w, e->error, (size_t)head.text);
}

void wi_report_end(wi_words *w, const wi_report_head *head)
{
    if (!w->failed) memcpy(w->bytes, head, sizeof *head);
}

void wi_report_read(wi_words_reader *r, const unsigned char *report, size_t bytes, wi_report_head *head)
{
    *r = (wi_words_reader){.at = report, .end = report + bytes};
    memcpy(head, wi_words_take(r, sizeof *head), sizeof *head);
}

void wi_report_next(wi_words_reader *r, wi_event *out)
{
    *out = (wi_event){.kind = WI_EVENT_NONE};
    if (r->at >= r->end) return;
    const event_head *head = wi_words_take(r, sizeof *head);
    out->kind = (wi_event_kind)head->kind;
    out->slot = head->slot;
    out->index = head->index;
    if (out->kind == WI_EVENT_TOKEN) {
        wi_drawn *d = &out->drawn;
        d->token = head->what;
        d->logprob = head->logprob;
        d->has_logprob = head->has_logprob;
        d->others = head->others;
        const size_t bytes = (size_t)d->others * sizeof d->other[0];
        memcpy(d->other, wi_words_take(r, bytes), bytes);
        return;
    }
    out->finish = (weft_finish)head->what;
    if (head->text > 0) out->error = wi_words_take(r, (size_t)head->text);
}
