// Command lines by table. A command declares its flags once; parsing, checks, help, suggestions and the WEFT_*
// environment follow from the table. Nothing here prints or exits: errors go through weft_fail, help into a FILE.
#ifndef WEFT_CORE_FLAGS_H
#define WEFT_CORE_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    WEFT_FLAG_BOOL,   // bool: --stats, --no-stats, --stats=off
    WEFT_FLAG_INT,    // int64_t within [min, max]
    WEFT_FLAG_BYTES,  // int64_t: 64k, 16M, 2GiB (powers of 1024), within [min, max]
    WEFT_FLAG_REAL,   // double within [min, max], finite
    WEFT_FLAG_STRING, // const char *, points into argv or the environment
    WEFT_FLAG_CHOICE, // int: the index in `choices`
    WEFT_FLAG_LIST    // weft_flag_list: given several times, a text each
} weft_flag_kind;

enum { WEFT_FLAG_LIST_MAX = 16 }; // on a command line, all its lists together

// In the order of the command line. Values of the environment (one) and of the defaults give way to it.
typedef struct {
    const char *at[WEFT_FLAG_LIST_MAX];
    int count;
    bool given; // on the command line
} weft_flag_list;

typedef struct {
    const char *name; // "max-tokens": given as --max-tokens V, --max-tokens=V, or by WEFT_MAX_TOKENS
    char letter;      // 'n' for -n V as well, or 0
    weft_flag_kind kind;
    size_t offset;       // offsetof the field in the options struct, whose present value is the default
    const char *value;   // "N" in the help; NULL for the kind's own
    const char *help;    // one line
    const char *choices; // CHOICE: "tp|mesh"
    double min, max;     // INT, BYTES, REAL; both 0 for no limit
} weft_flag;

typedef struct {
    const char *name;        // "bench comm"
    const char *summary;     // one line
    const char *usage;       // "weft bench comm [flags]"
    const char *about;       // a paragraph or NULL
    const char *examples;    // lines that work as they stand
    const weft_flag *flags;  // ends with a zero name
    const weft_flag *common; // flags that many commands share, or NULL
    int operands_min, operands_max;
    const char *const *operands; // what each operand is called in errors: {"MODEL", NULL}
} weft_command;

enum { WEFT_OPERANDS_MAX = 16 };

typedef struct {
    const char *operand[WEFT_OPERANDS_MAX];
    int count;
    bool help; // --help or -h was given; nothing else was checked
} weft_parsed;

// argv[0] is skipped. The environment is read first, the command line overrides it. `options` and `common` are the
// structs that the two tables describe; `common` may be NULL. Wrong input is USAGE, one line that names the mend
// ("unknown flag --hepl; did you mean --help?", "--threads 0: must be between 1 and 1024").
weft_status weft_flags_parse(const weft_command *command, int argc, const char *const *argv, void *options,
                             void *common, weft_parsed *out);

// A WEFT_* variable that no table names is an error as well: call once with every table of the program and the names
// that are read elsewhere ("WEFT_ISA", ...), each list ending with NULL.
weft_status weft_flags_check_environment(const weft_flag *const *tables, const char *const *also);

// Defaults are read from the options structs.
void weft_flags_help(const weft_command *command, const void *options, const void *common, FILE *out);

// The candidate closest to `word` (a transposition counts as one edit), or NULL when none is close. Ends with NULL.
const char *weft_flags_suggest(const char *word, const char *const *candidates);

bool weft_parse_int(const char *text, int64_t *out);   // the whole text, base 10
bool weft_parse_real(const char *text, double *out);   // the whole text, finite
bool weft_parse_bytes(const char *text, int64_t *out); // 512, 64k, 64KiB, 16M, 2G; powers of 1024
char *weft_format_bytes(int64_t bytes, char text[16]); // "64 KiB", "1.5 GiB"

#ifdef __cplusplus
}
#endif
#endif
