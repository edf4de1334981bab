// The journal of a batch: what is written is read; cut anywhere it gives what stood before, or refuses; a bit that is
// flipped anywhere is found; records that make no sense are refused. The order of hashes does not depend on who came
// first.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "launch/progress.h"
#include "tests/check.h"

static char folder[] = "/tmp/weft-journal-XXXXXX";
static char journal_path[64], output_path[64];

static const char lines[] = "line of request 0\nline of request 2\nline of request 1\n";
enum { LINE_0 = 18, LINE_2 = 36, LINE_1 = 54 };

static wi_written line_of(int64_t request, uint64_t begin, uint64_t end)
{
    wi_written w = {.request = request, .end = end, .failed = request == 2};
    w.crc = weft_crc32c(0, lines + begin, end - begin);
    memset(w.hash, (int)request + 1, sizeof w.hash);
    return w;
}

static void write_output(size_t bytes)
{
    FILE *out = fopen(output_path, "wb");
    CHECK(out && fwrite(lines, 1, bytes, out) == bytes && fclose(out) == 0);
}

static void draw(wi_journal *j, int64_t request, int continuation, int32_t token)
{
    wi_journal_token(j, request, continuation, &(wi_drawn){.token = token});
}

// Three steps and three lines.
static void write_sample(wi_journal *j)
{
    wi_lines_place place = {.bytes = 300, .lines = 4};
    memset(place.hash, 'a', 64);
    wi_journal_input(j, &place, 3);
    draw(j, 0, 0, 5);
    draw(j, 1, 0, 300);
    draw(j, 1, 1, 70000);
    CHECK_OK(wi_journal_flush(j));
    wi_journal_end(j, 0, 0, 1);
    wi_drawn drawn = {.token = 9, .has_logprob = true, .logprob = -1.5F, .others = 2};
    drawn.other[0].id = 9;
    drawn.other[0].logprob = -1.5F;
    drawn.other[1].id = -1;
    wi_journal_token(j, 2, 0, &drawn);
    wi_journal_line(j, &(wi_written[]){line_of(0, 0, LINE_0)}[0]);
    CHECK_OK(wi_journal_flush(j));
    place.bytes = 400;
    place.lines = 5;
    wi_journal_input(j, &place, 4);
    draw(j, 1, 1, 4);
    wi_journal_end(j, 1, 0, 0);
    wi_journal_line(j, &(wi_written[]){line_of(2, LINE_0, LINE_2)}[0]);
    draw(j, 3, 127, 4);
    CHECK_OK(wi_journal_sync(j));
}

static unsigned char *read_file(const char *path, size_t *bytes)
{
    FILE *in = fopen(path, "rb");
    unsigned char *data = malloc(1 << 16);
    CHECK(in && data);
    *bytes = fread(data, 1, 1 << 16, in);
    fclose(in);
    return data;
}

static void make_sample(const char *header)
{
    wi_journal *j;
    unlink(journal_path);
    CHECK_OK(wi_journal_create(journal_path, header, &j));
    write_sample(j);
    wi_journal_close(j);
    write_output(sizeof lines - 1);
}

static void test_round(void)
{
    wi_progress p;
    const int output = open(output_path, O_RDONLY);
    CHECK_OK(wi_progress_read(journal_path, "one 1\ntwo 2\n", output, &p));
    CHECK_INT(p.requests, 4);
    CHECK_INT(p.input.bytes, 400);
    CHECK_INT(p.input.lines, 5);
    CHECK_INT(p.lines, 2);
    CHECK_INT(p.failed, 1);
    CHECK_INT(p.tokens, 6);
    CHECK_INT(p.output_bytes, LINE_2);
    CHECK(wi_progress_is_written(&p, 0) && !wi_progress_is_written(&p, 1) && wi_progress_is_written(&p, 2));
    CHECK(!wi_progress_begun(&p, 0) && !wi_progress_begun(&p, 2) && !wi_progress_begun(&p, 7));
    const wi_begun *b = wi_progress_begun(&p, 1);
    CHECK(b && b->count == 2);
    CHECK(b->of[0].ended && b->of[0].finish == 0 && !b->of[1].ended);
    CHECK_INT(b->of[0].draws.count, 1);
    CHECK_INT(b->of[1].draws.count, 2);
    CHECK_INT(b->of[1].draws.tokens[0], 70000);
    CHECK_INT(b->of[1].draws.tokens[1], 4);
    b = wi_progress_begun(&p, 3);
    CHECK(b && b->count == 128 && b->of[127].draws.count == 1 && b->of[0].draws.count == 0);
    CHECK_INT(p.order.next, 1);
    wi_progress_free(&p);
    CHECK_FAILS(wi_progress_read(journal_path, "one 1\ntwo 3\n", output, &p), WEFT_MISMATCH,
                "'two 2' there, 'two 3' here");
    CHECK_FAILS(wi_progress_read(journal_path, "one 1\n", output, &p), WEFT_MISMATCH, "'two 2' there, '' here");
    CHECK_FAILS(wi_progress_read(journal_path, "one 1\ntwo 2\nx 3\n", output, &p), WEFT_MISMATCH,
                "'' there, 'x 3' here");
    close(output);
}

