// Rank 0 of a replica that is not the first: takes letters of orders, and reports behind each step what became of them.
#include <string.h>

#include "core/clock.h"
#include "launch/batch.h"

enum { NAP_NS = 50000000, NAP_FIRST_NS = 20000, NAP_LAST_NS = 1000000 };

static void on_token(void *arg, int slot, int index, const wi_drawn *d)
{
    const wi_event e = {.kind = WI_EVENT_TOKEN, .slot = slot, .index = index, .drawn = *d};
    wi_report_add(arg, &e);
}

static void on_end(void *arg, int slot, int index, weft_finish finish)
{
    const wi_event e = {
        .kind = WI_EVENT_END, .slot = slot, .index = index, .finish = finish, .error = weft_error_text()};
    wi_report_add(arg, &e);
}

static void on_back(void *arg, int slot)
{
    const wi_event e = {.kind = WI_EVENT_BACK, .slot = slot};
    wi_report_add(arg, &e);
}

static const wi_replica_calls calls = {.token = on_token, .end = on_end, .back = on_back};

static weft_status hear(wi_batch *b, wi_stop *stop, bool *heard)
{
    const unsigned char *letter;
    size_t bytes;
    *heard = false;
    for (;;) {
        WEFT_TRY(weft_mailbox_take(b->letters, 0, &letter, &bytes));
        if (!letter) return weft_mailbox_keep(b->letters, 0);
        WEFT_TRY(wi_replica_order(&b->replica, letter, bytes, stop));
        *heard = true;
    }
}

// With nothing to do there is a message now and then, so that the others of the replica do not wait for ever.
static weft_status wait_for_letter(wi_batch *b, wi_stop *stop)
{
    const int64_t until = weft_clock_ns() + NAP_NS;
    int64_t nap = NAP_FIRST_NS;
    bool heard = false;
    WEFT_TRY(hear(b, stop, &heard));
    while (!heard && b->replica.idle && !b->replica.told && weft_clock_ns() < until) {
        weft_clock_sleep_ns(nap);
        nap = nap < NAP_LAST_NS ? 2 * nap : nap;
        WEFT_TRY(hear(b, stop, &heard));
    }
    return WEFT_OK;
}

static weft_status report(wi_batch *b, bool ended)
{
    const wi_report_head head = {.state = weft_engine_state_of(b->model->engine),
                                 .returns = b->replica.returns,
                                 .signal = wi_control_signal(b->control),
                                 .ended = ended};
    const wi_report_head *last = &b->reported;
    const bool same = head.state.waiting == last->state.waiting && head.state.running == last->state.running &&
                      head.returns == last->returns && head.signal == last->signal;
    if (same && !ended && !wi_report_has_events(&b->report)) return WEFT_OK;
    wi_report_end(&b->report, &head);
    if (b->report.failed) return weft_fail(WEFT_NO_MEMORY, "no memory for the report of a step");
    WEFT_TRY(weft_mailbox_send(b->letters, 0, b->report.bytes, b->report.used));
    b->reported = head;
    wi_report_begin(&b->report);
    return WEFT_OK;
}

weft_status wi_batch_serve(wi_batch *b)
{
    wi_stop told = WI_GO_ON, stop = WI_GO_ON;
    b->replica.calls = &calls;
    b->replica.arg = &b->report;
    b->replica.idle = true;
    wi_report_begin(&b->report);
    WEFT_TRY(wi_replica_send(&b->replica, WI_GO_ON));
    for (;;) {
        WEFT_TRY(wi_replica_obey(&b->replica, &stop));
        if (stop != WI_GO_ON) break;
        WEFT_TRY(wait_for_letter(b, &told));
        WEFT_TRY(wi_replica_send(&b->replica, told));
        WEFT_TRY(wi_replica_step(&b->replica));
        WEFT_TRY(report(b, false));
    }
    WEFT_TRY(report(b, true));
    while (weft_mailbox_unsent(b->letters) > 0) {
        bool heard;
        weft_clock_sleep_ns(NAP_FIRST_NS);
        WEFT_TRY(hear(b, &told, &heard));
    }
    return WEFT_OK;
}
