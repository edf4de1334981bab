// Scheduler and cache, driven by a fake model through random steps. Memory is played too: each position of each unit
// remembers which text was written there, on every context rank, so what a row would read is known to be its own text.
// In every other world a step may be under way while the next one is decided: what it draws is known to the memory at
// once and to the scheduler a step later, and so is who has ended.
// Held at every step: the books agree with themselves and on all ranks, all that a row sees is there. At the end: every
// request ended once, and every block is free or cached.
#include <time.h>

#include "core/philox.h"
#include "engine/demand.h"
#include "engine/schedule.h"
#include "tests/check.h"
#include "tests/engine/allocations.h"

enum { RANKS_MAX = 5, REQUESTS_MAX = 48, LENGTH_MAX = 700, ALPHABET = 3 };

// ---- the world of one run ----

typedef struct {
    wi_work work;               // first
    int32_t tokens[LENGTH_MAX]; // as the scheduler sees them
    int32_t real[LENGTH_MAX];
    uint64_t text[LENGTH_MAX]; // a hash of the real tokens up to each
    int restart_at;            // so many tokens turn its rotations another way; 0: never
    int drafts;                // how often tokens were taken back
    bool lives;
    int number;
    int drawing; // draws that are under way
} request;

// What a step drew, or that it was a request's last.
typedef struct {
    int at, number;
    bool ends;
} outcome;

typedef struct {
    outcome of[REQUESTS_MAX];
    int count;
    bool settles; // it is told of before the next one is decided
} flight;

typedef struct {
    wi_kv *cache;
    wi_rows *rows;
    wi_schedule *schedule;
    request *requests; // [REQUESTS_MAX] each rank has its own, which go the same way
    uint64_t *memory;  // [units][positions of a block]
} rank_state;

typedef struct {
    wi_kv_shape cache;
    wi_rows_shape rows;
    wi_schedule_options schedule;
    uint64_t seed, draws;
    rank_state rank[RANKS_MAX];
    bool ahead;
    flight flight[2], *under_way;
    int submitted, ended;
    int64_t stopped; // by what was drawn, with a row too many
    int64_t preempted, found, evicted, copied, forked, restarted, taken_back;
} world;

static uint32_t roll(world *w, uint32_t sides)
{
    return weft_draw4(w->seed, 0, w->draws++, WEFT_DRAW_TEST).word[0] % sides;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15) + b;
    x ^= x >> 29;
    return x * UINT64_C(0xbf58476d1ce4e5b9);
}

// What a position holds: the text up to it, and how it is turned.
static uint64_t content(const request *r, int position) { return mix(r->text[position], (uint64_t)r->work.turned); }

static void push(request *r, int32_t token)
{
    const int at = r->work.count++;
    r->tokens[at] = r->real[at] = token;
    r->text[at] = mix(at > 0 ? r->text[at - 1] : 17, (uint64_t)token + 1);
}

static void make_shapes(world *w)
{
    static const int blocks[] = {16, 32, 64};
    const bool dealt = roll(w, 2);
    wi_kv_shape *c = &w->cache;
    c->ranks = roll(w, 2) ? 1 : 2 + (int)roll(w, RANKS_MAX - 1);
    c->block = blocks[roll(w, 3)];
    c->kind_count = 1 + (int)roll(w, 2);
    c->kinds[0] = (wi_kind){.window = roll(w, 3) ? 0 : 1 + roll(w, 200), .units = 1 + (int)roll(w, 2)};
    c->kinds[1] = (wi_kind){.window = 1 + roll(w, 200), .units = 1 + (int)roll(w, 3)};
    c->requests = 1 + (int)roll(w, 12);
    c->eviction = (weft_eviction)roll(w, 3);
    c->sharing = roll(w, 4) > 0;
    w->rows = (wi_rows_shape){.ranks = dealt ? c->ranks : 1,
                              .room = c->requests + (int)roll(w, roll(w, 2) ? 300 : 20),
                              .logit_room = c->requests + (int)roll(w, 20),
                              .vocab = 1};
    for (int k = 0; k < c->kind_count; k++) w->rows.groups += c->kinds[k].units;
    c->rows = w->rows.room * w->rows.ranks;
    c->units = 1;
    const int64_t most = wi_demand_most(c, LENGTH_MAX);
    c->units = most / 3 + 2 + roll(w, (uint32_t)(2 * most));
    w->schedule = (wi_schedule_options){.order = (weft_schedule)roll(w, 2),
                                        .requests = c->requests,
                                        .reserves = roll(w, 2),
                                        .margin = roll(w, 3) * 0.1,
                                        .read_budget = roll(w, 2) ? 0 : 200 + roll(w, 2000)};
}

