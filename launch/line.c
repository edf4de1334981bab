#include "launch/line.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    bool version;
} program_options;

static const weft_flag program_flags[] = {{.name = "version",
                                           .kind = WEFT_FLAG_BOOL,
                                           .offset = offsetof(program_options, version),
                                           .help = "the version and the build"},
                                          {0}};

static const weft_command program = {
    .name = "",
    .summary = "Runs large language models on the ranks of mpirun, of srun, or of weft itself.",
    .usage = "weft [-n N] COMMAND [flags]",
    .examples = "weft run demo -p 'She was' --temperature 0.8\nweft -n 2 doctor\nmpirun -np 2 weft doctor\nweft info",
    .flags = program_flags,
    .common = wi_common_flags,
};

static const weft_flag *find(const weft_flag *table, const char *arg, size_t length)
{
    for (; table->name; table++) {
        if (arg[1] == '-' && strlen(table->name) == length - 2 && memcmp(table->name, arg + 2, length - 2) == 0)
            return table;
        if (arg[1] != '-' && length == 2 && table->letter == arg[1]) return table;
    }
    return NULL;
}

// Where the command's name stands: behind the common flags and their values. `argc` when there is none, or when a flag
// comes first that only a command could know.
static int find_command(int argc, char *const *argv)
{
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (arg[0] != '-' || !arg[1]) return i;
        const weft_flag *flag = find(wi_common_flags, arg, strcspn(arg, "="));
        if (!flag && arg[1] != '-') { // "-n4"
            flag = find(wi_common_flags, arg, 2);
            if (!flag) return argc;
        } else if (!flag && strncmp(arg, "--no-", 5) != 0 && !find(program_flags, arg, strlen(arg))) {
            return argc;
        } else if (flag && flag->kind != WEFT_FLAG_BOOL && !arg[strcspn(arg, "=")]) {
            i++;
        }
    }
    return argc;
}

static int words_of(const char *name)
{
    int words = 1;
    for (; *name; name++) words += *name == ' ';
    return words;
}

// Do the arguments from argv[at] begin with the words of `name`?
static bool names(const char *name, int argc, char *const *argv, int at)
{
    for (; at < argc; at++) {
        size_t length = strcspn(name, " ");
        if (strlen(argv[at]) != length || memcmp(argv[at], name, length) != 0) return false;
        if (!name[length]) return true;
        name += length + 1;
    }
    return false;
}

// "weft bench comm, weft bench kernels" when `word` is the first half of some commands, else "".
static void list_second_words(const char *word, char *text, size_t capacity)
{
    text[0] = 0;
    for (int i = 0; wi_entries[i]; i++) {
        const char *name = wi_entries[i]->command->name;
        size_t length = strcspn(name, " "), used = strlen(text);
        if (!name[length] || strlen(word) != length || memcmp(word, name, length) != 0) continue;
        snprintf(text + used, capacity - used, "%sweft %s", used ? ", " : "", name);
    }
}

static weft_status unknown_command(int argc, char *const *argv, int at)
{
    enum { SHOWN_MAX = 40, CANDIDATES_MAX = 64 };
    const char *candidates[CANDIDATES_MAX];
    char one[SHOWN_MAX + 1], two[2 * SHOWN_MAX + 2] = "", parts[256];
    int count = 0;
    for (int i = 0; wi_entries[i] && count < CANDIDATES_MAX - 1; i++)
        candidates[count++] = wi_entries[i]->command->name;
    candidates[count] = NULL;
    snprintf(one, sizeof one, "%s", argv[at]);
    if (at + 1 < argc) snprintf(two, sizeof two, "%s %.*s", one, SHOWN_MAX, argv[at + 1]);
    list_second_words(argv[at], parts, sizeof parts);
    const char *best = two[0] ? weft_flags_suggest(two, candidates) : NULL, *given = two;
    if (!best && parts[0]) return weft_fail(WEFT_USAGE, "'weft %s' is half a command; there is: %s", one, parts);
    if (!best) {
        given = one;
        best = weft_flags_suggest(one, candidates);
    }
    if (best)
        return weft_fail(WEFT_USAGE, "unknown command '%s'; did you mean weft %s? (weft --help shows all)", given,
                         best);
    return weft_fail(WEFT_USAGE, "unknown command '%s' (weft --help shows all)", given);
}

