// What ranks tell each other of weights, so that no file is read twice.
#include <string.h>

#include "kernels/fold.h"
#include "model/load.h"

// ---- the largest of a row ----

weft_status wi_share_largest(weft_comm *comm, uint32_t *bits, int64_t count)
{
    enum { AT_ONCE = 4096 };
    int64_t wide[AT_ONCE];
    for (int64_t at = 0; at < count; at += AT_ONCE) {
        const int part = (int)(count - at < AT_ONCE ? count - at : AT_ONCE);
        for (int i = 0; i < part; i++) wide[i] = bits[at + i];
        WEFT_TRY(weft_comm_max(comm, wide, part));
        for (int i = 0; i < part; i++) bits[at + i] = (uint32_t)wide[i];
    }
    return WEFT_OK;
}

// ---- packed weights ----

enum { PIECE = 1 << 20 }; // bytes that a rank gives at once

typedef struct {
    unsigned char *at;
    size_t bytes;
    int reader;
} part;

// What there is, in one order on all ranks: vectors, matrices. False behind the last.
static bool part_at(const wi_planner *p, size_t index, part *out)
{
    const wi_plan *plan = p->plan;
    if (index == 0) {
        *out = (part){(unsigned char *)plan->floats_at, plan->floats * sizeof(float), 0};
    } else if (index - 1 < plan->matrices) {
        const wi_matrix *m = &plan->matrix[index - 1];
        *out = (part){m->memory, m->count > 0 ? m->bytes : 0, m->reader};
    } else {
        return false;
    }
    return true;
}

// Where the bytes that a rank gives have come to.
typedef struct {
    int reader;
    size_t index, offset;
} cursor;

// The next piece of what one rank has packed, to a slot or from a view.
static size_t pass(const wi_planner *p, cursor *c, unsigned char *to, const unsigned char *from)
{
    size_t done = 0;
    for (part a; done < PIECE && part_at(p, c->index, &a);) {
        const size_t left = a.reader == c->reader ? a.bytes - c->offset : 0;
        const size_t bytes = left < PIECE - done ? left : PIECE - done;
        if (bytes > 0 && to) memcpy(to + done, a.at + c->offset, bytes);
        if (bytes > 0 && from) memcpy(a.at + c->offset, from + done, bytes);
        done += bytes;
        c->offset += bytes;
        if (bytes < left) break;
        c->index++;
        c->offset = 0;
    }
    return done;
}

static size_t most_given(const wi_planner *p)
{
    size_t most = 0;
    for (int r = 0; r < p->replicas; r++) {
        size_t all = 0, index = 0;
        for (part a; part_at(p, index, &a); index++) all += a.reader == r ? a.bytes : 0;
        most = all > most ? all : most;
    }
    return most;
}

static weft_status exchange(const wi_planner *p, weft_channel *channel, cursor *cursors)
{
    weft_exchange e;
    WEFT_TRY(weft_exchange_acquire(channel, &e));
    WEFT_TRY(weft_exchange_begin(&e, pass(p, &cursors[p->replica], e.slot, NULL)));
    WEFT_TRY(weft_exchange_end(&e));
    for (int r = 0; r < p->replicas; r++)
        if (r != p->replica) pass(p, &cursors[r], NULL, e.view[r]);
    weft_exchange_release(&e);
    return WEFT_OK;
}

// Packed bytes are the same wherever they were packed: the family and the type decide them, and those are agreed on.
weft_status wi_plan_share(const wi_planner *p)
{
    const weft_channel_spec spec = {.shape = WEFT_ALLGATHER, .name = "weights", .bytes = PIECE};
    const size_t most = most_given(p);
    cursor cursors[WEFT_FOLD_PLACES];
    weft_channel *channel;
    weft_status status = WEFT_OK;
    WEFT_TRY(weft_channel_create(p->layout->mesh.cp, &spec, &channel));
    for (int r = 0; r < p->replicas; r++) cursors[r] = (cursor){.reader = r};
    for (size_t given = 0; given < most && status == WEFT_OK; given += PIECE) status = exchange(p, channel, cursors);
    weft_channel_destroy(channel);
    return status;
}
