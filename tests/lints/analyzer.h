// Included before each file that clang-tidy reads: what two functions promise and the analyzer cannot see, since it
// knows one file at a time. weft_fail() returns its status; weft_comm_agree() fails wherever its own rank failed.
#include "comm/comm.h"
#include "core/status.h"

static inline weft_status weft_lint_first(weft_status known, weft_status other) { return known < 0 ? known : other; }

#undef weft_fail
#define weft_fail(status, ...) weft_lint_first((status), weft_fail_at((status), __FILE__, __LINE__, __VA_ARGS__))
#ifndef WEFT_LINT_DEFINES_AGREE
#define weft_comm_agree(comm, mine, rank)                                                                              \
    __extension__({                                                                                                    \
        weft_status mine_ = (mine);                                                                                    \
        weft_lint_first(mine_, weft_comm_agree(comm, mine_, rank));                                                    \
    })
#endif
