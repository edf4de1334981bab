// What a replica tells rank 0 behind a step, as bytes: how it stands, and what became of requests. Inside launch/ only.
#ifndef WEFT_LAUNCH_REPORT_H
#define WEFT_LAUNCH_REPORT_H

#include "engine/engine.h"
#include "launch/journal.h"
#include "launch/words.h"

typedef struct {
    weft_engine_state state;
    int64_t returns; // orders to return requests that were carried out
    int signal;      // that asked one of its ranks to stop
    bool ended;      // nothing comes after this
} wi_report_head;

typedef enum {
    WI_EVENT_TOKEN,
    WI_EVENT_END,
    WI_EVENT_BACK, // what has not ended of the request was taken from the engine
    WI_EVENT_NONE
} wi_event_kind;

typedef struct {
    wi_event_kind kind;
    int slot, index;
    wi_drawn drawn;     // TOKEN
    weft_finish finish; // END
    const char *error;  // END, FAILED: why
} wi_event;

void wi_report_begin(wi_words *report);
void wi_report_add(wi_words *report, const wi_event *event);
void wi_report_end(wi_words *report, const wi_report_head *head);
static inline bool wi_report_has_events(const wi_words *report) { return report->used > sizeof(wi_report_head); }

// Reading it. What is given belongs to the report.
void wi_report_read(wi_words_reader *reader, const unsigned char *report, size_t bytes, wi_report_head *head);
void wi_report_next(wi_words_reader *reader, wi_event *out);

#endif
