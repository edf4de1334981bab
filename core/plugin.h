// Plug-ins: backends that bring a library of their own (MPI, CUDA, UCX) are opened when they are wanted, so that
// one binary starts on a node that lacks them. A plug-in lies beside weft's own libraries and exports one symbol.
#ifndef WEFT_CORE_PLUGIN_H
#define WEFT_CORE_PLUGIN_H

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *name;  // "mpi"
    const char *build; // weft_build_id() of the tree it was built in; another one is refused
    const void *table; // what the backend offers; the opener knows its type
} weft_plugin;

// Opens libweft_<name>.so beside libweft_core.so and returns what its symbol weft_plugin_<name> describes. NOT_FOUND
// with the loader's own words when it cannot be opened, MISMATCH when it is of another build. Stays open for good.
weft_status weft_plugin_open(const char *name, const weft_plugin **out);

const char *weft_version(void);    // "0.1.0"
const char *weft_build_id(void);   // changes with version, compiler and flags
const char *weft_build_text(void); // "gcc 12.2.0, Release, sanitizers: none"

#ifdef __cplusplus
}
#endif
#endif
