// Where a batch's answers go: a job that was killed between its last line and the removal of the journal ends when it
// is run again, before the output was renamed and behind it.
#include <sys/stat.h>
#include <unistd.h>

#include "launch/sink.h"
#include "tests/check.h"

static char folder[] = "/tmp/weft-sink-XXXXXX";
static char output[64], part[64], journal[64];
static const char header[] = "model one\n";

static bool there(const char *path) { return access(path, F_OK) == 0; }

// All lines of a batch, up to the record that says so.
static void write_all(void)
{
    wi_sink s;
    wi_progress fresh;
    char error[] = "no prompt";
    const wi_item item = {.request = {.error = error, .line = 1}};
    CHECK_OK(wi_sink_open(output, &s));
    wi_progress_init(&fresh);
    CHECK_OK(wi_sink_begin(&s, header, &fresh));
    wi_journal_input(s.journal, &(wi_lines_place){.bytes = 3, .lines = 1}, 1);
    CHECK_OK(wi_sink_add(&s, &item, &(wi_result_style){.model = "m"}));
    CHECK_OK(wi_sink_flush(&s, true));
    wi_journal_done(s.journal, s.bytes);
    CHECK_OK(wi_journal_sync(s.journal));
    wi_progress_free(&fresh);
    wi_sink_close(&s);
}

static void end_again(void)
{
    wi_sink s;
    wi_progress found;
    CHECK_OK(wi_sink_open(output, &s));
    CHECK_OK(wi_sink_look(&s, header, &found));
    CHECK(found.done);
    CHECK_OK(wi_sink_begin(&s, header, &found));
    CHECK_INT(s.written, 1);
    CHECK_OK(wi_sink_flush(&s, true));
    CHECK_OK(wi_sink_finish(&s));
    wi_progress_free(&found);
    wi_sink_close(&s);
    CHECK(there(output) && !there(part) && !there(journal));
    unlink(output);
}

int main(void)
{
    CHECK(mkdtemp(folder));
    snprintf(output, sizeof output, "%s/out", folder);
    snprintf(part, sizeof part, "%s/out.part", folder);
    snprintf(journal, sizeof journal, "%s/out.journal", folder);
    write_all();
    CHECK(there(part) && there(journal));
    end_again();
    write_all();
    CHECK(rename(part, output) == 0);
    end_again();
    rmdir(folder);
    return 0;
}
