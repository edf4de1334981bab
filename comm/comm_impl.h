// What the files of comm/ share.
#ifndef WEFT_COMM_COMM_IMPL_H
#define WEFT_COMM_COMM_IMPL_H

#include <pthread.h>

#include "comm/board.h"
#include "comm/comm.h"
#include "comm/p2p.h"
#include "comm/window.h"
#include "core/wait.h"

enum {
    WI_NAME = 16,
    WI_CONTROL_BYTES = 1024,
    WI_CONTROL_DEPTH = 2,
    WI_LINE = 64,
    WI_DEPTH_MAX = 32,
    WI_EACH_MAX = 1024
};

// ---- the job ----

typedef enum { WI_MEMORY_PRIVATE, WI_MEMORY_HEAP, WI_MEMORY_SHM } wi_memory_kind;

typedef struct wi_watchdog wi_watchdog;

typedef struct {
    int node; // number of the host
    int seat; // on that host's board
    char host[WI_HOST_MAX];
} wi_place;

struct weft_job {
    weft_job_options options;
    int rank, size;
    bool threads; // the ranks are threads of this process
    wi_memory_kind memory;
    wi_place *place; // [size]
    int nodes;
    wi_board *board; // of this host; shared with its other ranks
    size_t board_bytes;
    bool owns_board; // unmaps it
    int seat;        // mine
    weft_patience patience;
    bool cpu_each;      // the ranks' spinning threads do not share cpus
    const wi_p2p *boot; // what brought the ranks together; NULL when no launcher did
    const wi_p2p *p2p;  // what carries messages: the boot, or one that it helped to open
    pthread_mutex_t p2p_lock;
    void *p2p_state; // of p2p_progress.c
    weft_comm *world;
    uint32_t next_comm; // ids of groups, agreed at each split
    wi_watchdog *watchdog;
    int64_t step;
    int device_channels;      // those that this rank's device orders
    int device_peer;          // whom it is taken to wait for, a world rank
    uint32_t device_record;   // in which exchange
    bool links_told;          // why devices do not reach each other, once
    bool devices_shared;      // ranks of one host share a device
    struct wi_movers *movers; // NULL until a group is joined over NCCL (device_impl.h)
};

// What all kinds of jobs have in common; the caller has filled rank, size, threads, memory, p2p, board and place. Takes
// the seat and makes the world. `cpus`: how many the ranks of this host share.
weft_status wi_job_init(weft_job *job, const weft_job_options *options, int cpus);
void wi_job_fini(weft_job *job);
weft_status wi_options_check(const weft_job_options *options,
                             bool launched); // `launched`: a launcher started the ranks
// A job whose ranks are all on this host: `size` places on node 0, seats in rank order.
weft_status wi_place_all_here(int size, wi_place **out);
// Ends the process: one line, told once for the host, then the status's exit code. For threads: cancels all waits.
void wi_job_end(weft_job *job, weft_status status, const char *text);
int wi_allowed_cpus(void);
// A blocked wait: told to the seat, so that the watchdog sees it. `peer` is a world rank.
void wi_wait_enter(weft_job *job, int peer, bool patient, uint32_t record);
void wi_wait_leave(weft_job *job);
// The flight recorder: a new record of this rank's, not yet entered, and the one of that index.
uint32_t wi_record_open(const weft_job *job, const uint64_t *name, uint32_t shape, uint32_t number);
wi_record *wi_record_of(const weft_job *job, uint32_t index);
// LOST or DEADLINE with the verdict's text, for waits that were cancelled.
weft_status wi_cancelled(weft_job *job);

// ---- shared memory ----

typedef struct {
    unsigned char *base;
    size_t bytes;
    uint32_t *users; // ranks of this process that still map it; NULL when the mapping is this process's alone
} wi_memory;

