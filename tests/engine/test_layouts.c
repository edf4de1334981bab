// One rank and many give the same bytes: logits, generated tokens, and what lies in the caches, over meshes,
// transports, models, types of weights, lengths of prompts, ways to cut them and batches.
//   test_layouts threads|shm RUNS [SEED]        ranks are threads of this process; meshes of all sizes
//   test_layouts mpi RUNS [SEED]                under mpirun: meshes of the number of ranks that there are
// Each run is a batch of requests; each request in it is a combination of mesh, transport, model, weights and length.
#include "tests/check.h"
#include "tests/engine/rig.h"

enum { REQUESTS_MAX = 33, DRAWN = 5, WORLD_MAX = 16 };

static const char *const models[] = {"gemma2",       "gemma3",       "gpt-oss",    "llama-llama3",  "llama-plain",
                                     "mistral",      "mixtral",      "phi3",       "phi3-longrope", "qwen2",
                                     "qwen2-window", "qwen3",        "qwen3-moe",  "llama-dynamic", "gemma3-inner",
                                     "phi3-short",   "llama-linear", "llama-yarn", "qwen3-moe-raw"};
enum { MODELS = sizeof models / sizeof *models };

static const struct {
    const char *name;
    weft_dtype type;
    int group;
    weft_cache_type cache;
} formats[] = {{"bf16", WEFT_BF16, 0, WEFT_CACHE_BF16},
               {"int8", WEFT_I8, 0, WEFT_CACHE_BF16},
               {"int4", WEFT_I4, 32, WEFT_CACHE_INT8},
               {"f32", WEFT_F32, 0, WEFT_CACHE_F32},
               {"fp8", WEFT_E4M3, 128, WEFT_CACHE_FP8}};
enum { FORMATS = sizeof formats / sizeof *formats };

static const int lengths[] = {1, 63, 255, 256, 257, 1000, 4097, 20000};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

// ---- what is run ----

typedef struct {
    int model, format;
    int requests;
    int length[REQUESTS_MAX]; // index into `lengths`, or -1 - the length of one that only fills the batch
} workload;

typedef struct {
    weft_mesh_shape shape;
    int chunk, block;
    uint64_t seed;
} way;

typedef struct {
    uint64_t logits[REQUESTS_MAX], tokens[REQUESTS_MAX], cache[REQUESTS_MAX];
} digests;

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t hash(uint64_t h, const void *data, size_t bytes)
{
    const unsigned char *at = data;
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
        uint32_t word;
        memcpy(&word, at + i, 4);
        h = (h ^ word) * 0x100000001b3;
        h ^= h >> 29;
    }
    for (size_t i = bytes / 4 * 4; i < bytes; i++) h = (h ^ at[i]) * 0x100000001b3;
    return h;
}

static int length_of(const workload *w, int request)
{
    return w->length[request] >= 0 ? lengths[w->length[request]] : -w->length[request] - 1;
}

// ---- one rank at work ----

typedef struct {
    rig *r;
    const weft_layout *layout;
    int64_t id;
    uint64_t logits, tokens, cache;
    int count, ends;
} watched;

// Every position and head counts once over all ranks: its holder adds it.
static void look_at_cache(watched *w)
{
    static const size_t sizes[] = {4, 2, 1, 1};
    weft_engine_cached have;
    const weft_model_config *c = weft_model_config_of(w->r->model);
    const weft_layout *l = w->layout;
    const weft_pool *pool = weft_engine_pool(w->r->engine);
    const int block = weft_pool_block(pool);
    unsigned char k[WEFT_BLOCK_MAX * WEFT_HEAD_SIZE_MAX * 4], v[sizeof k];
    float k_scale[WEFT_BLOCK_MAX], v_scale[WEFT_BLOCK_MAX];
    CHECK(weft_engine_look(w->r->engine, w->id, &have));
    for (int layer = 0; layer < c->layers; layer++)
        for (int64_t head = l->kv_heads.begin; head < l->kv_heads.end; head++) {
            const weft_cache *cache = &weft_pool_layers(pool)[layer];
            const int64_t first = head * (c->heads / c->kv_heads); // who has this query head tells of the KV head
            if (first < l->heads.begin || first >= l->heads.end) continue;
            for (int at = 0; at < have.cached; at += 16) { // by 16: blocks of any size give the same digests
                const int rows = have.cached - at < 16 ? have.cached - at : 16;
                const bool scaled = weft_cache_is_scaled(cache->type);
                const size_t bytes = (size_t)rows * (size_t)cache->k_size * sizes[cache->type];
                const int64_t window = c->layer[layer].window;
                if (window > 0 && at <= have.cached - window) continue; // may have been let go
                const int32_t *blocks = have.blocks + weft_pool_group_of(pool)[layer] * have.table;
                if (blocks[at / block] < 0) continue;
                const weft_cache_copy copy = {.cache = cache,
                                              .head = (int)(head - l->kv_heads.begin),
                                              .span = {.rows = rows, .position = at, .blocks = blocks},
                                              .k = k,
                                              .v = v,
                                              .k_scale = scaled ? k_scale : NULL,
                                              .v_scale = scaled ? v_scale : NULL};
                w->r->table.attention.cache_copy(&(weft_op){.table = &w->r->table}, &copy);
                const int64_t where[] = {layer, head, at, rows};
                uint64_t h = hash(hash(hash(1469598103934665603u, where, sizeof where), k, bytes), v, bytes);
                if (scaled) h = hash(hash(h, k_scale, (size_t)rows * 4), v_scale, (size_t)rows * 4);
                w->cache += h;
            }
        }
}

