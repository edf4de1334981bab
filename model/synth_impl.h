// What the files that write a synthetic checkpoint share. Inside model/ only.
#ifndef WEFT_MODEL_SYNTH_IMPL_H
#define WEFT_MODEL_SYNTH_IMPL_H

#include "model/synth.h"

// Writes a small file of the directory whole.
weft_status wi_synth_file(const char *directory, const char *name, const char *text, size_t bytes);
// tokenizer.json: BPE over bytes, with made-up merges up to the vocabulary's size; the last two ids are <s> and </s>.
weft_status wi_synth_tokenizer(const char *directory, int64_t vocab);

#endif
