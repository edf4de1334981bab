// How far a batch is: a line that stays on a terminal, a line now and then in a log. Inside launch/ only.
#ifndef WEFT_LAUNCH_BATCH_SHOW_H
#define WEFT_LAUNCH_BATCH_SHOW_H

#include "launch/batch.h"

void wi_batch_show(wi_batch *batch);
void wi_batch_show_end(wi_batch *batch); // the terminal's line goes
char *wi_format_seconds(double seconds, char text[24]);

#endif
