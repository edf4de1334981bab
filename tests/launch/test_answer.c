// The text of an answer: every way to cut a text into tokens gives the same, nothing that was shown is taken back, and
// no more is held back than may be the beginning of a stop text.
#include "launch/answer.h"
#include "tests/check.h"

enum { BYTES_MAX = 12, LETTERS = 4, TOKENS = 4 + 16 + 64 };

static weft_tokenizer *tokenizer;
static char texts[TOKENS][4]; // what each token decodes to, in bytes
static const char bytes_of[LETTERS + 1] = "ab\xC3\xA9";

// All texts of one to three of the bytes a, b, C3 and A9, so that characters are cut, too.
static void make_tokenizer(void)
{
    static const char *const letters[LETTERS] = {"a", "b", "\u00C3", "\u00A9"}; // as byte-level tokenizers spell them
    char json[4096];
    size_t used = (size_t)snprintf(json, sizeof json,
                                   "{\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":"
                                   "\"BPE\",\"vocab\":{");
    int id = 0;
    for (int length = 1, all = LETTERS; length <= 3; length++, all *= LETTERS) {
        for (int number = 0; number < all; number++, id++) {
            char spelling[16];
            size_t spelled = 0;
            for (int i = 0, rest = number; i < length; i++, rest /= LETTERS) {
                spelled +=
                    (size_t)snprintf(spelling + spelled, sizeof spelling - spelled, "%s", letters[rest % LETTERS]);
                texts[id][i] = bytes_of[rest % LETTERS];
            }
            used += (size_t)snprintf(json + used, sizeof json - used, "%s\"%s\":%d", id ? "," : "", spelling, id);
        }
    }
    used += (size_t)snprintf(json + used, sizeof json - used, "},\"merges\":[]}}");
    CHECK(used < sizeof json);
    CHECK_INT(id, TOKENS);
    CHECK_OK(weft_tokenizer_parse(json, used, "made up", &tokenizer));
}

static int32_t token_of(const char *text, size_t bytes)
{
    for (int32_t id = 0; id < TOKENS; id++)
        if (strlen(texts[id]) == bytes && memcmp(texts[id], text, bytes) == 0) return id;
    CHECK_FAIL("no token");
    return -1;
}

typedef struct {
    char text[BYTES_MAX + 1];
    const char *stops[3];
    int stop_count;
    size_t visible, complete; // of the text; where the stop text ends, or SIZE_MAX
    int splits;
} scene;

static bool ends_with(const char *text, size_t bytes, const char *end, size_t length)
{
    return length <= bytes && memcmp(text + bytes - length, end, length) == 0;
}

// As the definition says.
static void expect(scene *s)
{
    const size_t bytes = strlen(s->text);
    s->visible = bytes;
    s->complete = SIZE_MAX;
    for (size_t end = 1; end <= bytes && s->complete == SIZE_MAX; end++) {
        for (int i = 0; i < s->stop_count; i++) {
            const size_t length = strlen(s->stops[i]);
            if (!ends_with(s->text, end, s->stops[i], length)) continue;
            if (s->complete == SIZE_MAX || end - length < s->visible) s->visible = end - length;
            s->complete = end;
        }
    }
}

// What may be shown when so many bytes have come and no stop text is complete.
static size_t certain_after(const scene *s, size_t came)
{
    const size_t bytes = came > 0 && s->text[came - 1] == '\xC3' ? came - 1 : came;
    size_t most = 0;
    for (int i = 0; i < s->stop_count; i++)
        for (size_t n = 1; n < strlen(s->stops[i]); n++)
            if (n > most && ends_with(s->text, bytes, s->stops[i], n)) most = n;
    return bytes - most;
}

static void check_split(const scene *s, const int *lengths, int count)
{
    wi_answer a;
    size_t came = 0;
    int wanted = 0;
    CHECK_OK(wi_answer_init(&a, tokenizer, s->stops, s->stop_count, count));
    for (int i = 0; i < count; i++) {
        const bool before = came < s->complete || s->complete == SIZE_MAX;
        CHECK_OK(wi_answer_token(&a, token_of(s->text + came, (size_t)lengths[i])));
        came += (size_t)lengths[i];
        wanted += before;
        CHECK_INT(a.token_count, wanted);
        CHECK_INT(a.stopped, s->complete != SIZE_MAX && came >= s->complete);
        CHECK_INT(a.certain, a.stopped ? s->visible : certain_after(s, came));
        CHECK_BYTES(a.text, s->text, a.certain);
    }
    CHECK_OK(wi_answer_end(&a, WEFT_FINISH_LENGTH));
    CHECK_INT(a.certain, s->visible);
    CHECK_BYTES(a.text, s->text, a.certain);
    CHECK_INT(a.finish, s->complete != SIZE_MAX ? WEFT_FINISH_STOP : WEFT_FINISH_LENGTH);
    wi_answer_fini(&a);
}

