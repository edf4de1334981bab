// Every schedule, played by all ranks at once: each rank must end with every block, exactly once, after as many
// messages as theory says, and no rank may send what it does not have yet.
#include "comm/algorithms.h"
#include "tests/check.h"

enum { SIZE_MAX_TESTED = 17 };

typedef struct {
    int size;
    bool has[SIZE_MAX_TESTED][SIZE_MAX_TESTED]; // [rank][block]
    int received[SIZE_MAX_TESTED];              // messages
    int sent[SIZE_MAX_TESTED];
} play;

// Does the other side of a step agree: the same pair, the same blocks?
static void check_pair(const wi_step *steps, int rank)
{
    const wi_step *mine = &steps[rank];
    if (mine->send_to >= 0) {
        CHECK(mine->send_to != rank);
        const wi_step *theirs = &steps[mine->send_to];
        CHECK_INT(theirs->recv_from, rank);
        CHECK_INT(theirs->recv_first, mine->send_first);
        CHECK_INT(theirs->recv_count, mine->send_count);
    }
    if (mine->recv_from >= 0) CHECK_INT(steps[mine->recv_from].send_to, rank);
}

static play play_blocks(wi_algo algo, weft_shape shape, int size, int root)
{
    play now = {.size = size};
    for (int rank = 0; rank < size; rank++)
        if (shape != WEFT_BCAST || rank == root) now.has[rank][rank] = true;
    int steps = wi_algo_steps(algo, shape, size);
    for (int step = 0; step < steps; step++) {
        wi_step all[SIZE_MAX_TESTED];
        for (int rank = 0; rank < size; rank++) all[rank] = wi_algo_step(algo, shape, rank, size, root, -1, step);
        play before = now;
        for (int rank = 0; rank < size; rank++) {
            check_pair(all, rank);
            for (int i = 0; all[rank].send_to >= 0 && i < all[rank].send_count; i++) {
                int block = (all[rank].send_first + i) % size, to = all[rank].send_to;
                // What may go only after others have come must be there before the step; else it must be mine.
                CHECK(wi_algo_chained(algo) ? before.has[rank][block] : block == rank);
                CHECK(!now.has[to][block]);
                now.has[to][block] = true;
                now.sent[rank]++;
                now.received[to]++;
            }
        }
    }
    return now;
}

static void check_allgather(wi_algo algo, int size)
{
    play end = play_blocks(algo, WEFT_ALLGATHER, size, 0);
    for (int rank = 0; rank < size; rank++) {
        for (int block = 0; block < size; block++) CHECK(end.has[rank][block]);
        CHECK_INT(end.received[rank], size - 1);
        CHECK_INT(end.sent[rank], size - 1);
    }
}

static void check_bcast(wi_algo algo, int size, int root)
{
    play end = play_blocks(algo, WEFT_BCAST, size, root);
    int most = 0;
    for (int rank = 0; rank < size; rank++) {
        CHECK(end.has[rank][root]);
        CHECK_INT(end.received[rank], rank == root ? 0 : 1);
        if (end.sent[rank] > most) most = end.sent[rank];
    }
    CHECK_INT(most, algo == WI_ALGO_BINOMIAL ? wi_log2_ceil(size) : size - 1);
}

static void check_alltoall(wi_algo algo, int size)
{
    bool sent[SIZE_MAX_TESTED][SIZE_MAX_TESTED] = {{false}};
    for (int step = 0; step < wi_algo_steps(algo, WEFT_ALLTOALL, size); step++) {
        bool target[SIZE_MAX_TESTED] = {false};
        for (int rank = 0; rank < size; rank++) {
            wi_step mine = wi_algo_step(algo, WEFT_ALLTOALL, rank, size, -1, -1, step);
            wi_step theirs = wi_algo_step(algo, WEFT_ALLTOALL, mine.send_to, size, -1, -1, step);
            CHECK_INT(mine.send_count, 1);
            CHECK_INT(mine.send_first, mine.send_to);
            CHECK_INT(theirs.recv_from, rank);
            CHECK_INT(theirs.recv_first, rank);
            CHECK_INT(theirs.recv_count, 1);
            CHECK(!target[mine.send_to]); // no two ranks burden one in the same step
            CHECK(!sent[rank][mine.send_to]);
            target[mine.send_to] = sent[rank][mine.send_to] = true;
        }
    }
    for (int rank = 0; rank < size; rank++)
        for (int peer = 0; peer < size; peer++) CHECK_INT(sent[rank][peer], peer != rank);
}

