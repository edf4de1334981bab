// Built several times: SYMBOL, NAME and BUILD come from the build.
#include "core/build.h"
#include "core/plugin.h"

static const int table = 42;

extern const weft_plugin SYMBOL;
const weft_plugin SYMBOL = {.name = NAME, .build = BUILD, .table = &table};