// Zeroed memory that all ranks of one group map. The leader makes it and tells the others through `talk`, a group that
// contains them all; every member of `talk` calls, with `group_leader` the rank in `talk` of its own group's leader.
// 0 bytes: takes part and gets nothing. Collective over `talk`, blocking.
weft_status wi_memory_share(weft_comm *talk, int group_leader, int group_size, size_t bytes, wi_memory *out);
// Gives [begin, begin + bytes) its pages, near the caller. NO_MEMORY instead of a SIGBUS when there are none. Local.
weft_status wi_memory_touch(const wi_memory *memory, size_t begin, size_t bytes);
// After all ranks have touched theirs: maps every page now, so that the first reads do not fault. Local.
void wi_memory_see(const wi_memory *memory);
void wi_memory_drop(wi_memory *memory); // Local; accepts a zeroed one

// ---- groups ----

struct weft_comm {
    weft_job *job;
    weft_comm *parent;
    char name[WI_NAME];
    uint32_t id;       // unique among the groups of each member
    uint32_t channels; // made so far: ids of channels, equal on all members
    int rank, size;
    int *world_rank; // [size]
    weft_transport transport;
    weft_links links;              // between devices; AUTO until a channel between them was made
    struct wi_mover_group *joined; // over NCCL, or NULL
    weft_comm *joined_before;      // the next older one of the job
    wi_memory memory;              // under control and barrier, where they are shared
    weft_channel *control;         // ALLGATHER of WI_CONTROL_BYTES, for everything small
    weft_channel *barrier;
};

size_t wi_comm_bytes(int ranks); // of a group's own channels, where they are shared
// The world: its control channel lies on the board when all ranks share it.
weft_status wi_comm_world(weft_job *job, weft_comm **out);

// ---- channels ----

// Exchanges of one channel that a rank has released.
typedef struct {
    uint32_t upto;  // all up to this one
    uint32_t ahead; // bit i: exchange upto + 2 + i, out of order
} wi_releases;
void wi_releases_note(wi_releases *releases, uint32_t number);

typedef struct {
    weft_status (*acquire)(weft_channel *channel, weft_exchange *exchange);
    void (*cancel)(weft_channel *channel, weft_exchange *exchange); // NULL: there is nothing to do
    // `bytes` has one entry, or `size` for ALLTOALL; `offset` as well, or is NULL for p * stride.
    weft_status (*begin)(weft_channel *channel, weft_exchange *exchange, const size_t *offset, const size_t *bytes);
    weft_status (*end)(weft_channel *channel, weft_exchange *exchange);
    bool (*ready)(weft_channel *channel, weft_exchange *exchange);
    // Behind begin and end of an exchange that is `met`: what its op has to do. NULL: such exchanges are like all.
    void (*meet)(weft_channel *channel, weft_exchange *exchange, weft_device_meeting *out);
    void (*release)(weft_channel *channel, weft_exchange *exchange);
    void (*destroy)(weft_channel *channel); // frees the channel; accepts half-built ones
} wi_channel_ops;

struct weft_channel {
    const wi_channel_ops *ops;
    weft_comm *comm;
    weft_channel_spec spec; // name points to `name`
    char name[WI_NAME];
    uint64_t record_name[WI_RECORD_NAME / 8];
    const char *algorithm;
    uint32_t id;       // within the group
    uint64_t acquired; // exchanges so far
    int senders;       // ranks that give bytes: 1 or size
    size_t stride;     // ALLTOALL: between the peers' parts of a slot
    bool ordered;      // the device itself waits for peers and tells them, in order with its ops
    void *lent;        // to spec.device, where it is not ordered
    weft_status lost;  // what the device said when it was waited for before views were released
};

// Lends the device of the spec, if there is one, what slots and views lie in: whole pages. Local.
weft_status wi_channel_lend(weft_channel *channel, void *memory, size_t bytes);
void wi_channel_take_back(weft_channel *channel); // before the memory goes

bool wi_channel_gives(const weft_channel *channel, int rank); // does that rank give bytes in this shape?
bool wi_channel_takes(const weft_channel *channel, int rank); // does it read them?
weft_status wi_channel_init(weft_channel *channel, const wi_channel_ops *ops, weft_comm *comm,
                            const weft_channel_spec *spec);

weft_status wi_shared_channel_create(weft_comm *comm, const weft_channel_spec *spec, weft_channel **out);
// On memory that exists already (zeroed, wi_shared_channel_bytes of it): the control channels of groups.
weft_status wi_shared_channel_create_on(weft_comm *comm, const weft_channel_spec *spec, unsigned char *memory,
                                        weft_channel **out);
