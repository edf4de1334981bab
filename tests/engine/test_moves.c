// A request that moves from replica to replica while it generates: tokens and logits are those of one that stays,
// nobody computes anything twice, and no block is lost.
//   test_moves threads|shm|local|mpi|ucx RANKS      two replicas of half of the ranks, in every mesh of them
//   test_moves refused                              what cannot move, and who hears why
//   test_moves faults                               a rank that dies between two notes, or never comes
#include <sys/time.h>

#include "core/clock.h"
#include "tests/check.h"
#include "tests/engine/rig.h"

enum { DRAWN = 24, PROMPT_MAX = 700 };

static const struct {
    const char *model;
    weft_dtype type;
    int group;
    weft_cache_type cache;
} kinds[] = {{"llama-plain", WEFT_F32, 0, WEFT_CACHE_F32},
             {"gemma3", WEFT_BF16, 0, WEFT_CACHE_INT8},
             {"gpt-oss", WEFT_BF16, 0, WEFT_CACHE_BF16},
             {"qwen3-moe", WEFT_I8, 0, WEFT_CACHE_FP8},
             {"phi3-longrope", WEFT_I4, 32, WEFT_CACHE_INT8}};
enum { KINDS = sizeof kinds / sizeof *kinds };

// ---- one rank ----

typedef struct {
    weft_comm *world, *peers;
    weft_replicas replicas;
    weft_mesh mesh;
    rig r;
} side;

typedef struct {
    int32_t tokens[PROMPT_MAX + DRAWN];
    uint64_t logits[DRAWN]; // hashes
} text;

typedef struct {
    text *text;
    int prompt, drawn;
    bool records; // else what is drawn must be what the text has
    int ends;
    weft_finish finish;
} watched;

static uint64_t hash(const void *data, size_t bytes)
{
    const unsigned char *at = data;
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < bytes; i++) h = (h ^ at[i]) * 0x100000001b3;
    return h;
}

static void on_token(void *arg, const weft_drawn *drawn)
{
    watched *w = arg;
    CHECK(w->drawn < DRAWN);
    int32_t *token = &w->text->tokens[w->prompt + w->drawn++];
    if (w->records) *token = drawn->id;
    CHECK_INT(drawn->id, *token);
}

static void on_logits(void *arg, int64_t position, int rows, const float *logits, size_t vocab)
{
    watched *w = arg;
    const uint64_t h = hash(logits + (size_t)(rows - 1) * vocab, vocab * sizeof *logits);
    CHECK_INT(position + rows, w->prompt + w->drawn);
    if (w->records) w->text->logits[w->drawn] = h;
    CHECK(h == w->text->logits[w->drawn]);
}

static void on_end(void *arg, weft_finish finish)
{
    watched *w = arg;
    w->finish = finish;
    w->ends++;
}

static const weft_request_calls calls = {on_token, on_logits, on_end};

static int64_t submit(side *s, watched *w, int max_tokens)
{
    const weft_request request = {.tokens = w->text->tokens,
                                  .token_count = w->prompt + w->drawn,
                                  .drawn = w->drawn,
                                  .max_tokens = max_tokens,
                                  .sampling = rig_sampling(0.9F, 1, 5),
                                  .calls = &calls,
                                  .arg = w};
    int64_t id;
    CHECK_OK(weft_engine_submit(s->r.engine, &request, &id));
    return id;
}

static void step_until(side *s, const watched *w, int drawn)
{
    int rows;
    while (w->drawn < drawn && w->ends == 0) CHECK_OK(weft_engine_step(s->r.engine, &rows));
}

static void open_side(side *s, weft_job *job, const weft_mesh_shape *shape, const char *model, rig_options *o)
{
    *s = (side){.world = weft_job_world(job)};
    CHECK_OK(weft_replicas_create(s->world, 2, &s->replicas));
    CHECK_OK(weft_mesh_create(s->replicas.own, shape, &s->mesh));
    CHECK_OK(weft_comm_split(s->world, weft_mesh_rank(&s->mesh), s->replicas.number, "peers", &s->peers));
    o->mesh = &s->mesh;
    o->peers = s->peers;
    o->unshared = true; // nothing is found of those that ran before
    o->positions = PROMPT_MAX + DRAWN;
    rig_open(&s->r, model, o);
}

