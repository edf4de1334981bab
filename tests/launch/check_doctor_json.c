// check_doctor_json FILE RANKS: is it what docs/formats.md says of weft.doctor/1?
#include "core/json.h"
#include "tests/check.h"

// Checks each finding's form; returns how many have this name.
static int check_findings(const weft_json *owner, const char *name)
{
    const weft_json *list = weft_json_get(owner, "findings");
    int found = 0;
    CHECK_INT(weft_json_kind_of(list), WEFT_JSON_ARRAY);
    for (size_t i = 0; i < weft_json_size(list); i++) {
        const weft_json *finding = weft_json_at(list, i);
        const char *called, *level, *text, *mend;
        CHECK_OK(weft_json_string(finding, "name", NULL, &called));
        CHECK_OK(weft_json_string(finding, "level", NULL, &level));
        CHECK_OK(weft_json_string(finding, "text", NULL, &text));
        CHECK_OK(weft_json_string(finding, "mend", NULL, &mend));
        CHECK(called && level && text && text[0]);
        CHECK_HAS(" ok warn bad none ", level);
        found += strcmp(called, name) == 0;
    }
    return found;
}

int main(int argc, char **argv)
{
    weft_json *document;
    const char *schema;
    CHECK_INT(argc, 3);
    CHECK_OK(weft_json_read(argv[1], NULL, &document));
    CHECK_OK(weft_json_string(document, "schema", NULL, &schema));
    CHECK_TEXT(schema, "weft.doctor/1");
    CHECK_INT(weft_json_kind_of(weft_json_get(document, "build")), WEFT_JSON_OBJECT);
    const weft_json *job = weft_json_get(document, "job"), *ranks = weft_json_get(job, "ranks");
    CHECK_INT(weft_json_size(ranks), atoi(argv[2]));
    for (size_t i = 0; i < weft_json_size(ranks); i++) {
        int64_t rank, pid;
        CHECK_OK(weft_json_int(weft_json_at(ranks, i), "rank", 0, 1 << 20, -1, &rank));
        CHECK_OK(weft_json_int(weft_json_at(ranks, i), "pid", 1, INT32_MAX, -1, &pid));
        CHECK_INT(rank, i);
        CHECK(pid > 0);
        CHECK(weft_json_size(weft_json_get(weft_json_at(ranks, i), "cpus")) > 0);
    }
    CHECK_INT(check_findings(job, "job"), 1);
    const weft_json *hosts = weft_json_get(document, "hosts");
    CHECK_INT(weft_json_size(hosts), 1);
    CHECK_INT(check_findings(weft_json_at(hosts, 0), "bandwidth"), 1);
    CHECK_INT(check_findings(weft_json_at(hosts, 0), "arithmetic"), 1);
    CHECK_INT(check_findings(weft_json_at(hosts, 0), "memory"), 1);
    weft_json_free(document);
    return 0;
}
