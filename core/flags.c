// Command lines and the WEFT_* environment, read by table.
#include "core/flags.h"

#include <stdlib.h>
#include <string.h>

#include "core/flags_table.h"

extern char **environ;

typedef struct {
    const weft_command *command;
    int argc;
    const char *const *argv;
    void *options, *common;
    bool store; // false in the first walk, which only checks: wrong input leaves the options as they were
    int listed; // values of lists in this walk
    weft_parsed parsed;
} flag_reader;

// One argument that begins with '-', taken apart.
typedef struct {
    const weft_flag *flag;            // NULL when no table has it
    void *options;                    // the struct that the flag's table describes
    bool negated;                     // --no-NAME
    const char *value;                // what stands in the same argument, or NULL
    char shown[WI_FLAG_NAME_MAX + 4]; // "--threads", "-n"
} match;

static const weft_flag *find_name(const weft_flag *table, const char *name, size_t length)
{
    for (; table && table->name; table++)
        if (strncmp(table->name, name, length) == 0 && table->name[length] == 0) return table;
    return NULL;
}

static const weft_flag *find_letter(const weft_flag *table, char letter)
{
    for (; table && table->name; table++)
        if (table->letter == letter) return table;
    return NULL;
}

static void match_long(const flag_reader *reader, const char *arg, match *out)
{
    const char *name = arg + 2;
    size_t length = strcspn(name, "=");
    snprintf(out->shown, sizeof out->shown, "--%.*s", (int)(length < WI_FLAG_NAME_MAX ? length : WI_FLAG_NAME_MAX),
             name);
    if (name[length] == '=') out->value = name + length + 1;
    out->options = reader->options;
    for (int negated = 0; negated < 2 && !out->flag; negated++) {
        if (negated) {
            if (length <= 3 || strncmp(name, "no-", 3) != 0) return;
            name += 3, length -= 3;
        }
        out->options = reader->options;
        out->flag = find_name(reader->command->flags, name, length);
        if (!out->flag) {
            out->options = reader->common;
            out->flag = find_name(reader->command->common, name, length);
        }
        if (negated && out->flag && out->flag->kind != WEFT_FLAG_BOOL) out->flag = NULL;
        out->negated = negated;
    }
}

static void match_short(const flag_reader *reader, const char *arg, match *out)
{
    snprintf(out->shown, sizeof out->shown, "-%c", arg[1]);
    out->options = reader->options;
    out->flag = find_letter(reader->command->flags, arg[1]);
    if (!out->flag) {
        out->options = reader->common;
        out->flag = find_letter(reader->command->common, arg[1]);
    }
    if (!arg[2]) return;
    out->value = arg + 2;
    // "-prompt" is a slip for "--prompt" and not -p with "rompt"; a bool has no value to stick to it.
    size_t length = strcspn(arg + 1, "=");
    bool is_slip =
        find_name(reader->command->flags, arg + 1, length) || find_name(reader->command->common, arg + 1, length);
    if (out->flag && (is_slip || out->flag->kind == WEFT_FLAG_BOOL)) out->flag = NULL;
    if (!out->flag) snprintf(out->shown, sizeof out->shown, "%.*s", WI_FLAG_NAME_MAX, arg);
}

static bool is_flag_like(const char *arg) { return arg[0] == '-' && arg[1] && strcmp(arg, "--") != 0; }

static match match_argument(const flag_reader *reader, const char *arg)
{
    match found = {0};
    if (arg[1] == '-')
        match_long(reader, arg, &found);
    else
        match_short(reader, arg, &found);
    return found;
}

static bool is_help(const flag_reader *reader, const char *arg)
{
    if (strcmp(arg, "--help") == 0) return true;
    return strcmp(arg, "-h") == 0 && !match_argument(reader, arg).flag;
}

// The argument after argv[i], when it can be a value: "-3" and "- item" can, another flag of this command cannot.
static const char *value_after(const flag_reader *reader, int i)
{
    if (i + 1 >= reader->argc) return NULL;
    const char *next = reader->argv[i + 1];
    if (strcmp(next, "--") == 0) return NULL;
    if (is_flag_like(next) && (is_help(reader, next) || match_argument(reader, next).flag)) return NULL;
    return next;
}

static bool takes_value(const match *found) { return found->flag && found->flag->kind != WEFT_FLAG_BOOL; }

