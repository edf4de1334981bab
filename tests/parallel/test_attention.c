// Attention over dealt rows: the bits of one rank, whether queries or keys travel, over threads; and how much of what
// travels is counted beforehand.
#include "parallel/attention.h"

#include "parallel/transfer.h"
#include "tests/check.h"

enum { REQUESTS_MAX = 5, HEADS_MAX = 8, ROWS_MAX = 1024, LENGTH_MAX = 3000, RANKS_MAX = 8 };

typedef struct {
    int requests;
    int length[REQUESTS_MAX], cached[REQUESTS_MAX], key[REQUESTS_MAX];
    weft_cache_type type;
    int block, kv_heads, heads, k_size, v_size;
    int first_head[HEADS_MAX + 1];
    bool uneven, causal;
    int64_t window;
    float softcap;
    bool sinks;
} scene;

typedef struct {
    const scene *s;
    weft_kernels table;
    weft_attention_family family;
    int threads;
    const float *q, *k, *v; // (rows of all requests), by length
    const float *want;
    int taken[2];    // of rank 0: by queries, by keys
    int many_pieces; // of rank 0
    weft_dealt_way way;
} trial;

static uint32_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 20);
}

static float *numbers(uint64_t seed, size_t count)
{
    float *out = malloc((count + 1) * sizeof *out);
    CHECK(out);
    for (size_t i = 0; i < count; i++) out[i] = ((float)(next(&seed) & 0xffff) / 32768.0F - 1.0F) * 2.0F;
    return out;
}

static int first_position(const scene *s, int request) // rows of the requests before it
{
    int at = 0;
    for (int i = 0; i < request; i++) at += s->length[i];
    return at;
}

// ---- one rank of many, or alone ----

typedef struct {
    const trial *t;
    int ranks, rank;
    weft_team *team;
    weft_op op;
    weft_cache cache;
    int32_t *blocks[REQUESTS_MAX];
    weft_dealt_rows rows_of[RANKS_MAX];
    weft_attention_request runs[RANKS_MAX][64];
    int request[RANKS_MAX][64];
    int position[ROWS_MAX], of[ROWS_MAX]; // of the rows here
    float *q, *out;
} desk;

static int owner_of(const desk *k, int request, int position)
{
    if (k->ranks == 1) return 0;
    return weft_fold_owner(position / WEFT_FOLD_CHUNK, k->ranks, k->t->s->key[request]);
}

// The pool has the blocks of the rank, and bytes of no meaning around them.
static void fill_cache(desk *k)
{
    const scene *s = k->t->s;
    int32_t count = 1;
    k->cache = (weft_cache){
        .type = s->type, .block = s->block, .heads = s->kv_heads, .k_size = s->k_size, .v_size = s->v_size};
    k->cache.k_offset = 128; // as behind another layer
    k->cache.v_offset = k->cache.k_offset + weft_cache_k_bytes(&k->cache) + 64;
    k->cache.block_bytes = k->cache.v_offset + weft_cache_v_bytes(&k->cache);
    for (int i = 0; i < s->requests; i++) {
        const int blocks = (s->length[i] + s->block - 1) / s->block;
        k->blocks[i] = malloc((size_t)blocks * sizeof *k->blocks[i]);
        for (int b = 0; b < blocks; b++) k->blocks[i][b] = owner_of(k, i, b * s->block) == k->rank ? count++ : -1;
    }
    k->cache.pool = aligned_alloc(64, k->cache.block_bytes * (size_t)count);
    CHECK(k->cache.pool);
    memset(k->cache.pool, 0xff, k->cache.block_bytes * (size_t)count);
    const size_t k_stride = (size_t)s->kv_heads * (size_t)s->k_size, v_stride = (size_t)s->kv_heads * (size_t)s->v_size;
    for (int i = 0; i < s->requests; i++) {
        const weft_cache_span span = {.rows = s->length[i], .blocks = k->blocks[i]};
        const size_t at = (size_t)first_position(s, i);
        const weft_cache_write write = {.cache = &k->cache,
                                        .k = k->t->k + at * k_stride,
                                        .v = k->t->v + at * v_stride,
                                        .k_stride = k_stride,
                                        .v_stride = v_stride,
                                        .spans = &span,
                                        .span_count = 1};
        k->op.table->attention.cache_write(&k->op, &write);
    }
}

