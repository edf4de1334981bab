// The schedules of collectives over point-to-point messages: pure functions of (rank, size, step). A block is what one
// rank gives; blocks are numbered by the rank that gave them, and ranges of them wrap modulo `size`. In ALLTOALL a rank
// gives one block to each peer: it sends block p to p, and what it gets from p is block p of its view.
#ifndef WEFT_COMM_ALGORITHMS_H
#define WEFT_COMM_ALGORITHMS_H

#include <stdbool.h>

#include "comm/comm_impl.h"

// What one rank does in one step. A peer of -1: nothing in that direction.
typedef struct {
    int send_to, send_first, send_count;
    int recv_from, recv_first, recv_count;
} wi_step;

int wi_log2_ceil(int size); // 0 for one rank

// ALLGATHER in size - 1 steps: my own block to the rank step + 1 to the right, theirs from as far to the left.
wi_step wi_gather_step(int rank, int size, int step);
// ALLTOALL in size - 1 steps, with the same peers.
wi_step wi_exchange_step(int rank, int size, int step);
// ALLGATHER in size - 1 steps: what came last from the left goes on to the right.
wi_step wi_ring_step(int rank, int size, int step);
// ALLGATHER in log2 steps, each doubling what a rank holds: recursive doubling between partners for powers of two,
// Bruck's shifts for other sizes.
wi_step wi_doubling_step(int rank, int size, int step);
// BCAST in log2 steps: in step k the 2^k ranks that have the block send it 2^k ranks further, counted from the root.
wi_step wi_binomial_step(int rank, int size, int root, int step);
// BCAST in size - 1 steps: the root sends to each rank.
wi_step wi_fan_step(int rank, int size, int root, int step);
// BARRIER in log2 steps of one empty message: after step k a rank has heard of 2^(k+1) ranks, itself included.
wi_step wi_barrier_step(int rank, int size, int step);
// SEND in one step.
wi_step wi_send_step(int rank, int from, int to);

// The above by name. `from` is the root of BCAST and the sender of SEND.
int wi_algo_steps(wi_algo algo, weft_shape shape, int size);
wi_step wi_algo_step(wi_algo algo, weft_shape shape, int rank, int size, int from, int to, int step);
// Does a step wait for the messages of the steps before it? LINEAR sends all at once.
bool wi_algo_chained(wi_algo algo);

#endif