static bool wants_help(const flag_reader *reader)
{
    for (int i = 1; i < reader->argc && strcmp(reader->argv[i], "--") != 0; i++) {
        const char *arg = reader->argv[i];
        if (!is_flag_like(arg)) continue;
        if (is_help(reader, arg)) return true;
        match found = match_argument(reader, arg);
        if (takes_value(&found) && !found.value && value_after(reader, i)) i++;
    }
    return false;
}

static void offer_table(wi_closest *closest, const weft_flag *table, bool negated)
{
    for (; table && table->name; table++)
        if (!negated || table->kind == WEFT_FLAG_BOOL) wi_closest_offer(closest, table->name);
}

static const char *command_name(const weft_command *command)
{
    return command->name && command->name[0] ? command->name : "";
}

static weft_status unknown_flag(const flag_reader *reader, const match *found)
{
    char word[WI_FLAG_NAME_MAX + 4];
    const char *name = found->shown + strspn(found->shown, "-");
    snprintf(word, sizeof word, "%.*s", (int)strcspn(name, "="), name);
    wi_closest closest = {.word = word};
    wi_closest_offer(&closest, "help");
    offer_table(&closest, reader->command->flags, false);
    offer_table(&closest, reader->command->common, false);
    const char *no = "";
    if (!closest.best && strncmp(word, "no-", 3) == 0) {
        no = "no-";
        closest.word = word + 3;
        offer_table(&closest, reader->command->flags, true);
        offer_table(&closest, reader->command->common, true);
    }
    const char *command = command_name(reader->command), *gap = command[0] ? " " : "";
    if (!closest.best)
        return weft_fail(WEFT_USAGE, "unknown flag %s (weft%s%s --help shows all)", found->shown, gap, command);
    return weft_fail(WEFT_USAGE, "unknown flag %s; did you mean --%s%s? (weft%s%s --help shows all)", found->shown, no,
                     closest.best, gap, command);
}

static weft_status take_flag(flag_reader *reader, int *i)
{
    match found = match_argument(reader, reader->argv[*i]);
    if (!found.flag) return unknown_flag(reader, &found);
    char shown[WI_FLAG_NAME_MAX + 8];
    if (found.flag->kind == WEFT_FLAG_BOOL) {
        if (found.negated && found.value)
            return weft_fail(WEFT_USAGE, "%s takes no value; write --%s=on or --%s=off", found.shown, found.flag->name,
                             found.flag->name);
        const char *value = found.value ? found.value : found.negated ? "off" : "on";
        snprintf(shown, sizeof shown, "%s=", found.shown);
        return wi_flag_set(found.flag, shown, value, found.options, reader->store);
    }
    if (!found.value) {
        found.value = value_after(reader, *i);
        if (!found.value) {
            const char *next = *i + 1 < reader->argc ? reader->argv[*i + 1] : NULL;
            if (!next) return weft_fail(WEFT_USAGE, "%s needs a value and is the last argument", found.shown);
            return weft_fail(WEFT_USAGE,
                             "%s needs a value and %.60s is a flag; a value that looks so is written --%s=%.60s",
                             found.shown, next, found.flag->name, next);
        }
        ++*i;
    }
    snprintf(shown, sizeof shown, "%s ", found.shown);
    if (found.flag->kind == WEFT_FLAG_LIST && ++reader->listed > WEFT_FLAG_LIST_MAX)
        return weft_fail(WEFT_USAGE, "%s%.60s: %d are the most", shown, found.value, WEFT_FLAG_LIST_MAX);
    return wi_flag_set(found.flag, shown, found.value, found.options, reader->store);
}

static int operands_limit(const weft_command *command)
{
    return command->operands_max < WEFT_OPERANDS_MAX ? command->operands_max : WEFT_OPERANDS_MAX;
}

static weft_status take_operand(flag_reader *reader, const char *arg)
{
    const weft_command *command = reader->command;
    if (reader->parsed.count >= operands_limit(command)) {
        const char *usage = command->usage ? command->usage : "weft";
        if (command->operands_max == 0)
            return weft_fail(WEFT_USAGE, "unexpected argument '%.60s'; usage: %s", arg, usage);
        return weft_fail(WEFT_USAGE, "unexpected argument '%.60s' after %d; usage: %s", arg, reader->parsed.count,
                         usage);
    }
    reader->parsed.operand[reader->parsed.count++] = arg;
    return WEFT_OK;
}

