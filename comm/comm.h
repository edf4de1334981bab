// comm: how ranks talk. It moves bytes and never adds a float: a transport can therefore never change a result.
// It knows no shapes, no models and no devices' arithmetic.
//
// A job is this process's (or thread's) place among the ranks. A comm is a group of ranks, seen from one of them. A
// channel is a collective prepared once, with its memory, and run many times; one run of it is an exchange:
//
//     weft_exchange ex;
//     weft_exchange_acquire(channel, &ex);   // ex.slot: write your bytes here, in place
//     weft_exchange_begin(&ex, bytes);       // they are on their way; compute something else
//     weft_exchange_end(&ex);                // ex.view[peer], ex.bytes[peer]: read the peers' bytes, in place
//     weft_exchange_release(&ex);            // done reading
//
// Ownership: slots and views belong to the channel. Exchanges use its `depth` buffers in turn, whose addresses
// never change. Threads: a rank's calls on one job come from one thread at a time; weft_comm_progress may come from
// any. "Collective" means: every member of the group calls it, in the same order. Every failure is a weft_status.
#ifndef WEFT_COMM_COMM_H
#define WEFT_COMM_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/device.h"
#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_job weft_job;
typedef struct weft_comm weft_comm;
typedef struct weft_channel weft_channel;

// ---- starting and ending --------------------------------------------------------------------------------------------

typedef enum {
    WEFT_TRANSPORT_AUTO,    // threads or shm where all members share memory, else mpi
    WEFT_TRANSPORT_SELF,    // one rank
    WEFT_TRANSPORT_THREADS, // ranks are threads of this process
    WEFT_TRANSPORT_SHM,     // processes of one node
    WEFT_TRANSPORT_MPI,     // anything that MPI reaches
    WEFT_TRANSPORT_UCX      // anything that UCX reaches, where MPI has brought the ranks together
} weft_transport;

const char *weft_transport_name(weft_transport transport);

// How devices exchange: by the host's memory, over its transport, or by each other's.
typedef enum {
    WEFT_LINKS_AUTO, // ipc where the devices of a group reach each other, else nccl where all ranks have it, else host
    WEFT_LINKS_HOST,
    WEFT_LINKS_IPC, // ranks of one host map the memory of each other's devices
    WEFT_LINKS_NCCL
} weft_links;

const char *weft_links_name(weft_links links);

typedef struct {
    weft_transport transport; // AUTO, or SHM, MPI or UCX to insist
    int64_t deadline_ns;      // how long a rank may wait in one exchange; 0: for ever
    int threads;              // threads a rank spins with, for the waiting policy; 0 means 1
    weft_links links;
    const char *algorithms; // changes to the table of algorithms, "allgather:8k-=ring,alltoall:0-=pairwise", or NULL
} weft_job_options;

// One rank, no launcher. Local.
weft_status weft_job_open_alone(const weft_job_options *options, weft_job **out);
// Under mpirun or srun: opens the MPI plug-in. Collective over all ranks that the launcher started.
weft_status weft_job_open_mpi(const weft_job_options *options, weft_job **out);
// Starts `ranks` copies of this process on this host, without MPI; call before any thread is made. In each copy it
// returns with *out open. In the first process it returns when all have ended, with *out NULL and the code to exit
// with.
weft_status weft_job_open_local(const weft_job_options *options, int ranks, weft_job **out, int *exit_code);
// `ranks` threads of this process, each running body(job, rank, arg) with a job of its own; returns the lowest rank's
// failure. With SHM the threads talk over one shared mapping, as processes would.
typedef weft_status weft_rank_fn(weft_job *job, int rank, void *arg);
weft_status weft_job_run_threads(const weft_job_options *options, int ranks, weft_rank_fn *body, void *arg);

// Leaves the job; after it this rank's death is nobody's loss. Accepts NULL. Collective where the ranks are processes:
// they leave together, or the deadline tells who did not come.
void weft_job_close(weft_job *job);
// Ends the job for all ranks, now, with one line from this rank and the status's exit code. Does not return for ranks
// that are processes; for threads, all waits end with LOST.
void weft_job_abort(weft_job *job, weft_status status, const char *text);

