#include "engine/rows.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct wi_rows {
    wi_rows_shape shape;
    int64_t all;
    weft_batch batch;
    weft_attention_request *runs; // [groups][ranks][room]
    weft_cache_span *spans;       // [groups][room]
    weft_dealt_rows *rows_of;     // [groups][ranks]
    weft_batch_tables *tables;    // [groups]
    int *request;                 // [ranks][room] which of the pass a run is of
    int requests;                 // of the pass, so far
    int *first_run;               // [ranks] of the request that is being added
    int *fitted;                  // [ranks] rows of the one that is being tried
    int32_t *tokens, *positions;  // (room)
    int *rotation;
    int32_t *logit_row, *logit_place, *logit_owner; // (logit_room)
    int *logit_counts;                              // [ranks]
    int own_logits;
    float *logits;
};

static weft_status allocate(wi_rows *r)
{
    const size_t room = (size_t)r->shape.room, logits = (size_t)r->shape.logit_room;
    const size_t ranks = (size_t)r->shape.ranks, groups = (size_t)r->shape.groups;
    r->runs = malloc(groups * ranks * room * sizeof *r->runs);
    r->spans = malloc(groups * room * sizeof *r->spans);
    r->rows_of = calloc(groups * ranks, sizeof *r->rows_of);
    r->tables = calloc(groups, sizeof *r->tables);
    r->request = malloc(ranks * room * sizeof *r->request);
    r->first_run = calloc(ranks, sizeof *r->first_run);
    r->fitted = calloc(ranks, sizeof *r->fitted);
    r->tokens = malloc(room * sizeof *r->tokens);
    r->positions = malloc(room * sizeof *r->positions);
    r->rotation = malloc(room * sizeof *r->rotation);
    r->logit_row = malloc(logits * sizeof *r->logit_row);
    r->logit_place = malloc(logits * sizeof *r->logit_place);
    r->logit_owner = malloc(logits * sizeof *r->logit_owner);
    r->logit_counts = calloc(ranks, sizeof *r->logit_counts);
    r->logits = malloc(logits * r->shape.vocab * sizeof *r->logits);
    if (!r->runs || !r->spans || !r->rows_of || !r->tables || !r->request || !r->first_run || !r->fitted ||
        !r->tokens || !r->positions || !r->rotation || !r->logit_row || !r->logit_place || !r->logit_owner ||
        !r->logit_counts || !r->logits)
        return weft_fail(WEFT_NO_MEMORY, "no memory for steps of %zu rows", room);
    return WEFT_OK;
}

size_t wi_rows_bytes(const wi_rows_shape *s)
{
    const wi_rows *r = NULL; // for sizes alone
    const size_t a_group = (size_t)s->ranks * ((size_t)s->room * sizeof *r->runs + sizeof *r->rows_of) +
                           (size_t)s->room * sizeof *r->spans + sizeof *r->tables,
                 a_rank = (size_t)s->room * sizeof *r->request + sizeof *r->first_run + sizeof *r->fitted +
                          sizeof *r->logit_counts,
                 a_row = sizeof *r->tokens + sizeof *r->positions + sizeof *r->rotation,
                 a_logit = sizeof *r->logit_row + sizeof *r->logit_place + sizeof *r->logit_owner +
                           s->vocab * sizeof *r->logits;
    return (size_t)s->groups * a_group + (size_t)s->ranks * a_rank + (size_t)s->room * a_row +
           (size_t)s->logit_room * a_logit;
}

weft_status wi_rows_create(const wi_rows_shape *shape, wi_rows **out)
{
    wi_rows *r = calloc(1, sizeof *r);
    if (!r) return weft_fail(WEFT_NO_MEMORY, "no memory for steps of %d rows", shape->room);
    r->shape = *shape;
    const weft_status status = allocate(r);
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
    free(r->spans);
    free(r->rows_of);
    free(r->tables);
    free(r->request);
    free(r->first_run);
    free(r->fitted);
    free(r->tokens);
    free(r->positions);
    free(r->rotation);
    free(r->logit_row);
    free(r->logit_place);
    free(r->logit_owner);
    free(r->logit_counts);
    free(r->logits);
    free(r);
}

// Those of one rank in one group.
static weft_attention_request *runs_of(const wi_rows *r, int group, int rank)
{
    return r->runs + ((size_t)group * (size_t)r->shape.ranks + (size_t)rank) * (size_t)r->shape.room;
}

static int *requests_at(const wi_rows *r, int rank) { return r->request + (size_t)rank * (size_t)r->shape.room; }

static weft_dealt_rows *rows_at(const wi_rows *r, int group, int rank)
{
    return &r->rows_of[(size_t)group * (size_t)r->shape.ranks + (size_t)rank];
}

void wi_rows_begin(wi_rows *r)
{
    r->all = 0;
    r->own_logits = 0;
    r->requests = 0;
    r->batch = (weft_batch){0};
    memset(r->logit_counts, 0, (size_t)r->shape.ranks * sizeof *r->logit_counts);
    for (int g = 0; g < r->shape.groups; g++)
        for (int i = 0; i < r->shape.ranks; i++)
            *rows_at(r, g, i) = (weft_dealt_rows){.runs = runs_of(r, g, i), .request = requests_at(r, i)};
}