static void open_world(world *w, uint64_t seed)
{
    *w = (world){.seed = seed};
    make_shapes(w);
    w->ahead = roll(w, 2);
    for (int r = 0; r < w->cache.ranks; r++) {
        rank_state *s = &w->rank[r];
        wi_kv_shape cache = w->cache;
        wi_rows_shape rows = w->rows;
        cache.rank = r;
        rows.own = rows.ranks > 1 ? r : 0;
        CHECK_OK(wi_kv_create(&cache, &s->cache));
        CHECK_OK(wi_rows_create(&rows, &s->rows));
        CHECK_OK(wi_schedule_create(&w->schedule, s->cache, s->rows, &s->schedule));
        s->requests = calloc(REQUESTS_MAX, sizeof *s->requests);
        s->memory = calloc((size_t)(cache.units * cache.block), sizeof *s->memory);
        CHECK(s->requests && s->memory);
    }
}

static void close_world(world *w)
{
    for (int r = 0; r < w->cache.ranks; r++) {
        rank_state *s = &w->rank[r];
        wi_schedule_destroy(s->schedule);
        wi_kv_destroy(s->cache);
        wi_rows_destroy(s->rows);
        free(s->requests);
        free(s->memory);
    }
}

// ---- arrivals and ends ----

// A prompt that often begins like another one's, and often up to the last token of a block.
static void make_prompt(world *w, request *r, int length)
{
    const request *other = &w->rank[0].requests[roll(w, REQUESTS_MAX)];
    int alike = roll(w, 3) ? 0 : (int)roll(w, (uint32_t)length + 1);
    if (roll(w, 2)) alike = alike / w->cache.block * w->cache.block + w->cache.block - 1;
    if (alike > other->work.count) alike = other->work.count;
    for (int i = 0; i < length; i++) push(r, i < alike ? other->real[i] : (int32_t)roll(w, ALPHABET));
}

static void arrive(world *w)
{
    int at = 0;
    while (at < REQUESTS_MAX && w->rank[0].requests[at].lives) at++;
    if (at == REQUESTS_MAX) return;
    request *r = malloc(sizeof *r);
    *r = (request){.lives = true, .number = w->submitted++};
    const int draws = roll(w, 8) ? 1 + (int)roll(w, 60) : 0;
    const int prompt = 1 + (int)roll(w, roll(w, 3) ? 80 : LENGTH_MAX - 64), drawn = draws > 1 ? (int)roll(w, 2) : 0;
    request *parent = &w->rank[0].requests[roll(w, REQUESTS_MAX)];
    const bool forks = parent->lives && roll(w, 3) == 0;
    if (forks)
        for (int i = 0; i < parent->work.prompt; i++) push(r, parent->tokens[i]);
    else
        make_prompt(w, r, prompt);
    r->work.prompt = r->work.count;
    for (int i = 0; i < drawn && !forks; i++) push(r, (int32_t)roll(w, ALPHABET));
    r->work.positions = r->work.prompt + (draws > 0 ? draws - 1 : 0);
    r->work.draws = draws > 0;
    r->work.all_logits = roll(w, 6) == 0;
    r->work.priority = roll(w, 4) ? 0 : (int)roll(w, 5) - 2;
    r->restart_at = roll(w, 10) ? 0 : r->work.prompt + 1 + (int)roll(w, 40);
    const bool fits = wi_kv_fits(w->rank[0].cache, r->work.positions);
    for (int i = 0; i < w->cache.ranks; i++) {
        rank_state *s = &w->rank[i];
        CHECK_INT(wi_kv_fits(s->cache, r->work.positions), fits);
        if (!fits) continue;
        request *mine = &s->requests[at];
        *mine = *r;
        mine->work.tokens = mine->tokens;
        if (forks) mine->work.parent = &s->requests[parent - w->rank[0].requests].work;
        CHECK_OK(wi_schedule_add(s->schedule, &mine->work));
    }
    w->forked += forks && fits;
    if (!fits) w->submitted--;
    free(r);
}