// As the engine deals them: a run ends at each chunk.
static void deal_rows(desk *k)
{
    const scene *s = k->t->s;
    const size_t width = (size_t)s->heads * (size_t)s->k_size;
    for (int i = 0; i < s->requests; i++)
        for (int at = s->cached[i], to; at < s->length[i]; at = to) {
            const int rank = owner_of(k, i, at), end = (at / WEFT_FOLD_CHUNK + 1) * WEFT_FOLD_CHUNK;
            weft_dealt_rows *of = &k->rows_of[rank];
            to = end < s->length[i] ? end : s->length[i];
            CHECK(of->run_count < 64 && of->rows + to - at <= ROWS_MAX);
            k->request[rank][of->run_count] = i;
            k->runs[rank][of->run_count++] = (weft_attention_request){.row = of->rows,
                                                                      .rows = to - at,
                                                                      .position = at,
                                                                      .length = s->length[i],
                                                                      .blocks = k->blocks[i],
                                                                      .rotation = s->key[i]};
            for (int p = at; rank == k->rank && p < to; p++) {
                const size_t row = (size_t)(of->rows + p - at);
                k->position[row] = p;
                k->of[row] = i;
                memcpy(k->q + row * width, k->t->q + (size_t)(first_position(s, i) + p) * width, width * sizeof(float));
            }
            of->rows += to - at;
        }
    for (int r = 0; r < k->ranks; r++) {
        k->rows_of[r].runs = k->runs[r];
        k->rows_of[r].request = k->request[r];
    }
}

static desk *open_desk(const trial *t, int ranks, int rank)
{
    const scene *s = t->s;
    desk *k = calloc(1, sizeof *k);
    CHECK(k);
    k->t = t;
    k->ranks = ranks;
    k->rank = rank;
    CHECK_OK(weft_team_create(&(weft_team_options){.threads = t->threads, .waiters = 8}, &k->team));
    k->op = (weft_op){.table = &k->t->table, .team = k->team};
    k->op.scratch_bytes = weft_attention_scratch(s->k_size, s->v_size, t->threads);
    k->op.scratch = aligned_alloc(64, (k->op.scratch_bytes + 63) / 64 * 64);
    k->q = calloc((size_t)ROWS_MAX * (size_t)s->heads * (size_t)s->k_size, sizeof *k->q);
    k->out = calloc((size_t)ROWS_MAX * (size_t)s->heads * (size_t)s->v_size, sizeof *k->out);
    CHECK(k->op.scratch && k->q && k->out);
    fill_cache(k);
    deal_rows(k);
    return k;
}

static void close_desk(desk *k)
{
    for (int i = 0; i < k->t->s->requests; i++) free(k->blocks[i]);
    free(k->cache.pool);
    free(k->op.scratch);
    free(k->q);
    free(k->out);
    weft_team_destroy(k->team);
    free(k);
}

static weft_attention args_of(const desk *k)
{
    static const float sinks[HEADS_MAX] = {0.5F, -1, 2, 0, 3, -4, 0.25F, 1};
    const scene *s = k->t->s;
    const weft_dealt_rows *own = &k->rows_of[k->rank];
    return (weft_attention){.cache = &k->cache,
                            .requests = own->runs,
                            .request_count = own->run_count,
                            .rows = own->rows,
                            .heads = s->heads,
                            .first_head = s->uneven ? s->first_head : NULL,
                            .q = k->q,
                            .q_stride = (size_t)s->heads * (size_t)s->k_size,
                            .scale = 0.3F,
                            .softcap = s->softcap,
                            .causal = s->causal,
                            .window = s->window,
                            .sinks = s->sinks ? sinks : NULL,
                            .places = k->ranks > 1 ? weft_fold_owned(k->rank, k->ranks) : WEFT_FOLD_ALL,
                            .out = k->out,
                            .out_stride = (size_t)s->heads * (size_t)s->v_size};
}