// After the last step every rank knows, through whatever chain, that all have come.
static void check_barrier(int size)
{
    bool knows[SIZE_MAX_TESTED][SIZE_MAX_TESTED] = {{false}};
    for (int rank = 0; rank < size; rank++) knows[rank][rank] = true;
    int steps = wi_algo_steps(WI_ALGO_DOUBLING, WEFT_BARRIER, size);
    CHECK_INT(steps, wi_log2_ceil(size));
    for (int step = 0; step < steps; step++) {
        bool before[SIZE_MAX_TESTED][SIZE_MAX_TESTED];
        memcpy(before, knows, sizeof before);
        for (int rank = 0; rank < size; rank++) {
            wi_step mine = wi_algo_step(WI_ALGO_DOUBLING, WEFT_BARRIER, rank, size, -1, -1, step);
            CHECK_INT(wi_algo_step(WI_ALGO_DOUBLING, WEFT_BARRIER, mine.send_to, size, -1, -1, step).recv_from, rank);
            for (int i = 0; i < size; i++) knows[mine.send_to][i] = knows[mine.send_to][i] || before[rank][i];
        }
    }
    for (int rank = 0; rank < size; rank++)
        for (int i = 0; i < size; i++) CHECK(knows[rank][i]);
}

static void check_send(int size)
{
    for (int from = 0; from < size; from++)
        for (int to = 0; to < size; to++)
            for (int rank = 0; rank < size && from != to; rank++) {
                wi_step step = wi_algo_step(WI_ALGO_DIRECT, WEFT_SEND, rank, size, from, to, 0);
                CHECK_INT(step.send_to, rank == from ? to : -1);
                CHECK_INT(step.recv_from, rank == to ? from : -1);
            }
}

static void check_choice(void)
{
    const weft_transport mpi = WEFT_TRANSPORT_MPI;
    CHECK_OK(wi_algo_check(NULL));
    CHECK_OK(wi_algo_check(""));
    CHECK_OK(wi_algo_check("allgather:8k-=ring,alltoall:0-64k=linear,bcast:1M-2MiB=binomial"));
    const weft_status usage = WEFT_USAGE;
    CHECK_FAILS(wi_algo_check("allgather"), usage, "SHAPE:FROM-[TO]=ALGORITHM");
    CHECK_FAILS(wi_algo_check("allgather:=-ring"), usage, "SHAPE:FROM-[TO]=ALGORITHM");
    CHECK_FAILS(wi_algo_check("allgather:8q-=ring"), usage, "\"allgather:8q-=ring\"");
    CHECK_FAILS(wi_algo_check("allgather:0-=ring,alltoall:0-=ring"), usage, "takes linear or pairwise, not \"ring\"");
    CHECK_FAILS(wi_algo_check("reduce:0-=ring"), usage, "no choice for \"reduce\"");
    CHECK_FAILS(wi_algo_check("barrier:0-=ring"), usage, "no choice for \"barrier\"");
    CHECK_FAILS(wi_algo_check("bcast:8k-8k=linear"), usage, "range is empty");
    CHECK_FAILS(wi_algo_check("bcast:0-=linear,"), usage, "last comma");
    CHECK_FAILS(wi_algo_check("bcast:0-=linear_______________________________________________________"), usage,
                "longer than");

    CHECK_INT(wi_algo_choose(mpi, WEFT_ALLGATHER, 8191, 8, NULL), WI_ALGO_DOUBLING);
    CHECK_INT(wi_algo_choose(mpi, WEFT_ALLGATHER, 8192, 8, NULL), WI_ALGO_RING);
    CHECK_INT(wi_algo_choose(mpi, WEFT_ALLGATHER, 8192, 4, NULL), WI_ALGO_LINEAR);
    CHECK_INT(wi_algo_choose(mpi, WEFT_SEND, 8192, 4, NULL), WI_ALGO_DIRECT);
    const char *changes = "allgather:1k-4k=ring,allgather:2k-=linear";
    CHECK_INT(wi_algo_choose(mpi, WEFT_ALLGATHER, 1023, 8, changes), WI_ALGO_DOUBLING);
    CHECK_INT(wi_algo_choose(mpi, WEFT_ALLGATHER, 1024, 8, changes), WI_ALGO_RING);
    CHECK_INT(wi_algo_choose(mpi, WEFT_ALLGATHER, 2048, 8, changes), WI_ALGO_LINEAR);
    CHECK_INT(wi_algo_choose(WEFT_TRANSPORT_SHM, WEFT_ALLGATHER, 1024, 8, changes), WI_ALGO_DIRECT);
}