static void end(world *w, int at)
{
    for (int i = 0; i < w->cache.ranks; i++) {
        request *r = &w->rank[i].requests[at];
        CHECK(r->lives);
        wi_schedule_remove(w->rank[i].schedule, &r->work);
        r->lives = false;
    }
    w->ended++;
}

// Generated tokens are taken back, as who drafted them would: others are drawn in their place.
static void take_back(world *w)
{
    const int at = (int)roll(w, REQUESTS_MAX);
    const wi_work *first = &w->rank[0].requests[at].work;
    if (!w->rank[0].requests[at].lives || !first->runs || first->cached <= first->prompt) return;
    if (w->rank[0].requests[at].drawing > 0) return;
    const int kept = first->prompt + (int)roll(w, (uint32_t)(first->cached - first->prompt) + 1);
    const bool there = wi_kv_truncate(w->rank[0].cache, &w->rank[0].requests[at].work.sequence, kept);
    for (int i = 0; i < w->cache.ranks; i++) {
        wi_work *work = &w->rank[i].requests[at].work;
        if (i > 0) CHECK_INT(wi_kv_truncate(w->rank[i].cache, &work->sequence, kept), there);
        if (!there) continue;
        work->cached = kept;
        work->count = kept + 1;
        w->rank[i].requests[at].drafts++;
        CHECK_INT(work->sequence.count, (kept + w->cache.block - 1) / w->cache.block);
    }
    w->taken_back += there;
}

// ---- the fake model ----

static uint64_t *slot(const rank_state *s, const wi_kv_shape *c, int32_t unit, int64_t position)
{
    return &s->memory[(int64_t)unit * c->block + position % c->block];
}

static void copy_units(world *w, rank_state *s)
{
    const wi_copy *copies;
    const int count = wi_kv_copies(s->cache, &copies);
    for (int i = 0; i < count; i++)
        memcpy(s->memory + (int64_t)copies[i].to * w->cache.block, s->memory + (int64_t)copies[i].from * w->cache.block,
               (size_t)w->cache.block * sizeof *s->memory);
    w->copied += count;
    wi_kv_copied(s->cache);
}

// Every unit that a rank has of a position. How many there are.
static int64_t write_units(const world *w, int rank, const request *r, int64_t position)
{
    int group = 0;
    int64_t count = 0;
    const rank_state *s = &w->rank[rank];
    const wi_sequence *q = &s->requests[r - w->rank[0].requests].work.sequence;
    for (int k = 0; k < w->cache.kind_count; k++)
        for (int i = 0; i < w->cache.kinds[k].units; i++, group++) {
            const int32_t unit = q->units[(int64_t)group * q->room + position / w->cache.block];
            if (unit < 0) continue;
            count++;
            *slot(s, &w->cache, unit, position) = content(r, (int)position);
        }
    return count;
}

static void write_rows(world *w, const wi_slice *share)
{
    const request *r = (const request *)share->of;
    for (int64_t p = r->work.cached; p < r->work.cached + share->rows; p++) {
        int64_t units = 0, wanted = 0;
        for (int rank = 0; rank < w->cache.ranks; rank++) units += write_units(w, rank, r, p);
        for (int k = 0; k < w->cache.kind_count; k++) wanted += w->cache.kinds[k].units;
        CHECK_INT(units, wanted);
    }
}

static bool sees(const wi_kind *kind, int64_t row, int64_t position)
{
    return position <= row && (kind->window == 0 || position > row - kind->window);
}

