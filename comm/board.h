// The board: one page-aligned piece of memory that all ranks of a host map, whatever their transport. Each rank has a
// seat on it, where it alone writes what it is doing. So a watchdog can say what a rank that was killed or stopped did
// last.
#ifndef WEFT_COMM_BOARD_H
#define WEFT_COMM_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "comm/comm.h"

enum { WI_RECORDS = 64, WI_RECORD_NAME = 24, WI_VERDICT_MAX = 768, WI_HOST_MAX = 64 };

enum { WI_SHAPE_WINDOW = WEFT_BARRIER + 1 };

typedef enum { WI_SEAT_EMPTY, WI_SEAT_LIVE, WI_SEAT_DONE } wi_seat_state;

// One exchange in the flight recorder. Written with relaxed atomic stores by its rank, read by anybody.
typedef struct {
    uint32_t number;                   // of the exchange on its channel
    uint32_t shape;                    // weft_shape, or WI_SHAPE_WINDOW: a wait for that many flags
    uint64_t bytes;                    // what this rank gave
    int64_t step;                      // of the job
    uint64_t entered, left;            // weft_clock_ticks; left is 0 until the end returned
    uint64_t name[WI_RECORD_NAME / 8]; // "group/channel", as words so that they can be stored atomically
} wi_record;

typedef struct {
    // first line: changes while the rank runs
    uint32_t state;        // wi_seat_state
    uint32_t heartbeat;    // counts the ticks of the rank's watchdog
    uint32_t waits_for;    // world rank + 1 that an exchange is blocked on, 0 when not blocked
    uint32_t wait_patient; // that wait may last for ever
    uint32_t wait_record;  // the record of the exchange that is blocked
    uint32_t records;      // written so far; record n is at n % WI_RECORDS
    uint32_t wait_count;   // how often this rank has blocked: tells one wait from the next
    uint32_t unused;
    int64_t step;
    uint64_t pad[3];
    // second line: fixed once the rank has taken the seat
    int32_t pid, world_rank;
    uint64_t pad2[7];
    wi_record record[WI_RECORDS];
} wi_seat;

typedef struct {
    uint32_t seats;
    uint32_t cancel;          // waits of this host's ranks end when it is not 0
    uint32_t verdict_claimed; // the first to set it from 0 to 1 tells the job's end; the others are quiet
    uint32_t verdict_ready;   // the fields below are written
    int32_t verdict_status;
    int32_t unused;
    char verdict[WI_VERDICT_MAX];
    uint64_t pad[5];
} wi_board;

size_t wi_board_bytes(int seats, size_t control_bytes);
wi_seat *wi_board_seat(wi_board *board, int seat);
unsigned char *wi_board_control(wi_board *board); // the world's control channel stands behind the seats
void wi_board_init(wi_board *board, int seats);
void wi_seat_take(wi_board *board, int seat, int world_rank);
void wi_seat_leave(wi_board *board, int seat);

// Whether this caller is the one to tell how the job ends. The text is then published for the others, and every wait of
// this host's ranks is cancelled.
bool wi_verdict_claim(wi_board *board);
void wi_verdict_publish(wi_board *board, weft_status status, const char *text);
weft_status wi_verdict_status(const wi_board *board); // OK while there is none

// Reports. `capacity` bytes of text, always ended by NUL.
void wi_record_describe(const wi_record *record, char *text, size_t capacity); // "allgather world/sum, exchange 7, ..."
void wi_seat_describe(wi_board *board, int seat, char *text, size_t capacity); // what that rank does now
void wi_board_print(wi_board *board, int seat, FILE *out);                     // all records of one seat

static inline uint32_t wi_load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
static inline void wi_store(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }

#endif
