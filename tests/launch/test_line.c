// Which command a line names, and where its flags may stand. With a table of commands of its own.
#include "launch/line.h"
#include "tests/check.h"

typedef struct {
    int64_t size;
} options;

static const weft_flag flags[] = {
    {.name = "size", .kind = WEFT_FLAG_INT, .offset = offsetof(options, size), .help = "how large", .min = 1, .max = 9},
    {0}};
static const options defaults = {.size = 4};
static const weft_command run_command = {.name = "run",
                                         .summary = "runs",
                                         .usage = "weft run MODEL",
                                         .flags = flags,
                                         .common = wi_common_flags,
                                         .operands_max = 2};
static const weft_command bench_a = {.name = "bench one", .summary = "first", .common = wi_common_flags};
static const weft_command bench_b = {.name = "bench two", .summary = "second", .common = wi_common_flags};
static const wi_entry run_entry = {.command = &run_command, .defaults = &defaults, .bytes = sizeof defaults};
static const wi_entry bench_a_entry = {.command = &bench_a}, bench_b_entry = {.command = &bench_b};
const wi_entry *const wi_entries[] = {&run_entry, &bench_a_entry, &bench_b_entry, NULL};

const weft_flag wi_common_flags[] = {
    {.name = "ranks", .letter = 'n', .kind = WEFT_FLAG_INT, .offset = offsetof(wi_common, ranks), .max = 64},
    {.name = "log-json", .kind = WEFT_FLAG_BOOL, .offset = offsetof(wi_common, log_json)},
    {.name = "algorithms", .kind = WEFT_FLAG_STRING, .offset = offsetof(wi_common, algorithms)},
    {0}};
const wi_common wi_common_defaults = {.deadline = 60};

enum { ARGS_MAX = 12 };

static char words[256], *argv_of_words[ARGS_MAX + 1]; // options and operands point into them

static int split(const char *text)
{
    int argc = 0;
    char *rest = words;
    snprintf(words, sizeof words, "weft %s", text);
    for (char *word; (word = strtok_r(rest, " ", &rest)) != NULL && argc < ARGS_MAX;) argv_of_words[argc++] = word;
    return argc;
}

static weft_status read_words(const char *text, wi_line *line)
{
    int argc = split(text);
    return wi_line_read(argc, argv_of_words, line);
}

static void test_places_of_flags(void)
{
    static const char *const lines[] = {"-n 3 run model --size 7",      "run -n 3 --size 7 model",
                                        "--ranks=3 run --size=7 model", "-n3 run model --size 7",
                                        "run model --size 7 --ranks 3", "--no-log-json -n 3 run model --size 7"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        wi_line line;
        CHECK_OK(read_words(lines[i], &line));
        CHECK(line.entry == &run_entry);
        CHECK_INT(line.common.ranks, 3);
        CHECK_INT(((const options *)line.options)->size, 7);
        CHECK_INT(line.parsed.count, 1);
        CHECK_TEXT(line.parsed.operand[0], "model");
        CHECK(!line.nothing && !line.version && !line.parsed.help);
        wi_line_free(&line);
    }
    CHECK_INT(defaults.size, 4);
}

static void test_commands(void)
{
    wi_line line;
    CHECK_OK(read_words("bench two", &line));
    CHECK(line.entry == &bench_b_entry);
    wi_line_free(&line);
    // A value that is called like a command is a value; an operand may be called so, too.
    CHECK_OK(read_words("--algorithms run bench one", &line));
    CHECK(line.entry == &bench_a_entry);
    CHECK_TEXT(line.common.algorithms, "run");
    wi_line_free(&line);
    CHECK_OK(read_words("run run bench", &line));
    CHECK_TEXT(line.parsed.operand[1], "bench");
    wi_line_free(&line);
}

static void test_without_command(void)
{
    wi_line line;
    CHECK_OK(read_words("", &line));
    CHECK(line.nothing && !line.entry);
    wi_line_free(&line);
    CHECK_OK(read_words("--version", &line));
    CHECK(line.version && !line.nothing);
    wi_line_free(&line);
    CHECK_OK(read_words("-h", &line));
    CHECK(line.parsed.help && !line.entry);
    wi_line_free(&line);
    CHECK_OK(read_words("run --nonsense --help", &line));
    CHECK(line.parsed.help && line.entry == &run_entry);
    wi_line_free(&line);
}

static void test_mistakes(void)
{
    wi_line line;
    CHECK_FAILS(read_words("rnu", &line), WEFT_USAGE, "did you mean weft run?");
    CHECK_FAILS(read_words("bench", &line), WEFT_USAGE, "weft bench one, weft bench two");
    CHECK_FAILS(read_words("bench thre", &line), WEFT_USAGE, "half a command");
    CHECK_FAILS(read_words("bench on --size 3", &line), WEFT_USAGE, "did you mean weft bench one?");
    CHECK_FAILS(read_words("entirely different", &line), WEFT_USAGE, "unknown command 'entirely' (weft --help");
    CHECK_FAILS(read_words("--sizee 3 run", &line), WEFT_USAGE, "unknown flag --sizee");
    CHECK_FAILS(read_words("-n", &line), WEFT_USAGE, "-n needs a value");
    CHECK_FAILS(read_words("-n 3", &line), WEFT_USAGE, "which command?");
    CHECK_FAILS(read_words("-n run model", &line), WEFT_USAGE, "unknown command 'model'");
    CHECK_FAILS(read_words("run --size 12", &line), WEFT_USAGE, "--size 12");
    CHECK_FAILS(read_words("run a b c", &line), WEFT_USAGE, "'c'");
}

static void test_peek(void)
{
    int argc = split("run -n 5 --log-json");
    wi_common common = wi_line_peek(argc, argv_of_words);
    CHECK(common.log_json);
    CHECK_INT(common.ranks, 5);
    argc = split("run -n 5 --sise --log-json");
    common = wi_line_peek(argc, argv_of_words);
    CHECK(common.log_json);
    CHECK_INT(common.ranks, 0);
    CHECK_REAL(common.deadline, 60);
    CHECK_TEXT(weft_error_text(), "");
}

int main(void)
{
    clearenv();
    test_places_of_flags();
    test_commands();
    test_without_command();
    test_mistakes();
    test_peek();
    return 0;
}
