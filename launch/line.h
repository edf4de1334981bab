// The command line: which command it names, and its flags. Prints nothing and starts nothing. Inside launch/ only.
#ifndef WEFT_LAUNCH_LINE_H
#define WEFT_LAUNCH_LINE_H

#include <stdbool.h>
#include <stdio.h>

#include "launch/commands.h"

typedef struct {
    const wi_entry *entry; // NULL: no command was named
    void *options;         // the command's own, owned by the line
    wi_common common;
    weft_parsed parsed;
    char *const *rest; // of argv, behind "--" of a command that has `passes`; ends with NULL
    bool version;      // weft --version
    bool nothing;      // weft alone
} wi_line;

// Common flags may stand before the command as well as behind it. Fails with USAGE. A line that failed needs no free.
weft_status wi_line_read(int argc, char *const *argv, wi_line *out);
// What --device says, where the command has that flag; else NULL.
const char *wi_line_device(const wi_line *line);
void wi_line_free(wi_line *line);

// What the log should look like, as far as a line that may be wrong tells.
wi_common wi_line_peek(int argc, char *const *argv);

void wi_line_help(const wi_line *line, FILE *out); // of its command, or of the program
void wi_line_summary(FILE *out);                   // the commands, and how to go on

#endif
