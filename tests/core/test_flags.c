// Command lines: every kind, every way to write one, the environment, errors that name the mend, and help.
#include "core/flags.h"

#include <math.h>

#include "tests/check.h"

typedef struct {
    bool stats, special;
    int64_t max_tokens, any;
    int64_t cache;
    double temperature;
    const char *prompt;
    int dense;
    weft_flag_list stops;
} options;

typedef struct {
    int64_t threads;
    const char *json;
    bool quiet;
} common;

static const options options_default = {.special = true, .max_tokens = 128, .cache = 64 << 20, .temperature = 0.7};
static const common common_default = {.threads = 1, .json = NULL};

static const weft_flag own_flags[] = {
    {.name = "stats",
     .letter = 's',
     .kind = WEFT_FLAG_BOOL,
     .offset = offsetof(options, stats),
     .help = "print figures"},
    {.name = "special", .kind = WEFT_FLAG_BOOL, .offset = offsetof(options, special), .help = "keep special tokens"},
    {.name = "max-tokens",
     .letter = 'n',
     .kind = WEFT_FLAG_INT,
     .offset = offsetof(options, max_tokens),
     .help = "stop after N",
     .min = 1,
     .max = 1024},
    {.name = "any", .letter = 'a', .kind = WEFT_FLAG_INT, .offset = offsetof(options, any), .help = "any whole number"},
    {.name = "cache-bytes",
     .kind = WEFT_FLAG_BYTES,
     .offset = offsetof(options, cache),
     .min = 4096,
     .max = INFINITY,
     .help = "memory of the cache; a long text that has to be wrapped because it does not fit into a hundred columns"},
    {.name = "temperature",
     .letter = 't',
     .kind = WEFT_FLAG_REAL,
     .offset = offsetof(options, temperature),
     .max = 2,
     .help = "0 is greedy",
     .value = "DEGREES"},
    {.name = "prompt",
     .letter = 'p',
     .kind = WEFT_FLAG_STRING,
     .offset = offsetof(options, prompt),
     .help = "the text"},
    {.name = "dense",
     .kind = WEFT_FLAG_CHOICE,
     .offset = offsetof(options, dense),
     .choices = "tp|mesh",
     .help = "the group"},
    {.name = "stop", .kind = WEFT_FLAG_LIST, .offset = offsetof(options, stops), .help = "end before it"},
    {0}};

static const weft_flag common_flags[] = {
    {.name = "threads",
     .kind = WEFT_FLAG_INT,
     .offset = offsetof(common, threads),
     .min = 1,
     .max = INFINITY,
     .help = "threads"},
    {.name = "json", .kind = WEFT_FLAG_STRING, .offset = offsetof(common, json), .value = "FILE", .help = "write JSON"},
    {.name = "quiet", .letter = 'q', .kind = WEFT_FLAG_BOOL, .offset = offsetof(common, quiet), .help = "say less"},
    {0}};

static const weft_command command = {.name = "run",
                                     .summary = "one prompt, streamed to stdout",
                                     .usage = "weft run MODEL [flags]",
                                     .about = "Reads a checkpoint and goes on from the prompt.\nTwo lines.",
                                     .examples = "weft run demo -p Hello\nweft -n 2 run demo -p Hello",
                                     .flags = own_flags,
                                     .common = common_flags,
                                     .operands_min = 1,
                                     .operands_max = 2,
                                     .operands = (const char *const[]){"MODEL", "FILE", NULL}};

static options o;
static common c;
static weft_parsed parsed;

static weft_status parse_list(const char *const *argv)
{
    int argc = 0;
    while (argv[argc]) argc++;
    o = options_default;
    c = common_default;
    return weft_flags_parse(&command, argc, argv, &o, &c, &parsed);
}

#define PARSE(...) parse_list((const char *const[]){"run", __VA_ARGS__, NULL})
#define BAD(text, ...) CHECK_FAILS(PARSE(__VA_ARGS__), WEFT_USAGE, text)
// The whole line.
#define BAD_IS(text, ...)                                                                                              \
    do {                                                                                                               \
        CHECK_FAILS(PARSE(__VA_ARGS__), WEFT_USAGE, "");                                                               \
        CHECK_TEXT(weft_error_text(), text);                                                                           \
    } while (0)

