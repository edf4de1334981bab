// What the files of the tokenizer share. Inside model/ only.
//
// A text goes through as a list of pieces over one buffer: cut at added tokens, normalized, cut at those added tokens
// that are matched after normalization, cut and rewritten by pre-tokenizers, and each piece that is not a token yet is
// given to the model. Only ids come out, so that no piece remembers where it came from, but for one bit: whether it
// begins the text, which Metaspace wants to know.
#ifndef WEFT_MODEL_TOKENIZER_IMPL_H
#define WEFT_MODEL_TOKENIZER_IMPL_H

// clang-format off
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
// clang-format on

#include "core/json_cursor.h"
#include "model/tokenizer.h"

enum {
    WI_TOKENS_MAX = 1 << 24,   // ids beyond are refused
    WI_TEXT_MAX = 1 << 30,     // of one text, also after normalization
    WI_PATTERN_MAX = 16 << 10, // bytes of a regular expression
    WI_STEPS_MAX = 32,         // of one kind in a file
    WI_AROUND_MAX = 64,        // tokens of the post-processor before or after a text
};

// Growing memory. Zeroed is empty.
typedef struct {
    char *data;
    size_t used, capacity;
} wi_bytes;

weft_status wi_bytes_reserve(wi_bytes *bytes, size_t more); // room for `more` behind what is used
weft_status wi_bytes_add(wi_bytes *bytes, const char *data, size_t count);
// Makes room for at least `count` items; LIMIT never, NO_MEMORY with *data untouched.
weft_status wi_grow(void *data, size_t item, size_t count, size_t *capacity);

// UTF-8 of texts that are known to be valid.
uint32_t wi_utf8_read(const char *text, size_t *length); // the first character and its bytes
size_t wi_utf8_write(char *to, uint32_t code);           // at most 4 bytes
bool wi_is_space(uint32_t code);                         // White_Space
bool wi_is_word(uint32_t code);                          // \w
bool wi_is_number(uint32_t code);
bool wi_is_punctuation(uint32_t code);
uint32_t wi_byte_char(unsigned char byte); // the character that byte-level vocabularies write for a byte
int wi_char_byte(uint32_t code);           // the way back; -1 for other characters
size_t wi_byte_map(const char *text, size_t bytes, char *to); // to holds 2 * bytes

// Spellings and ids.
typedef struct {
    uint32_t begin, length; // in the vocabulary's text
} wi_span;

#define WI_NO_TOKEN UINT32_MAX // the length of an id that has no token

enum { WI_UNKNOWN_NONE = -1, WI_UNKNOWN_MISSING = -2 }; // no unknown token; one that the vocabulary lacks

typedef struct {
    wi_bytes text;
    wi_span *tokens; // by id
    int32_t count;   // the highest id and one
    int32_t entries;
    uint64_t *slots; // hash << 32 | id + 1; 0: empty
    size_t mask;
} wi_vocab;

typedef struct {
    wi_span span; // in wi_vocab.text
    int32_t id;
} wi_entry_of_vocab;

// Takes `entries` over in any order; their texts lie in vocab->text. Duplicates and negative ids are refused.
weft_status wi_vocab_build(wi_vocab *vocab, const wi_entry_of_vocab *entries, size_t count, const char *name);
int32_t wi_vocab_find(const wi_vocab *vocab, const char *text, size_t bytes); // -1: none
void wi_vocab_fini(wi_vocab *vocab);
uint32_t wi_hash(const char *text, size_t bytes);

// What splits or replaces: a text as it stands or a regular expression.
typedef struct {
    char *literal; // NULL: `code`
    size_t bytes;
    pcre2_code *code;
} wi_pattern;

// Memory for matching, of one thread.
typedef struct {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
} wi_matcher;

weft_status wi_pattern_regex(const char *regex, size_t bytes, const char *where, wi_pattern *out);
weft_status wi_pattern_literal(const char *text, size_t bytes, const char *where, wi_pattern *out);
void wi_pattern_fini(wi_pattern *pattern);
weft_status wi_matcher_init(wi_matcher *matcher);
void wi_matcher_fini(wi_matcher *matcher);
// The first match in text[from..bytes); *begin is SIZE_MAX when there is none. An empty match does not lie at
// `last_end`, the end of the match before (SIZE_MAX: none).
weft_status wi_pattern_find(const wi_pattern *pattern, wi_matcher *matcher, const char *text, size_t bytes, size_t from,
                            size_t last_end, size_t *begin, size_t *end);

typedef struct {
    uint32_t *units; // a double array
    size_t count;
    char *text; // replacements, each ended by NUL
    size_t bytes;
} wi_charsmap;

weft_status wi_charsmap_decode(const char *base64, size_t bytes, const char *name, wi_charsmap *out);
void wi_charsmap_fini(wi_charsmap *map);
weft_status wi_charsmap_apply(const wi_charsmap *map, const char *text, size_t bytes, wi_bytes *out);