static void close_side(side *s)
{
    weft_comm_barrier(s->world);
    rig_close(&s->r);
    weft_comm_destroy(s->peers);
    weft_mesh_free(&s->mesh);
    weft_replicas_free(&s->replicas);
}

static void make_prompt(const side *s, text *t, int length)
{
    uint64_t state = (uint64_t)length * 0x9e3779b97f4a7c15u | 1;
    *t = (text){0};
    for (int i = 0; i < length; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        t->tokens[i] = (int32_t)((state >> 33) % s->r.vocab);
    }
}

// ---- from one to the other and back ----

static void check_books(const side *s, int running)
{
    const weft_engine_state state = weft_engine_state_of(s->r.engine);
    CHECK_OK(weft_engine_check(s->r.engine));
    CHECK_INT(state.running, running);
    CHECK_INT(state.waiting, 0);
    if (running == 0) CHECK_INT(state.held, 0);
}

// The request begins in replica 0 and moves after `stay` tokens each. At first it may not even be read to its end.
static void travel(side *s, text *t, int prompt, int stay)
{
    watched w = {.text = t, .prompt = prompt};
    const int me = s->replicas.number;
    int owner = 0, drawn = 0;
    const int64_t before = weft_engine_state_of(s->r.engine).computed;
    int64_t id = 0, rows = 0; // that this replica has to compute
    if (me == owner) id = submit(s, &w, DRAWN);
    rows += me == owner ? prompt : 0;
    while (drawn + stay < DRAWN) {
        if (me == owner) {
            step_until(s, &w, drawn + stay);
            rows += drawn == 0 ? stay - 1 : stay;
        }
        drawn += stay;
        if (me == owner) {
            w.ends = 0;
            CHECK_OK(weft_kv_send(s->r.engine, id, 1 - me));
            CHECK_INT(w.ends, 1);
            CHECK_INT(w.finish, WEFT_FINISH_MOVED);
            check_books(s, 0);
        } else {
            w.drawn = drawn;
            w.ends = 0;
            id = submit(s, &w, DRAWN);
            CHECK_OK(weft_kv_receive(s->r.engine, id, 1 - me));
            check_books(s, 1);
        }
        owner = 1 - owner;
    }
    if (me == owner) {
        w.ends = 0;
        rows += DRAWN - drawn;
        step_until(s, &w, DRAWN + 1);
        CHECK_INT(w.finish, WEFT_FINISH_LENGTH);
        CHECK_INT(w.drawn, DRAWN);
    }
    check_books(s, 0);
    CHECK_INT(weft_engine_state_of(s->r.engine).computed - before, rows);
}

static void run_mesh(weft_job *job, const weft_mesh_shape *shape)
{
    static const int prompts[] = {1, 40, 256, 613}, stays[] = {1, 5, 11, 20};
    for (int k = 0; k < KINDS; k++) {
        side s;
        rig_options o = rig_defaults();
        o.type = kinds[k].type;
        o.group = kinds[k].group;
        o.cache = kinds[k].cache;
        o.preempts = k % 2;
        open_side(&s, job, shape, kinds[k].model, &o);
        for (int i = 0; i < 4; i++) {
            text t;
            make_prompt(&s, &t, prompts[i]);
            watched alone = {.text = &t, .prompt = prompts[i], .records = true};
            // Not in the other replica: its blocks must not have by chance what is to move there.
            if (s.replicas.number == 0) {
                submit(&s, &alone, DRAWN);
                step_until(&s, &alone, DRAWN + 1);
                CHECK_INT(alone.drawn, DRAWN);
            }
            CHECK_OK(weft_comm_bcast(s.peers, 0, &t, sizeof t));
            travel(&s, &t, prompts[i], stays[(i + k) % 4]);
        }
        close_side(&s);
    }
}