// Blocks that rank `giver` holds and a row of another rank sees, counted row by row.
static int64_t seen_blocks(const desk *k, int giver)
{
    const scene *s = k->t->s;
    int64_t count = 0;
    for (int i = 0; i < s->requests; i++)
        for (int first = 0; first < s->length[i]; first += s->block) {
            bool seen = owner_of(k, i, first) != giver;
            const bool own = !seen;
            for (int p = s->cached[i]; own && !seen && p < s->length[i]; p++) {
                const int high = s->causal ? p + 1 : s->length[i], low = s->window > 0 ? p + 1 - (int)s->window : 0;
                seen = owner_of(k, i, p) != giver && first < high && first + s->block > low;
            }
            count += own && seen;
        }
    return count;
}

// What was given: blocks that others see, or queries and parts, as many bytes as are told beforehand.
static void check_bytes(const desk *k, const weft_dealt_shape *shape, bool keys, uint64_t given)
{
    const int others = k->ranks - 1, own = k->rows_of[k->rank].rows;
    double rows[RANKS_MAX];
    weft_fold_root roots[WEFT_FOLD_ROOTS_MAX];
    if (keys) {
        const double positions = (double)(seen_blocks(k, k->rank) * k->cache.block);
        CHECK_REAL((double)given * others, weft_dealt_key_bytes(shape, k->ranks, positions));
        return;
    }
    // A rank's own parts are among those given; its queries are given once for all.
    const int parts = weft_fold_roots(weft_fold_owned(k->rank, k->ranks), roots) * (shape->v_size + 2);
    for (int r = 0; r < k->ranks; r++) rows[r] = k->rows_of[r].rows;
    const double more = 4. * own * shape->heads * ((double)shape->k_size * (others - 1) - parts);
    CHECK_REAL((double)given + more, weft_dealt_query_bytes(shape, k->ranks, k->rank, rows));
}

static void run_dealt(trial *t, desk *k, const weft_mesh *mesh)
{
    const scene *s = t->s;
    int most = 1;
    for (int r = 0; r < k->ranks; r++) most = k->rows_of[r].rows > most ? k->rows_of[r].rows : most;
    const weft_dealt_shape shape = {.rows = most,
                                    .heads = s->heads,
                                    .k_size = s->k_size,
                                    .v_size = s->v_size,
                                    .kv_heads = s->kv_heads,
                                    .cache = s->type,
                                    .way = t->way};
    const weft_attention args = args_of(k);
    const size_t width = (size_t)s->heads * (size_t)s->v_size;
    weft_dealt *dealt;
    CHECK_OK(weft_dealt_create(mesh, &shape, &dealt));
    for (int round = 0; round < 3; round++) { // buffers are used again
        const weft_mesh_times before = *mesh->times;
        memset(k->out, 0xee, (size_t)args.rows * width * sizeof *k->out);
        CHECK_OK(weft_dealt_attention(dealt, &k->op, t->family, &args, k->rows_of));
        for (int row = 0; row < args.rows; row++) {
            const float *want = t->want + (size_t)(first_position(s, k->of[row]) + k->position[row]) * width;
            if (memcmp(k->out + (size_t)row * width, want, width * sizeof *want) != 0)
                CHECK_FAIL("%d ranks, way %d, type %d, block %d, window %d, round %d: position %d of request %d of %d "
                           "tokens differs from one rank",
                           k->ranks, t->way, s->type, s->block, (int)s->window, round, k->position[row], k->of[row],
                           s->length[k->of[row]]);
        }
        const bool keys = mesh->times->by_keys > before.by_keys;
        CHECK(keys != (mesh->times->by_queries > before.by_queries));
        if (k->rank == 0) t->taken[keys]++;
        check_bytes(k, &shape, keys, mesh->times->bytes - before.bytes);
        if (k->rank == 0 && keys) t->many_pieces += mesh->times->count - before.count > 1;
    }
    CHECK_OK(weft_comm_barrier(mesh->cp));
    weft_dealt_destroy(dealt);
}