// The first and the last row of a share read: their oldest positions, and some between.
static void read_rows(world *w, const wi_slice *share)
{
    const request *r = (const request *)share->of;
    for (int i = 0; i < 2; i++) {
        const int64_t row = r->work.cached + (i ? share->rows - 1 : 0);
        int group = 0;
        for (int k = 0; k < w->cache.kind_count; group += w->cache.kinds[k].units, k++) {
            const wi_kind *kind = &w->cache.kinds[k];
            const int64_t first = kind->window > 0 && row >= kind->window ? row - kind->window + 1 : 0;
            for (int64_t p = first, step = 0; p <= row; p += step, step = 1 + roll(w, 40)) {
                int64_t have = 0;
                CHECK(sees(kind, row, p));
                for (int rank = 0; rank < w->cache.ranks; rank++) {
                    const rank_state *s = &w->rank[rank];
                    const wi_sequence *q = &s->requests[r - w->rank[0].requests].work.sequence;
                    const int32_t unit = q->units[(int64_t)group * q->room + p / w->cache.block];
                    have += unit >= 0;
                    if (unit >= 0 && *slot(s, &w->cache, unit, p) != content(r, (int)p))
                        CHECK_FAIL("request %d, row %lld: position %lld holds another text", r->number, (long long)row,
                                   (long long)p);
                }
                CHECK_INT(have, 1);
            }
        }
    }
}

// A token is a function of the text, and of how often some were taken back. The scheduler does not know it yet, and has
// a wrong one there. Now and then it is one that ends the request.
static void finish_share(world *w, const wi_slice *share, flight *f)
{
    const int at = (int)((request *)share->of - w->rank[0].requests);
    request *first = &w->rank[0].requests[at];
    const bool done = share->last, ends = !first->work.draws || first->work.count == first->work.positions,
               stops = done && !ends && roll(w, 60) == 0;
    const int32_t token = (int32_t)(mix(first->text[first->work.count - 1], (uint64_t)first->drafts) >> 40) % ALPHABET;
    CHECK_INT(done, first->work.cached + share->rows == first->work.count);
    for (int i = 0; i < w->cache.ranks; i++) {
        request *r = &w->rank[i].requests[at];
        wi_slice mine = *share;
        mine.of = &r->work;
        wi_schedule_computed(w->rank[i].schedule, &mine);
        if (!done || ends) continue;
        push(r, token);
        r->tokens[r->work.count - 1] = (token + 1) % ALPHABET;
        r->work.unknown++;
    }
    if (!done) return;
    first->drawing++;
    f->of[f->count++] = (outcome){.at = at, .number = first->number, .ends = ends || stops};
    f->settles = f->settles || first->work.count == first->restart_at;
    w->stopped += stops && !f->settles;
}

static void know(world *w, rank_state *s, request *r)
{
    wi_work *work = &r->work;
    const int at = work->count - work->unknown--;
    r->tokens[at] = r->real[at];
    wi_schedule_known(s->schedule, work);
    if (at + 1 != r->restart_at) return;
    CHECK_INT(work->unknown, 0);
    work->turned = 1;
    wi_schedule_restart(s->schedule, work);
    w->restarted++;
}

static void tell(world *w, flight *f)
{
    for (int i = 0; i < f->count; i++) {
        const outcome *d = &f->of[i];
        request *first = &w->rank[0].requests[d->at];
        if (!first->lives || first->number != d->number) continue; // ended meanwhile
        first->drawing--;
        if (d->ends) {
            end(w, d->at);
            continue;
        }
        for (int r = 0; r < w->cache.ranks; r++) know(w, &w->rank[r], &w->rank[r].requests[d->at]);
    }
    f->count = 0;
}

// Says what stands how, and ends the test.
static void explain(const world *w, const char *why)
{
    const rank_state *s = &w->rank[0];
    fprintf(stderr, "world %llu: %d ranks, %lld units of %d, %d kinds (%lld, %lld), %d requests, %s\n",
            (unsigned long long)w->seed, w->cache.ranks, (long long)w->cache.units, w->cache.block, w->cache.kind_count,
            (long long)w->cache.kinds[0].window, (long long)w->cache.kinds[1].window, w->schedule.requests,
            w->schedule.reserves ? "reserving" : "preempting");
    for (const wi_work *v = wi_schedule_first(s->schedule); v; v = wi_schedule_next(s->schedule, v))
        fprintf(stderr, "  %lld: %d of %d cached, prompt %d, may come to %lld, shown %d, %s%s%s\n", (long long)v->id,
                v->cached, v->count, v->prompt, (long long)v->positions, v->shown, v->runs ? "runs" : "waits",
                v->parent ? ", has a parent" : "", v->all_logits ? ", all logits" : "");
    CHECK_FAIL("%s", why);
}

