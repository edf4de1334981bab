#include "comm/board.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"

_Static_assert(sizeof(wi_record) == 64, "a record is one line");
_Static_assert(sizeof(wi_seat) % 128 == 0, "seats do not share lines");

static size_t seats_offset(void) { return (sizeof(wi_board) + 127) / 128 * 128; }

size_t wi_board_bytes(int seats, size_t control_bytes)
{
    return seats_offset() + (size_t)seats * sizeof(wi_seat) + control_bytes;
}

wi_seat *wi_board_seat(wi_board *board, int seat)
{
    return (wi_seat *)((unsigned char *)board + seats_offset()) + seat;
}

unsigned char *wi_board_control(wi_board *board) { return (unsigned char *)wi_board_seat(board, (int)board->seats); }

void wi_board_init(wi_board *board, int seats) { board->seats = (uint32_t)seats; }

void wi_seat_take(wi_board *board, int seat, int world_rank)
{
    wi_seat *mine = wi_board_seat(board, seat);
    mine->pid = (int32_t)getpid();
    mine->world_rank = world_rank;
    __atomic_store_n(&mine->state, WI_SEAT_LIVE, __ATOMIC_RELEASE);
}

void wi_seat_leave(wi_board *board, int seat)
{
    __atomic_store_n(&wi_board_seat(board, seat)->state, WI_SEAT_DONE, __ATOMIC_RELEASE);
}

bool wi_verdict_claim(wi_board *board)
{
    uint32_t expected = 0;
    return __atomic_compare_exchange_n(&board->verdict_claimed, &expected, 1, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

void wi_verdict_publish(wi_board *board, weft_status status, const char *text)
{
    board->verdict_status = status;
    snprintf(board->verdict, sizeof board->verdict, "%s", text);
    __atomic_store_n(&board->verdict_ready, 1, __ATOMIC_RELEASE);
    __atomic_store_n(&board->cancel, 1, __ATOMIC_RELEASE);
}

weft_status wi_verdict_status(const wi_board *board)
{
    if (!__atomic_load_n(&board->verdict_ready, __ATOMIC_ACQUIRE)) return WEFT_OK;
    return (weft_status)board->verdict_status;
}

static const char *shape_name(uint32_t shape)
{
    static const char *const names[] = {"allgather", "alltoall", "bcast", "send", "barrier", "window"};
    return shape < sizeof names / sizeof *names ? names[shape] : "?";
}

// A copy that is whole enough to print: single words are atomic, and a record that is being rewritten meanwhile can
// only show a mixture of two exchanges.
static wi_record record_copy(const wi_record *record)
{
    wi_record copy;
    copy.number = wi_load(&record->number);
    copy.shape = wi_load(&record->shape);
    copy.bytes = __atomic_load_n(&record->bytes, __ATOMIC_RELAXED);
    copy.step = __atomic_load_n(&record->step, __ATOMIC_RELAXED);
    copy.entered = __atomic_load_n(&record->entered, __ATOMIC_RELAXED);
    copy.left = __atomic_load_n(&record->left, __ATOMIC_RELAXED);
    for (int i = 0; i < WI_RECORD_NAME / 8; i++) copy.name[i] = __atomic_load_n(&record->name[i], __ATOMIC_RELAXED);
    return copy;
}

void wi_record_describe(const wi_record *record, char *text, size_t capacity)
{
    wi_record copy = record_copy(record);
    snprintf(text, capacity, "%s %.*s, exchange %u, step %lld, %llu bytes", shape_name(copy.shape), WI_RECORD_NAME,
             (const char *)copy.name, copy.number, (long long)copy.step, (unsigned long long)copy.bytes);
}

void wi_seat_describe(wi_board *board, int seat, char *text, size_t capacity)
{
    wi_seat *of = wi_board_seat(board, seat);
    uint32_t records = wi_load(&of->records), waits_for = wi_load(&of->waits_for);
    char what[160] = "";
    if (waits_for) {
        wi_record_describe(&of->record[wi_load(&of->wait_record) % WI_RECORDS], what, sizeof what);
        snprintf(text, capacity, "waits for rank %u in %s", waits_for - 1, what);
    } else if (records == 0) {
        snprintf(text, capacity, "has not entered any exchange yet");
    } else {
        const wi_record *last = &of->record[(records - 1) % WI_RECORDS];
        uint64_t left = __atomic_load_n(&last->left, __ATOMIC_RELAXED), now = weft_clock_ticks();
        wi_record_describe(last, what, sizeof what);
        if (left)
            snprintf(text, capacity, "is outside any exchange; left %s %.1f s ago", what,
                     (double)(now - left) * weft_clock_tick_seconds());
        else
            snprintf(text, capacity, "is in %s", what);
    }
}

void wi_board_print(wi_board *board, int seat, FILE *out)
{
    wi_seat *of = wi_board_seat(board, seat);
    uint32_t records = wi_load(&of->records), shown = records < WI_RECORDS ? records : WI_RECORDS;
    uint64_t now = weft_clock_ticks();
    double tick = weft_clock_tick_seconds();
    for (uint32_t i = records - shown; i != records; i++) {
        const wi_record *record = &of->record[i % WI_RECORDS];
        wi_record copy = record_copy(record);
        char what[160];
        wi_record_describe(record, what, sizeof what);
        if (copy.entered == 0)
            fprintf(out, "rank %d: %s: acquired\n", of->world_rank, what);
        else if (copy.left == 0)
            fprintf(out, "rank %d: %s: entered %.6f s ago\n", of->world_rank, what,
                    (double)(now - copy.entered) * tick);
        else
            fprintf(out, "rank %d: %s: entered %.6f s ago, took %.6f s\n", of->world_rank, what,
                    (double)(now - copy.entered) * tick, (double)(copy.left - copy.entered) * tick);
    }
}
