// A step: decided, launched, told of. On a device a step may be under way while the next one is decided and launched,
// and this file is the one place that knows. Then the last token of a request is unknown: in its list stands -1 - i, by
// which the model finds on the device what draw i of the step before drew. Its place, its rows and its blocks are
// known, so all decisions are, but for one: that it was the last. Such a request has rows in one step too many, which
// nobody is told of; its blocks are free from then on, for whoever writes to them does so behind that step.
//
// Who must see a step before the next one makes it settle: it is told of at once, and decisions wait for it.
#include <string.h>

#include "core/clock.h"
#include "engine/engine_impl.h"

static void end_cancelled(weft_engine *e)
{
    if (!e->has_cancelled) return;
    e->has_cancelled = false;
    for (wi_work *w = wi_schedule_first(e->schedule), *next; w; w = next) {
        next = wi_schedule_next(e->schedule, w);
        if (wi_active_of(w)->cancelled) wi_engine_end(e, wi_active_of(w), WEFT_FINISH_CANCELLED);
    }
}

// ---- launching ----

static void copy_blocks(weft_engine *e)
{
    const wi_copy *copies;
    const int count = wi_kv_copies(e->cache, &copies);
    for (int i = 0; i < count; i++) weft_pool_copy(e->pool, copies[i].from, copies[i].to);
    wi_kv_copied(e->cache);
}

// Whether somebody of the host wants to see or change logits of the step.
static bool looks(const wi_flight *f)
{
    for (int i = 0; i < f->slice_count; i++) {
        const wi_active *a = wi_active_of(f->slices[i].of);
        if (f->slices[i].logits > 0 && (a->request.calls->logits || (a->sampler && wi_sampler_looks(a->sampler))))
            return true;
    }
    return false;
}

// What every request of the step will have when it is done. A token that will be drawn counts as there, but for the
// last one, which is never computed.
static void advance(weft_engine *e, wi_flight *f)
{
    const size_t vocab = (size_t)weft_model_config_of(e->model)->vocab;
    f->draw_count = 0;
    for (int i = 0; i < f->slice_count; i++) {
        const wi_slice *s = &f->slices[i];
        wi_active *a = wi_active_of(s->of);
        wi_work *w = s->of;
        wi_schedule_computed(e->schedule, s);
        if (!s->last || a->request.max_tokens == 0) continue;
        const int draw = f->draw_count++;
        f->drawers[draw] = a;
        f->draws[draw] =
            (wi_draw){.sampler = a->sampler, .logits = f->logits + (size_t)(s->logit_first + s->logits - 1) * vocab};
        f->settles = f->settles || w->count + 1 > a->rotation_limit; // it begins anew
        if (w->count + 1 - w->prompt == a->request.max_tokens) continue;
        a->tokens[w->count++] = -1 - draw;
        w->unknown++;
    }
}

static weft_status launch(weft_engine *e, wi_flight *f)
{
    const weft_device_ops *ops = e->device->ops;
    weft_comm *all = weft_model_layout_of(e->model)->mesh.all;
    weft_batch b = *wi_rows_batch(e->rows);
    if (all) weft_job_set_step(weft_comm_job(all), wi_schedule_state_of(e->schedule).steps); // for reports
    f->there = e->logits && !looks(f);
    f->settles = !f->there || !e->ahead;
    f->logits = f->there ? e->logits : b.logits;
    f->logit_rows = b.logit_rows;
    copy_blocks(e);
    b.layers = weft_pool_layers(e->pool);
    b.group_of = weft_pool_group_of(e->pool);
    if (e->logits) {
        b.logits = e->logits;
        b.drawn = wi_drawing_chosen(e->drawing);
    }
    ops->begin(e->device);
    const weft_status status = weft_model_forward(e->model, &b);
    if (status == WEFT_OK) advance(e, f);
    if (status == WEFT_OK && f->there) wi_drawing_begin_there(e->drawing, f->draws, f->draw_count, f->mark);
    ops->end(e->device);
    return status;
}

// ---- telling ----

static void tell_logits(weft_engine *e, const wi_flight *f)
{
    const size_t vocab = (size_t)weft_model_config_of(e->model)->vocab;
    for (int i = 0; i < f->slice_count; i++) {
        const wi_slice *s = &f->slices[i];
        wi_active *a = s->of ? wi_active_of(s->of) : NULL;
        if (!a) continue;
        if (s->logits > 0 && a->request.calls->logits)
            a->request.calls->logits(a->request.arg, s->first_logit, s->logits,
                                     f->logits + (size_t)s->logit_first * vocab, vocab);
        if (a->request.max_tokens == 0 && s->last) wi_engine_end(e, a, WEFT_FINISH_SCORED);
    }
}

