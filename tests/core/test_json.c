// JSON in, behind limits, and JSON out.
#include "core/json.h"

#include <locale.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/check.h"

static weft_json *parsed;

static weft_status parse(const char *text, const weft_json_limits *limits)
{
    weft_json_free(parsed);
    parsed = NULL;
    return weft_json_parse(text, strlen(text), "doc", limits, &parsed);
}

static void test_values(void)
{
    CHECK_OK(
        parse("{\"z\": 1, \"a\": [1, 2.5, \"x\", true, null, {}], \"m\": -9223372036854775808, \"d\": 1e3}", NULL));
    CHECK_INT(weft_json_kind_of(parsed), WEFT_JSON_OBJECT);
    CHECK_INT(weft_json_size(parsed), 4);
    const char *const keys[] = {"z", "a", "m", "d"};
    int count = 0;
    for (const char *key = NULL; (key = weft_json_next_key(parsed, key));) CHECK_TEXT(key, keys[count++]);
    CHECK_INT(count, 4);
    const weft_json *array = weft_json_get(parsed, "a");
    const weft_json_kind kinds[] = {WEFT_JSON_INT,  WEFT_JSON_REAL, WEFT_JSON_STRING,
                                    WEFT_JSON_BOOL, WEFT_JSON_NULL, WEFT_JSON_OBJECT};
    CHECK_INT(weft_json_size(array), 6);
    for (size_t i = 0; i < 6; i++) CHECK_INT(weft_json_kind_of(weft_json_at(array, i)), kinds[i]);
    CHECK(!weft_json_at(array, 6));
    CHECK(!weft_json_next_key(array, NULL) && !weft_json_next_key(NULL, NULL));
    CHECK(!weft_json_next_key(weft_json_at(array, 5), NULL));
    CHECK_INT(weft_json_int_value(weft_json_at(array, 0)), 1);
    CHECK_REAL(weft_json_real_value(weft_json_at(array, 0)), 1);
    CHECK_REAL(weft_json_real_value(weft_json_at(array, 1)), 2.5);
    CHECK_INT(weft_json_int_value(weft_json_at(array, 1)), 0);
    CHECK_TEXT(weft_json_string_value(weft_json_at(array, 2)), "x");
    CHECK(!weft_json_string_value(weft_json_at(array, 0)));
    CHECK(weft_json_bool_value(weft_json_at(array, 3)) && !weft_json_bool_value(weft_json_at(array, 0)));
    CHECK(!weft_json_get(array, "a") && !weft_json_get(NULL, "a") && weft_json_size(NULL) == 0);
    CHECK(weft_json_int_value(weft_json_get(parsed, "m")) == INT64_MIN);
    CHECK_OK(parse("\"a string alone\"", NULL));
    CHECK_TEXT(weft_json_string_value(parsed), "a string alone");
}

static void test_typed(void)
{
    int64_t n = 7;
    double x;
    bool b;
    const char *s;
    CHECK_OK(parse("{\"n\": 12, \"x\": 0.5, \"b\": true, \"s\": \"t\", \"null\": null}", NULL));
    CHECK_OK(weft_json_int(parsed, "n", 1, 100, 5, &n));
    CHECK_INT(n, 12);
    CHECK_OK(weft_json_int(parsed, "absent", 1, 100, 5, &n));
    CHECK_INT(n, 5);
    CHECK_OK(weft_json_int(parsed, "null", 1, 100, 6, &n));
    CHECK_INT(n, 6);
    CHECK_FAILS(weft_json_int(parsed, "n", 1, 11, 5, &n), WEFT_INVALID, "\"n\" is 12 and must be between 1 and 11");
    CHECK_FAILS(weft_json_int(parsed, "n", 13, INT64_MAX, 5, &n), WEFT_INVALID, "\"n\" is 12 and must be at least 13");
    CHECK_FAILS(weft_json_int(parsed, "n", INT64_MIN, 3, 5, &n), WEFT_INVALID, "\"n\" is 12 and must be at most 3");
    CHECK_FAILS(weft_json_int(parsed, "x", 0, 9, 5, &n), WEFT_INVALID, "\"x\" is a number and must be a whole number");
    CHECK_INT(n, 6);
    CHECK_OK(weft_json_real(parsed, "x", 0, &x));
    CHECK_REAL(x, 0.5);
    CHECK_OK(weft_json_real(parsed, "n", 0, &x));
    CHECK_REAL(x, 12);
    CHECK_OK(weft_json_real(parsed, "absent", 3, &x));
    CHECK_REAL(x, 3);
    CHECK_FAILS(weft_json_real(parsed, "s", 0, &x), WEFT_INVALID, "\"s\" is a string and must be a number");
    CHECK_OK(weft_json_bool(parsed, "b", false, &b));
    CHECK(b);
    CHECK_OK(weft_json_bool(parsed, "absent", false, &b));
    CHECK(!b);
    CHECK_FAILS(weft_json_bool(parsed, "n", false, &b), WEFT_INVALID, "must be true or false");
    CHECK_OK(weft_json_string(parsed, "s", "f", &s));
    CHECK_TEXT(s, "t");
    CHECK_OK(weft_json_string(parsed, "null", "f", &s));
    CHECK_TEXT(s, "f");
    CHECK_FAILS(weft_json_string(parsed, "b", "f", &s), WEFT_INVALID, "\"b\" is true or false and must be a string");
}