static weft_status body(weft_job *job, int rank, void *arg)
{
    const int ranks = *(const int *)arg / 2;
    for (int tp = 1; tp <= ranks; tp++) {
        if (ranks % tp != 0) continue;
        const int cp = ranks / tp;
        run_mesh(job, &(weft_mesh_shape){.tp = tp, .cp = cp});
        if (cp > 1) run_mesh(job, &(weft_mesh_shape){.tp = tp, .cp = cp, .dense = WEFT_DENSE_MESH});
    }
    return WEFT_OK;
}

// ---- what is refused ----

static weft_status refused_body(weft_job *job, int rank, void *arg)
{
    side s;
    text t, other;
    rig_options o = rig_defaults();
    const weft_mesh_shape shape = {.tp = 1, .cp = 2};
    o.cache = WEFT_CACHE_INT8;
    o.cache_units = 60;
    o.cache_bytes = 0;
    open_side(&s, job, &shape, "gemma3", &o);
    weft_engine *e = s.r.engine;
    const int me = s.replicas.number, prompt = 300;
    int64_t id = 0, blocker = 0;
    make_prompt(&s, &t, prompt);
    watched w = {.text = &t, .prompt = prompt, .records = true},
            beside = {.text = &other, .prompt = 1, .records = true};
    submit(&s, &w, DRAWN);
    step_until(&s, &w, DRAWN + 1);
    w = (watched){.text = &t, .prompt = prompt};
    if (me == 0) {
        id = submit(&s, &w, DRAWN);
        step_until(&s, &w, 10);
    }
    CHECK_FAILS(me == 0 ? weft_kv_send(e, id, 0) : weft_kv_receive(e, id, 2), WEFT_INVALID, "replica");
    // Nobody has that number.
    CHECK_FAILS(me == 0 ? weft_kv_send(e, 999, 1) : weft_kv_receive(e, 999, 0), WEFT_INVALID, "999 does not run");
    CHECK_FAILS(me == 0 ? weft_kv_send(e, id, 1) : weft_kv_receive(e, 999, 0), WEFT_INVALID, "999 does not wait");
    CHECK_FAILS(weft_kv_send(e, me == 0 ? id : 999, 1 - me), WEFT_INVALID, me == 0 ? "to each other" : "999");
    // The one that waits has drawn fewer.
    if (me == 1) {
        w.drawn = 9;
        id = submit(&s, &w, DRAWN);
    }
    CHECK_FAILS(me == 0 ? weft_kv_send(e, id, 1) : weft_kv_receive(e, id, 0), WEFT_MISMATCH, "other tokens");
    if (me == 1) weft_engine_cancel(e, id);
    // There is no room, and then there is.
    if (me == 1) {
        int rows;
        CHECK_OK(weft_engine_step(e, &rows));
        make_prompt(&s, &other, 1);
        blocker = submit(&s, &beside, (int)weft_engine_longest(e));
        CHECK_OK(weft_engine_step(e, &rows));
        w = (watched){.text = &t, .prompt = prompt, .drawn = 10};
        id = submit(&s, &w, DRAWN);
    }
    CHECK_FAILS(me == 0 ? weft_kv_send(e, id, 1) : weft_kv_receive(e, id, 0), WEFT_LIMIT, "no room");
    CHECK_OK(weft_engine_check(e));
    if (me == 1) {
        int rows;
        weft_engine_cancel(e, blocker);
        weft_engine_cancel(e, id);
        CHECK_OK(weft_engine_step(e, &rows));
        check_books(&s, 0);
        w = (watched){.text = &t, .prompt = prompt, .drawn = 10};
        id = submit(&s, &w, DRAWN);
    } else {
        check_books(&s, 1);
        step_until(&s, &w, 10);
    }
    CHECK_OK(me == 0 ? weft_kv_send(e, id, 1) : weft_kv_receive(e, id, 0));
    check_books(&s, me);
    if (me == 1) step_until(&s, &w, DRAWN + 1);
    check_books(&s, 0);
    close_side(&s);
    return WEFT_OK;
}