weft_comm *weft_job_world(weft_job *job);            // owned by the job
bool weft_job_launcher_mpi(const weft_job *job);     // started by mpirun or srun
bool weft_job_cpu_each(const weft_job *job);         // the spinning threads of this host's ranks have a cpu each
void weft_job_set_step(weft_job *job, int64_t step); // for reports: the step that this rank is in
// The signal that asked this rank to stop in good order (SIGTERM, SIGINT, SIGUSR1), or 0. A SIGTERM that comes because
// a peer is gone is never one: that ends the job with LOST.
int weft_job_drain_signal(const weft_job *job);
// This rank's last exchanges and what every reachable rank is doing now, as the watchdog prints them.
void weft_job_print_flight(weft_job *job, FILE *out);
// Tells which device each rank has (NULL: none), before channels between them are made: ranks that share one need NCCL
// to be told. Collective over all ranks, blocking.
weft_status weft_job_devices(weft_job *job, const weft_device *device);
// NCCL as this process finds it, "NCCL 2.28.9", or why there is none and what to do. Loads it. Local.
weft_status weft_nccl_describe(char *text, size_t capacity);

// ---- groups ---------------------------------------------------------------------------------------------------------

weft_job *weft_comm_job(const weft_comm *comm); // that the group belongs to
int weft_comm_rank(const weft_comm *comm);
int weft_comm_size(const weft_comm *comm);
const char *weft_comm_name(const weft_comm *comm);
weft_transport weft_comm_transport(const weft_comm *comm);
int weft_comm_world_rank(const weft_comm *comm, int rank);   // of a member
int weft_comm_node(const weft_comm *comm, int rank);         // the number of the host that a member is on, from 0
int weft_comm_nodes(const weft_comm *comm);                  // hosts in the group
const char *weft_comm_host(const weft_comm *comm, int rank); // its name

// Collective over `comm`, blocking. Members with one color form a group, ordered by key, then by rank. A negative color
// gives *out = NULL. `name` is for reports.
weft_status weft_comm_split(weft_comm *comm, int color, int key, const char *name, weft_comm **out);
// Local; its channels first. Where its devices exchange over NCCL the members leave together, or after five seconds.
// Accepts NULL
void weft_comm_destroy(weft_comm *comm);

// Small host collectives. Blocking.
weft_status weft_comm_barrier(weft_comm *comm);
weft_status weft_comm_bcast(weft_comm *comm, int root, void *data, size_t bytes);            // any size, in pieces
weft_status weft_comm_allgather(weft_comm *comm, const void *mine, size_t bytes, void *all); // equal sizes, in pieces
weft_status weft_comm_min(weft_comm *comm, int64_t *values, int count);
weft_status weft_comm_max(weft_comm *comm, int64_t *values, int count);
weft_status weft_comm_sum(weft_comm *comm, int64_t *values, int count); // wraps as unsigned does
// One rank's failure becomes everybody's: returns the status of the lowest rank that failed, and its error text becomes
// this rank's ("rank 3: ..."). *who (may be NULL) is that rank, -1 when all is well.
weft_status weft_comm_agree(weft_comm *comm, weft_status status, int *who);
// All ranks must hold the same text; else MISMATCH names the first rank that differs from rank 0, and the line.
weft_status weft_comm_compare(weft_comm *comm, const char *what, const char *text);
// The sum by MPI's own all-reduce, in MPI's own order: for --numerics fast and for measuring. UNSUPPORTED where the
// group is not all ranks of an MPI job, in order.
bool weft_comm_has_allreduce(const weft_comm *comm);
weft_status weft_comm_allreduce_fast(weft_comm *comm, const float *in, float *out, size_t count);

// Moves what is in flight; useful where the transport needs the host's help (mpi, ucx). Never blocks. Thread-safe.
void weft_comm_progress(weft_comm *comm);

// ---- channels and exchanges -----------------------------------------------------------------------------------------

typedef enum {
    WEFT_ALLGATHER, // each rank's bytes reach all
    WEFT_ALLTOALL,  // each rank has bytes for each peer
    WEFT_BCAST,     // `from`'s bytes reach all
    WEFT_SEND,      // `from`'s bytes reach `to`; the others take no part
    WEFT_BARRIER    // no bytes
} weft_shape;