static weft_status body(weft_job *job, int rank, void *arg)
{
    trial *t = arg;
    weft_mesh mesh;
    const weft_mesh_shape shape = {.tp = 1, .cp = weft_comm_size(weft_job_world(job))};
    CHECK_OK(weft_mesh_create(weft_job_world(job), &shape, &mesh));
    desk *k = open_desk(t, shape.cp, rank);
    run_dealt(t, k, &mesh);
    CHECK_OK(weft_comm_barrier(weft_job_world(job)));
    close_desk(k);
    weft_mesh_free(&mesh);
    return WEFT_OK;
}

// ---- scenes ----

static float *alone(trial *t, int positions)
{
    const scene *s = t->s;
    const size_t width = (size_t)s->heads * (size_t)s->v_size;
    float *want = calloc((size_t)positions * width + 1, sizeof *want);
    CHECK(want);
    desk *k = open_desk(t, 1, 0);
    weft_attention args = args_of(k);
    t->table.attention.run[t->family](&k->op, &args);
    for (int row = 0; row < args.rows; row++)
        memcpy(want + (size_t)(first_position(s, k->of[row]) + k->position[row]) * width, k->out + (size_t)row * width,
               width * sizeof *want);
    close_desk(k);
    return want;
}

static scene draw(uint64_t *state, int number)
{
    static const int sizes[][2] = {{32, 32}, {64, 64}, {16, 48}, {40, 24}};
    scene s = {.type = (weft_cache_type)(number % 3), .block = 16 << next(state) % 5, .causal = number % 7 != 3};
    const int *size = sizes[next(state) % 4];
    int left = 900;
    s.k_size = size[0], s.v_size = size[1];
    s.kv_heads = 1 + (int)(next(state) % 4);
    s.heads = s.kv_heads * (1 + (int)(next(state) % 2));
    s.uneven = number % 4 == 1;
    for (int i = 1; i <= s.kv_heads; i++) s.first_head[i] = i == s.kv_heads ? s.heads : i + (int)(next(state) % 2) - 1;
    for (int i = 1; i < s.kv_heads; i++)
        if (s.first_head[i] < s.first_head[i - 1]) s.first_head[i] = s.first_head[i - 1];
    s.window = number % 3 == 2 ? (const int64_t[]){1, 50, 128, 300, 700}[next(state) % 5] : 0;
    s.softcap = number % 5 == 2 ? 4.0F : 0;
    s.sinks = number % 4 == 2;
    s.requests = 1 + (int)(next(state) % REQUESTS_MAX);
    for (int i = 0; i < s.requests; i++) {
        const int prefix[] = {0, 0, (int)(next(state) % 200), (int)(next(state) % 2000)};
        int rows = next(state) % 3 == 0 ? 1 : 1 + (int)(next(state) % 600);
        rows = rows < left ? rows : left;
        left -= rows - 1;
        s.cached[i] = prefix[next(state) % 4];
        s.length[i] = s.cached[i] + rows;
        s.key[i] = number % 2 ? (int)(next(state) % WEFT_FOLD_PLACES) : 0;
    }
    return s;
}

static void run_scene(const scene *s, uint64_t seed, trial *t, int taken[3], int *pieces)
{
    static const int ranks[] = {2, 3, 4, 5, 8};
    weft_job_options options = {.transport = WEFT_TRANSPORT_THREADS, .deadline_ns = 60000000000};
    const int positions = first_position(s, s->requests);
    float *q = numbers(seed, (size_t)positions * (size_t)s->heads * (size_t)s->k_size);
    float *k = numbers(seed + 1, (size_t)positions * (size_t)s->kv_heads * (size_t)s->k_size);
    float *v = numbers(seed + 2, (size_t)positions * (size_t)s->kv_heads * (size_t)s->v_size);
    t->s = s, t->q = q, t->k = k, t->v = v;
    float *want = alone(t, positions);
    t->want = want;
    for (size_t r = 0; r < sizeof ranks / sizeof *ranks; r++)
        for (weft_dealt_way way = WEFT_DEALT_FEWER; way <= WEFT_DEALT_KEYS; way++) {
            t->way = way;
            t->taken[0] = t->taken[1] = t->many_pieces = 0;
            CHECK_OK(weft_job_run_threads(&options, ranks[r], body, t));
            if (way == WEFT_DEALT_QUERIES) CHECK_INT(t->taken[1], 0);
            if (way == WEFT_DEALT_FEWER) taken[0] += t->taken[0], taken[1] += t->taken[1];
            if (way == WEFT_DEALT_KEYS) taken[2] += t->taken[1];
            *pieces += t->many_pieces;
        }
    free(q);
    free(k);
    free(v);
    free(want);
}