// Replicas that are cut in other ways have no caches in common.
static weft_status unlike_body(weft_job *job, int rank, void *arg)
{
    side s;
    rig_options o = rig_defaults();
    o.expected = WEFT_MISMATCH;
    const bool second = rank >= weft_comm_size(weft_job_world(job)) / 2;
    const weft_mesh_shape shape = {.tp = second ? 1 : 2, .cp = second ? 2 : 1};
    open_side(&s, job, &shape, "llama-plain", &o);
    CHECK_HAS(weft_error_text(), "replicas between which requests are to move");
    CHECK_HAS(weft_error_text(), "tp 2, cp 1");
    close_side(&s);
    return WEFT_OK;
}

// ---- ranks that are lost ----

static weft_status absent_body(weft_job *job, int rank, void *arg)
{
    side s;
    text t;
    rig_options o = rig_defaults();
    open_side(&s, job, &(weft_mesh_shape){.tp = 1, .cp = 1}, "llama-plain", &o);
    make_prompt(&s, &t, 40);
    watched w = {.text = &t, .prompt = 40, .records = true};
    const int64_t id = submit(&s, &w, DRAWN);
    weft_status status = rank == 1 ? weft_kv_receive(s.r.engine, id, 0) : weft_comm_barrier(s.world);
    if (rank == 1) CHECK_OK(weft_engine_check(s.r.engine));
    close_side(&s);
    return status;
}

// Moves a request to and fro until a signal kills one of the two.
static void travel_until_killed(weft_job *job, int victim, int64_t after_us)
{
    side s;
    text t;
    rig_options o = rig_defaults();
    open_side(&s, job, &(weft_mesh_shape){.tp = 1, .cp = 1}, "llama-plain", &o);
    make_prompt(&s, &t, 613);
    watched alone = {.text = &t, .prompt = 613, .records = true};
    submit(&s, &alone, DRAWN);
    step_until(&s, &alone, DRAWN + 1);
    CHECK_OK(weft_comm_barrier(s.world));
    const struct itimerval timer = {.it_value = {.tv_usec = after_us}};
    if (s.replicas.number == victim) setitimer(ITIMER_REAL, &timer, NULL);
    for (;;) travel(&s, &t, 613, 1);
}

static void run_faults(void)
{
    weft_job_options options = {.deadline_ns = 300000000};
    const weft_status status = weft_job_run_threads(&options, 2, absent_body, NULL);
    CHECK_INT(status, WEFT_DEADLINE);
    options.deadline_ns = 60000000000;
    for (int i = 0; i < 12; i++) {
        weft_job *job;
        int code = 0;
        CHECK_OK(weft_job_open_local(&options, 2, &job, &code));
        if (job) travel_until_killed(job, i % 2, 1 + i * 4321);
        CHECK_INT(code, 71);
    }
}

int main(int argc, char **argv)
{
    CHECK(argc >= 2);
    const char *kind = argv[1];
    int ranks = argc > 2 ? atoi(argv[2]) : 2, code = 0;
    weft_job_options options = {.deadline_ns = 120000000000};
    weft_job *job = NULL;
    if (strcmp(kind, "faults") == 0) {
        run_faults();
    } else if (strcmp(kind, "refused") == 0) {
        CHECK_OK(weft_job_run_threads(&options, 4, refused_body, NULL));
        CHECK_OK(weft_job_run_threads(&options, 4, unlike_body, NULL));
    } else if (strcmp(kind, "threads") == 0 || strcmp(kind, "shm") == 0) {
        options.transport = strcmp(kind, "shm") == 0 ? WEFT_TRANSPORT_SHM : WEFT_TRANSPORT_THREADS;
        CHECK_OK(weft_job_run_threads(&options, ranks, body, &ranks));
    } else {
        if (strcmp(kind, "ucx") == 0) options.transport = WEFT_TRANSPORT_UCX;
        if (strcmp(kind, "mpi") == 0) options.transport = WEFT_TRANSPORT_MPI;
        if (strcmp(kind, "local") == 0)
            CHECK_OK(weft_job_open_local(&options, ranks, &job, &code));
        else
            CHECK_OK(weft_job_open_mpi(&options, &job));
        if (!job) return code;
        CHECK_OK(body(job, weft_comm_rank(weft_job_world(job)), &ranks));
        weft_job_close(job);
    }
    return 0;
}