// Normalizers.
typedef enum {
    WI_NFC,
    WI_NFD,
    WI_NFKC,
    WI_NFKD,
    WI_LOWERCASE,
    WI_STRIP,
    WI_STRIP_ACCENTS,
    WI_PREPEND,
    WI_REPLACE,
    WI_STRIP_NONSPACING,
    WI_NMT,
    WI_CLEAN,   // Bert's: control characters away, white space to spaces
    WI_CHINESE, // Bert's: spaces around ideographs
    WI_BYTES,
    WI_CHARSMAP
} wi_normalizer_kind;

typedef struct {
    wi_normalizer_kind kind;
    bool left, right;   // STRIP
    wi_pattern pattern; // REPLACE
    char *text;         // PREPEND, REPLACE
    size_t bytes;
    wi_charsmap map;
} wi_normalizer;

typedef struct {
    wi_normalizer steps[WI_STEPS_MAX];
    int count;
} wi_normalizers;

weft_status wi_normalizers_load(const weft_json *json, const char *name, wi_normalizers *out);
void wi_normalizers_fini(wi_normalizers *normalizers);
// Puts the result behind what `out` holds. *kept_begin: nothing was cut off at the front.
weft_status wi_normalize(const wi_normalizers *normalizers, wi_matcher *matcher, const char *text, size_t bytes,
                         wi_bytes scratch[2], wi_bytes *out, bool *kept_begin);

// Pre-tokenizers.
typedef enum { WI_SPLIT, WI_SPLIT_CLASS, WI_BYTE_LEVEL, WI_METASPACE } wi_pretokenizer_kind;
typedef enum { WI_REMOVED, WI_ISOLATED, WI_WITH_PREVIOUS, WI_WITH_NEXT, WI_CONTIGUOUS } wi_behavior;
typedef enum { WI_PREPEND_ALWAYS, WI_PREPEND_FIRST, WI_PREPEND_NEVER } wi_scheme;

typedef struct {
    wi_pretokenizer_kind kind;
    wi_behavior behavior;
    bool invert;
    bool prefix; // BYTE_LEVEL: a space before a piece that has none
    bool split;  // BYTE_LEVEL: by `pattern`; METASPACE: before each mark
    wi_scheme scheme;
    wi_pattern pattern;
    bool (*is)(uint32_t code); // SPLIT_CLASS
    char mark[4];              // METASPACE
    size_t mark_bytes;
} wi_pretokenizer;

typedef struct {
    wi_pretokenizer steps[WI_STEPS_MAX];
    int count;
} wi_pretokenizers;

weft_status wi_pretokenizers_load(const weft_json *json, const char *name, wi_pretokenizers *out);
void wi_pretokenizers_fini(wi_pretokenizers *pretokenizers);

// Models.
typedef struct {
    uint64_t pair;
    uint32_t rank;
    int32_t id;
} wi_merge;

typedef struct {
    wi_merge *slots;
    size_t mask;
    int shift;
    int32_t byte_ids[256]; // of the characters for bytes; -1
    int32_t fallback[256]; // of <0x00> to <0xFF>; -1
    int32_t unknown;       // or WI_UNKNOWN_*; without one, unknown characters are dropped
    bool all_bytes;        // byte_ids has no gap
    bool byte_fallback, fuse_unknown, ignore_merges;
    char *prefix, *suffix; // NULL: none
    size_t prefix_bytes, suffix_bytes;
} wi_bpe;

// A node of a trie over the bytes of tokens. The children of a node stand together, sorted by byte.
typedef struct {
    uint32_t children;
    uint16_t count;
    uint8_t byte;
    int32_t id; // of the token that ends here, or -1
} wi_trie_node;

typedef struct {
    double *scores; // by id
    double unknown_score;
    int32_t unknown;
    int32_t fallback[256];
    bool byte_fallback;
    wi_trie_node *nodes; // the root is the first
    size_t node_count, node_capacity;
    uint32_t roots[256]; // the node of a first byte, or 0
} wi_unigram;

typedef struct {
    const char *a, *b;
    size_t a_bytes, b_bytes;
} wi_merge_text;

weft_status wi_bpe_build(wi_bpe *bpe, const wi_vocab *vocab, const wi_merge_text *merges, size_t count,
                         const char *name);
void wi_bpe_fini(wi_bpe *bpe);
weft_status wi_unigram_build(wi_unigram *unigram, const wi_vocab *vocab, const char *name);
void wi_unigram_fini(wi_unigram *unigram);
void wi_fallback_ids(const wi_vocab *vocab, int32_t ids[256]);

// Added tokens.
typedef struct {
    char *content, *pattern; // the pattern is the content, normalized where `normalized`
    size_t bytes, pattern_bytes;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
} wi_added;

// Those that are matched in one phase, sorted by pattern; tokens that begin with byte b are [first[b], first[b + 1]).
typedef struct {
    const wi_added **sorted;
    int first[257];
} wi_finder;

typedef struct {
    wi_added *tokens;
    int count;
    int32_t *by_id; // index + 1 by id, 0: not added
    int32_t size;   // entries of by_id: the highest id of all and one
    wi_finder raw, normalized;
} wi_added_tokens;