// By the number of ranks: for many, the steps of a ring cost more than what it saves, up to ever larger blocks.
static void check_table(void)
{
    static const struct {
        int ranks;
        wi_algo gather[3], alltoall[3]; // at 8 KiB, 1 MiB, 16 MiB
    } want[] = {
        {2, {WI_ALGO_LINEAR, WI_ALGO_LINEAR, WI_ALGO_LINEAR}, {WI_ALGO_LINEAR, WI_ALGO_LINEAR, WI_ALGO_LINEAR}},
        {4, {WI_ALGO_LINEAR, WI_ALGO_LINEAR, WI_ALGO_LINEAR}, {WI_ALGO_LINEAR, WI_ALGO_LINEAR, WI_ALGO_LINEAR}},
        {64, {WI_ALGO_DOUBLING, WI_ALGO_RING, WI_ALGO_RING}, {WI_ALGO_LINEAR, WI_ALGO_PAIRWISE, WI_ALGO_PAIRWISE}},
        {4096, {WI_ALGO_DOUBLING, WI_ALGO_RING, WI_ALGO_RING}, {WI_ALGO_LINEAR, WI_ALGO_PAIRWISE, WI_ALGO_PAIRWISE}}};
    static const size_t bytes[] = {8 << 10, 1 << 20, 16 << 20};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        for (int b = 0; b < 3; b++)
            for (weft_transport by = WEFT_TRANSPORT_MPI; by <= WEFT_TRANSPORT_UCX; by++) {
                const bool small_ucx = by == WEFT_TRANSPORT_UCX && want[i].ranks == 4 && b == 0;
                CHECK_INT(wi_algo_choose(by, WEFT_ALLGATHER, bytes[b], want[i].ranks, NULL),
                          small_ucx ? WI_ALGO_DOUBLING : want[i].gather[b]);
                CHECK_INT(wi_algo_choose(by, WEFT_ALLTOALL, bytes[b], want[i].ranks, NULL), want[i].alltoall[b]);
            }
    CHECK_INT(wi_algo_choose(WEFT_TRANSPORT_MPI, WEFT_ALLGATHER, 128 << 10, 64, NULL), WI_ALGO_RING);
    CHECK_INT(wi_algo_choose(WEFT_TRANSPORT_MPI, WEFT_ALLGATHER, 128 << 10, 4096, NULL), WI_ALGO_DOUBLING);
    CHECK_INT(weft_comm_steps(WEFT_TRANSPORT_MPI, WEFT_ALLGATHER, 128 << 10, 4096), WEFT_STEPS_DOUBLING);
    CHECK_INT(weft_comm_steps(WEFT_TRANSPORT_MPI, WEFT_ALLGATHER, 1 << 20, 4096), WEFT_STEPS_ONE_BY_ONE);
    CHECK_INT(weft_comm_steps(WEFT_TRANSPORT_MPI, WEFT_ALLTOALL, 8 << 10, 4096), WEFT_STEPS_AT_ONCE);
}

int main(void)
{
    for (int size = 1; size <= SIZE_MAX_TESTED; size++) {
        check_allgather(WI_ALGO_LINEAR, size);
        check_allgather(WI_ALGO_RING, size);
        check_allgather(WI_ALGO_DOUBLING, size);
        check_alltoall(WI_ALGO_LINEAR, size);
        check_alltoall(WI_ALGO_PAIRWISE, size);
        for (int root = 0; root < size; root++) {
            check_bcast(WI_ALGO_LINEAR, size, root);
            check_bcast(WI_ALGO_BINOMIAL, size, root);
        }
        check_barrier(size);
        check_send(size);
    }
    check_choice();
    check_table();
    return 0;
}
