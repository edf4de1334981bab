// What each step computes: who runs, who waits, who is thrown out and starts again. Pure decisions over numbers, the
// same on every rank; the model is not called here.
//
// Requests stand in order: the higher priority first, then the older. Each step gives rows to those that run, in that
// order; then the first that wait begin, as many as there are blocks for. One that waits may be passed only where what
// it waits for is being computed: a prefix that a running request shares with it. Who lacks a block takes those of the
// last in order, which waits again and computes anew what is no longer cached. So the first always gets on, and every
// request comes to its end. Inside engine/ only.
#ifndef WEFT_ENGINE_SCHEDULE_H
#define WEFT_ENGINE_SCHEDULE_H

#include "engine/cache.h"
#include "engine/rows.h"

typedef enum {
    WEFT_SCHEDULE_FIFO,         // who generates, then prompts that were begun, then new ones
    WEFT_SCHEDULE_PREFILL_FIRST // prompts that were begun, then who generates, then new ones
} weft_schedule;

// A request, as far as it matters here. Zeroed by who makes one, but for what is said to be given.
typedef struct wi_work wi_work;
struct wi_work {
    int64_t id;            // given by wi_schedule_add: older ones are smaller
    int priority;          // given
    const int32_t *tokens; // given: room for all there may be; `count` of them are there
    int count;             // given; grows by what is drawn
    int unknown;           // of them, at the end: drawn by steps that are under way, so that no hash has them yet
    int prompt;            // given: of them
    int64_t positions;     // given: that it may come to
    bool all_logits;       // given: the logits of the whole prompt are wanted
    bool draws;            // given: those of the last token are
    int turned;            // given: key of its rotations
    wi_work *parent;       // given, or NULL: it has the same prompt, and this one waits for it
    int cached;            // positions computed
    int shown;             // of the prompt, those whose logits were given
    int forks;             // that wait for it
    bool runs, taken;      // it holds blocks; it has rows in this step
    wi_sequence sequence;
    wi_work *before, *after; // in its queue
};

typedef struct {
    weft_schedule order;
    int requests;        // that run at once, at most
    bool reserves;       // blocks for all it may come to, so that nobody is ever thrown out; else for the prompt alone
    double margin;       // of the cache that must be left when a request begins beside others, unless it reserves
    int64_t read_budget; // positions that a step reads, at most, prompts waiting for the next; 0: any
} wi_schedule_options;

// What a request has of a step.
typedef struct {
    wi_work *of;
    int rows;
    int logit_first, logits; // in the batch
    int64_t first_logit;     // the position of the first
    bool last;               // the request's last token is among them
} wi_slice;

typedef struct {
    int64_t steps, preempted, found, computed; // so far: positions found in the cache, and computed
    int running, waiting;                      // now
    uint64_t decisions;                        // a hash of all that was decided so far
} wi_schedule_state;

typedef struct wi_schedule wi_schedule;

// Cache and rows are borrowed.
weft_status wi_schedule_create(const wi_schedule_options *options, wi_kv *cache, wi_rows *rows, wi_schedule **out);
void wi_schedule_destroy(wi_schedule *schedule); // nobody is in it; accepts NULL

weft_status wi_schedule_add(wi_schedule *schedule, wi_work *work); // NO_MEMORY
void wi_schedule_remove(wi_schedule *schedule, wi_work *work);     // gives all back that it holds
void wi_schedule_restart(wi_schedule *schedule, wi_work *work);    // it begins again, `turned` in another way

// One that waits begins with `cached` positions that another replica has computed, dealt under that key; it has blocks
// for them, and they are there once wi_schedule_known is called. False: there is no room now; it waits on.
bool wi_schedule_place(wi_schedule *schedule, wi_work *work, int key, int cached);

// Decides a step: the rows stand in `rows` then. Returns how many requests have a share.
int wi_schedule_step(wi_schedule *schedule, const wi_slice **shares);
// The rows of a share have been computed, or will be before anything that comes later.
void wi_schedule_computed(wi_schedule *schedule, const wi_slice *share);
void wi_schedule_known(wi_schedule *schedule, wi_work *work); // fewer of its tokens are unknown

// In order: those that run, then those that wait; NULL behind the last.
wi_work *wi_schedule_first(const wi_schedule *schedule);
wi_work *wi_schedule_next(const wi_schedule *schedule, const wi_work *work);
wi_schedule_state wi_schedule_state_of(const wi_schedule *schedule);
weft_status wi_schedule_check(const wi_schedule *schedule); // the books of all; INTERNAL. Allocates

#endif