static void on_token(void *arg, const weft_drawn *drawn)
{
    watched *w = arg;
    w->tokens = hash(hash(w->tokens, &drawn->id, sizeof drawn->id), &drawn->logit, sizeof drawn->logit);
    if (++w->count == DRAWN) look_at_cache(w);
}

static void on_logits(void *arg, int64_t position, int rows, const float *logits, size_t vocab)
{
    watched *w = arg;
    for (int i = 0; i < rows; i++) {
        const int64_t at = position + i;
        w->logits +=
            hash(hash(1469598103934665603u, &at, sizeof at), logits + (size_t)i * vocab, vocab * sizeof *logits);
    }
}

static void on_end(void *arg, weft_finish finish)
{
    CHECK_INT(finish, WEFT_FINISH_LENGTH);
    ((watched *)arg)->ends++;
}

static void submit(rig *r, const workload *w, int request, watched *out)
{
    static const weft_request_calls calls = {.token = on_token, .logits = on_logits, .end = on_end};
    const int length = length_of(w, request);
    uint64_t state = (uint64_t)(request + 1) * 0x9e3779b97f4a7c15u;
    int32_t *tokens = malloc((size_t)length * sizeof *tokens);
    for (int i = 0; i < length; i++) tokens[i] = (int32_t)(next(&state) % r->vocab);
    *out = (watched){.r = r, .layout = weft_model_layout_of(r->model)};
    const weft_request asked = {.tokens = tokens,
                                .token_count = length,
                                .max_tokens = DRAWN,
                                .sampling = rig_sampling(request % 2 ? 0.9F : 0, 1, 5),
                                .prompt_logits = length <= 257,
                                .calls = &calls,
                                .arg = out};
    CHECK_OK(weft_engine_submit(r->engine, &asked, &out->id));
    free(tokens);
}

static digests run_workload(const workload *w, const way *how, const weft_mesh *mesh)
{
    rig r;
    rig_options o = rig_defaults();
    watched seen[REQUESTS_MAX];
    digests out = {0};
    uint64_t state = how->seed | 1;
    int64_t blocks = 0;
    enum { GROUPS_MAX = 3 }; // of layers, in any model here
    o.type = formats[w->format].type;
    o.group = formats[w->format].group;
    o.cache = formats[w->format].cache;
    o.mesh = mesh;
    o.chunk = how->chunk;
    o.block = how->block;
    o.requests = REQUESTS_MAX < how->chunk ? REQUESTS_MAX : how->chunk;
    for (int i = 0; i < w->requests; i++) {
        const int positions = length_of(w, i) + DRAWN;
        o.positions = positions > o.positions ? positions : o.positions;
        blocks += positions / how->block + 1;
    }
    o.cache_units = GROUPS_MAX * blocks;
    o.cache_bytes = 0;
    rig_open(&r, models[w->model], &o);
    for (int i = 0, rows; i < w->requests; i++) {
        submit(&r, w, i, &seen[i]);
        // Some come while others are at work.
        if (next(&state) % 4 == 0) CHECK_OK(weft_engine_step(r.engine, &rows));
    }
    rig_run(&r);
    for (int i = 0; i < w->requests; i++) {
        CHECK_INT(seen[i].ends, 1);
        out.logits[i] = seen[i].logits;
        out.tokens[i] = seen[i].tokens;
        out.cache[i] = seen[i].cache;
    }
    CHECK_OK(weft_engine_check(r.engine));
    if (mesh) CHECK_OK(weft_comm_sum(mesh->all, (int64_t *)out.cache, w->requests));
    rig_close(&r);
    return out;
}