// As far as the records go it is the same as before; nothing is made up.
static void check_part(const wi_progress *p)
{
    CHECK(p->requests == 0 || p->requests == 3 || p->requests == 4);
    CHECK(p->tokens <= 6 && p->lines <= 2);
    for (int64_t request = 0; request < 4; request++) {
        const wi_begun *b = wi_progress_begun(p, request);
        CHECK(!b || !wi_progress_is_written(p, request));
        if (request == 1 && b) {
            CHECK_INT(b->of[0].draws.tokens[0], 300);
            CHECK_INT(b->of[1].draws.tokens[0], 70000);
        }
        if (request == 2 && b) CHECK(b->of[0].draws.logprobs[0] == -1.5F && b->of[0].draws.other[1].id == -1);
    }
}

static void test_cut(void)
{
    size_t bytes, resumed = 0;
    unsigned char *data = read_file(journal_path, &bytes);
    const int output = open(output_path, O_RDONLY);
    uint64_t before = 0;
    wi_progress p;
    for (size_t cut = 0; cut <= bytes; cut++) {
        unsigned char *part = malloc(cut + 1); // so that a byte too far is seen
        memcpy(part, data, cut);
        const weft_status status = wi_progress_scan(part, cut, "j", "one 1\ntwo 2\n", output, &p);
        free(part);
        if (status < 0) {
            CHECK_INT(status, WEFT_FORMAT);
            CHECK_INT(before, 0); // only where not even the header is whole
            continue;
        }
        check_part(&p);
        CHECK(p.found.whole <= cut && p.found.whole >= before);
        resumed += p.found.whole > before;
        before = p.found.whole;
        wi_progress_free(&p);
    }
    CHECK_INT(before, bytes);
    CHECK_INT(resumed, 9); // the header and eight records
    free(data);
    close(output);
}