static int decide(world *w, const wi_slice **shares)
{
    int count = 0;
    for (int i = 0; i < w->cache.ranks; i++) {
        rank_state *s = &w->rank[i];
        const wi_slice *own;
        const int64_t before = allocations_so_far();
        const int mine = wi_schedule_step(s->schedule, &own);
        CHECK_INT(allocations_so_far(), before);
        if (i == 0) count = mine;
        if (i == 0) *shares = own;
        CHECK_INT(mine, count);
        CHECK_INT(wi_schedule_state_of(s->schedule).decisions, wi_schedule_state_of(w->rank[0].schedule).decisions);
        if (wi_schedule_check(s->schedule) < 0) explain(w, weft_error_text());
        copy_units(w, s);
    }
    CHECK(count <= w->schedule.requests);
    return count;
}

static int step(world *w)
{
    const wi_slice *shares;
    flight *before = w->under_way, *f = &w->flight[before == &w->flight[0]];
    int count = decide(w, &shares);
    w->under_way = NULL;
    if (count == 0 && before) {
        tell(w, before);
        before = NULL;
        count = decide(w, &shares);
    }
    f->settles = !w->ahead || roll(w, 6) == 0;
    for (int i = 0; i < count; i++) write_rows(w, &shares[i]);
    for (int i = 0; i < count; i++) read_rows(w, &shares[i]);
    for (int i = 0; i < count; i++) finish_share(w, &shares[i], f);
    if (before) tell(w, before);
    if (f->settles)
        tell(w, f);
    else if (count > 0)
        w->under_way = f;
    return count;
}

// ---- runs ----

static void add_up(const world *w, world *sum)
{
    const wi_schedule_state s = wi_schedule_state_of(w->rank[0].schedule);
    sum->preempted += s.preempted;
    sum->found += s.found;
    sum->evicted += wi_blocks_evicted(wi_kv_blocks(w->rank[0].cache));
    sum->copied += w->copied;
    sum->forked += w->forked;
    sum->restarted += w->restarted;
    sum->taken_back += w->taken_back;
    sum->stopped += w->stopped;
    sum->ended += w->ended;
}

static int64_t run(uint64_t seed, int64_t steps, world *sum)
{
    world *w = malloc(sizeof *w);
    int64_t i = 0;
    CHECK(w);
    open_world(w, seed);
    const uint32_t pace = 1 + roll(w, 30);
    for (; i < steps; i++) {
        if (roll(w, pace) == 0)
            for (uint32_t many = 1 + roll(w, 4); many > 0; many--) arrive(w);
        if (roll(w, 60) == 0) {
            const int at = (int)roll(w, REQUESTS_MAX);
            if (w->rank[0].requests[at].lives) end(w, at);
        }
        // Who takes back what it shares needs more than it reserved.
        if (!w->schedule.reserves && roll(w, 20) == 0) take_back(w);
        step(w);
    }
    // Nobody else comes, so everybody gets to the end.
    for (int64_t idle = 0; w->ended < w->submitted; idle++, i++) {
        const int ended = w->ended;
        if (step(w) == 0 && w->ended == ended) explain(w, "a step with nothing in it");
        CHECK(idle < 1000000);
    }
    CHECK_INT(step(w), 0);
    const wi_blocks *b = wi_kv_blocks(w->rank[0].cache);
    for (int r = 0; r < w->cache.ranks; r++) CHECK_INT(wi_blocks_room(b, r), wi_blocks_units(b));
    CHECK_INT(w->ended, w->submitted);
    if (w->schedule.reserves) CHECK_INT(wi_schedule_state_of(w->rank[0].schedule).preempted, 0);
    add_up(w, sum);
    close_world(w);
    free(w);
    return i;
}