static void test_lists(void)
{
    CHECK_OK(PARSE("demo"));
    CHECK_INT(o.stops.count, 0);
    CHECK_OK(PARSE("demo", "--stop", "a,b", "--max-tokens", "7", "--stop=", "--stop", "--- x"));
    CHECK_INT(o.stops.count, 3);
    CHECK_TEXT(o.stops.at[0], "a,b");
    CHECK_TEXT(o.stops.at[1], "");
    CHECK_TEXT(o.stops.at[2], "--- x");
    setenv("WEFT_STOP", "of the environment", 1);
    CHECK_OK(PARSE("demo"));
    CHECK_INT(o.stops.count, 1);
    CHECK_TEXT(o.stops.at[0], "of the environment");
    CHECK_OK(PARSE("demo", "--stop", "x", "--stop", "y"));
    CHECK_INT(o.stops.count, 2);
    CHECK_TEXT(o.stops.at[0], "x");
    unsetenv("WEFT_STOP");
    const char *many[2 * WEFT_FLAG_LIST_MAX + 5] = {"run", "demo"};
    for (int i = 0; i < WEFT_FLAG_LIST_MAX; i++) many[2 + 2 * i] = "--stop", many[3 + 2 * i] = "x";
    CHECK_OK(parse_list(many));
    CHECK_INT(o.stops.count, WEFT_FLAG_LIST_MAX);
    many[2 + 2 * WEFT_FLAG_LIST_MAX] = "--stop", many[3 + 2 * WEFT_FLAG_LIST_MAX] = "y";
    CHECK_FAILS(parse_list(many), WEFT_USAGE, "--stop y: 16 are the most");
    CHECK_INT(o.stops.count, 0);
    BAD("--no-stop", "demo", "--no-stop");
}

static void test_spellings(void)
{
    CHECK_OK(PARSE("demo"));
    CHECK_INT(parsed.count, 1);
    CHECK_TEXT(parsed.operand[0], "demo");
    CHECK_INT(o.max_tokens, 128);
    CHECK(!parsed.help);

    CHECK_OK(PARSE("--max-tokens", "7", "demo", "--threads=3", "out"));
    CHECK_INT(o.max_tokens, 7);
    CHECK_INT(c.threads, 3);
    CHECK_INT(parsed.count, 2);
    CHECK_TEXT(parsed.operand[1], "out");
    CHECK_OK(PARSE("demo", "-n", "8", "-n9"));
    CHECK_INT(o.max_tokens, 9);
    CHECK_OK(PARSE("demo", "-n10", "--max-tokens=11"));
    CHECK_INT(o.max_tokens, 11);

    CHECK_OK(PARSE("demo", "--any", "-3"));
    CHECK_INT(o.any, -3);
    CHECK_OK(PARSE("demo", "-a-9223372036854775808"));
    CHECK(o.any == INT64_MIN);
    CHECK_OK(PARSE("demo", "-p", "- item"));
    CHECK_TEXT(o.prompt, "- item");
    CHECK_OK(PARSE("demo", "--prompt=--stats"));
    CHECK_TEXT(o.prompt, "--stats");
    CHECK_OK(PARSE("demo", "--prompt="));
    CHECK_TEXT(o.prompt, "");
    CHECK_OK(PARSE("demo", "-p", "-"));
    CHECK_TEXT(o.prompt, "-");
    CHECK_OK(PARSE("--", "--stats"));
    CHECK_TEXT(parsed.operand[0], "--stats");
    CHECK(!o.stats);
    CHECK_OK(PARSE("-"));
    CHECK_TEXT(parsed.operand[0], "-");
}

