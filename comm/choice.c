// Which algorithm a channel takes: a table, the user's changes to it, and its print.
#include <stdlib.h>
#include <string.h>

#include "comm/comm_impl.h"
#include "core/flags.h"

// Sizes are what one rank gives (ALLTOALL: to one peer), from `from` and below `to`; `to` 0: no end.
typedef struct {
    weft_transport transport;
    weft_shape shape;
    int ranks; // at least so many
    size_t from, to;
    wi_algo algo;
} wi_choice;

// The first row that fits is taken. Linear costs one latency and loads every link at once; doubling pays log2 latencies
// and no more bytes; a ring pays size - 1 latencies, and crosses from host to host once a block where ranks stand in
// the order of their hosts. Up to 8 ranks the sizes were measured; for more a ring must save more than the latencies of
// its steps, and than waiting for the latest of ever more neighbours (docs/decisions/0032).
enum { MANY = 16, VERY_MANY = 256 };
static const wi_choice table[] = {
    {WEFT_TRANSPORT_MPI, WEFT_ALLGATHER, VERY_MANY, 0, 262144, WI_ALGO_DOUBLING},
    {WEFT_TRANSPORT_MPI, WEFT_ALLGATHER, MANY, 0, 65536, WI_ALGO_DOUBLING},
    {WEFT_TRANSPORT_MPI, WEFT_ALLGATHER, 5, 0, 8192, WI_ALGO_DOUBLING},
    {WEFT_TRANSPORT_MPI, WEFT_ALLGATHER, 5, 0, 0, WI_ALGO_RING},
    {WEFT_TRANSPORT_MPI, WEFT_ALLGATHER, 1, 0, 0, WI_ALGO_LINEAR},
    {WEFT_TRANSPORT_MPI, WEFT_ALLTOALL, 5, 65536, 0, WI_ALGO_PAIRWISE},
    {WEFT_TRANSPORT_MPI, WEFT_ALLTOALL, 1, 0, 0, WI_ALGO_LINEAR},
    {WEFT_TRANSPORT_MPI, WEFT_BCAST, 4, 0, 0, WI_ALGO_BINOMIAL},
    {WEFT_TRANSPORT_MPI, WEFT_BCAST, 1, 0, 0, WI_ALGO_LINEAR},
    {WEFT_TRANSPORT_MPI, WEFT_SEND, 1, 0, 0, WI_ALGO_DIRECT},
    {WEFT_TRANSPORT_MPI, WEFT_BARRIER, 1, 0, 0, WI_ALGO_DOUBLING},
    {WEFT_TRANSPORT_UCX, WEFT_ALLGATHER, VERY_MANY, 0, 262144, WI_ALGO_DOUBLING},
    {WEFT_TRANSPORT_UCX, WEFT_ALLGATHER, MANY, 0, 65536, WI_ALGO_DOUBLING},
    {WEFT_TRANSPORT_UCX, WEFT_ALLGATHER, 3, 0, 32768, WI_ALGO_DOUBLING},
    {WEFT_TRANSPORT_UCX, WEFT_ALLGATHER, 5, 0, 0, WI_ALGO_RING},
    {WEFT_TRANSPORT_UCX, WEFT_ALLGATHER, 1, 0, 0, WI_ALGO_LINEAR},
    {WEFT_TRANSPORT_UCX, WEFT_ALLTOALL, 5, 65536, 0, WI_ALGO_PAIRWISE},
    {WEFT_TRANSPORT_UCX, WEFT_ALLTOALL, 1, 0, 0, WI_ALGO_LINEAR},
    {WEFT_TRANSPORT_UCX, WEFT_BCAST, 4, 0, 0, WI_ALGO_BINOMIAL},
    {WEFT_TRANSPORT_UCX, WEFT_BCAST, 1, 0, 0, WI_ALGO_LINEAR},
    {WEFT_TRANSPORT_UCX, WEFT_SEND, 1, 0, 0, WI_ALGO_DIRECT},
    {WEFT_TRANSPORT_UCX, WEFT_BARRIER, 1, 0, 0, WI_ALGO_DOUBLING},
};
enum { ROWS = sizeof table / sizeof table[0], PIECE_MAX = 64, SHAPES = WEFT_BARRIER + 1, CHANGES_MAX = 16 };
enum { EDGES_MAX = 1 + 2 * (ROWS + CHANGES_MAX) };

