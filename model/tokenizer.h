// Text to token ids and back, as a tokenizer.json says: normalizers, pre-tokenizers, BPE or Unigram, added tokens,
// post-processor, decoder. What a file asks for and this does not know is refused by name when it is loaded, with the
// list of what is known. Truncation and padding of the file are not applied: who calls decides about lengths.
//
// A tokenizer never changes once it is made: any number of threads may share it, each with an encoder and detokenizers
// of its own. It must outlive them. All calls are local and never wait.
#ifndef WEFT_MODEL_TOKENIZER_H
#define WEFT_MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_tokenizer weft_tokenizer;
typedef struct weft_encoder weft_encoder;         // one thread's memory for encoding: scratch and a cache of words
typedef struct weft_detokenizer weft_detokenizer; // one stream of ids on its way to text

// `path` is a folder with a tokenizer.json, or that file itself.
weft_status weft_tokenizer_read(const char *path, weft_tokenizer **out);
// The same from memory. `name` is what errors call it. The text is copied.
weft_status weft_tokenizer_parse(const char *text, size_t bytes, const char *name, weft_tokenizer **out);
void weft_tokenizer_destroy(weft_tokenizer *tokenizer);

const char *weft_tokenizer_kind(const weft_tokenizer *tokenizer);    // "BPE" or "Unigram"
int32_t weft_tokenizer_size(const weft_tokenizer *tokenizer);        // the highest id and one
int32_t weft_tokenizer_added_count(const weft_tokenizer *tokenizer); // of added tokens
// The id of a token by its spelling in the file, added tokens first; -1 when there is none.
int32_t weft_tokenizer_id(const weft_tokenizer *tokenizer, const char *token, size_t bytes);
// That spelling (not the text that it decodes to), not terminated, owned by the tokenizer; false where ids have a gap.
bool weft_tokenizer_token(const weft_tokenizer *tokenizer, int32_t id, const char **text, size_t *bytes);
bool weft_tokenizer_is_special(const weft_tokenizer *tokenizer, int32_t id);

weft_status weft_encoder_create(const weft_tokenizer *tokenizer, weft_encoder **out);
void weft_encoder_destroy(weft_encoder *encoder);
// `special`: with the tokens that the post-processor puts around a text. Spellings of special tokens inside the text
// become those tokens either way, as everywhere in the field. The ids belong to the encoder, until its next run. Text
// that is not UTF-8 is FORMAT, naming the byte; over 1 GiB, or more work for a regular expression than its limit
// allows, is LIMIT; a character that neither the vocabulary nor an unknown token covers is INVALID where the file
// demands one.
weft_status weft_encoder_run(weft_encoder *encoder, const char *text, size_t bytes, bool special, const int32_t **ids,
                             size_t *count);

// `special`: special tokens appear in the text; without it they are left out.
weft_status weft_detokenizer_create(const weft_tokenizer *tokenizer, bool special, weft_detokenizer **out);
void weft_detokenizer_destroy(weft_detokenizer *detokenizer);
// Gives the text that is certain now, perhaps none: always whole characters, never more to come inside one. All pieces
// and what finish gives, one after another, are the decoded text. Bytes that can never become UTF-8 are U+FFFD. An id
// that no token has adds nothing: models may have more rows than tokens. The text is the detokenizer's, until its next
// call.
weft_status weft_detokenizer_push(weft_detokenizer *detokenizer, int32_t id, const char **text, size_t *bytes);
// The stream ends: gives what was held back, and begins anew.
weft_status weft_detokenizer_finish(weft_detokenizer *detokenizer, const char **text, size_t *bytes);

#ifdef __cplusplus
}
#endif
#endif
