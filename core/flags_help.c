// Help from the tables.
#include <string.h>

#include "core/flags_table.h"

enum {
    HELP_WIDTH = 100,
    LEFT_MAX = 34, // a longer left part gets a line of its own
    LEFT_MIN = 16
};

// Words of `text` wrapped into the columns [indent, HELP_WIDTH), the first line beginning at column `at`. A newline in
// the text stays one.
static void print_wrapped(FILE *out, const char *text, int at, int indent)
{
    bool first = true;
    while (*text) {
        int length = (int)strcspn(text, " \n");
        if (!first && at + 1 + length > HELP_WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            at = indent, first = true;
        }
        at += fprintf(out, "%s%.*s", first ? "" : " ", length, text);
        first = false;
        text += length;
        if (*text == '\n') {
            fprintf(out, "\n%*s", text[1] ? indent : 0, "");
            at = indent, first = true;
        }
        if (*text) text++;
    }
    fputc('\n', out);
}

// "-n, --max-tokens N"
static int left_text(const weft_flag *flag, char *text, size_t capacity)
{
    static const char *const values[] = {[WEFT_FLAG_INT] = "N",
                                         [WEFT_FLAG_BYTES] = "BYTES",
                                         [WEFT_FLAG_REAL] = "X",
                                         [WEFT_FLAG_STRING] = "TEXT",
                                         [WEFT_FLAG_LIST] = "TEXT"};
    char letter[8] = "    ";
    if (flag->letter) snprintf(letter, sizeof letter, "-%c, ", flag->letter);
    if (flag->kind == WEFT_FLAG_BOOL) return snprintf(text, capacity, "%s--[no-]%s", letter, flag->name);
    const char *value = flag->value ? flag->value : flag->kind == WEFT_FLAG_CHOICE ? flag->choices : values[flag->kind];
    return snprintf(text, capacity, "%s--%s %s%s", letter, flag->name, value,
                    flag->kind == WEFT_FLAG_LIST ? " ..." : "");
}

static int left_width(const weft_flag *table, int width)
{
    char text[256];
    for (; table && table->name; table++) {
        int length = left_text(table, text, sizeof text);
        if (length > width && length <= LEFT_MAX) width = length;
    }
    return width;
}

static void print_row(FILE *out, const char *left, const char *right, int width)
{
    int indent = 2 + width + 2;
    fprintf(out, "  %-*s  ", width, left);
    if ((int)strlen(left) > width) fprintf(out, "\n%*s", indent, "");
    print_wrapped(out, right, indent, indent);
}

static void print_table(FILE *out, const weft_flag *table, const void *options, int width)
{
    for (; table && table->name; table++) {
        char left[256], right[1024], value[256];
        left_text(table, left, sizeof left);
        wi_flag_default(table, options, value, sizeof value);
        const char *help = table->help ? table->help : "";
        if (value[0])
            snprintf(right, sizeof right, "%s (default %s)", help, value);
        else
            snprintf(right, sizeof right, "%s", help);
        print_row(out, left, right, width);
    }
}

static void print_examples(FILE *out, const char *examples)
{
    fputs("\nExamples:\n", out);
    while (*examples) {
        size_t length = strcspn(examples, "\n");
        fprintf(out, "  %.*s\n", (int)length, examples);
        examples += length;
        if (*examples) examples++;
    }
}

void weft_flags_help(const weft_command *command, const void *options, const void *common, FILE *out)
{
    bool has_flags = command->flags && command->flags->name, has_common = command->common && command->common->name;
    int width = left_width(command->common, left_width(command->flags, LEFT_MIN));
    fprintf(out, "usage: %s\n", command->usage ? command->usage : "weft");
    if (command->summary) {
        fputc('\n', out);
        print_wrapped(out, command->summary, 0, 0);
    }
    if (command->about) {
        fputc('\n', out);
        print_wrapped(out, command->about, 0, 0);
    }
    fputs("\nFlags:\n", out);
    if (has_flags) print_table(out, command->flags, options, width);
    print_row(out, "-h, --help", "this text", width);
    if (has_common) {
        fputs("\nCommon flags:\n", out);
        print_table(out, command->common, common, width);
    }
    if (has_flags || has_common) {
        // One of those that every command has: a program's own, as --version, may be no business of a command's.
        const weft_flag *flag = has_common ? command->common : command->flags;
        char variable[WI_FLAG_NAME_MAX], text[2 * WI_FLAG_NAME_MAX + 128];
        snprintf(text, sizeof text,
                 "Each flag can be set in the environment too, as in %s for --%s; the command line wins.",
                 wi_flag_variable(flag, variable), flag->name);
        fputc('\n', out);
        print_wrapped(out, text, 0, 0);
    }
    if (command->examples) print_examples(out, command->examples);
}