size_t wi_shared_channel_bytes(const weft_channel_spec *spec, int ranks);
// Between devices. UNSUPPORTED or NOT_FOUND on all ranks: they do not reach each other so.
weft_status wi_ipc_channel_create(weft_comm *comm, const weft_channel_spec *spec, weft_channel **out);
weft_status wi_nccl_channel_create(weft_comm *comm, const weft_channel_spec *spec, weft_channel **out);
// What they take of each device (weft_channel_device_bytes); the depth is given. 0: more than an address space.
size_t wi_ipc_channel_bytes(const weft_channel_spec *spec, int ranks);
size_t wi_nccl_channel_bytes(const weft_channel_spec *spec, int ranks);
weft_status wi_p2p_channel_create(weft_comm *comm, const weft_channel_spec *spec, weft_channel **out);
size_t wi_p2p_channel_bytes(const weft_channel_spec *spec, int ranks);
void wi_p2p_progress(weft_job *job);
static inline bool wi_transport_p2p(weft_transport transport)
{
    return transport == WEFT_TRANSPORT_MPI || transport == WEFT_TRANSPORT_UCX;
}
// The number of a new group of `comm`'s ranks, from *id on: the next one whose tags no member of `comm` still uses.
// Collective, blocking.
weft_status wi_p2p_group_take(weft_comm *comm, uint32_t *id);
// Lets what was sent leave, for a short time: before a call that waits for peers and does not move messages.
void wi_p2p_settle(weft_job *job);
// Before the transport's close: settles, and frees what progress needs. Job-local.
void wi_p2p_fini(weft_job *job);

// ---- windows ----

typedef struct {
    weft_status (*put)(weft_window *window, int peer, size_t offset, const void *data, size_t bytes);
    // NULL: puts are done when they return.
    weft_status (*lend)(weft_window *window, int peer, size_t offset, const void *data, size_t bytes);
    weft_status (*flush)(weft_window *window, int peer, uint32_t record);
    weft_status (*flag)(weft_window *window, int peer);
    uint32_t (*flags)(weft_window *window, int from);
    weft_status (*wait)(weft_window *window, int from, uint32_t flags, uint32_t record);
    void (*destroy)(weft_window *window);
} wi_window_ops;

struct weft_window {
    const wi_window_ops *ops;
    weft_comm *comm;
    char name[WI_NAME];
    uint64_t record_name[WI_RECORD_NAME / 8];
    size_t bytes;
    void *memory; // mine
};

weft_status wi_shared_window_create(weft_comm *comm, size_t bytes, weft_window **out);
weft_status wi_p2p_window_create(weft_comm *comm, size_t bytes, weft_window **out);

// ---- algorithms of point-to-point transports ----

typedef enum {
    WI_ALGO_DIRECT,
    WI_ALGO_LINEAR,
    WI_ALGO_RING,
    WI_ALGO_DOUBLING,
    WI_ALGO_BINOMIAL,
    WI_ALGO_PAIRWISE
} wi_algo;

const char *wi_algo_name(wi_algo algo);
// The table's answer for a channel whose ranks give up to `bytes` each; `changes` is weft_job_options.algorithms,
// checked by wi_algo_check when the job opens.
wi_algo wi_algo_choose(weft_transport transport, weft_shape shape, size_t bytes, int ranks, const char *changes);
weft_status wi_algo_check(const char *changes);

// ---- faults on demand, for tests; nothing in builds without assertions ----

void wi_fault_open(const weft_job *job);
void wi_fault_at(const weft_job *job, int64_t step);

// ---- the watchdog ----

// Watches the seats of `job` (all seats of the board when the ranks are threads) and, for processes, their peers' lives
// and the signals that ask for a drain, which must be blocked before any thread is made.
weft_status wi_watchdog_start(weft_job *job, wi_watchdog **out);
void wi_watchdog_stop(wi_watchdog *watchdog); // accepts NULL
int wi_watchdog_signal(const wi_watchdog *watchdog);
void wi_block_signals(void);

#endif