static const char *const shape_names[SHAPES] = {"allgather", "alltoall", "bcast", "send", "barrier"};
static const char *const algo_names[] = {"direct", "linear", "ring", "doubling", "binomial", "pairwise"};

// What a change may name for a shape; NULL where there is nothing to choose.
static const char *const allowed_text[SHAPES] = {"linear, ring or doubling", "linear or pairwise", "linear or binomial",
                                                 NULL, NULL};
static const unsigned allowed[SHAPES] = {1u << WI_ALGO_LINEAR | 1u << WI_ALGO_RING | 1u << WI_ALGO_DOUBLING,
                                         1u << WI_ALGO_LINEAR | 1u << WI_ALGO_PAIRWISE,
                                         1u << WI_ALGO_LINEAR | 1u << WI_ALGO_BINOMIAL, 0, 0};

const char *wi_algo_name(wi_algo algo) { return algo_names[algo]; }

// ---- changes ----

typedef struct {
    weft_shape shape;
    size_t from, to;
    wi_algo algo;
} wi_change;

static int find_name(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

static bool parse_size(const char *text, size_t *out)
{
    int64_t bytes;
    if (!weft_parse_bytes(text, &bytes) || bytes < 0) return false;
    *out = (size_t)bytes;
    return true;
}

static weft_status bad_form(const char *piece)
{
    return weft_fail(WEFT_USAGE, "--algorithms \"%s\": write SHAPE:FROM-[TO]=ALGORITHM, as in allgather:8k-=ring",
                     piece);
}

// One "allgather:8k-64k=ring". `piece` is cut up.
static weft_status parse_change(char *piece, wi_change *out)
{
    char whole[PIECE_MAX];
    memcpy(whole, piece, PIECE_MAX);
    char *sizes = strchr(piece, ':');
    if (!sizes) return bad_form(whole);
    *sizes++ = 0;
    char *upper = strchr(sizes, '-'), *algo = strchr(sizes, '=');
    if (!upper || !algo || algo < upper) return bad_form(whole);
    *upper++ = 0;
    *algo++ = 0;

    wi_change change = {0};
    int shape = find_name(shape_names, SHAPES, piece);
    if (shape < 0 || !allowed[shape])
        return weft_fail(WEFT_USAGE,
                         "--algorithms \"%s\": no choice for \"%s\"; there is one for allgather, alltoall and bcast",
                         whole, piece);
    int found = find_name(algo_names, sizeof algo_names / sizeof algo_names[0], algo);
    if (found < 0 || !(allowed[shape] & 1u << found))
        return weft_fail(WEFT_USAGE, "--algorithms \"%s\": %s takes %s, not \"%s\"", whole, piece, allowed_text[shape],
                         algo);
    if (!parse_size(sizes, &change.from)) return bad_form(whole);
    if (*upper && !parse_size(upper, &change.to)) return bad_form(whole);
    if (*upper && change.to <= change.from)
        return weft_fail(WEFT_USAGE, "--algorithms \"%s\": the range is empty; FROM must be below TO", whole);
    change.shape = (weft_shape)shape;
    change.algo = (wi_algo)found;
    *out = change;
    return WEFT_OK;
}

// Reads the next change and moves *rest behind it: OK, FAILED at the end of the text, or USAGE.
static weft_status next_change(const char **rest, wi_change *out)
{
    if (!*rest || !**rest) return WEFT_FAILED;
    char piece[PIECE_MAX] = {0};
    size_t length = strcspn(*rest, ",");
    if (length >= sizeof piece)
        return weft_fail(WEFT_USAGE, "--algorithms \"%.60s...\": a piece is longer than %d characters", *rest,
                         PIECE_MAX - 1);
    memcpy(piece, *rest, length);
    *rest += length;
    if (**rest == ',') {
        (*rest)++;
        if (!**rest) return weft_fail(WEFT_USAGE, "--algorithms: nothing stands behind the last comma");
    }
    return parse_change(piece, out);
}

weft_status wi_algo_check(const char *changes)
{
    weft_status status;
    wi_change change;
    int count = 0;
    while ((status = next_change(&changes, &change)) == WEFT_OK)
        if (++count > CHANGES_MAX) return weft_fail(WEFT_LIMIT, "--algorithms: more than %d changes", CHANGES_MAX);
    return status == WEFT_FAILED ? WEFT_OK : status;
}

static bool inside(size_t bytes, size_t from, size_t to) { return bytes >= from && (!to || bytes < to); }

wi_algo wi_algo_choose(weft_transport transport, weft_shape shape, size_t bytes, int ranks, const char *changes)
{
    wi_algo algo = WI_ALGO_DIRECT;
    bool found = false;
    for (int i = 0; i < ROWS && !found; i++) {
        const wi_choice *row = &table[i];
        found = row->transport == transport && row->shape == shape && ranks >= row->ranks &&
                inside(bytes, row->from, row->to);
        if (found) algo = row->algo;
    }
    if (!found) return WI_ALGO_DIRECT; // shared memory: peers read the slots, there is no schedule
    wi_change change;
    while (next_change(&changes, &change) == WEFT_OK) // of changes that overlap the last one holds
        if (change.shape == shape && inside(bytes, change.from, change.to)) algo = change.algo;
    return algo;
}

weft_steps weft_comm_steps(weft_transport transport, weft_shape shape, size_t bytes, int ranks)
{
    switch (wi_algo_choose(transport, shape, bytes, ranks, NULL)) {
    case WI_ALGO_RING:
    case WI_ALGO_PAIRWISE:
        return WEFT_STEPS_ONE_BY_ONE;
    case WI_ALGO_DOUBLING:
    case WI_ALGO_BINOMIAL:
        return WEFT_STEPS_DOUBLING;
    default:
        return WEFT_STEPS_AT_ONCE;
    }
}

// ---- the print ----

static int compare_sizes(const void *a, const void *b)
{
    const size_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

// The sizes at which the answer may change for this shape, ascending, from 0.
static int find_edges(weft_shape shape, const char *changes, size_t edges[EDGES_MAX])
{
    int count = 0;
    edges[count++] = 0;
    for (int i = 0; i < ROWS; i++) {
        if (table[i].shape != shape) continue;
        edges[count++] = table[i].from;
        edges[count++] = table[i].to;
    }
    wi_change change;
    while (count + 2 <= EDGES_MAX && next_change(&changes, &change) == WEFT_OK) {
        if (change.shape != shape) continue;
        edges[count++] = change.from;
        edges[count++] = change.to;
    }
    qsort(edges, (size_t)count, sizeof *edges, compare_sizes);
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (!kept || edges[i] != edges[kept - 1]) edges[kept++] = edges[i];
    return kept;
}

static void print_row(FILE *out, weft_shape shape, size_t from, size_t to, wi_algo algo)
{
    char low[16], high[16], range[40];
    weft_format_bytes((int64_t)from, low);
    if (to)
        snprintf(range, sizeof range, "%s to below %s", low, weft_format_bytes((int64_t)to, high));
    else if (from)
        snprintf(range, sizeof range, "from %s", low);
    else
        snprintf(range, sizeof range, "any");
    fprintf(out, "  %-10s %-28s %s\n", shape_names[shape], range, wi_algo_name(algo));
}

void weft_comm_print_algorithms(const weft_comm *comm, FILE *out)
{
    const char *changes = comm->job->options.algorithms;
    fprintf(out,
            "algorithms of group %s (%d rank%s, %s); change with --algorithms or WEFT_ALGORITHMS, as in "
            "allgather:8k-=ring\n",
            comm->name, comm->size, comm->size == 1 ? "" : "s", weft_transport_name(comm->transport));
    fprintf(out, "  %-10s %-28s %s\n", "shape", "bytes a rank gives", "algorithm");
    for (int shape = 0; shape < SHAPES; shape++) {
        size_t edges[EDGES_MAX];
        int count = find_edges((weft_shape)shape, changes, edges), begin = 0;
        wi_algo algo = wi_algo_choose(comm->transport, (weft_shape)shape, 0, comm->size, changes);
        for (int i = 1; i <= count; i++) {
            wi_algo next =
                i < count ? wi_algo_choose(comm->transport, (weft_shape)shape, edges[i], comm->size, changes) : algo;
            if (i < count && next == algo) continue;
            print_row(out, (weft_shape)shape, edges[begin], i < count ? edges[i] : 0, algo);
            begin = i;
            algo = next;
        }
    }
}