static int smaller(int a, int b) { return a < b ? a : b; }

// `count` rows from the `done`-th wanted one on, in one group's tables.
static void add_to_group(wi_rows *r, int group, const wi_rows_wanted *w, int rank, int done, int count)
{
    weft_dealt_rows *of = rows_at(r, group, rank);
    const int32_t *blocks = w->blocks + (size_t)group * (size_t)w->table;
    runs_of(r, group, rank)[of->run_count] = (weft_attention_request){
        .row = of->rows, .rows = count, .position = w->position + done, .blocks = blocks, .rotation = w->key};
    if (rank == r->shape.own)
        r->spans[(size_t)group * (size_t)r->shape.room + (size_t)of->run_count] =
            (weft_cache_span){.row = of->rows, .rows = count, .position = w->position + done, .blocks = blocks};
    of->run_count++;
    of->rows += count;
}

// To a rank that has room for them.
static void add_run(wi_rows *r, const wi_rows_wanted *w, int rank, int done, int count)
{
    const weft_dealt_rows *of = rows_at(r, 0, rank);
    const bool own = rank == r->shape.own;
    requests_at(r, rank)[of->run_count] = r->requests;
    if (own) r->rotation[of->run_count] = w->rotation;
    for (int i = 0; i < count; i++) {
        const int row = of->rows + i;
        if (own) {
            r->tokens[row] = w->tokens[done + i];
            r->positions[row] = (int32_t)(w->position + done + i);
        }
        if (!w->all_logits && !(w->last_logit && done + i == w->count - 1)) continue;
        if (own) r->logit_row[r->own_logits++] = row;
        r->logit_owner[r->batch.logit_rows++] = rank;
    }
    for (int g = 0; g < r->shape.groups; g++) add_to_group(r, g, w, rank, done, count);
    r->all += count;
}

// Which rank computes the row at a position, and how many from there on until another one does.
static int dealt_to(const wi_rows *r, int64_t position, int key, int *run)
{
    if (r->shape.ranks == 1) {
        *run = INT_MAX;
        return 0;
    }
    *run = (int)(WEFT_FOLD_CHUNK - position % WEFT_FOLD_CHUNK);
    return weft_fold_owner(position / WEFT_FOLD_CHUNK, r->shape.ranks, key);
}

int wi_rows_fit(wi_rows *r, const wi_rows_wanted *w)
{
    int most = w->count, done = 0;
    const int logits = r->shape.logit_room - r->batch.logit_rows;
    if (w->all_logits)
        most = smaller(most, logits);
    else if (w->last_logit && logits == 0)
        most--;
    memset(r->fitted, 0, (size_t)r->shape.ranks * sizeof *r->fitted);
    while (done < most) {
        int run;
        const int rank = dealt_to(r, w->position + done, w->key, &run);
        const int left = r->shape.room - rows_at(r, 0, rank)->rows - r->fitted[rank];
        const int count = smaller(smaller(most - done, left), run);
        if (count <= 0) break;
        r->fitted[rank] += count;
        done += count;
    }
    return done;
}

void wi_rows_add(wi_rows *r, const wi_rows_wanted *w)
{
    for (int i = 0; i < r->shape.ranks; i++) r->first_run[i] = rows_at(r, 0, i)->run_count;
    for (int done = 0, run; done < w->count; done += run) {
        const int rank = dealt_to(r, w->position + done, w->key, &run);
        run = smaller(run, w->count - done);
        add_run(r, w, rank, done, run);
    }
    for (int g = 0; g < r->shape.groups; g++)
        for (int i = 0; i < r->shape.ranks; i++)
            for (int run = r->first_run[i]; run < rows_at(r, g, i)->run_count; run++)
                runs_of(r, g, i)[run].length = w->position + w->count;
    r->requests++;
}

int wi_rows_logits(const wi_rows *r) { return r->batch.logit_rows; }

int64_t wi_rows_count(const wi_rows *r) { return r->all; }

// Where each rank's logits go, rank after rank.
static void place_logits(wi_rows *r)
{
    int at = 0;
    for (int rank = 0; rank < r->shape.ranks; rank++)
        for (int i = 0; i < r->batch.logit_rows; i++) {
            if (r->logit_owner[i] != rank) continue;
            r->logit_counts[rank]++;
            r->logit_place[at++] = i;
        }
}

const weft_batch *wi_rows_batch(wi_rows *r)
{
    weft_batch *b = &r->batch;
    const weft_dealt_rows *own = rows_at(r, 0, r->shape.own);
    for (int g = 0; g < r->shape.groups; g++)
        r->tables[g] = (weft_batch_tables){.requests = runs_of(r, g, r->shape.own),
                                           .spans = r->spans + (size_t)g * (size_t)r->shape.room,
                                           .rows_of = rows_at(r, g, 0)};
    b->rows = own->rows;
    b->tokens = r->tokens;
    b->positions = r->positions;
    b->tables = r->tables;
    b->rotation = r->rotation;
    b->request_count = own->run_count;
    b->logit_row = r->logit_row;
    b->logits = r->logits;
    if (r->shape.ranks > 1) {
        place_logits(r);
        b->logit_counts = r->logit_counts;
        b->logit_place = r->logit_place;
    }
    return b;
}
