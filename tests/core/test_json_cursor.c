// Walking JSON in place: values, escapes, and everything that must be refused.
#include "core/json_cursor.h"
#include "tests/check.h"

static char buffer[4096];

static weft_json_cursor over(const char *text)
{
    weft_json_cursor cursor;
    snprintf(buffer, sizeof buffer, "%s", text);
    CHECK_OK(weft_json_cursor_init(buffer, strlen(text), "t.json", NULL, &cursor));
    return cursor;
}

static void check_string(const char *json, const char *expected, size_t bytes)
{
    weft_json_cursor cursor = over(json);
    const char *text;
    size_t got;
    CHECK_OK(weft_json_cursor_string(&cursor, &text, &got));
    CHECK_INT(got, bytes);
    CHECK_BYTES(text, expected, bytes);
    CHECK_OK(weft_json_cursor_end(&cursor));
}

static void test_strings(void)
{
    check_string("\"\"", "", 0);
    check_string(" \"plain\" ", "plain", 5);
    check_string("\"a\\n\\t\\\"\\\\\\/\\b\\f\\r\"", "a\n\t\"\\/\b\f\r", 9);
    check_string("\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"", "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 10);
    check_string("\"a\\u0000b\"", "a\0b", 3);
    const char *const bad[] = {"\"open",      "\"\\x\"", "\"\\u12\"", "\"\\ud800\"",       "\"\\ud800\\n12345\"",
                               "\"\\udc00\"", "\"\n\"",  "7",         "\"\\ud800\\u0041\""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        weft_json_cursor cursor = over(bad[i]);
        const char *text;
        size_t bytes;
        CHECK_FAILS(weft_json_cursor_string(&cursor, &text, &bytes), WEFT_FORMAT, "t.json");
    }
}

static void test_numbers(void)
{
    static const struct {
        const char *text;
        double value;
    } reals[] = {{"0", 0},
                 {"-12", -12},
                 {"3.25", 3.25},
                 {"-0.1", -0.1},
                 {"-12.345678901234567", -12.345678901234567},
                 {"1e3", 1e3},
                 {"2.5E-3", 2.5e-3},
                 {"9007199254740993.0", 9007199254740993.0}};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        weft_json_cursor cursor = over(reals[i].text);
        double value;
        CHECK_OK(weft_json_cursor_real(&cursor, &value));
        CHECK_REAL(value, reals[i].value);
    }
    weft_json_cursor cursor = over("-9223372036854775808");
    int64_t whole;
    CHECK_OK(weft_json_cursor_int(&cursor, &whole));
    CHECK_INT(whole, INT64_MIN);
    const char *const bad[] = {"01", "-", "1.", ".5", "1e", "+1", "9223372036854775808", "1.5", "x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cursor = over(bad[i]);
        weft_status status = weft_json_cursor_int(&cursor, &whole);
        if (status == WEFT_OK) status = weft_json_cursor_end(&cursor);
        CHECK_INT(status, WEFT_FORMAT);
    }
    double value;
    cursor = over("1e999");
    CHECK_FAILS(weft_json_cursor_real(&cursor, &value), WEFT_FORMAT, "too large");
}

static void test_walk(void)
{
    weft_json_cursor cursor = over("{\"a\": [1, 2 ,3], \"skip\": {\"x\": [\"]\\\"\", {}, null, -1e5]}, \"b\": true}");
    const char *text;
    size_t bytes;
    int64_t sum = 0, value;
    bool more;
    weft_json_kind kind;
    CHECK_OK(weft_json_cursor_enter(&cursor, WEFT_JSON_OBJECT));
    CHECK_OK(weft_json_cursor_next(&cursor, &more));
    CHECK(more);
    CHECK_OK(weft_json_cursor_key(&cursor, &text, &bytes));
    CHECK_BYTES(text, "a", 1);
    CHECK_OK(weft_json_cursor_enter(&cursor, WEFT_JSON_ARRAY));
    for (;;) {
        CHECK_OK(weft_json_cursor_next(&cursor, &more));
        if (!more) break;
        CHECK_OK(weft_json_cursor_int(&cursor, &value));
        sum += value;
    }
    CHECK_INT(sum, 6);
    CHECK_OK(weft_json_cursor_next(&cursor, &more));
    CHECK_OK(weft_json_cursor_key(&cursor, &text, &bytes));
    CHECK_OK(weft_json_cursor_skip(&cursor, &text, &bytes));
    CHECK_INT(bytes, strlen("{\"x\": [\"]\\\"\", {}, null, -1e5]}"));
    CHECK_OK(weft_json_cursor_next(&cursor, &more));
    CHECK_OK(weft_json_cursor_key(&cursor, &text, &bytes));
    CHECK_OK(weft_json_cursor_kind(&cursor, &kind));
    CHECK_INT(kind, WEFT_JSON_BOOL);
    CHECK_OK(weft_json_cursor_skip(&cursor, &text, &bytes));
    CHECK_OK(weft_json_cursor_next(&cursor, &more));
    CHECK(!more);
    CHECK_OK(weft_json_cursor_end(&cursor));
}