static void test_refused(void)
{
    static const struct {
        const char *text, *error;
    } bad[] = {
        {"", "doc: empty"},
        {" ", "doc: line 1, column 1"},
        {"{\"a\": 1,\n \"a\": 2}", "doc: line 2, column 4: duplicate object key"},
        {"{} x", "one value and nothing after it"},
        {"{}{}", "one value and nothing after it"},
        {"[1, 2", "is the file complete?"},
        {"[1,]", "doc: line 1, column 4"},
        {"\xEF\xBB\xBF{}", "byte order mark"},
        {"[\"\\u0000\"]", "NUL"},
        {"{\"\\u0000\": 1}", "NUL"},
        {"[\"\\ud800\"]", "doc: line 1"},
        {"[\"\\udc00\"]", "doc: line 1"},
        {"[\"\xff\"]", "UTF-8"},
        {"[\"\xED\xA0\x80\"]", "UTF-8"},
        {"[\"\xC0\x80\"]", "UTF-8"},
        {"[9223372036854775808]", "the number is too large"},
        {"[-9223372036854775809]", "the number is too large"},
        {"[1e400]", "the number is too large"},
        {"[NaN]", "not valid JSON"},
        {"[Infinity]", "not valid JSON"},
        {"[01]", "doc: line 1"},
        {"[\"a\nb\"]", "doc: line 1"},
        {"{'a': 1}", "not valid JSON"},
        {"// no\n{}", "doc: line 1"},
        {"]]]]{", "doc: line 1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_FAILS(parse(bad[i].text, NULL), WEFT_FORMAT, bad[i].error);
    weft_json *out = NULL;
    CHECK_FAILS(weft_json_parse("[1]\0", 4, "doc", NULL, &out), WEFT_FORMAT, "doc: line 1");
    CHECK(!out);
}

static void test_limits(void)
{
    weft_json_limits five = {.bytes = 5}, deep = {.depth = 2}, wide = {.wide_integers = true};
    CHECK_OK(parse("[111]", &five));
    CHECK_FAILS(parse("[1111]", &five), WEFT_LIMIT, "doc: 6 bytes of JSON, more than the 5");
    CHECK_OK(parse("[[], {}, \"[[[[{{{{\\\"[[[[\"]", &deep));
    CHECK_FAILS(parse("[\n{\"a\": [1]}]", &deep), WEFT_LIMIT, "doc: line 2: nested deeper than the 2 levels");
    char nest[200];
    memset(nest, '[', 65);
    memset(nest + 65, ']', 65);
    nest[130] = 0;
    CHECK_FAILS(parse(nest, NULL), WEFT_LIMIT, "64 levels");
    nest[129] = 0;
    CHECK_OK(parse(nest + 1, NULL));

    CHECK_OK(parse("[1000000000000000019884624838656, -9223372036854775809, 9223372036854775808, 9223372036854775807, "
                   "-9223372036854775808, \"99999999999999999999\", 1e5, 18446744073709551616]",
                   &wide));
    CHECK_REAL(weft_json_real_value(weft_json_at(parsed, 0)), 1e30);
    for (size_t i = 0; i < 3; i++) CHECK_INT(weft_json_kind_of(weft_json_at(parsed, i)), WEFT_JSON_REAL);
    CHECK_INT(weft_json_int_value(weft_json_at(parsed, 3)), INT64_MAX);
    CHECK_INT(weft_json_int_value(weft_json_at(parsed, 4)), INT64_MIN);
    CHECK_TEXT(weft_json_string_value(weft_json_at(parsed, 5)), "99999999999999999999");
    CHECK_REAL(weft_json_real_value(weft_json_at(parsed, 7)), 0x1p64);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    CHECK(file);
    fputs(text, file);
    fclose(file);
}

static void test_files(void)
{
    char folder[] = "/tmp/weft_test_json_XXXXXX", path[64];
    CHECK(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.json", folder);
    weft_json *out = NULL;
    CHECK_FAILS(weft_json_read(path, NULL, &out), WEFT_NOT_FOUND, path);
    CHECK_HAS(weft_error_text(), "No such file or directory");
    CHECK_FAILS(weft_json_read(folder, NULL, &out), WEFT_INVALID, "is a folder");
    write_file(path, "{\"a\": [1, 2, 3]}");
    CHECK_OK(weft_json_read(path, NULL, &out));
    CHECK_INT(weft_json_size(weft_json_get(out, "a")), 3);
    weft_json_free(out);
    out = NULL;
    CHECK_FAILS(weft_json_read(path, &(weft_json_limits){.bytes = 10}, &out), WEFT_LIMIT, "16 bytes of JSON");
    write_file(path, "{\n\"a\" 1}");
    CHECK_FAILS(weft_json_read(path, NULL, &out), WEFT_FORMAT, "a.json: line 2, column 5");
    write_file(path, "");
    CHECK_FAILS(weft_json_read(path, NULL, &out), WEFT_FORMAT, "a.json: empty");
    unlink(path);
    CHECK_INT(mkfifo(path, 0600), 0);
    CHECK_FAILS(weft_json_read(path, NULL, &out), WEFT_INVALID, "is not a regular file");
    unlink(path);
    rmdir(folder);
    CHECK(!out);
    weft_json_free(NULL);
}

static void write_sample(weft_json_writer *writer)
{
    weft_json_write_object(writer, NULL);
    weft_json_write_string(writer, "text", "q\" b\\ n\n \x01 \xC3\xA9 \xFF");
    weft_json_write_string(writer, "none", NULL);
    weft_json_write_array(writer, "samples");
    weft_json_write_int(writer, NULL, 1);
    weft_json_write_real(writer, NULL, 0.1);
    weft_json_write_real(writer, NULL, NAN);
    weft_json_write_end(writer);
    weft_json_write_array(writer, "mixed");
    weft_json_write_int(writer, NULL, INT64_MIN);
    weft_json_write_bool(writer, NULL, true);
    weft_json_write_object(writer, NULL);
    weft_json_write_end(writer);
    weft_json_write_end(writer);
    weft_json_write_array(writer, "empty");
    weft_json_write_end(writer);
    weft_json_write_real(writer, "x", 5);
    weft_json_write_end(writer);
}

static void test_writer(void)
{
    weft_json_writer writer;
    const char *text;
    size_t bytes;
    weft_json_writer_init(&writer, false);
    write_sample(&writer);
    CHECK_OK(weft_json_writer_finish(&writer, &text, &bytes));
    CHECK_TEXT(text,
               "{\"text\":\"q\\\" b\\\\ n\\n \\u0001 \xC3\xA9 \xEF\xBF\xBD\",\"none\":null,\"samples\":[1,0.1,null],"
               "\"mixed\":[-9223372036854775808,true,{}],\"empty\":[],\"x\":5.0}");
    CHECK_INT(bytes, strlen(text));
    CHECK_OK(parse(text, NULL));
    weft_json_writer_fini(&writer);

    weft_json_writer_init(&writer, true);
    write_sample(&writer);
    CHECK_OK(weft_json_writer_finish(&writer, &text, NULL));
    CHECK_TEXT(text, "{\n"
                     "  \"text\": \"q\\\" b\\\\ n\\n \\u0001 \xC3\xA9 \xEF\xBF\xBD\",\n"
                     "  \"none\": null,\n"
                     "  \"samples\": [1, 0.1, null],\n"
                     "  \"mixed\": [-9223372036854775808,\n"
                     "    true,\n"
                     "    {}\n"
                     "  ],\n"
                     "  \"empty\": [],\n"
                     "  \"x\": 5.0\n"
                     "}");
    CHECK_OK(parse(text, NULL));
    weft_json_writer_fini(&writer);
    weft_json_writer_fini(&writer);
}

static void test_writer_text(void)
{
    weft_json_writer writer;
    const char *text = NULL;
    weft_json_writer_init(&writer, false);
    weft_json_write_array(&writer, NULL);
    weft_json_write_text(&writer, NULL, "a\0b\n", 4);
    weft_json_write_text(&writer, NULL, "cut here", 3);
    weft_json_write_text(&writer, NULL, "", 0);
    weft_json_write_end(&writer);
    CHECK_OK(weft_json_writer_finish(&writer, &text, NULL));
    CHECK_TEXT(text, "[\"a\\u0000b\\n\",\"cut\",\"\"]");
    weft_json_writer_fini(&writer);
}

static void test_writer_save(void)
{
    char folder[] = "/tmp/weft_json_XXXXXX", path[64], there[64];
    weft_json_writer writer;
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/a.json", folder);
    weft_json_writer_init(&writer, false);
    write_sample(&writer);
    CHECK_OK(weft_json_writer_save(&writer, path));
    CHECK(!writer.text);
    weft_json_free(parsed);
    parsed = NULL;
    CHECK_OK(weft_json_read(path, NULL, &parsed));
    CHECK_INT(weft_json_size(parsed), 6);
    snprintf(there, sizeof there, "%s/none/a.json", folder);
    weft_json_writer_init(&writer, false);
    write_sample(&writer);
    CHECK_FAILS(weft_json_writer_save(&writer, there), WEFT_IO, "none/a.json: No such file");
    CHECK(!writer.text);
    weft_json_writer_init(&writer, false);
    CHECK_FAILS(weft_json_writer_save(&writer, path), WEFT_INTERNAL, "not whole");
    unlink(path);
    rmdir(folder);
}

static void test_writer_misuse(void)
{
    weft_json_writer writer;
    const char *text = NULL;
    weft_json_writer_init(&writer, false);
    CHECK_FAILS(weft_json_writer_finish(&writer, &text, NULL), WEFT_INTERNAL, "not whole");
    weft_json_writer_fini(&writer);
    weft_json_writer_init(&writer, false);
    weft_json_write_object(&writer, NULL);
    CHECK_FAILS(weft_json_writer_finish(&writer, &text, NULL), WEFT_INTERNAL, "not whole");
    weft_json_writer_fini(&writer);
    weft_json_writer_init(&writer, false);
    weft_json_write_object(&writer, NULL);
    weft_json_write_int(&writer, NULL, 1); // no key
    weft_json_write_end(&writer);
    CHECK_FAILS(weft_json_writer_finish(&writer, &text, NULL), WEFT_INTERNAL, "not whole");
    weft_json_writer_fini(&writer);
    weft_json_writer_init(&writer, false);
    weft_json_write_int(&writer, NULL, 1);
    weft_json_write_int(&writer, NULL, 2);
    CHECK_FAILS(weft_json_writer_finish(&writer, &text, NULL), WEFT_INTERNAL, "not whole");
    weft_json_writer_fini(&writer);
    weft_json_writer_init(&writer, false);
    for (int i = 0; i < 100; i++) weft_json_write_array(&writer, NULL);
    for (int i = 0; i < 100; i++) weft_json_write_end(&writer);
    CHECK_FAILS(weft_json_writer_finish(&writer, &text, NULL), WEFT_LIMIT, "63 levels");
    weft_json_writer_fini(&writer);
    CHECK(!text);
}

// Every double reads back with its bits, whatever the locale.
static void test_reals(void)
{
    static const double values[] = {
        0.0,           -0.0,  0.1, 1.0 / 3, 1e300, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308,
        123456789.125, -1e21, 3.0};
    if (!setlocale(LC_ALL, "de_DE.UTF-8")) setlocale(LC_ALL, "");
    weft_json_writer writer;
    const char *text;
    weft_json_writer_init(&writer, false);
    weft_json_write_array(&writer, NULL);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) weft_json_write_real(&writer, NULL, values[i]);
    weft_json_write_end(&writer);
    CHECK_OK(weft_json_writer_finish(&writer, &text, NULL));
    CHECK_HAS(text, "[0.0,-0.0,0.1,0.3333333333333333,1e+300,");
    CHECK_OK(parse(text, NULL));
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        double back = weft_json_real_value(weft_json_at(parsed, i));
        CHECK_BYTES(&back, &values[i], sizeof back);
    }
    weft_json_writer_fini(&writer);
    setlocale(LC_ALL, "C");
}

int main(void)
{
    test_values();
    test_typed();
    test_refused();
    test_limits();
    test_files();
    test_writer();
    test_writer_text();
    test_writer_save();
    test_writer_misuse();
    test_reals();
    weft_json_free(parsed);
    return 0;
}
