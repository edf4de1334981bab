// The reader of lines: any size of pieces, either line end, none at the end, blank lines, lines that are too long,
// waiting, and where it stands.
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "core/sha256.h"
#include "launch/lines.h"
#include "tests/check.h"

typedef struct {
    int file;
    const char *text;
    size_t bytes, piece;
} feeder;

static void *feed(void *arg)
{
    feeder *f = arg;
    for (size_t at = 0; at < f->bytes; at += f->piece) {
        const size_t left = f->bytes - at;
        CHECK(write(f->file, f->text + at, left < f->piece ? left : f->piece) > 0);
    }
    close(f->file);
    return NULL;
}

// What the reader gives of a text that comes in pieces: "number:line|", "number!bytes|" of one that is too long.
static void read_as(const char *text, size_t bytes, size_t piece, size_t line_max, const char *expected)
{
    char seen[4096] = "", hash[65];
    int ends[2];
    pthread_t thread;
    wi_lines *lines;
    wi_lines_found found;
    wi_input_line line;
    wi_lines_place place;
    CHECK(pipe(ends) == 0);
    feeder f = {.file = ends[1], .text = text, .bytes = bytes, .piece = piece};
    CHECK(pthread_create(&thread, NULL, feed, &f) == 0);
    CHECK_OK(wi_lines_create(ends[0], "input", line_max, &lines));
    for (;;) {
        char one[600];
        CHECK_OK(wi_lines_next(lines, -1, &found, &line));
        CHECK(found != WI_LINES_LATER);
        if (found == WI_LINES_END) break;
        if (line.text)
            snprintf(one, sizeof one, "%lld:%.*s|", (long long)line.number, (int)line.bytes, line.text);
        else
            snprintf(one, sizeof one, "%lld!%zu|", (long long)line.number, line.bytes);
        strncat(seen, one, sizeof seen - strlen(seen) - 1);
    }
    CHECK_TEXT(seen, expected);
    CHECK_OK(wi_lines_next(lines, -1, &found, &line));
    CHECK_INT(found, WI_LINES_END);
    wi_lines_tell(lines, &place);
    CHECK_INT(place.bytes, bytes);
    weft_sha256 sha;
    weft_sha256_begin(&sha);
    weft_sha256_add(&sha, text, bytes);
    weft_sha256_end(&sha, hash);
    CHECK_TEXT(place.hash, hash);
    CHECK(pthread_join(thread, NULL) == 0);
    wi_lines_destroy(lines);
    close(ends[0]);
}

static void test_lines(void)
{
    static const struct {
        const char *text, *expected;
        size_t line_max;
    } cases[] = {
        {"", "", 100},
        {"one", "1:one|", 100},
        {"one\n", "1:one|", 100},
        {"one\r\ntwo\r\n", "1:one|2:two|", 100},
        {"one\n\n  \t\n\r\nfive", "1:one|5:five|", 100},
        {"\n\n", "", 100},
        {" a b \r", "1: a b |", 100},
        {"a\rb\n", "1:a\rb|", 100},
        {"12345\n123456\n1\n", "1:12345|2!6|3:1|", 5},
        {"1234567890123456789012345678901234567890\nx", "1!40|2:x|", 5},
        {"x\n1234567890", "1:x|2!10|", 5},
        {"12345\r\nx", "1!6|2:x|", 5}, // the limit counts what stands before the LF
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t piece = 1; piece < 50; piece = piece * 2 + 1)
            read_as(cases[i].text, strlen(cases[i].text), piece, cases[i].line_max, cases[i].expected);
    read_as("a\0b\nc", 5, 1, 100, "1:a|2:c|"); // printed up to the NUL; the parser refuses it
}

static void test_large(void)
{
    const size_t bytes = (size_t)64 << 20;
    char *text = malloc(bytes + 3);
    CHECK(text != NULL);
    memset(text, 'x', bytes);
    memcpy(text + bytes, "\ny", 3);
    read_as(text, bytes + 2, 1 << 16, WI_LINE_BYTES_MAX, "1!67108864|2:y|");
    free(text);
}

static void test_waiting(void)
{
    int ends[2];
    wi_lines *lines;
    wi_lines_found found;
    wi_input_line line;
    wi_lines_place place;
    CHECK(pipe(ends) == 0);
    CHECK_OK(wi_lines_create(ends[0], "input", 100, &lines));
    CHECK_OK(wi_lines_next(lines, 0, &found, &line));
    CHECK_INT(found, WI_LINES_LATER);
    CHECK(write(ends[1], "one\ntw", 6) == 6);
    CHECK_OK(wi_lines_next(lines, 0, &found, &line));
    CHECK_INT(found, WI_LINES_ONE);
    wi_lines_tell(lines, &place);
    CHECK_INT(place.bytes, 4); // not what only waits in the buffer
    CHECK_INT(place.lines, 1);
    CHECK_OK(wi_lines_next(lines, 1, &found, &line));
    CHECK_INT(found, WI_LINES_LATER);
    CHECK(write(ends[1], "o\n", 2) == 2);
    CHECK_OK(wi_lines_next(lines, 0, &found, &line));
    CHECK_INT(found, WI_LINES_ONE);
    CHECK_BYTES(line.text, "two", 3);
    close(ends[1]);
    CHECK_OK(wi_lines_next(lines, 0, &found, &line));
    CHECK_INT(found, WI_LINES_END);
    wi_lines_destroy(lines);
    close(ends[0]);
}

static void test_failure(void)
{
    wi_lines *lines;
    wi_lines_found found;
    wi_input_line line;
    const int folder = open("/", O_RDONLY | O_DIRECTORY);
    CHECK(folder >= 0);
    CHECK_OK(wi_lines_create(folder, "some folder", 100, &lines));
    CHECK_FAILS(wi_lines_next(lines, -1, &found, &line), WEFT_IO, "some folder: Is a directory");
    wi_lines_destroy(lines);
    close(folder);
}

int main(void)
{
    test_lines();
    test_large();
    test_waiting();
    test_failure();
    return 0;
}