typedef struct {
    weft_shape shape;
    const char *name; // for reports; at most 15 bytes are kept
    size_t bytes;     // the most that one rank gives in one exchange (ALLTOALL: gives to one peer)
    int depth;        // exchanges in flight, 1 to 32; 0 means 2
    int from, to;     // BCAST, SEND
    bool often;       // views are read more than once: those of devices are brought home beside the ops. ALLGATHER
    bool patient;     // waits on it may last for ever: the deadline does not count them
    // Whose ops write slots and read views, or NULL on all ranks: the host. Where devices reach each other
    // (weft_links), slots and views are their memory, and all that an exchange waits for and tells is in order with the
    // ops: `end` then returns before the bytes are there. Else it is lent the channel's memory, and what it was asked
    // for is waited for before a slot is given and before views are released. Borrowed.
    weft_device *device;
} weft_channel_spec;

// Collective over the group (SEND too), blocking; the same spec on all ranks, else MISMATCH.
weft_status weft_channel_create(weft_comm *comm, const weft_channel_spec *spec, weft_channel **out);
void weft_channel_destroy(weft_channel *channel); // Local; nothing may be in flight. Accepts NULL
// The memory that a channel takes of each of so many ranks: a piece of what they share, or buffers of its own, where
// what peers send is received too. 0 where no address space has it. Local.
size_t weft_channel_bytes(const weft_channel_spec *spec, int ranks, bool shared);
// What of a device's memory it takes where devices of so many ranks exchange so: IPC or NCCL; else nothing. Local.
size_t weft_channel_device_bytes(const weft_channel_spec *spec, int ranks, weft_links links);
const char *weft_channel_algorithm(const weft_channel *channel);
bool weft_channel_ordered(const weft_channel *channel); // by the devices: what the host waits in it delays nothing

typedef struct {
    weft_channel *channel;
    unsigned char *slot;              // mine to write until begin; NULL where this rank only receives. Aligned to 64
    size_t stride;                    // ALLTOALL: the bytes for peer p stand at slot + p * stride
    const unsigned char *const *view; // after end: [size] each peer's bytes, mine included; NULL where it gave none
    const size_t *bytes;              // after end: [size] how many
    uint32_t number;                  // of this exchange on its channel, from 1
    uint32_t buffer;                  // which of the channel's, 0 to depth - 1
    uint32_t record;                  // in the flight recorder
    bool met;                         // an op tells the peers what this channel's device would
} weft_exchange;

// Collective in the sense that all members run the same exchanges of a channel. acquire blocks until the buffer's last
// use is over: where memory is shared, until the peers have released it; begin never blocks; end blocks until the
// peers' bytes are here; release never blocks. Begin in the order of acquire; end and release in any order.
weft_status weft_exchange_acquire(weft_channel *channel, weft_exchange *out);
weft_status weft_exchange_begin(weft_exchange *exchange, size_t bytes); // what I give (ALLTOALL: to each peer)
weft_status weft_exchange_begin_each(weft_exchange *exchange, const size_t *bytes); // ALLTOALL: [size]
// ALLTOALL, where the bytes for peer p stand at slot + offset[p] instead: multiples of 64, within size * stride.
weft_status weft_exchange_begin_at(weft_exchange *exchange, const size_t *offset, const size_t *bytes);
weft_status weft_exchange_end(weft_exchange *exchange);
// Begin and end in one, of an ALLGATHER whose exchanges are released in order. Where the devices order the channel, an
// op is left to do what they would: *meeting says what (its `begun` is NULL elsewhere). It is the next that reads the
// views, and the last.
weft_status weft_exchange_meet(weft_exchange *exchange, size_t bytes, weft_device_meeting *meeting);
bool weft_exchange_ready(weft_exchange *exchange); // would end return at once? Makes progress
void weft_exchange_release(weft_exchange *exchange);
// Instead of begin: the slot is not needed, and the exchange has never been. Local; of a channel's last acquire.
void weft_exchange_cancel(weft_exchange *exchange);

// The table of algorithms of a group, as it was chosen and where to change it.
void weft_comm_print_algorithms(const weft_comm *comm, FILE *out);
// How hosts' messages of an exchange follow each other by that table: all at once, in log2 steps of ever more bytes, or
// as many steps as there are peers.
typedef enum { WEFT_STEPS_AT_ONCE, WEFT_STEPS_DOUBLING, WEFT_STEPS_ONE_BY_ONE } weft_steps;
weft_steps weft_comm_steps(weft_transport transport, weft_shape shape, size_t bytes, int ranks); // Local

#ifdef __cplusplus
}
#endif
#endif