static void test_kinds(void)
{
    CHECK_OK(PARSE("demo", "--stats", "--no-special", "-q"));
    CHECK(o.stats && !o.special && c.quiet);
    CHECK_OK(PARSE("demo", "-s", "--stats=off", "--special=no"));
    CHECK(!o.stats && !o.special);
    CHECK_OK(PARSE("--stats", "demo")); // a bool takes no word after it
    CHECK_TEXT(parsed.operand[0], "demo");
    CHECK_OK(PARSE("demo", "--cache-bytes", "64k"));
    CHECK_INT(o.cache, 65536);
    CHECK_OK(PARSE("demo", "--temperature", "1e-1"));
    CHECK_REAL(o.temperature, 0.1);
    CHECK_OK(PARSE("demo", "--dense", "mesh"));
    CHECK_INT(o.dense, 1);
}

static void test_errors(void)
{
    BAD_IS("unknown flag --hepl; did you mean --help? (weft run --help shows all)", "--hepl");
    BAD_IS("unknown flag --max_tokens; did you mean --max-tokens? (weft run --help shows all)", "demo",
           "--max_tokens=4");
    BAD_IS("unknown flag --no-spezial; did you mean --no-special? (weft run --help shows all)", "demo", "--no-spezial");
    BAD_IS("unknown flag -threads; did you mean --threads? (weft run --help shows all)", "demo", "-threads", "4");
    BAD_IS("unknown flag -prompt; did you mean --prompt? (weft run --help shows all)", "demo", "-prompt", "4");
    BAD_IS("unknown flag --qqqqqqq (weft run --help shows all)", "demo", "--qqqqqqq");
    BAD_IS("unknown flag -z (weft run --help shows all)", "demo", "-z");
    BAD_IS("unknown flag -sq (weft run --help shows all)", "demo", "-sq");
    BAD("unknown flag --no-max-tokens", "demo", "--no-max-tokens");
    BAD_IS("--max-tokens 0: must be between 1 and 1024", "demo", "--max-tokens", "0");
    BAD_IS("-n 1025: must be between 1 and 1024", "demo", "-n1025");
    BAD_IS("--max-tokens 4.5: must be a whole number between 1 and 1024", "demo", "--max-tokens=4.5");
    BAD_IS("--threads 0: must be at least 1", "demo", "--threads=0");
    BAD_IS("--threads x: must be a whole number of at least 1", "demo", "--threads=x");
    BAD_IS("--any 9223372036854775808: must be a whole number", "demo", "--any=9223372036854775808");
    BAD("--any : must be a whole number", "demo", "--any=");
    BAD_IS("--cache-bytes 1k: must be at least 4 KiB", "demo", "--cache-bytes=1k");
    BAD("--cache-bytes 64KB: must be a number of bytes such as 4096, 64k, 16M or 2GiB, of at least 4 KiB", "demo",
        "--cache-bytes=64KB");
    BAD_IS("--temperature nan: must be a number between 0 and 2", "demo", "--temperature=nan");
    BAD_IS("-t -0.5: must be between 0 and 2", "demo", "-t", "-0.5");
    BAD_IS("--dense mseh: must be one of tp, mesh; did you mean mesh?", "demo", "--dense", "mseh");
    BAD_IS("--dense x: must be one of tp, mesh", "demo", "--dense", "x");
    BAD_IS("--stats=maybe: must be on or off", "demo", "--stats=maybe");
    BAD("--no-stats takes no value; write --stats=on", "demo", "--no-stats=on");
    BAD_IS("--json needs a value and is the last argument", "demo", "--json");
    BAD_IS("--json needs a value and --stats is a flag; a value that looks so is written --json=--stats", "demo",
           "--json", "--stats");
    BAD_IS("MODEL is missing; usage: weft run MODEL [flags]", "--stats");
    BAD_IS("unexpected argument 'c' after 2; usage: weft run MODEL [flags]", "a", "b", "c");
    // Wrong input changes nothing.
    parsed.count = 77;
    BAD("--threads 0", "demo", "-n", "5", "--threads", "0");
    CHECK_INT(o.max_tokens, 128);
    CHECK_INT(parsed.count, 77);
}

