// Opening files beneath a model's directory. Inside model/ only.
#ifndef WEFT_MODEL_FILES_H
#define WEFT_MODEL_FILES_H

#include <stdint.h>

#include "core/status.h"

// Opens a regular file of the directory for reading. A name that is not a plain file name, a link that leaves the
// directory (but for the blobs beside a hub cache's snapshots), loops of links and what is no regular file are refused
// by name. NOT_FOUND when there is none.
weft_status wi_open_beneath(int directory, const char *directory_name, const char *name, int *out, uint64_t *bytes);

#endif