static weft_status choose(int argc, char *const *argv, int at, const wi_entry **out)
{
    *out = NULL;
    if (at == argc) return WEFT_OK;
    for (int i = 0; wi_entries[i]; i++)
        if (names(wi_entries[i]->command->name, argc, argv, at)) *out = wi_entries[i];
    return *out ? WEFT_OK : unknown_command(argc, argv, at);
}

// The arguments without the command's name.
static const char **arguments(int argc, char *const *argv, int at, int words, int *count)
{
    const char **kept = calloc((size_t)argc + 1, sizeof *kept);
    *count = 0;
    for (int i = 0; kept && i < argc; i++)
        if (i < at || i >= at + words) kept[(*count)++] = argv[i];
    return kept;
}

weft_status wi_line_read(int argc, char *const *argv, wi_line *out)
{
    wi_line line = {.common = wi_common_defaults};
    program_options options = {0};
    const char **kept = NULL;
    int at = find_command(argc, argv), count = 0;
    weft_status status;
    WEFT_TRY_GOTO(choose(argc, argv, at, &line.entry));
    line.rest = argv + argc;
    if (line.entry && line.entry->passes)
        for (int i = argc - 1; i > at; i--)
            if (strcmp(argv[i], "--") == 0) line.rest = argv + i + 1, argc = i;
    const weft_command *command = line.entry ? line.entry->command : &program;
    kept = arguments(argc, argv, at, line.entry ? words_of(command->name) : 0, &count);
    if (line.entry) {
        line.options = malloc(line.entry->bytes ? line.entry->bytes : 1);
        if (line.options && line.entry->bytes) memcpy(line.options, line.entry->defaults, line.entry->bytes);
    }
    if (!kept || (line.entry && !line.options)) {
        status = weft_fail(WEFT_NO_MEMORY, "no memory for the command line");
        goto fail;
    }
    WEFT_TRY_GOTO(
        weft_flags_parse(command, count, kept, line.entry ? line.options : &options, &line.common, &line.parsed));
    line.version = options.version;
    line.nothing = !line.entry && !line.version && !line.parsed.help;
    if (line.nothing && argc > 1) {
        status = weft_fail(WEFT_USAGE, "which command? (weft --help shows all)");
        goto fail;
    }
    free(kept);
    *out = line;
    return WEFT_OK;
fail:
    free(kept);
    wi_line_free(&line);
    return status;
}

const char *wi_line_device(const wi_line *line)
{
    const char *value = NULL;
    const weft_flag *flag = line->entry ? line->entry->command->flags : NULL;
    for (; flag && flag->name; flag++)
        if (flag->kind == WEFT_FLAG_STRING && strcmp(flag->name, "device") == 0)
            memcpy(&value, (const char *)line->options + flag->offset, sizeof value);
    return value;
}

void wi_line_free(wi_line *line)
{
    free(line->options);
    line->options = NULL;
}

wi_common wi_line_peek(int argc, char *const *argv)
{
    const char *const none[] = {"weft", NULL};
    program_options options = {0};
    weft_parsed parsed;
    wi_common common = wi_common_defaults;
    wi_line line;
    if (wi_line_read(argc, argv, &line) == WEFT_OK) {
        common = line.common;
        wi_line_free(&line);
        return common;
    }
    // A wrong line: what the environment says, unless that is what is wrong, and a word on the form of the log.
    if (weft_flags_parse(&program, 1, none, &options, &common, &parsed) < 0) common = wi_common_defaults;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--log-json") == 0) common.log_json = true;
    weft_error_clear();
    return common;
}

static void list_commands(char *text, size_t capacity)
{
    size_t used = (size_t)snprintf(text, capacity, "Commands:");
    for (int i = 0; wi_entries[i] && used < capacity; i++) {
        const weft_command *command = wi_entries[i]->command;
        used += (size_t)snprintf(text + used, capacity - used, "\n  %-14s %s", command->name, command->summary);
    }
    if (used < capacity)
        snprintf(text + used, capacity - used, "\n\nweft COMMAND --help shows a command's flags, and examples.");
}

void wi_line_help(const wi_line *line, FILE *out)
{
    program_options options = {0};
    char about[4096];
    if (line->entry) {
        weft_flags_help(line->entry->command, line->entry->defaults, &wi_common_defaults, out);
        return;
    }
    weft_command all = program;
    list_commands(about, sizeof about);
    all.about = about;
    weft_flags_help(&all, &options, &wi_common_defaults, out);
}

void wi_line_summary(FILE *out)
{
    char text[4096];
    list_commands(text, sizeof text);
    fprintf(out, "usage: %s\n\n%s\n", program.usage, text);
}