static void test_help_flag(void)
{
    CHECK_OK(PARSE("--unknown", "--help"));
    CHECK(parsed.help);
    CHECK_OK(PARSE("-h"));
    CHECK(parsed.help);
    CHECK_OK(PARSE("--json", "--help"));
    CHECK(parsed.help);
    CHECK_OK(PARSE("--prompt=--help", "demo"));
    CHECK(!parsed.help);
    CHECK_OK(PARSE("--", "--help"));
    CHECK(!parsed.help);
}

static void test_environment(void)
{
    setenv("WEFT_MAX_TOKENS", "5", 1);
    setenv("WEFT_STATS", "on", 1);
    setenv("WEFT_THREADS", "", 1);
    CHECK_OK(PARSE("demo"));
    CHECK_INT(o.max_tokens, 5);
    CHECK(o.stats);
    CHECK_INT(c.threads, 1);
    CHECK_OK(PARSE("demo", "-n6", "--no-stats"));
    CHECK_INT(o.max_tokens, 6);
    CHECK(!o.stats);
    setenv("WEFT_THREADS", "many", 1);
    BAD_IS("WEFT_THREADS=many: must be a whole number of at least 1", "demo");
    unsetenv("WEFT_THREADS");

    const weft_flag *const tables[] = {own_flags, common_flags, NULL};
    const char *const also[] = {"WEFT_ISA", NULL};
    CHECK_OK(weft_flags_check_environment(tables, also));
    setenv("WEFT_ISA", "avx2", 1);
    CHECK_OK(weft_flags_check_environment(tables, also));
    setenv("WEFT_THREDS", "2", 1);
    CHECK_FAILS(weft_flags_check_environment(tables, also), WEFT_USAGE, "WEFT_THREDS is set");
    CHECK_HAS(weft_error_text(), "did you mean WEFT_THREADS?");
    unsetenv("WEFT_THREDS");
    setenv("WEFT_ISAA", "2", 1);
    CHECK_FAILS(weft_flags_check_environment(tables, also), WEFT_USAGE, "did you mean WEFT_ISA?");
    unsetenv("WEFT_ISAA");
    setenv("WEFT_ENTIRELY_OTHER", "2", 1);
    CHECK_FAILS(weft_flags_check_environment(tables, also), WEFT_USAGE, "WEFT_ENTIRELY_OTHER is set");
    CHECK_HAS(weft_error_text(), "unset it");
    unsetenv("WEFT_ENTIRELY_OTHER");
    unsetenv("WEFT_MAX_TOKENS");
    unsetenv("WEFT_STATS");
    unsetenv("WEFT_ISA");
}

static void test_help_text(void)
{
    static const char expected[] =
        "usage: weft run MODEL [flags]\n"
        "\n"
        "one prompt, streamed to stdout\n"
        "\n"
        "Reads a checkpoint and goes on from the prompt.\n"
        "Two lines.\n"
        "\n"
        "Flags:\n"
        "  -s, --[no-]stats           print figures (default off)\n"
        "      --[no-]special         keep special tokens (default on)\n"
        "  -n, --max-tokens N         stop after N (default 128)\n"
        "  -a, --any N                any whole number (default 0)\n"
        "      --cache-bytes BYTES    memory of the cache; a long text that has to be wrapped because it does\n"
        "                             not fit into a hundred columns (default 64 MiB)\n"
        "  -t, --temperature DEGREES  0 is greedy (default 0.7)\n"
        "  -p, --prompt TEXT          the text\n"
        "      --dense tp|mesh        the group (default tp)\n"
        "      --stop TEXT ...        end before it\n"
        "  -h, --help                 this text\n"
        "\n"
        "Common flags:\n"
        "      --threads N            threads (default 1)\n"
        "      --json FILE            write JSON\n"
        "  -q, --[no-]quiet           say less (default off)\n"
        "\n"
        "Each flag can be set in the environment too, as in WEFT_THREADS for --threads; the command line\n"
        "wins.\n"
        "\n"
        "Examples:\n"
        "  weft run demo -p Hello\n"
        "  weft -n 2 run demo -p Hello\n";
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    o = options_default;
    c = common_default;
    weft_flags_help(&command, &o, &c, out);
    fclose(out);
    CHECK_TEXT(text, expected);
    free(text);
}