// ---- what is counted ----

static void test_counts(void)
{
    weft_dealt_shape shape = {
        .rows = 100, .heads = 8, .k_size = 64, .v_size = 64, .kv_heads = 2, .cache = WEFT_CACHE_BF16};
    const double rows[] = {10, 20};
    // A row's queries are 8 x 64 floats, what comes back of it 8 x 66; a position's keys and values 2 x 128 x 2 bytes.
    CHECK_REAL(weft_dealt_query_bytes(&shape, 2, 0, rows), 4. * (10 * 512 + 20 * 528));
    CHECK_REAL(weft_dealt_query_bytes(&shape, 2, 1, rows), 4. * (20 * 512 + 10 * 528));
    CHECK_REAL(weft_dealt_key_bytes(&shape, 2, 7), 7. * 512);
    CHECK_REAL(weft_dealt_most(&shape, 2, rows), 4. * 30 * 1040 / 512);
    CHECK_REAL(weft_dealt_key_bytes(&shape, 5, 7), 4. * 7 * 512);
    // A piece has room for half of 100 rows' queries and parts, 208,000 bytes; a position of one head has 256.
    CHECK_INT(weft_dealt_pieces(&shape, true, 406), 1);
    CHECK_INT(weft_dealt_pieces(&shape, true, 407), 2);
    CHECK_INT(weft_dealt_pieces(&shape, true, 812), 2);
    CHECK_INT(weft_dealt_pieces(&shape, true, 813), 0);
    CHECK_INT(weft_dealt_pieces(&shape, false, 1), 2); // one on its way while the other is read
    shape.kv_heads = 1;
    CHECK_INT(weft_dealt_pieces(&shape, false, 1624), 1); // as many as ever travel
    shape.kv_heads = 8;                                   // room for the queries, 204,800 bytes
    CHECK_INT(weft_dealt_pieces(&shape, false, 1), 4);
    CHECK_INT(weft_dealt_pieces(&shape, true, 1), 1);
    CHECK_INT(weft_dealt_pieces(&shape, true, 300), 4);
    shape.cache = WEFT_CACHE_INT8; // and a scale each
    CHECK_REAL(weft_dealt_key_bytes(&shape, 2, 1), 8 * 2. * (64 + 4));
    // A rank with four roots sends four parts of each row.
    CHECK_REAL(weft_dealt_query_bytes(&shape, 3, 1, (const double[]){1, 0, 0}), 4. * 8 * 4 * 66);
}

int main(int argc, char **argv)
{
    const int scenes = argc > 1 ? atoi(argv[1]) : 24;
    const weft_cpu cpu = weft_cpu_detect();
    uint64_t state = 88172645463325252u;
    int taken[3] = {0}, pieces = 0;
    trial t = {0};
    weft_isa isa;
    test_counts();
    CHECK_OK(weft_isa_choose(&cpu, &isa));
    t.table = weft_kernels_for(isa);
    for (int i = 0; i < scenes; i++) {
        const scene s = draw(&state, i);
        t.family = i % 2 ? WEFT_ATTENTION_FMA : weft_attention_choose(&cpu, isa, s.type);
        t.threads = 1 + i % 4 / 3;
        run_scene(&s, state, &t, taken, &pieces);
    }
    printf(
        "queries travelled %d times and keys %d times as they were chosen; keys %d times at will, %d times in pieces\n",
        taken[0], taken[1], taken[2], pieces);
    CHECK(taken[0] > 0 && taken[1] > 0 && taken[2] > 0 && pieces > 0);
    return 0;
}