static weft_status check_operands(const flag_reader *reader)
{
    const weft_command *command = reader->command;
    if (reader->parsed.count >= command->operands_min) return WEFT_OK;
    const char *missing = "an argument";
    for (int i = 0; command->operands && command->operands[i] && i <= reader->parsed.count; i++)
        missing = command->operands[i];
    return weft_fail(WEFT_USAGE, "%s is missing; usage: %s", missing, command->usage ? command->usage : "weft");
}

static weft_status walk_arguments(flag_reader *reader)
{
    bool operands_only = false;
    memset(&reader->parsed, 0, sizeof reader->parsed);
    reader->listed = 0;
    for (int i = 1; i < reader->argc; i++) {
        const char *arg = reader->argv[i];
        if (!operands_only && strcmp(arg, "--") == 0)
            operands_only = true;
        else if (!operands_only && is_flag_like(arg))
            WEFT_TRY(take_flag(reader, &i));
        else
            WEFT_TRY(take_operand(reader, arg));
    }
    return check_operands(reader);
}

// An empty variable counts as unset, as a shell's `WEFT_X= command` means it.
static weft_status read_environment(const weft_flag *table, void *options, bool store)
{
    for (; table && table->name; table++) {
        char name[WI_FLAG_NAME_MAX], shown[WI_FLAG_NAME_MAX + 1];
        const char *value = getenv(wi_flag_variable(table, name));
        if (!value || !value[0]) continue;
        snprintf(shown, sizeof shown, "%s=", name);
        WEFT_TRY(wi_flag_set(table, shown, value, options, store));
        if (table->kind == WEFT_FLAG_LIST && store)
            ((weft_flag_list *)(void *)((char *)options + table->offset))->given = false;
    }
    return WEFT_OK;
}

weft_status weft_flags_parse(const weft_command *command, int argc, const char *const *argv, void *options,
                             void *common, weft_parsed *out)
{
    flag_reader reader = {.command = command, .argc = argc, .argv = argv, .options = options, .common = common};
    if (wants_help(&reader)) {
        *out = (weft_parsed){.help = true};
        return WEFT_OK;
    }
    for (int pass = 0; pass < 2; pass++) {
        reader.store = pass == 1;
        WEFT_TRY(read_environment(command->flags, options, reader.store));
        WEFT_TRY(read_environment(command->common, common, reader.store));
        WEFT_TRY(walk_arguments(&reader));
    }
    *out = reader.parsed;
    return WEFT_OK;
}

char *wi_flag_variable(const weft_flag *flag, char text[WI_FLAG_NAME_MAX])
{
    snprintf(text, WI_FLAG_NAME_MAX, "WEFT_%s", flag->name);
    for (char *c = text; *c; c++) {
        if (*c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
        if (*c == '-') *c = '_';
    }
    return text;
}

// Looks `name` up among all variables that are read; the closest is left in `best` when there is none.
static bool is_known_variable(const char *name, const weft_flag *const *tables, const char *const *also, char best[])
{
    wi_closest closest = {.word = name};
    best[0] = 0;
    for (; also && *also; also++) {
        if (strcmp(*also, name) == 0) return true;
        wi_closest_offer(&closest, *also);
    }
    if (closest.best) snprintf(best, WI_FLAG_NAME_MAX, "%s", closest.best);
    for (; tables && *tables; tables++) {
        for (const weft_flag *flag = *tables; flag->name; flag++) {
            char variable[WI_FLAG_NAME_MAX];
            if (strcmp(wi_flag_variable(flag, variable), name) == 0) return true;
            closest.best = best[0] ? best : NULL;
            wi_closest_offer(&closest, variable);
            if (closest.best == variable) memcpy(best, variable, sizeof variable);
        }
    }
    return false;
}

weft_status weft_flags_check_environment(const weft_flag *const *tables, const char *const *also)
{
    for (char **entry = environ; entry && *entry; entry++) {
        if (strncmp(*entry, "WEFT_", 5) != 0) continue;
        char name[WI_FLAG_NAME_MAX], best[WI_FLAG_NAME_MAX];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(*entry, "="), *entry);
        if (is_known_variable(name, tables, also, best)) continue;
        if (best[0])
            return weft_fail(WEFT_USAGE, "%s is set in the environment and nothing reads it; did you mean %s?", name,
                             best);
        return weft_fail(WEFT_USAGE, "%s is set in the environment and nothing reads it; unset it", name);
    }
    return WEFT_OK;
}
