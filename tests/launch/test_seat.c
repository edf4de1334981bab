// What a job says of its GPUs: a line for each rank, and who shares one by what all ranks told, where a rank alone
// would guess wrong.
#include "launch/seat.h"
#include "tests/check.h"

enum { RANKS = 4 };

typedef struct {
    wi_rank_seat seat[RANKS];
    const char *expected;
} scene;

static weft_status body(weft_job *job, int rank, void *arg)
{
    const scene *s = arg;
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    CHECK(out != NULL);
    CHECK_OK(wi_seats_tell(weft_job_world(job), &s->seat[rank], "> ", out));
    fclose(out);
    CHECK_INT(wi_seat_place(weft_job_world(job)).rank, rank);
    CHECK_INT(wi_seat_place(weft_job_world(job)).size, RANKS);
    if (rank == 0) {
        // The host's name is not the test's to know.
        const char *host = weft_comm_host(weft_job_world(job), 0), *at = s->expected;
        for (char *from = text; *from;) {
            if (at[0] == '@') {
                CHECK(strncmp(from, host, strlen(host)) == 0);
                from += strlen(host);
                at++;
            } else if (*from++ != *at++) {
                CHECK_FAIL("told:\n%sexpected:\n%s", text, s->expected);
            }
        }
        CHECK_TEXT(at, "");
    } else {
        CHECK_TEXT(text, "");
    }
    free(text);
    return WEFT_OK;
}

static void run(const scene *s)
{
    const weft_job_options options = {.transport = WEFT_TRANSPORT_THREADS, .deadline_ns = 60000000000};
    CHECK_OK(weft_job_run_threads(&options, RANKS, body, (void *)(uintptr_t)s));
}

static wi_rank_seat seat(int device, const char *bus, const char *shares)
{
    wi_rank_seat s = {
        .device = device, .node = device / 2, .visible = 1, .name = "NVIDIA H200", .nic = "mlx5_0", .cpus = "0-3"};
    snprintf(s.bus, sizeof s.bus, "%s", bus);
    snprintf(s.shares, sizeof s.shares, "%s", shares);
    return s;
}

int main(void)
{
    static scene s;
    const char *const bus[] = {"0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:04:00.0"};
    for (int r = 0; r < RANKS; r++) s.seat[r] = seat(r, bus[r], "");
    s.seat[2].nic[0] = 0;
    s.seat[3].node = -1;
    s.expected = "> rank 0 on @: GPU 0 (NVIDIA H200 at 0000:01:00.0), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                 "> rank 1 on @: GPU 1 (NVIDIA H200 at 0000:02:00.0), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                 "> rank 2 on @: GPU 2 (NVIDIA H200 at 0000:03:00.0), NUMA node 1, cpus 0-3\n"
                 "> rank 3 on @: GPU 3 (NVIDIA H200 at 0000:04:00.0), NIC mlx5_0, cpus 0-3\n";
    run(&s);

    // Each rank sees one device, another one, and took it for the only one.
    for (int r = 0; r < RANKS; r++) s.seat[r] = seat(0, bus[r], "4 ranks share one");
    s.expected = "> rank 0 on @: GPU 0 (NVIDIA H200 at 0000:01:00.0), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                 "> rank 1 on @: GPU 0 (NVIDIA H200 at 0000:02:00.0), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                 "> rank 2 on @: GPU 0 (NVIDIA H200 at 0000:03:00.0), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                 "> rank 3 on @: GPU 0 (NVIDIA H200 at 0000:04:00.0), NUMA node 0, NIC mlx5_0, cpus 0-3\n";
    run(&s);

    // Two of them the same: by a guess that was right, then by none.
    for (int way = 0; way < 2; way++) {
        for (int r = 0; r < RANKS; r++) s.seat[r] = seat(0, bus[r / 3], way ? "" : "4 ranks share some");
        s.expected =
            way ? "> rank 0 on @: GPU 0 (NVIDIA H200 at 0000:01:00.0), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                  "> rank 0: another rank of this host computes on the same GPU, and they share its memory; show "
                  "each its own in CUDA_VISIBLE_DEVICES\n"
                  "> rank 1 on @: GPU 0 (NVIDIA H200 at 0000:01:00.0), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                  "> rank 2 on @: GPU 0 (NVIDIA H200 at 0000:01:00.0), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                  "> rank 3 on @: GPU 0 (NVIDIA H200 at 0000:02:00.0), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                : "> rank 0 on @: GPU 0 (NVIDIA H200 at 0000:01:00.0), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                  "> rank 0: 4 ranks share some\n"
                  "> rank 1 on @: GPU 0 (NVIDIA H200 at 0000:01:00.0), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                  "> rank 2 on @: GPU 0 (NVIDIA H200 at 0000:01:00.0), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                  "> rank 3 on @: GPU 0 (NVIDIA H200 at 0000:02:00.0), NUMA node 0, NIC mlx5_0, cpus 0-3\n";
        run(&s);
    }

    // Parts of one GPU are devices of their own; what was said once is not said again.
    for (int r = 0; r < RANKS; r++) {
        s.seat[r] = seat(0, bus[0], "");
        snprintf(s.seat[r].part, sizeof s.seat[r].part, "MIG-%d", r);
        snprintf(s.seat[r].say, sizeof s.seat[r].say, "%s", r == 0 ? "" : "far from its cpus");
    }
    s.seat[3] = (wi_rank_seat){.device = 1, .node = -1, .visible = 2, .cpus = "7"}; // one that no bus is known of
    s.expected = "> rank 0 on @: GPU 0 (NVIDIA H200 at 0000:01:00.0, MIG-0), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                 "> rank 1 on @: GPU 0 (NVIDIA H200 at 0000:01:00.0, MIG-1), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                 "> rank 1: far from its cpus\n"
                 "> rank 2 on @: GPU 0 (NVIDIA H200 at 0000:01:00.0, MIG-2), NUMA node 0, NIC mlx5_0, cpus 0-3\n"
                 "> rank 3 on @: device 1, cpus 7\n";
    run(&s);
    return 0;
}