// ---- many against one ----

typedef struct {
    const workload *work;
    const way *how;
    const digests *want;
    const char *transport;
    uint64_t by_queries, by_keys; // attentions over dealt rows, of rank 0
} trial;

static weft_status body(weft_job *job, int rank, void *arg)
{
    trial *t = arg;
    const workload *w = t->work;
    const weft_mesh_shape *s = &t->how->shape;
    weft_mesh mesh;
    CHECK_OK(weft_mesh_create(weft_job_world(job), s, &mesh));
    const digests got = run_workload(w, t->how, &mesh);
    for (int i = 0; i < w->requests; i++) {
        const bool logits = got.logits[i] == t->want->logits[i], tokens = got.tokens[i] == t->want->tokens[i],
                   cache = got.cache[i] == t->want->cache[i];
        if (!logits || !tokens || !cache)
            CHECK_FAIL("%s in %s over %s, tp %d cp %d dense %s, chunk %d, block %d: request %d of %d tokens, rank %d "
                       "differs from one rank in%s%s%s",
                       models[w->model], formats[w->format].name, t->transport, s->tp, s->cp,
                       s->dense == WEFT_DENSE_MESH ? "mesh" : "tp", t->how->chunk, t->how->block, i, length_of(w, i),
                       rank, logits ? "" : " logits", tokens ? "" : " tokens", cache ? "" : " cache");
    }
    if (rank == 0) t->by_queries = mesh.times->by_queries, t->by_keys = mesh.times->by_keys;
    CHECK_OK(weft_comm_barrier(weft_job_world(job)));
    weft_mesh_free(&mesh);
    return WEFT_OK;
}

// ---- what was compared ----

enum { MESHES_MAX = 64 };
static weft_mesh_shape meshes[MESHES_MAX];
static int mesh_count;
static unsigned char seen[MESHES_MAX][MODELS][FORMATS][LENGTHS];

static void add_mesh(int tp, int cp)
{
    meshes[mesh_count++] = (weft_mesh_shape){.tp = tp, .cp = cp};
    if (cp > 1) meshes[mesh_count++] = (weft_mesh_shape){.tp = tp, .cp = cp, .dense = WEFT_DENSE_MESH};
}

static void list_meshes(int ranks)
{
    for (int n = ranks ? ranks : 2; n <= (ranks ? ranks : 8); n++)
        for (int tp = 1; tp <= n; tp++)
            if (n % tp == 0) add_mesh(tp, n / tp);
    if (ranks) return;
    add_mesh(4, 4);
    add_mesh(16, 1);
}

static void draw_workload(uint64_t *state, int run, bool few, workload *w)
{
    const int kind = run % 16;
    *w = (workload){.model = (int)(next(state) % MODELS), .format = (int)(next(state) % FORMATS)};
    if (kind == 15 && !few) {
        w->length[w->requests++] = 6;
    } else if (kind % 4 == 3) {
        w->length[w->requests++] = 5;
        w->length[w->requests++] = 1;
    } else {
        for (int i = 0; i < 5; i++) w->length[w->requests++] = (i + run) % 5;
    }
    const int beside = kind % 4 == 1 ? (int)(next(state) % 28) : 1;
    for (int i = 0; i < beside && w->requests < REQUESTS_MAX; i++)
        w->length[w->requests++] = -2 - (int)(next(state) % 40);
}

// One text of 20,000 tokens: what one rank says of it is computed once for each kind.
enum { LONGEST_KINDS = 4 };

static workload longest_workload(int run)
{
    static const int kinds[LONGEST_KINDS][2] = {{16, 0}, {5, 1}, {5, 2}, {16, 1}}; // model, format
    const int *kind = kinds[run / 16 % LONGEST_KINDS];
    return (workload){.model = kind[0], .format = kind[1], .requests = 1, .length = {LENGTHS - 1}};
}

static way draw_way(uint64_t *state, int run, bool longest)
{
    static const int blocks[] = {16, 32, 64, 128, 256};
    way h = {.shape = meshes[run % mesh_count], .seed = next(state)};
    h.chunk = longest ? 512 : 40 + (int)(next(state) % 300);
    h.shape.expert_columns = next(state) % 3 == 0;
    if (run % 7 == 3) h.chunk = 34;
    h.block = blocks[next(state) % 5];
    return h;
}