static void test_suggest(void)
{
    const char *const commands[] = {"doctor", "bench", "info", "tokenize", NULL};
    CHECK_TEXT(weft_flags_suggest("docotr", commands), "doctor");
    CHECK_TEXT(weft_flags_suggest("bnech", commands), "bench");
    CHECK_TEXT(weft_flags_suggest("tokenise", commands), "tokenize");
    CHECK(!weft_flags_suggest("x", commands));
    CHECK(!weft_flags_suggest("run", commands));
    CHECK(!weft_flags_suggest("", commands));
    char longer[200];
    memset(longer, 'a', sizeof longer);
    longer[sizeof longer - 1] = 0;
    CHECK(!weft_flags_suggest(longer, commands));
}

static void test_numbers(void)
{
    int64_t n = 7;
    double x = 7;
    CHECK(weft_parse_int("9223372036854775807", &n) && n == INT64_MAX);
    CHECK(weft_parse_int("-0", &n) && n == 0);
    n = 7;
    const char *const bad_ints[] = {
        "", "-", " 1", "1 ", "+1", "0x10", "1e3", "9223372036854775808", "-9223372036854775809"};
    for (size_t i = 0; i < sizeof bad_ints / sizeof bad_ints[0]; i++) CHECK(!weft_parse_int(bad_ints[i], &n) && n == 7);
    CHECK(weft_parse_real("-1.5e3", &x) && x == -1500);
    CHECK(weft_parse_real(".5", &x) && x == 0.5);
    x = 7;
    const char *const bad_reals[] = {"", ".", "e5", "1e", "inf", "nan", "0x1p3", " 1", "1 ", "1,5", "1e400", "--1"};
    for (size_t i = 0; i < sizeof bad_reals / sizeof bad_reals[0]; i++)
        CHECK(!weft_parse_real(bad_reals[i], &x) && x == 7);
    static const struct {
        const char *text;
        int64_t bytes;
    } sizes[] = {{"512", 512},      {"512B", 512},     {"64k", 65536},      {"64K", 65536},    {"64KiB", 65536},
                 {"16M", 16 << 20}, {"2G", 2LL << 30}, {"2GiB", 2LL << 30}, {"1T", 1LL << 40}, {"0", 0}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        CHECK(weft_parse_bytes(sizes[i].text, &n));
        CHECK_INT(n, sizes[i].bytes);
    }
    n = 7;
    const char *const bad_sizes[] = {
        "", "k", "-1", "64KB", "64kb", "1.5G", "64 k", "64kk", "9223372036854775807k", "12345678901234567890123456"};
    for (size_t i = 0; i < sizeof bad_sizes / sizeof bad_sizes[0]; i++)
        CHECK(!weft_parse_bytes(bad_sizes[i], &n) && n == 7);
    char text[16];
    CHECK_TEXT(weft_format_bytes(0, text), "0 B");
    CHECK_TEXT(weft_format_bytes(1023, text), "1023 B");
    CHECK_TEXT(weft_format_bytes(65536, text), "64 KiB");
    CHECK_TEXT(weft_format_bytes(3LL << 29, text), "1.5 GiB");
    CHECK_TEXT(weft_format_bytes((1LL << 20) - 1, text), "1 MiB");
    CHECK_TEXT(weft_format_bytes(INT64_MAX, text), "8 EiB");
    CHECK_TEXT(weft_format_bytes(INT64_MIN, text), "-8 EiB");
    CHECK_TEXT(weft_format_bytes(-1000000, text), "-976.6 KiB");
}

int main(void)
{
    test_spellings();
    test_lists();
    test_kinds();
    test_errors();
    test_help_flag();
    test_environment();
    test_help_text();
    test_suggest();
    test_numbers();
    return 0;
}