static void each_split(scene *s, size_t from, int *lengths, int count)
{
    const size_t left = strlen(s->text) - from;
    if (left == 0) {
        check_split(s, lengths, count);
        s->splits++;
    }
    for (int n = 1; n <= 3 && (size_t)n <= left; n++) {
        lengths[count] = n;
        each_split(s, from + (size_t)n, lengths, count + 1);
    }
}

static unsigned random_state = 12345;
static int below(int n) // small, and the same everywhere
{
    random_state = random_state * 1664525 + 1013904223;
    return (int)((random_state >> 16) % (unsigned)n);
}

static void random_text(char *text, int characters)
{
    static const char *const letters[] = {"a", "b", "\u00E9"};
    size_t used = 0;
    for (int i = 0; i < characters && used + 2 <= BYTES_MAX; i++)
        used += (size_t)snprintf(text + used, BYTES_MAX + 1 - used, "%s", letters[below(5) % 3]);
}

static void test_splits(void)
{
    int splits = 0, stopped = 0;
    for (int round = 0; round < 400; round++) {
        scene s = {.stop_count = below(4)};
        char stops[3][BYTES_MAX + 1];
        int lengths[BYTES_MAX];
        random_text(s.text, 1 + below(10));
        for (int i = 0; i < s.stop_count; i++) {
            random_text(stops[i], 1 + below(4));
            s.stops[i] = stops[i];
        }
        expect(&s);
        each_split(&s, 0, lengths, 0);
        splits += s.splits;
        stopped += s.complete != SIZE_MAX;
    }
    CHECK(splits > 20000);
    CHECK(stopped > 100);
}

// A stop text is complete only when the last token has been turned to text; half a character at the end.
static void test_end(void)
{
    wi_answer a;
    const char *const stop = "b\uFFFD";
    CHECK_OK(wi_answer_init(&a, tokenizer, &stop, 1, 3));
    CHECK_OK(wi_answer_token(&a, token_of("ab\xC3", 3)));
    CHECK_INT(a.certain, 1);
    CHECK_OK(wi_answer_end(&a, WEFT_FINISH_LENGTH));
    CHECK_INT(a.certain, 1);
    CHECK_INT(a.finish, WEFT_FINISH_STOP);
    wi_answer_fini(&a);
    CHECK_OK(wi_answer_init(&a, tokenizer, NULL, 0, 0));
    CHECK_FAILS(wi_answer_token(&a, 0), WEFT_INTERNAL, "more than 0 tokens");
    CHECK_OK(wi_answer_end(&a, WEFT_FINISH_CANCELLED));
    CHECK_INT(a.certain, 0);
    CHECK_TEXT(a.text, "");
    CHECK_INT(a.finish, WEFT_FINISH_CANCELLED);
    wi_answer_fini(&a);
}

static void test_refused(void)
{
    wi_answer a;
    const char *const empty[] = {"a", ""}, *const broken[] = {"a\xA9"};
    const char *many[WI_STOP_TEXTS_MAX + 1];
    for (int i = 0; i <= WI_STOP_TEXTS_MAX; i++) many[i] = "a";
    CHECK_FAILS(wi_answer_init(&a, tokenizer, empty, 2, 1), WEFT_INVALID, "stop text 2 is empty");
    wi_answer_fini(&a);
    CHECK_FAILS(wi_answer_init(&a, tokenizer, broken, 1, 1), WEFT_INVALID, "not UTF-8 from byte 1");
    wi_answer_fini(&a);
    CHECK_FAILS(wi_answer_init(&a, tokenizer, many, WI_STOP_TEXTS_MAX + 1, 1), WEFT_INVALID, "17 stop texts");
    wi_answer_fini(&a);
}

int main(void)
{
    make_tokenizer();
    test_splits();
    test_end();
    test_refused();
    weft_tokenizer_destroy(tokenizer);
    return 0;
}