static int64_t distinct(void)
{
    int64_t all = 0;
    int64_t of_mesh[MESHES_MAX] = {0}, of_model[MODELS] = {0}, of_format[FORMATS] = {0}, of_length[LENGTHS] = {0};
    for (int m = 0; m < mesh_count; m++)
        for (int i = 0; i < MODELS; i++)
            for (int f = 0; f < FORMATS; f++)
                for (int l = 0; l < LENGTHS; l++) {
                    if (!seen[m][i][f][l]) continue;
                    all++;
                    of_mesh[m]++;
                    of_model[i]++;
                    of_format[f]++;
                    of_length[l]++;
                }
    for (int m = 0; m < mesh_count; m++)
        printf("tp %d cp %d%s: %lld  ", meshes[m].tp, meshes[m].cp, meshes[m].dense == WEFT_DENSE_MESH ? " mesh" : "",
               (long long)of_mesh[m]);
    putchar('\n');
    for (int i = 0; i < MODELS; i++) printf("%s: %lld  ", models[i], (long long)of_model[i]);
    putchar('\n');
    for (int f = 0; f < FORMATS; f++) printf("%s: %lld  ", formats[f].name, (long long)of_format[f]);
    for (int l = 0; l < LENGTHS; l++) printf("%d tokens: %lld  ", lengths[l], (long long)of_length[l]);
    putchar('\n');
    return all;
}

int main(int argc, char **argv)
{
    CHECK(argc >= 3);
    const char *transport = argv[1];
    const int runs = atoi(argv[2]);
    uint64_t state = 88172645463325252u + (argc > 3 ? strtoull(argv[3], NULL, 10) : 0);
    const bool ucx = strcmp(transport, "ucx") == 0, mpi = ucx || strcmp(transport, "mpi") == 0,
               few = runs < 100; // few runs have no prompts above 1000 tokens
    weft_job_options options = {.deadline_ns = 300000000000};
    options.transport = ucx                             ? WEFT_TRANSPORT_UCX
                        : mpi                           ? WEFT_TRANSPORT_MPI
                        : strcmp(transport, "shm") == 0 ? WEFT_TRANSPORT_SHM
                                                        : WEFT_TRANSPORT_THREADS;
    weft_job *job = NULL;
    if (mpi) CHECK_OK(weft_job_open_mpi(&options, &job));
    digests of_longest[LONGEST_KINDS];
    uint64_t by_queries = 0, by_keys = 0;
    list_meshes(mpi ? weft_comm_size(weft_job_world(job)) : 0);
    for (int run = 0; run < runs; run++) {
        static const way alone = {.chunk = 256, .block = 16};
        workload w;
        draw_workload(&state, run, few, &w);
        const bool longest = !few && !mpi && run % 16 == 13;
        if (longest) w = longest_workload(run);
        const way how = draw_way(&state, run, longest);
        digests want;
        if (longest && run >= LONGEST_KINDS * 16) {
            want = of_longest[run / 16 % LONGEST_KINDS];
        } else {
            if (!job || weft_comm_rank(weft_job_world(job)) == 0) want = run_workload(&w, &alone, NULL);
            if (job) CHECK_OK(weft_comm_bcast(weft_job_world(job), 0, &want, sizeof want));
            if (longest) of_longest[run / 16] = want;
        }
        trial t = {.work = &w, .how = &how, .want = &want, .transport = transport};
        if (job)
            CHECK_OK(body(job, weft_comm_rank(weft_job_world(job)), &t));
        else
            CHECK_OK(weft_job_run_threads(&options, how.shape.tp * how.shape.cp, body, &t));
        by_queries += t.by_queries;
        by_keys += t.by_keys;
        for (int i = 0; i < w.requests; i++)
            if (w.length[i] >= 0) seen[run % mesh_count][w.model][w.format][w.length[i]] = 1;
    }
    const bool first = !job || weft_comm_rank(weft_job_world(job)) == 0;
    if (first) {
        printf("%lld distinct combinations over %s\n", (long long)distinct(), transport);
        printf("over dealt rows queries travelled %llu times and keys %llu times\n", (unsigned long long)by_queries,
               (unsigned long long)by_keys);
        CHECK(by_queries > 0 && by_keys > 0);
    }
    weft_job_close(job);
    return 0;
}
