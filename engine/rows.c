#include "engine/rows.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct wi_rows {
    int ranks, own; // that rows are dealt over; 1 where every rank computes all
    int room, logit_room;
    int64_t all;
    weft_batch batch;
    weft_attention_request *runs; // [ranks][room]
    weft_dealt_rows *rows_of;     // [ranks]
    int *first_run;               // [ranks] of the request that is being added
    int *fitted;                  // [ranks] rows of the one that is being tried
    int32_t *tokens, *positions;  // (room)
    weft_cache_span *spans;
    int *rotation;
    int32_t *logit_row, *logit_place, *logit_owner; // (logit_room)
    int *logit_counts;                              // [ranks]
    int own_logits;
    float *logits;
};

static weft_status allocate(wi_rows *r, size_t vocab)
{
    const size_t room = (size_t)r->room, logits = (size_t)r->logit_room, ranks = (size_t)r->ranks;
    r->runs = malloc(ranks * room * sizeof *r->runs);
    r->rows_of = calloc(ranks, sizeof *r->rows_of);
    r->first_run = calloc(ranks, sizeof *r->first_run);
    r->fitted = calloc(ranks, sizeof *r->fitted);
    r->tokens = malloc(room * sizeof *r->tokens);
    r->positions = malloc(room * sizeof *r->positions);
    r->spans = malloc(room * sizeof *r->spans);
    r->rotation = malloc(room * sizeof *r->rotation);
    r->logit_row = malloc(logits * sizeof *r->logit_row);
    r->logit_place = malloc(logits * sizeof *r->logit_place);
    r->logit_owner = malloc(logits * sizeof *r->logit_owner);
    r->logit_counts = calloc(ranks, sizeof *r->logit_counts);
    r->logits = malloc(logits * vocab * sizeof *r->logits);
    if (!r->runs || !r->rows_of || !r->first_run || !r->fitted || !r->tokens || !r->positions || !r->spans ||
        !r->rotation || !r->logit_row || !r->logit_place || !r->logit_owner || !r->logit_counts || !r->logits)
        return weft_fail(WEFT_NO_MEMORY, "no memory for steps of %zu rows", room);
    return WEFT_OK;
}

size_t wi_rows_bytes(int ranks, int room, int logit_room, size_t vocab)
{
    const wi_rows *r = NULL; // for sizes alone
    const size_t a_rank = (size_t)room * sizeof *r->runs + sizeof *r->rows_of + sizeof *r->first_run +
                          sizeof *r->fitted + sizeof *r->logit_counts,
                 a_row = sizeof *r->tokens + sizeof *r->positions + sizeof *r->spans + sizeof *r->rotation,
                 a_logit =
                     sizeof *r->logit_row + sizeof *r->logit_place + sizeof *r->logit_owner + vocab * sizeof *r->logits;
    return (size_t)ranks * a_rank + (size_t)room * a_row + (size_t)logit_room * a_logit;
}

weft_status wi_rows_create(const wi_rows_shape *shape, wi_rows **out)
{
    wi_rows *r = calloc(1, sizeof *r);
    if (!r) return weft_fail(WEFT_NO_MEMORY, "no memory for steps of %d rows", shape->room);
    r->ranks = shape->ranks;
    r->own = shape->own;
    r->room = shape->room;
    r->logit_room = shape->logit_room;
    const weft_status status = allocate(r, shape->vocab);
    if (status < 0)
        wi_rows_destroy(r);
    else
        *out = r;
    return status;
}

void wi_rows_destroy(wi_rows *r)
{
    if (!r) return;
    free(r->runs);
    free(r->rows_of);
    free(r->first_run);
    free(r->fitted);
    free(r->tokens);
    free(r->positions);
    free(r->spans);
    free(r->rotation);
    free(r->logit_row);
    free(r->logit_place);
    free(r->logit_owner);
    free(r->logit_counts);
    free(r->logits);
    free(r);
}

void wi_rows_begin(wi_rows *r)
{
    r->all = 0;
    r->own_logits = 0;
    r->batch = (weft_batch){0};
    for (int i = 0; i < r->ranks; i++) {
        r->rows_of[i] = (weft_dealt_rows){.runs = r->runs + (size_t)i * (size_t)r->room};
        r->logit_counts[i] = 0;
    }
}

static int smaller(int a, int b) { return a < b ? a : b; }

