// What the log's two writers share: ordinary lines and the crash handler's. Inside core/ only.
#ifndef WEFT_CORE_LOG_LINE_H
#define WEFT_CORE_LOG_LINE_H

#include "core/log.h"

// Makes the line in the chosen form and writes it. Async-signal-safe, so no stdio and no allocation.
void wi_log_write(weft_log_level level, const char *file, int line, const char *text);
int wi_log_fd(void);

#endif
