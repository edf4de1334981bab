// How far a batch is: a line that stays on a terminal, a line now and then in a log; and what it came to.
// Inside launch/ only.
#ifndef WEFT_LAUNCH_BATCH_SHOW_H
#define WEFT_LAUNCH_BATCH_SHOW_H

#include "launch/batch.h"
#include "launch/stats.h"

void wi_batch_show(wi_batch *batch);
void wi_batch_show_end(wi_batch *batch); // the terminal's line goes

// Rank 0, of a run that has ended with `ended`: figures and `stats` to stderr; with `digest` its line; the record to
// `json`, "-": stdout, NULL: none. Returns how the command ends: FAILED where all went well but for some requests.
weft_status wi_batch_tell(const wi_batch *batch, const wi_stats *stats, const char *json, bool digest,
                          weft_status ended);

#endif