// What was drawn becomes the request's next token.
static weft_status take(weft_engine *e, wi_active *a, const wi_draw *d)
{
    wi_work *w = &a->work;
    if (d->out.id < 0) {
        wi_sampler_no_number(a->sampler);
        wi_engine_end(e, a, WEFT_FINISH_FAILED);
        return WEFT_OK;
    }
    if (d->stops) {
        wi_engine_end(e, a, WEFT_FINISH_STOP);
        return WEFT_OK;
    }
    if (w->unknown > 0)
        a->tokens[w->count - w->unknown--] = d->out.id;
    else
        a->tokens[w->count++] = d->out.id;
    if (a->request.calls->token) a->request.calls->token(a->request.arg, &d->out);
    const int known = w->count - w->unknown;
    if (known - w->prompt == a->request.max_tokens) {
        wi_engine_end(e, a, WEFT_FINISH_LENGTH);
        return WEFT_OK;
    }
    wi_schedule_known(e->schedule, w);
    if (known <= a->rotation_limit) return WEFT_OK;
    // The model turns longer texts in another way: what is cached was turned in the old one.
    WEFT_TRY(wi_engine_turn(e, a));
    wi_schedule_restart(e->schedule, w);
    return WEFT_OK;
}

// Draws of requests that have ended since are left out: the host draws for those that are there.
static void close_ranks(wi_flight *f)
{
    int kept = 0;
    for (int i = 0; i < f->draw_count; i++) {
        if (!f->draws[i].sampler) continue;
        f->draws[kept] = f->draws[i];
        f->drawers[kept++] = f->drawers[i];
    }
    f->draw_count = kept;
}

// Brings the logits that somebody looks at.
static weft_status fetch(weft_engine *e, const wi_flight *f)
{
    const size_t vocab = (size_t)weft_model_config_of(e->model)->vocab;
    if (!e->logits || f->there) return WEFT_OK;
    return e->device->ops->copy_out(e->device, f->logits, e->logits, (size_t)f->logit_rows * vocab * sizeof(float));
}

static weft_status draw(weft_engine *e, wi_flight *f)
{
    if (f->there) return wi_drawing_end_there(e->drawing, f->draws, f->draw_count, f->mark);
    close_ranks(f);
    if (f->draw_count > 0) wi_drawing_run(e->drawing, &e->op, f->draws, f->draw_count);
    return WEFT_OK;
}

static weft_status tell(weft_engine *e, wi_flight *f)
{
    int64_t begin = weft_clock_ns();
    WEFT_TRY(fetch(e, f));
    e->computing_ns += weft_clock_ns() - begin;
    tell_logits(e, f);
    begin = weft_clock_ns();
    WEFT_TRY(draw(e, f));
    e->computing_ns += weft_clock_ns() - begin;
    for (int i = 0; i < f->draw_count; i++)
        if (f->draws[i].sampler) WEFT_TRY(take(e, f->drawers[i], &f->draws[i]));
    f->slice_count = f->draw_count = 0;
    return WEFT_OK;
}

// ---- a step ----

// Decides one. False: there is nothing to do.
static bool decide(weft_engine *e, wi_flight *f)
{
    const wi_slice *slices;
    end_cancelled(e);
    f->slice_count = wi_schedule_step(e->schedule, &slices);
    memcpy(f->slices, slices, (size_t)f->slice_count * sizeof *slices);
    return f->slice_count > 0;
}

weft_status weft_engine_step(weft_engine *e, int *rows)
{
    wi_flight *before = e->under_way, *f = &e->flight[before == &e->flight[0]];
    *rows = 0;
    e->under_way = NULL;
    if (!decide(e, f)) {
        if (!before) return WEFT_OK;
        WEFT_TRY(tell(e, before)); // which may leave something to do
        before = NULL;
        if (!decide(e, f)) return WEFT_OK;
    }
    const int64_t begin = weft_clock_ns();
    WEFT_TRY(launch(e, f));
    e->computing_ns += weft_clock_ns() - begin;
    *rows = (int)wi_rows_count(e->rows);
    if (before) WEFT_TRY(tell(e, before));
    if (!f->settles) {
        e->under_way = f;
        return WEFT_OK;
    }
    if (before) end_cancelled(e);
    return tell(e, f);
}