// `count` rows from the `done`-th wanted one on, to a rank that has room for them.
static void add_run(wi_rows *r, const wi_rows_wanted *w, int rank, int done, int count)
{
    weft_dealt_rows *of = &r->rows_of[rank];
    const bool own = rank == r->own;
    weft_attention_request *run = r->runs + (size_t)rank * (size_t)r->room + of->run_count;
    *run = (weft_attention_request){
        .row = of->rows, .rows = count, .position = w->position + done, .blocks = w->blocks, .rotation = w->key};
    if (own) {
        r->rotation[of->run_count] = w->rotation;
        r->spans[of->run_count] =
            (weft_cache_span){.row = of->rows, .rows = count, .position = run->position, .blocks = w->blocks};
    }
    for (int i = 0; i < count; i++) {
        const int row = of->rows + i;
        if (own) {
            r->tokens[row] = w->tokens[done + i];
            r->positions[row] = (int32_t)(run->position + i);
        }
        if (!w->all_logits && !(w->last_logit && done + i == w->count - 1)) continue;
        if (own) r->logit_row[r->own_logits++] = row;
        r->logit_owner[r->batch.logit_rows++] = rank;
    }
    of->run_count++;
    of->rows += count;
    r->all += count;
}

// Which rank computes the row at a position, and how many from there on until another one does.
static int dealt_to(const wi_rows *r, int64_t position, int key, int *run)
{
    if (r->ranks == 1) {
        *run = INT_MAX;
        return 0;
    }
    *run = (int)(WEFT_FOLD_CHUNK - position % WEFT_FOLD_CHUNK);
    return weft_fold_owner(position / WEFT_FOLD_CHUNK, r->ranks, key);
}

int wi_rows_fit(wi_rows *r, const wi_rows_wanted *w)
{
    int most = w->count, done = 0;
    const int logits = r->logit_room - r->batch.logit_rows;
    if (w->all_logits)
        most = smaller(most, logits);
    else if (w->last_logit && logits == 0)
        most--;
    memset(r->fitted, 0, (size_t)r->ranks * sizeof *r->fitted);
    while (done < most) {
        int run;
        const int rank = dealt_to(r, w->position + done, w->key, &run);
        const int left = r->room - r->rows_of[rank].rows - r->fitted[rank];
        const int count = smaller(smaller(most - done, left), run);
        if (count <= 0) break;
        r->fitted[rank] += count;
        done += count;
    }
    return done;
}

void wi_rows_add(wi_rows *r, const wi_rows_wanted *w)
{
    for (int i = 0; i < r->ranks; i++) r->first_run[i] = r->rows_of[i].run_count;
    for (int done = 0, run; done < w->count; done += run) {
        const int rank = dealt_to(r, w->position + done, w->key, &run);
        run = smaller(run, w->count - done);
        add_run(r, w, rank, done, run);
    }
    for (int i = 0; i < r->ranks; i++)
        for (int run = r->first_run[i]; run < r->rows_of[i].run_count; run++)
            r->runs[(size_t)i * (size_t)r->room + (size_t)run].length = w->position + w->count;
}

int wi_rows_logits(const wi_rows *r) { return r->batch.logit_rows; }

int64_t wi_rows_count(const wi_rows *r) { return r->all; }

// Where each rank's logits go, rank after rank.
static void place_logits(wi_rows *r)
{
    int at = 0;
    for (int rank = 0; rank < r->ranks; rank++)
        for (int i = 0; i < r->batch.logit_rows; i++) {
            if (r->logit_owner[i] != rank) continue;
            r->logit_counts[rank]++;
            r->logit_place[at++] = i;
        }
}

const weft_batch *wi_rows_batch(wi_rows *r)
{
    weft_batch *b = &r->batch;
    const weft_dealt_rows *own = &r->rows_of[r->own];
    b->rows = own->rows;
    b->tokens = r->tokens;
    b->positions = r->positions;
    b->requests = own->runs;
    b->spans = r->spans;
    b->rotation = r->rotation;
    b->request_count = own->run_count;
    b->rows_of = r->rows_of;
    b->logit_row = r->logit_row;
    b->logits = r->logits;
    if (r->ranks > 1) {
        place_logits(r);
        b->logit_counts = r->logit_counts;
        b->logit_place = r->logit_place;
    }
    return b;
}