// ---- what a step costs ----

// 256 requests that generate, each with a prompt of 64 tokens of its own.
static void measure(void)
{
    enum { REQUESTS = 256, STEPS = 400 };
    const wi_kv_shape cache = {.ranks = 1,
                               .units = 8192,
                               .block = 32,
                               .rows = 512,
                               .requests = REQUESTS,
                               .kinds = {{.units = 1}},
                               .kind_count = 1,
                               .sharing = true};
    const wi_rows_shape rows = {.ranks = 1, .room = 512, .logit_room = REQUESTS, .groups = 1, .vocab = 1};
    const wi_schedule_options options = {.requests = REQUESTS, .reserves = true};
    rank_state s = {.requests = calloc(REQUESTS, sizeof(request))};
    struct timespec begin, until;
    CHECK(s.requests);
    CHECK_OK(wi_kv_create(&cache, &s.cache));
    CHECK_OK(wi_rows_create(&rows, &s.rows));
    CHECK_OK(wi_schedule_create(&options, s.cache, s.rows, &s.schedule));
    for (int i = 0; i < REQUESTS; i++) {
        request *r = &s.requests[i];
        for (int j = 0; j < 64; j++) push(r, i * 64 + j);
        r->work.prompt = r->work.count;
        r->work.tokens = r->tokens;
        r->work.positions = LENGTH_MAX - 1;
        r->work.draws = true;
        CHECK_OK(wi_schedule_add(s.schedule, &r->work));
    }
    double best = 1e9, sum = 0;
    int steps = 0;
    for (int i = 0; i < 64 + STEPS; i++) {
        const wi_slice *shares;
        const int64_t before = allocations_so_far();
        clock_gettime(CLOCK_MONOTONIC, &begin);
        const int count = wi_schedule_step(s.schedule, &shares);
        wi_rows_batch(s.rows);
        for (int j = 0; j < count; j++) {
            request *r = (request *)shares[j].of;
            wi_schedule_computed(s.schedule, &shares[j]);
            if (r->work.cached == r->work.count) r->tokens[r->work.count++] = j;
        }
        clock_gettime(CLOCK_MONOTONIC, &until);
        CHECK_INT(allocations_so_far(), before);
        const double us = (double)(until.tv_sec - begin.tv_sec) * 1e6 + (double)(until.tv_nsec - begin.tv_nsec) * 1e-3;
        if (count < REQUESTS) continue;
        if (us < best) best = us;
        sum += us;
        steps++;
    }
    CHECK(steps >= STEPS);
    CHECK(allocations_so_far() > 0); // they are counted
    printf("a step of %d requests: %.1f us on average, %.1f us at best\n", REQUESTS, sum / steps, best);
    while (wi_schedule_first(s.schedule)) wi_schedule_remove(s.schedule, wi_schedule_first(s.schedule));
    wi_schedule_destroy(s.schedule);
    wi_kv_destroy(s.cache);
    wi_rows_destroy(s.rows);
    free(s.requests);
}

int main(int argc, char **argv)
{
    const int64_t wanted = argc > 1 ? atoll(argv[1]) : 1000000;
    const uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    world sum = {0};
    int64_t steps = 0;
    uint64_t seed = first;
    for (; steps < wanted; seed++) steps += run(seed, 1000, &sum);
    printf("%lld steps of %llu worlds: %d requests ended, %lld preempted, %lld restarted, %lld forked, %lld taken "
           "back, %lld stopped with a row too many; %lld positions found, %lld blocks evicted, %lld units copied\n",
           (long long)steps, (unsigned long long)(seed - first), sum.ended, (long long)sum.preempted,
           (long long)sum.restarted, (long long)sum.forked, (long long)sum.taken_back, (long long)sum.stopped,
           (long long)sum.found, (long long)sum.evicted, (long long)sum.copied);
    CHECK(steps < 100000 || (sum.preempted > 0 && sum.restarted > 0 && sum.forked > 0 && sum.taken_back > 0 &&
                             sum.stopped > 0 && sum.found > 0 && sum.evicted > 0 && sum.copied > 0));
    measure();
    return 0;
}