static void test_flips(void)
{
    size_t bytes;
    unsigned char *data = read_file(journal_path, &bytes);
    const int output = open(output_path, O_RDONLY);
    wi_progress p;
    for (size_t bit = 0; bit < 8 * bytes; bit++) {
        data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        if (wi_progress_scan(data, bytes, "j", "one 1\ntwo 2\n", output, &p) == WEFT_OK) {
            CHECK(p.found.whole <= bit / 8); // it and all behind it are not believed
            check_part(&p);
            wi_progress_free(&p);
        }
        data[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    // A record that is left out, and two that change places, are found as well: sums are chained.
    CHECK_OK(wi_progress_scan(data, bytes, "j", NULL, output, &p));
    wi_progress_free(&p);
    const size_t first = 8 + 8 + 1 + 12, length = data[first] + 8U;
    memmove(data + first, data + first + length, bytes - first - length);
    CHECK_OK(wi_progress_scan(data, bytes - length, "j", NULL, output, &p));
    CHECK_INT(p.found.whole, first);
    wi_progress_free(&p);
    free(data);
    close(output);
}

// Goes on behind a cut, and what is then written is read.
static void test_going_on(void)
{
    wi_progress p;
    wi_journal *j, *other;
    struct stat facts;
    int output = open(output_path, O_RDONLY);
    CHECK(stat(journal_path, &facts) == 0);
    CHECK(truncate(journal_path, facts.st_size - 2) == 0);
    CHECK_OK(wi_journal_open(journal_path, &j));
    CHECK_OK(wi_progress_read(journal_path, "one 1\ntwo 2\n", output, &p));
    CHECK_INT(p.lines, 2);
    CHECK(!wi_progress_begun(&p, 3)); // its step was cut
    CHECK_OK(wi_journal_go_on(j, p.found.whole, p.found.crc));
    wi_progress_free(&p);
    draw(j, 3, 0, 8);
    wi_journal_line(j, &(wi_written[]){line_of(1, LINE_2, LINE_1)}[0]);
    CHECK_OK(wi_journal_flush(j));
    CHECK_FAILS(wi_journal_open(journal_path, &other), WEFT_USAGE, "another weft is writing");
    CHECK_OK(wi_progress_read(journal_path, NULL, output, &p));
    CHECK_INT(p.lines, 3);
    CHECK_INT(wi_progress_begun(&p, 3)->of[0].draws.tokens[0], 8);
    CHECK_INT(p.order.next, 3);
    wi_progress_free(&p);
    // An output that lost its end: what the journal says behind that is not believed.
    for (size_t kept = 0; kept < sizeof lines; kept++) {
        write_output(kept);
        close(output);
        output = open(output_path, O_RDONLY);
        CHECK_OK(wi_progress_read(journal_path, NULL, output, &p));
        CHECK_INT(p.lines, (kept >= LINE_0) + (kept >= LINE_2) + (kept >= LINE_1));
        CHECK_INT(p.output_bytes, kept >= LINE_1 ? LINE_1 : kept >= LINE_2 ? LINE_2 : kept >= LINE_0 ? LINE_0 : 0);
        wi_progress_free(&p);
    }
    CHECK_OK(wi_progress_read(journal_path, NULL, -1, &p));
    CHECK_INT(p.lines, 0);
    wi_progress_free(&p);
    // One that says something else is refused.
    close(output);
    output = open(output_path, O_RDWR);
    CHECK(pwrite(output, "L", 1, 18) == 1);
    CHECK_FAILS(wi_progress_read(journal_path, NULL, output, &p), WEFT_MISMATCH,
                "bytes 18 to 36 are not what was written");
    CHECK(pwrite(output, "l", 1, 18) == 1);
    CHECK_OK(wi_progress_read(journal_path, NULL, output, &p));
    wi_progress_free(&p);
    close(output);
    wi_journal_close(j);
    unlink(journal_path);
    CHECK_OK(wi_journal_open(journal_path, &j));
    CHECK(!j);
}

// Whole records that make no sense.
static void refused(void (*write)(wi_journal *), const char *part)
{
    wi_journal *j;
    wi_progress p;
    wi_lines_place place = {.bytes = 300, .lines = 4};
    memset(place.hash, 'a', 64);
    const int output = open(output_path, O_RDONLY);
    unlink(journal_path);
    CHECK_OK(wi_journal_create(journal_path, "x\n", &j));
    wi_journal_input(j, &place, 3);
    draw(j, 1, 0, 5);
    write(j);
    CHECK_OK(wi_journal_flush(j));
    wi_journal_close(j);
    CHECK_FAILS(wi_progress_read(journal_path, "x\n", output, &p), WEFT_FORMAT, part);
    close(output);
}

static void draw_unknown(wi_journal *j) { draw(j, 3, 0, 1); }
static void draw_ended(wi_journal *j)
{
    wi_journal_end(j, 1, 0, 0);
    draw(j, 1, 0, 1);
}
static void draw_written(wi_journal *j)
{
    wi_journal_line(j, &(wi_written[]){line_of(1, 0, LINE_0)}[0]);
    draw(j, 1, 0, 1);
}
static void write_twice(wi_journal *j)
{
    wi_journal_line(j, &(wi_written[]){line_of(1, 0, LINE_0)}[0]);
    wi_journal_line(j, &(wi_written[]){line_of(1, LINE_0, LINE_2)}[0]);
}
static void write_backwards(wi_journal *j)
{
    wi_journal_line(j, &(wi_written[]){line_of(1, 0, LINE_0)}[0]);
    wi_journal_line(j, &(wi_written[]){line_of(2, 0, LINE_0)}[0]);
}
static void write_unknown(wi_journal *j) { wi_journal_line(j, &(wi_written[]){line_of(3, 0, LINE_0)}[0]); }
static void read_backwards(wi_journal *j)
{
    wi_lines_place place = {.bytes = 200, .lines = 4};
    memset(place.hash, 'a', 64);
    wi_journal_input(j, &place, 3);
}
static void read_nonsense(wi_journal *j)
{
    wi_lines_place place = {.bytes = 500, .lines = 5};
    memset(place.hash, 'a', 64);
    wi_journal_input(j, &place, 6);
}
static void change_kind(wi_journal *j) { wi_journal_token(j, 1, 0, &(wi_drawn){.token = 5, .has_logprob = true}); }
static void end_early(wi_journal *j) { wi_journal_done(j, 5); }

static void test_refused(void)
{
    size_t bytes;
    wi_progress p;
    refused(draw_unknown, "request 3, which was not at work");
    refused(draw_ended, "behind its end");
    refused(draw_written, "request 1, which was not at work");
    refused(write_twice, "request 1 is written twice");
    refused(write_backwards, "makes no sense");
    refused(write_unknown, "makes no sense");
    refused(read_backwards, "backwards");
    refused(read_nonsense, "makes no sense");
    refused(change_kind, "other log-probabilities");
    refused(end_early, "does not fit its lines");
    CHECK_FAILS(wi_progress_scan((const unsigned char *)"not a journal", 13, "j", NULL, -1, &p), WEFT_FORMAT,
                "j: not the journal of a batch");
    unsigned char *data = read_file(journal_path, &bytes);
    data[9] ^= 1;
    CHECK_FAILS(wi_progress_scan(data, bytes, "j", NULL, -1, &p), WEFT_FORMAT, "its header is damaged");
    free(data);
}

static void test_order(void)
{
    enum { COUNT = 300 };
    char first[65], text[65];
    unsigned char hash[32] = {0};
    wi_order o;
    for (int way = 0; way < 4; way++) {
        wi_order_init(&o);
        for (int i = 0; i < COUNT; i++) {
            const int request = way == 0 ? i : way == 1 ? COUNT - 1 - i : way == 2 ? i * 7 % COUNT : i ^ 3;
            memcpy(hash, &request, sizeof request);
            CHECK_OK(wi_order_add(&o, request, hash));
            if (way == 0) CHECK_FAILS(wi_order_add(&o, request, hash), WEFT_FORMAT, "twice");
        }
        CHECK_INT(o.next, COUNT);
        wi_order_text(&o, way == 0 ? first : text);
        if (way > 0) CHECK_TEXT(text, first);
        wi_order_free(&o);
    }
}

// In any order of requests what is written is known, and nothing else.
static void test_written(void)
{
    enum { COUNT = 200 };
    wi_journal *j;
    wi_progress p;
    char text[COUNT];
    memset(text, '\n', sizeof text);
    FILE *out = fopen(output_path, "wb");
    CHECK(out && fwrite(text, 1, COUNT, out) == COUNT && fclose(out) == 0);
    const int output = open(output_path, O_RDONLY);
    unlink(journal_path);
    CHECK_OK(wi_journal_create(journal_path, "x\n", &j));
    wi_lines_place place = {.bytes = 1000, .lines = COUNT};
    memset(place.hash, 'a', 64);
    wi_journal_input(j, &place, COUNT);
    for (int i = 0; i < COUNT / 2; i++) {
        wi_written w = {.request = i * 77 % COUNT, .end = (uint64_t)i + 1, .crc = weft_crc32c(0, "\n", 1)};
        wi_journal_line(j, &w);
    }
    CHECK_OK(wi_journal_flush(j));
    CHECK_OK(wi_progress_read(journal_path, NULL, output, &p));
    for (int i = 0; i < COUNT; i++) CHECK_INT(wi_progress_is_written(&p, i * 77 % COUNT), i < COUNT / 2);
    wi_progress_free(&p);
    wi_journal_close(j);
    close(output);
}

int main(void)
{
    CHECK(mkdtemp(folder) != NULL);
    snprintf(journal_path, sizeof journal_path, "%s/journal", folder);
    snprintf(output_path, sizeof output_path, "%s/output", folder);
    make_sample("one 1\ntwo 2\n");
    test_round();
    test_cut();
    test_flips();
    test_going_on();
    write_output(sizeof lines - 1);
    test_refused();
    test_order();
    test_written();
    unlink(journal_path);
    unlink(output_path);
    rmdir(folder);
    return 0;
}
