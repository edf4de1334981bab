#include "core/plugin.h"

#include "tests/check.h"

static void test_build(void)
{
    CHECK(weft_version()[0] && weft_build_id()[0]);
    CHECK_HAS(weft_build_text(), "sanitizers: ");
}

static void test_good(void)
{
    const weft_plugin *plugin = NULL, *again = NULL;
    CHECK_OK(weft_plugin_open("test_good", &plugin));
    CHECK_TEXT(plugin->name, "test_good");
    CHECK_TEXT(plugin->build, weft_build_id());
    CHECK_INT(*(const int *)plugin->table, 42);
    CHECK_OK(weft_plugin_open("test_good", &again));
    CHECK(again == plugin);
}

static void test_refused(void)
{
    const weft_plugin *plugin = NULL;
    CHECK_FAILS(weft_plugin_open("test_missing", &plugin), WEFT_NOT_FOUND, "libweft_test_missing.so: cannot open");
    CHECK_FAILS(weft_plugin_open("test_old", &plugin), WEFT_MISMATCH, "is of build 000000000000");
    CHECK_HAS(weft_error_text(), weft_build_id());
    CHECK_FAILS(weft_plugin_open("test_bare", &plugin), WEFT_NOT_FOUND, "no symbol weft_plugin_test_bare");
    CHECK_FAILS(weft_plugin_open("core", &plugin), WEFT_NOT_FOUND, "no symbol weft_plugin_core");
    CHECK_FAILS(weft_plugin_open("../evil", &plugin), WEFT_INVALID, "\"../evil\"");
    CHECK_FAILS(weft_plugin_open("", &plugin), WEFT_INVALID, "\"\"");
    CHECK_FAILS(weft_plugin_open("a_name_that_is_longer_than_32_bytes_is", &plugin), WEFT_INVALID, "32");
    CHECK(!plugin);
}

int main(void)
{
    test_build();
    test_good();
    test_refused();
    return 0;
}
