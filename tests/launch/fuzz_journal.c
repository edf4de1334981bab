// Any records behind right sums, and any bytes as a journal: what is told is in order, or it is refused. The first byte
// decides which; of records a byte of kind and one of length lead each.
#include "launch/journal_bytes.h"
#include "launch/progress.h"
#include "tests/fuzz/fuzz.h"

static size_t add_record(unsigned char *to, uint32_t *crc, int kind, const uint8_t *rest, size_t bytes)
{
    const uint32_t length = (uint32_t)bytes + 1;
    memcpy(to, &length, 4);
    to[8] = (unsigned char)kind;
    memcpy(to + 9, rest, bytes);
    *crc = wi_record_crc(*crc, to, to + 8, length);
    memcpy(to + 4, crc, 4);
    return 9 + bytes;
}

static size_t make_journal(const uint8_t *data, size_t size, unsigned char *to)
{
    static const char kinds[] = "ITWE";
    uint32_t crc = 0;
    size_t used = WI_MAGIC_BYTES;
    memcpy(to, WI_JOURNAL_MAGIC, WI_MAGIC_BYTES);
    used += add_record(to + used, &crc, WI_RECORD_HEADER, (const uint8_t *)"x\n", 2);
    for (size_t at = 0; at + 2 <= size;) {
        const size_t wanted = data[at + 1], bytes = wanted < size - at - 2 ? wanted : size - at - 2;
        used += add_record(to + used, &crc, kinds[data[at] & 3], data + at + 2, bytes);
        at += 2 + bytes;
    }
    return used;
}

static void check(const wi_progress *p)
{
    for (int i = 0; i < p->begun_count; i++) {
        const wi_begun *b = &p->begun[i];
        if (b->request >= p->requests || wi_progress_is_written(p, b->request)) abort();
        if (i > 0 && p->begun[i - 1].request >= b->request) abort();
        if (wi_progress_begun(p, b->request) != b) abort();
    }
    if (p->lines > 0) abort(); // there is no output
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 4096) return 0;
    unsigned char *made = malloc(10 * size + 100);
    wi_progress p;
    if (!made) return 0;
    size_t bytes = size - 1;
    if (data[0] & 1)
        bytes = make_journal(data + 1, size - 1, made);
    else
        memcpy(made, data + 1, bytes);
    unsigned char *exact = malloc(bytes + 1);
    if (exact) memcpy(exact, made, bytes);
    free(made);
    if (!exact) return 0;
    if (wi_progress_scan(exact, bytes, "fuzz", NULL, -1, &p) == WEFT_OK) {
        check(&p);
        wi_progress_free(&p);
    }
    free(exact);
    return 0;
}
