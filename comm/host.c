// Small collectives of the host: integers, texts and statuses, over a group's control channel.
#include <stdlib.h>
#include <string.h>

#include "comm/comm_impl.h"

weft_status weft_comm_barrier(weft_comm *comm)
{
    weft_exchange ex;
    WEFT_TRY(weft_exchange_acquire(comm->barrier, &ex));
    WEFT_TRY(weft_exchange_begin(&ex, 0));
    WEFT_TRY(weft_exchange_end(&ex));
    weft_exchange_release(&ex);
    return WEFT_OK;
}

// One exchange of the control channel: each rank gives `bytes` (at most WI_CONTROL_BYTES), `each` is called on every
// rank's.
typedef void each_fn(void *arg, int rank, const unsigned char *data, size_t bytes);

static weft_status control(weft_comm *comm, const void *mine, size_t bytes, each_fn *each, void *arg)
{
    weft_exchange ex;
    WEFT_TRY(weft_exchange_acquire(comm->control, &ex));
    if (bytes) memcpy(ex.slot, mine, bytes);
    WEFT_TRY(weft_exchange_begin(&ex, bytes));
    WEFT_TRY(weft_exchange_end(&ex));
    for (int rank = 0; rank < comm->size; rank++) each(arg, rank, ex.view[rank], ex.bytes[rank]);
    weft_exchange_release(&ex);
    return WEFT_OK;
}

typedef struct {
    unsigned char *data;
    size_t offset, stride;
    int root;
} placement;

static void place_all(void *arg, int rank, const unsigned char *data, size_t bytes)
{
    placement *to = arg;
    memcpy(to->data + (size_t)rank * to->stride + to->offset, data, bytes);
}

weft_status weft_comm_allgather(weft_comm *comm, const void *mine, size_t bytes, void *all)
{
    placement to = {.data = all, .stride = bytes};
    for (; to.offset < bytes; to.offset += WI_CONTROL_BYTES) {
        size_t piece = bytes - to.offset < WI_CONTROL_BYTES ? bytes - to.offset : WI_CONTROL_BYTES;
        WEFT_TRY(control(comm, (const unsigned char *)mine + to.offset, piece, place_all, &to));
    }
    return WEFT_OK;
}

static void place_root(void *arg, int rank, const unsigned char *data, size_t bytes)
{
    placement *to = arg;
    if (rank == to->root && to->data + to->offset != data) memmove(to->data + to->offset, data, bytes);
}

weft_status weft_comm_bcast(weft_comm *comm, int root, void *data, size_t bytes)
{
    placement to = {.data = data, .root = root};
    for (; to.offset < bytes; to.offset += WI_CONTROL_BYTES) {
        size_t piece = bytes - to.offset < WI_CONTROL_BYTES ? bytes - to.offset : WI_CONTROL_BYTES;
        const unsigned char *from = comm->rank == root ? to.data + to.offset : NULL;
        WEFT_TRY(control(comm, from, from ? piece : 0, place_root, &to));
    }
    return WEFT_OK;
}

typedef struct {
    int64_t *values;
    int64_t (*join)(int64_t, int64_t);
} reduction;

static int64_t join_min(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t join_max(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t join_sum(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }

static void reduce_one(void *arg, int rank, const unsigned char *data, size_t bytes)
{
    reduction *to = arg;
    for (size_t i = 0; i < bytes / sizeof(int64_t); i++) {
        int64_t value;
        memcpy(&value, data + i * sizeof value, sizeof value);
        to->values[i] = rank == 0 ? value : to->join(to->values[i], value);
    }
}

static weft_status reduce(weft_comm *comm, int64_t *values, int count, int64_t (*join)(int64_t, int64_t))
{
    enum { PIECE = WI_CONTROL_BYTES / (int)sizeof(int64_t) };
    for (int i = 0; i < count; i += PIECE) {
        int piece = count - i < PIECE ? count - i : PIECE;
        reduction to = {values + i, join};
        WEFT_TRY(control(comm, values + i, (size_t)piece * sizeof *values, reduce_one, &to));
    }
    return WEFT_OK;
}

weft_status weft_comm_min(weft_comm *comm, int64_t *values, int count) { return reduce(comm, values, count, join_min); }

weft_status weft_comm_max(weft_comm *comm, int64_t *values, int count) { return reduce(comm, values, count, join_max); }

weft_status weft_comm_sum(weft_comm *comm, int64_t *values, int count) { return reduce(comm, values, count, join_sum); }

typedef struct {
    int who;
    int32_t status;
} failure;

static void first_failure(void *arg, int rank, const unsigned char *data, size_t bytes)
{
    failure *first = arg;
    int32_t status;
    memcpy(&status, data, sizeof status);
    if (status < 0 && first->who < 0) *first = (failure){rank, status};
}

// Does the text come from an earlier agreement, which has put the rank before it?
static bool names_rank(const char *text)
{
    int rank, length = 0;
    return sscanf(text, "rank %d:%n", &rank, &length) == 1 && length > 0;
}

weft_status weft_comm_agree(weft_comm *comm, weft_status status, int *who)
{
    failure first = {-1, WEFT_OK};
    int32_t mine = status;
    char text[WEFT_ERROR_TEXT_MAX];
    snprintf(text, sizeof text, "%s", weft_error_text());
    WEFT_TRY(control(comm, &mine, sizeof mine, first_failure, &first));
    if (who) *who = first.who;
    if (first.who < 0) return WEFT_OK;
    WEFT_TRY(weft_comm_bcast(comm, first.who, text, sizeof text));
    if (comm->rank == first.who) return (weft_status)first.status;
    if (names_rank(text)) return weft_fail((weft_status)first.status, "%s", text);
    return weft_fail((weft_status)first.status, "rank %d: %s", comm->world_rank[first.who], text);
}

// The first line in which two texts differ; the lines are cut to fit an error.
static void first_difference(const char *mine, const char *theirs, char *text, size_t capacity)
{
    const char *line = mine, *other = theirs;
    for (size_t i = 0; mine[i] && mine[i] == theirs[i]; i++)
        if (mine[i] == '\n') {
            line = mine + i + 1;
            other = theirs + i + 1;
        }
    int length = (int)strcspn(line, "\n"), other_length = (int)strcspn(other, "\n");
    if (!length) line = "(nothing)", length = (int)strlen(line);
    if (!other_length) other = "(nothing)", other_length = (int)strlen(other);
    snprintf(text, capacity, "%.*s, on rank 0 %.*s", length < 180 ? length : 180, line,
             other_length < 180 ? other_length : 180, other);
}

weft_status weft_comm_compare(weft_comm *comm, const char *what, const char *text)
{
    int64_t length = (int64_t)strlen(text), longest = length;
    weft_status status = WEFT_OK;
    WEFT_TRY(weft_comm_max(comm, &longest, 1));
    char *theirs = calloc((size_t)longest + 1, 1);
    status = weft_comm_agree(comm, theirs ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory to compare %s", what), NULL);
    if (status < 0 || !theirs) goto done;
    if (comm->rank == 0) memcpy(theirs, text, (size_t)length);
    status = weft_comm_bcast(comm, 0, theirs, (size_t)longest);
    if (status < 0) goto done;
    if (strcmp(text, theirs) != 0) {
        char difference[400];
        first_difference(text, theirs, difference, sizeof difference);
        status = weft_fail(WEFT_MISMATCH, "%s differ between ranks: %s", what, difference);
    }
    status = weft_comm_agree(comm, status, NULL);
done:
    free(theirs);
    return status;
}