weft_status wi_added_load(const weft_json *json, const char *name, const wi_vocab *vocab,
                          const wi_normalizers *normalizers, wi_added_tokens *out);
void wi_added_fini(wi_added_tokens *added);
const wi_added *wi_added_of(const wi_added_tokens *added, int32_t id); // NULL: none

typedef struct {
    int32_t before[WI_AROUND_MAX], after[WI_AROUND_MAX];
    int before_count, after_count;
} wi_around;

weft_status wi_around_load(const weft_json *json, const char *name, wi_around *out);

// Decoders.
typedef enum {
    WI_DECODE_BYTE_LEVEL,
    WI_DECODE_BYTE_FALLBACK,
    WI_DECODE_FUSE,
    WI_DECODE_STRIP,
    WI_DECODE_REPLACE,
    WI_DECODE_METASPACE,
    WI_DECODE_JOIN // tokens with spaces between them: a file without a decoder
} wi_decoder_kind;

typedef struct {
    wi_decoder_kind kind;
    wi_pattern pattern; // REPLACE
    char *text;
    size_t bytes;
    char mark[4]; // STRIP, METASPACE
    size_t mark_bytes;
    int64_t start, stop; // STRIP
    bool drop_first;     // METASPACE
} wi_decoder;

typedef struct {
    wi_decoder steps[WI_STEPS_MAX];
    int count;
} wi_decoders;

weft_status wi_decoders_load(const weft_json *json, const char *name, wi_decoders *out);
void wi_decoders_fini(wi_decoders *decoders);

struct weft_tokenizer {
    wi_vocab vocab;
    bool is_unigram;
    wi_bpe bpe;
    wi_unigram unigram;
    wi_normalizers normalizers;
    wi_pretokenizers pretokenizers;
    wi_added_tokens added;
    wi_around around;
    wi_decoders decoders;
};

typedef struct {
    uint32_t begin, length; // in the encoder's current text
    int32_t id;             // -1: not a token yet
    bool first;             // it begins the text
} wi_piece;

typedef struct {
    wi_piece *at;
    size_t count, capacity;
} wi_pieces;

typedef struct {
    uint32_t hash, key, ids;      // where in cache.keys and cache.ids
    uint16_t key_bytes, id_count; // key_bytes 0: empty
} wi_cached;

typedef struct {
    wi_cached *slots;
    size_t count;
    wi_bytes keys, ids;
} wi_cache;

typedef struct {
    int32_t id, next, previous;
    uint32_t rank; // of the pair that begins here
} wi_symbol;

typedef struct {
    uint32_t rank, at;
    int32_t id;
} wi_candidate;

typedef struct {
    double score;
    uint32_t begin;
    int32_t id; // -1: not reached
} wi_node;

struct weft_encoder {
    const weft_tokenizer *tokenizer;
    wi_matcher matcher;
    const char *text; // what pieces point into: the caller's text or buffers[current]
    size_t text_bytes;
    wi_bytes buffers[2], scratch[2], mapped;
    int current;
    wi_pieces pieces, next;
    bool bytes_pending; // pieces are to be read as the characters of their bytes
    wi_cache cache;
    wi_symbol *symbols;
    size_t symbol_count, symbol_capacity;
    wi_candidate *heap;
    size_t heap_count, heap_capacity;
    wi_node *nodes;
    size_t node_capacity;
    int32_t *ids;
    size_t id_count, id_capacity;
};

weft_status wi_piece_add(wi_pieces *pieces, size_t begin, size_t end, int32_t id, bool first);
// Has all pieces that are no tokens cut by `cut`, which adds what becomes of one to encoder->next.
typedef weft_status (*wi_piece_cut)(weft_encoder *encoder, const void *arg, wi_piece piece);
weft_status wi_pieces_cut(weft_encoder *encoder, wi_piece_cut cut, const void *arg);
weft_status wi_encoder_add_id(weft_encoder *encoder, int32_t id);
// Cuts all pieces that are not tokens at the tokens of `finder`.
weft_status wi_added_split(weft_encoder *encoder, const wi_finder *finder);
weft_status wi_pretokenize(weft_encoder *encoder);
// These append to encoder->ids. `text` is raw where encoder->bytes_pending. The first goes through the cache of words.
weft_status wi_word_encode(weft_encoder *encoder, const char *text, size_t bytes);
weft_status wi_bpe_encode(weft_encoder *encoder, const char *text, size_t bytes);
weft_status wi_unigram_encode(weft_encoder *encoder, const char *text, size_t bytes);

// Helpers for reading a component: its "type", and the error that lists what is known.
weft_status wi_unknown(const char *name, const char *part, const char *type, const char *known);
weft_status wi_copy_text(const char *text, char **out, size_t *bytes);
// The one character of a string member.
weft_status wi_mark_load(const weft_json *json, const char *key, const char *fallback, const char *name, char mark[4],
                         size_t *bytes);
// {"String": ...} or {"Regex": ...}.
weft_status wi_pattern_load(const weft_json *json, const char *where, wi_pattern *out);

#endif
