// Schedules of collectives: pure, so that a test can play all ranks of any size without a transport.
#include "comm/algorithms.h"

static const wi_step idle = {.send_to = -1, .recv_from = -1};

// Both arguments may be off by up to one size.
static int wrap(int rank, int size) { return (rank + size) % size; }

int wi_log2_ceil(int size)
{
    int rounds = 0;
    while ((1 << rounds) < size) rounds++;
    return rounds;
}

wi_step wi_gather_step(int rank, int size, int step)
{
    int from = wrap(rank - 1 - step, size);
    return (wi_step){.send_to = wrap(rank + 1 + step, size),
                     .send_first = rank,
                     .send_count = 1,
                     .recv_from = from,
                     .recv_first = from,
                     .recv_count = 1};
}

wi_step wi_exchange_step(int rank, int size, int step)
{
    wi_step out = wi_gather_step(rank, size, step);
    out.send_first = out.send_to;
    return out;
}

wi_step wi_ring_step(int rank, int size, int step)
{
    return (wi_step){.send_to = wrap(rank + 1, size),
                     .send_first = wrap(rank - step, size),
                     .send_count = 1,
                     .recv_from = wrap(rank - 1, size),
                     .recv_first = wrap(rank - 1 - step, size),
                     .recv_count = 1};
}

wi_step wi_doubling_step(int rank, int size, int step)
{
    int held = 1 << step;
    if ((size & (size - 1)) == 0) { // partners swap the aligned ranges that they hold
        int partner = rank ^ held;
        return (wi_step){.send_to = partner,
                         .send_first = rank & ~(held - 1),
                         .send_count = held,
                         .recv_from = partner,
                         .recv_first = partner & ~(held - 1),
                         .recv_count = held};
    }
    // A rank holds the blocks from its own number upward; the last step needs only what is missing.
    int count = held < size - held ? held : size - held;
    return (wi_step){.send_to = wrap(rank - held, size),
                     .send_first = rank,
                     .send_count = count,
                     .recv_from = wrap(rank + held, size),
                     .recv_first = wrap(rank + held, size),
                     .recv_count = count};
}

wi_step wi_binomial_step(int rank, int size, int root, int step)
{
    int place = wrap(rank - root, size), held = 1 << step;
    wi_step out = idle;
    if (place < held && place + held < size) {
        out.send_to = (rank + held) % size;
        out.send_first = root;
        out.send_count = 1;
    } else if (place >= held && place < 2 * held) {
        out.recv_from = wrap(rank - held, size);
        out.recv_first = root;
        out.recv_count = 1;
    }
    return out;
}

wi_step wi_fan_step(int rank, int size, int root, int step)
{
    int to = (root + 1 + step) % size;
    wi_step out = idle;
    if (rank == root) {
        out.send_to = to;
        out.send_first = root;
        out.send_count = 1;
    } else if (rank == to) {
        out.recv_from = root;
        out.recv_first = root;
        out.recv_count = 1;
    }
    return out;
}

wi_step wi_barrier_step(int rank, int size, int step)
{
    int distance = 1 << step;
    return (wi_step){.send_to = (rank + distance) % size,
                     .send_first = rank,
                     .send_count = 1,
                     .recv_from = wrap(rank - distance, size),
                     .recv_first = wrap(rank - distance, size),
                     .recv_count = 1};
}

wi_step wi_send_step(int rank, int from, int to)
{
    wi_step out = idle;
    if (from == to) return out;
    if (rank == from) {
        out.send_to = to;
        out.send_first = from;
        out.send_count = 1;
    } else if (rank == to) {
        out.recv_from = from;
        out.recv_first = from;
        out.recv_count = 1;
    }
    return out;
}

int wi_algo_steps(wi_algo algo, weft_shape shape, int size)
{
    if (size < 2) return 0;
    if (shape == WEFT_SEND) return 1;
    return algo == WI_ALGO_DOUBLING || algo == WI_ALGO_BINOMIAL ? wi_log2_ceil(size) : size - 1;
}

wi_step wi_algo_step(wi_algo algo, weft_shape shape, int rank, int size, int from, int to, int step)
{
    switch (shape) {
    case WEFT_ALLGATHER:
        if (algo == WI_ALGO_RING) return wi_ring_step(rank, size, step);
        if (algo == WI_ALGO_DOUBLING) return wi_doubling_step(rank, size, step);
        return wi_gather_step(rank, size, step);
    case WEFT_ALLTOALL:
        return wi_exchange_step(rank, size, step);
    case WEFT_BCAST:
        if (algo == WI_ALGO_BINOMIAL) return wi_binomial_step(rank, size, from, step);
        return wi_fan_step(rank, size, from, step);
    case WEFT_SEND:
        return wi_send_step(rank, from, to);
    case WEFT_BARRIER:
        return wi_barrier_step(rank, size, step);
    }
    return idle;
}

bool wi_algo_chained(wi_algo algo) { return algo != WI_ALGO_LINEAR && algo != WI_ALGO_DIRECT; }
