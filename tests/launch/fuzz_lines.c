// Any bytes, read as lines: those between line ends that say something, in order, whatever the buffer does.
#include <sys/mman.h>
#include <unistd.h>

#include "launch/lines.h"
#include "tests/fuzz/fuzz.h"

enum { LINE_MAX = 50 };

static int file_of(const uint8_t *data, size_t size)
{
    const int file = memfd_create("lines", MFD_CLOEXEC);
    if (file < 0 || write(file, data, size) != (ssize_t)size || lseek(file, 0, SEEK_SET) != 0) abort();
    return file;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wi_lines *lines;
    wi_lines_found found;
    wi_input_line line;
    wi_lines_place place;
    const int file = file_of(data, size);
    size_t at = 0;
    int64_t number = 0;
    if (wi_lines_create(file, "fuzz", LINE_MAX, &lines) < 0) abort();
    if (size > 0) wi_lines_limit(lines, data[0] < size ? data[0] : UINT64_MAX);
    for (;;) {
        if (wi_lines_next(lines, 0, &found, &line) < 0) abort();
        if (found == WI_LINES_LATER) {
            wi_lines_limit(lines, UINT64_MAX);
            continue;
        }
        if (found == WI_LINES_END) break;
        for (; number + 1 < line.number; number++) { // lines that say nothing
            const uint8_t *end = memchr(data + at, '\n', size - at);
            if (!end) abort();
            for (; data + at <= end; at++)
                if (!memchr(" \t\r\n", data[at], 4)) abort();
        }
        number++;
        const uint8_t *end = size > at ? memchr(data + at, '\n', size - at) : NULL;
        const size_t bytes = (end ? (size_t)(end - data) : size) - at;
        if (bytes > LINE_MAX ? line.text != NULL || line.bytes != bytes
                             : !line.text || memcmp(line.text, data + at, line.bytes) != 0 || bytes - line.bytes > 1 ||
                                   (bytes > line.bytes && data[at + bytes - 1] != '\r'))
            abort();
        at += bytes + (end != NULL);
        wi_lines_tell(lines, &place);
        if (place.bytes != at || place.lines != number) abort();
    }
    wi_lines_tell(lines, &place);
    if (place.bytes != size) abort();
    wi_lines_destroy(lines);
    close(file);
    return 0;
}
