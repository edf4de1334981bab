// A replica at work on requests that others brought: its ranks make the same calls of the engine, as the messages of
// its rank 0 say, one a step. What it knows of a request is a slot's number. Inside launch/ only.
#ifndef WEFT_LAUNCH_REPLICA_H
#define WEFT_LAUNCH_REPLICA_H

#include "engine/stats.h"
#include "launch/control.h"
#include "launch/journal.h"
#include "launch/model_open.h"
#include "launch/orders.h"

// What becomes of a request, on the replica's rank 0.
typedef struct {
    void (*token)(void *arg, int slot, int index, const wi_drawn *drawn);
    void (*end)(void *arg, int slot, int index, weft_finish finish); // FAILED: weft_error_text says why
    void (*back)(void *arg, int slot); // what has not ended of it is not with the engine any more
} wi_replica_calls;

typedef struct wi_guest wi_guest; // a request that is here

typedef struct {
    wi_model *model;
    wi_control *control;
    weft_engine_stats *stats; // or NULL
    bool leads;               // rank 0 of the replica; what follows is its own
    const wi_replica_calls *calls;
    void *arg;
    wi_guest **slots; // (slot_room)
    int slot_room;
    wi_guest *first, *last; // in the order in which they came
    int returning;          // guests that are to go back
    int64_t asked, returns; // orders to return some: in all, and carried out
    wi_words orders[2];     // the message that is on its way, and the next
    int turn;
    bool told;        // the message that is on its way says more than to go on
    bool idle;        // the last step had nothing to do
    uint64_t decided; // by the scheduler, when the message that is on its way was begun: alike on all ranks
    int64_t steps;
} wi_replica;

// On the replica's rank 0: a letter of orders, for the next message. *stop is what it says.
weft_status wi_replica_order(wi_replica *replica, const unsigned char *letter, size_t bytes, wi_stop *stop);
// The next message leaves. Collective over the replica, returns at once; `stop` is rank 0's.
weft_status wi_replica_send(wi_replica *replica, wi_stop stop);
// It has come: every rank does what it says.
weft_status wi_replica_obey(wi_replica *replica, wi_stop *stop);
weft_status wi_replica_step(wi_replica *replica);
void wi_replica_free(wi_replica *replica);

#endif
