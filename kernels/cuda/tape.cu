// Steps as graphs. Between begin and end the launches of a step are kept as data: the kernels, their grids and the
// bytes of their arguments. A step of the same launches is launched as one graph from its second time on. What differs
// from step to step, as tokens, positions and block lists, lies in arrivals, at the same places. So a graph can never
// hold anything stale: what would differ makes another tape.
#include <stdlib.h>

#include "kernels/cuda/stream.cuh"

enum { GRAPHS = 16 };

// One step that was seen.
struct kept {
    unsigned char *bytes; // works and their arguments, one behind the other
    size_t used;
    uint64_t hash, last;   // last: when it came last
    cudaGraphExec_t graph; // from the second time on
};

struct wi_tape {
    bool on, keeps;
    uint64_t marked, called; // forks of this step
    bool crosses;            // a call whose fork stands before it
    unsigned char *bytes;
    size_t used, room;
    kept seen[WI_SLOTS][GRAPHS]; // arrivals of each slot have places of their own
    uint64_t steps;
};

static const size_t work_bytes = (sizeof(wi_kernel_call) + 15) / 16 * 16;

cudaError_t wi_tape_create(wi_tape **out)
{
    wi_tape *tape = (wi_tape *)calloc(1, sizeof *tape);
    const char *graphs = getenv("WEFT_GRAPHS");
    if (!tape) return cudaErrorMemoryAllocation;
    tape->on = !graphs || strcmp(graphs, "off") != 0;
    *out = tape;
    return cudaSuccess;
}

static void forget(kept *k)
{
    if (k->graph) cudaGraphExecDestroy(k->graph);
    free(k->bytes);
    *k = {};
}

void wi_tape_forget(wi_tape *tape)
{
    for (int s = 0; s < WI_SLOTS; s++)
        for (int i = 0; i < GRAPHS; i++) forget(&tape->seen[s][i]);
}

void wi_tape_destroy(wi_tape *tape)
{
    if (!tape) return;
    wi_tape_forget(tape);
    free(tape->bytes);
    free(tape);
}

bool wi_tape_keeps(const wi_tape *tape) { return tape && tape->keeps; }

bool wi_tape_begin(wi_stream *stream)
{
    wi_tape *tape = stream->tape;
    if (!tape->on || tape->keeps || stream->apart) return false;
    wi_stream_next_slot(stream); // so that arrivals begin at its first place
    tape->keeps = true;
    tape->used = 0;
    tape->marked = tape->called = 0;
    tape->crosses = false;
    return true;
}

void wi_tape_fork(wi_tape *tape, int which)
{
    if (wi_tape_keeps(tape)) tape->marked |= UINT64_C(1) << which;
}

void wi_tape_call(wi_tape *tape, int which)
{
    if (!wi_tape_keeps(tape)) return;
    if (!(tape->marked >> which & 1)) tape->crosses = true;
    tape->called |= UINT64_C(1) << which;
}

static uint64_t hash_of(const unsigned char *bytes, size_t count)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i + 8 <= count; i += 8) { // all parts are multiples of 16 bytes
        uint64_t word;
        memcpy(&word, bytes + i, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x100000001b3);
        hash ^= hash >> 29;
    }
    return hash;
}

// Arguments lie on the tape without gaps; kernels want a tensor map where 64 divides its address.
static void run_all(wi_stream *stream, const unsigned char *bytes, size_t used)
{
    alignas(64) unsigned char arguments[WI_ARGUMENT_BYTES];
    for (size_t at = 0; at < used;) {
        wi_kernel_call work;
        memcpy(&work, bytes + at, sizeof work);
        memcpy(arguments, bytes + at + work_bytes, work.bytes);
        wi_stream_run(stream, &work, arguments);
        at += work_bytes + (work.bytes + 15) / 16 * 16;
    }
}

void wi_tape_add(wi_stream *stream, const wi_kernel_call *work, const unsigned char *arguments)
{
    wi_tape *tape = stream->tape;
    const size_t bytes = work_bytes + (work->bytes + 15) / 16 * 16;
    if (tape->used + bytes > tape->room) {
        const size_t room = 2 * (tape->room + bytes);
        unsigned char *more = (unsigned char *)realloc(tape->bytes, room);
        if (!more) { // what was kept runs now, and the rest as it comes
            wi_tape_end(stream);
            wi_stream_send(stream);
            wi_stream_run(stream, work, arguments);
            return;
        }
        tape->bytes = more;
        tape->room = room;
    }
    unsigned char *to = tape->bytes + tape->used;
    memset(to, 0, bytes); // gaps count in the hash
    memcpy(to, work, sizeof *work);
    memcpy(to + work_bytes, arguments, work->bytes);
    tape->used += bytes;
}

// The step itself if it was seen, else the place of the one that was not seen for longest.
static kept *find(wi_tape *tape, int slot, uint64_t hash, bool *same)
{
    kept *oldest = &tape->seen[slot][0];
    for (int i = 0; i < GRAPHS; i++) {
        kept *k = &tape->seen[slot][i];
        *same = k->used == tape->used && k->hash == hash && k->bytes && memcmp(k->bytes, tape->bytes, k->used) == 0;
        if (*same) return k;
        if (k->last < oldest->last) oldest = k;
    }
    return oldest;
}

static void make_graph(wi_stream *stream, kept *k)
{
    cudaGraph_t graph = NULL;
    if (cudaStreamBeginCapture(stream->at, cudaStreamCaptureModeThreadLocal) != cudaSuccess) return;
    run_all(stream, k->bytes, k->used);
    if (cudaStreamEndCapture(stream->at, &graph) != cudaSuccess || !graph) return;
    if (cudaGraphInstantiate(&k->graph, graph, 0) != cudaSuccess) k->graph = NULL;
    cudaGraphDestroy(graph);
}

void wi_tape_end(wi_stream *stream)
{
    wi_tape *tape = stream->tape;
    bool same;
    if (!tape->keeps) return;
    tape->keeps = false;
    wi_stream_send(stream);
    if (stream->clock_waits) wi_stream_note(stream, "clock", cudaEventRecord(stream->began, stream->at));
    stream->clock_waits = false;
    if (tape->used == 0 || stream->failure != cudaSuccess) return;
    if (tape->crosses || tape->marked != tape->called || stream->apart) {
        run_all(stream, tape->bytes, tape->used);
        return;
    }
    kept *k = find(tape, stream->now, hash_of(tape->bytes, tape->used), &same);
    k->last = ++tape->steps;
    if (same && !k->graph) make_graph(stream, k);
    if (same && k->graph) {
        wi_stream_note(stream, "a step", cudaGraphLaunch(k->graph, stream->at));
        return;
    }
    run_all(stream, tape->bytes, tape->used);
    if (same) return;
    const uint64_t last = k->last, hash = hash_of(tape->bytes, tape->used);
    forget(k);
    k->bytes = (unsigned char *)malloc(tape->used);
    if (!k->bytes) return;
    memcpy(k->bytes, tape->bytes, tape->used);
    k->used = tape->used;
    k->hash = hash;
    k->last = last;
}