// Walks a list of lists of numbers.
static weft_status walk(const char *json)
{
    weft_json_cursor cursor = over(json);
    const char *text;
    size_t bytes;
    bool more;
    WEFT_TRY(weft_json_cursor_enter(&cursor, WEFT_JSON_ARRAY));
    for (;;) {
        WEFT_TRY(weft_json_cursor_next(&cursor, &more));
        if (!more) return weft_json_cursor_end(&cursor);
        WEFT_TRY(weft_json_cursor_skip(&cursor, &text, &bytes));
    }
}

static void test_refusals(void)
{
    weft_json_cursor cursor;
    weft_json_limits small = {.bytes = 4};
    char deep[200];
    CHECK_OK(walk("[]"));
    CHECK_OK(walk("[1,[2,[3]],\"x\"]"));
    CHECK_FAILS(walk("[1 2]"), WEFT_FORMAT, "comma");
    CHECK_FAILS(walk("[,1]"), WEFT_FORMAT, "value");
    CHECK_FAILS(walk("[1,]"), WEFT_FORMAT, "value");
    CHECK_FAILS(walk("[1"), WEFT_FORMAT, "too early");
    CHECK_FAILS(walk("[1] x"), WEFT_FORMAT, "nothing after");
    CHECK_FAILS(walk("[tru]"), WEFT_FORMAT, "line 1");
    CHECK_FAILS(walk("[\"x]"), WEFT_FORMAT, "too early");
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    CHECK_FAILS(walk(deep), WEFT_LIMIT, "64 levels");
    snprintf(buffer, sizeof buffer, "[\"\xC3\x28\"]");
    CHECK_FAILS(weft_json_cursor_init(buffer, 6, "t.json", NULL, &cursor), WEFT_FORMAT, "byte 2");
    CHECK_FAILS(weft_json_cursor_init(buffer, 6, "t.json", &small, &cursor), WEFT_LIMIT, "more than the 4");
    snprintf(buffer, sizeof buffer, "\xEF\xBB\xBF[]");
    CHECK_FAILS(weft_json_cursor_init(buffer, 5, "t.json", NULL, &cursor), WEFT_FORMAT, "byte order mark");
}

static void test_utf8(void)
{
    CHECK_INT(weft_utf8_valid("", 0), 0);
    CHECK_INT(weft_utf8_valid("plain text of ASCII", 19), 19);
    CHECK_INT(weft_utf8_valid("\xF0\x9F\x98\x80\xE2\x82\xAC\xC3\xA9", 9), 9);
    const char *const bad[] = {"\x80",
                               "\xC0\x80",
                               "\xC1\xBF",
                               "\xE0\x9F\xBF",
                               "\xED\xA0\x80",
                               "\xF0\x8F\xBF\xBF",
                               "\xF4\x90\x80\x80",
                               "\xF5\x80\x80\x80",
                               "\xE2\x82",
                               "\xE2\x28\xA1",
                               "\xFF"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[32];
        snprintf(text, sizeof text, "12345678%s", bad[i]);
        CHECK_INT(weft_utf8_valid(text, strlen(text)), 8);
    }
}

int main(void)
{
    test_strings();
    test_numbers();
    test_walk();
    test_refusals();
    test_utf8();
    return 0;
}
