// A tokenizer for a vocabulary of any size: the 256 bytes, then pairs of them, then those with one more behind, by
// merges that a BPE accepts; the last two ids are special. Fewer than 258 ids hold as many bytes as there is room for.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/synth_impl.h"

enum { BYTES = 256, TOKEN_MAX = 16 };

typedef struct {
    char text[BYTES][3]; // the character that stands for a byte, most frequent bytes first
    int64_t plain;       // ids before the special ones
} alphabet;

// The characters that byte-level BPE writes for bytes: the printable ones for themselves, the others from U+0100 on.
static void make_alphabet(alphabet *a)
{
    static const char order[] = "etaoinsrhldcumfpgwybvkxjqz";
    unsigned points[BYTES], next = 256, used = 0;
    unsigned char at[BYTES], seen[BYTES] = {0};
    for (unsigned b = 0; b < BYTES; b++) {
        const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        points[b] = printable ? b : next++;
    }
    at[used++] = ' ';
    for (const char *c = order; *c; c++) at[used++] = (unsigned char)*c;
    for (unsigned i = 0; i < used; i++) seen[at[i]] = 1;
    for (unsigned b = 0; b < BYTES; b++)
        if (!seen[b]) at[used++] = (unsigned char)b;
    for (unsigned i = 0; i < BYTES; i++) {
        const unsigned point = points[at[i]];
        char *out = a->text[i];
        if (point < 0x80) {
            out[0] = (char)point;
            out[1] = 0;
        } else {
            out[0] = (char)(0xc0 | point >> 6);
            out[1] = (char)(0x80 | (point & 63));
            out[2] = 0;
        }
    }
}

// Token `id` as what is merged: the left and the right part. A byte has no right part.
static void parts_of(const alphabet *a, int64_t id, char left[TOKEN_MAX], char right[TOKEN_MAX])
{
    const int64_t pair = id - BYTES, triple = pair - (int64_t)BYTES * BYTES;
    left[0] = right[0] = 0;
    if (pair < 0) {
        strcpy(left, a->text[id]); // NOLINT: of 2 bytes at most
    } else if (triple < 0) {
        strcpy(left, a->text[pair / BYTES]);  // NOLINT
        strcpy(right, a->text[pair % BYTES]); // NOLINT
    } else {
        const int64_t before = triple / BYTES;
        strcpy(left, a->text[before / BYTES]);  // NOLINT
        strcat(left, a->text[before % BYTES]);  // NOLINT
        strcpy(right, a->text[triple % BYTES]); // NOLINT
    }
}

static void write_special(weft_json_writer *w, const char *text, int64_t id)
{
    weft_json_write_object(w, NULL);
    weft_json_write_int(w, "id", id);
    weft_json_write_string(w, "content", text);
    weft_json_write_bool(w, "single_word", false);
    weft_json_write_bool(w, "lstrip", false);
    weft_json_write_bool(w, "rstrip", false);
    weft_json_write_bool(w, "normalized", false);
    weft_json_write_bool(w, "special", true);
    weft_json_write_end(w);
}

static void write_byte_level(weft_json_writer *w, const char *key)
{
    weft_json_write_object(w, key);
    weft_json_write_string(w, "type", "ByteLevel");
    weft_json_write_bool(w, "add_prefix_space", false);
    weft_json_write_bool(w, "trim_offsets", true);
    weft_json_write_bool(w, "use_regex", true);
    weft_json_write_end(w);
}

static void write_model(weft_json_writer *w, const alphabet *a)
{
    char left[TOKEN_MAX], right[TOKEN_MAX], token[2 * TOKEN_MAX];
    weft_json_write_object(w, "model");
    weft_json_write_string(w, "type", "BPE");
    weft_json_write_string(w, "dropout", NULL);
    weft_json_write_string(w, "unk_token", NULL);
    weft_json_write_string(w, "continuing_subword_prefix", NULL);
    weft_json_write_string(w, "end_of_word_suffix", NULL);
    weft_json_write_bool(w, "fuse_unk", false);
    weft_json_write_bool(w, "byte_fallback", false);
    weft_json_write_bool(w, "ignore_merges", false);
    weft_json_write_object(w, "vocab");
    for (int64_t id = 0; id < a->plain; id++) {
        parts_of(a, id, left, right);
        snprintf(token, sizeof token, "%s%s", left, right);
        weft_json_write_int(w, token, id);
    }
    weft_json_write_end(w);
    weft_json_write_array(w, "merges");
    for (int64_t id = BYTES; id < a->plain; id++) {
        parts_of(a, id, left, right);
        snprintf(token, sizeof token, "%s %s", left, right);
        weft_json_write_string(w, NULL, token);
    }
    weft_json_write_end(w);
    weft_json_write_end(w);
}

weft_status wi_synth_tokenizer(const char *directory, int64_t vocab)
{
    alphabet *a = calloc(1, sizeof *a);
    weft_json_writer w;
    const char *text;
    size_t bytes;
    if (!a) return weft_fail(WEFT_NO_MEMORY, "no memory for a tokenizer");
    make_alphabet(a);
    a->plain = vocab > 2 ? vocab - 2 : 0;
    weft_json_writer_init(&w, true);
    weft_json_write_object(&w, NULL);
    weft_json_write_string(&w, "version", "1.0");
    weft_json_write_string(&w, "truncation", NULL);
    weft_json_write_string(&w, "padding", NULL);
    weft_json_write_array(&w, "added_tokens");
    if (vocab > 2) {
        write_special(&w, "<s>", vocab - 2);
        write_special(&w, "</s>", vocab - 1);
    }
    weft_json_write_end(&w);
    weft_json_write_string(&w, "normalizer", NULL);
    write_byte_level(&w, "pre_tokenizer");
    weft_json_write_string(&w, "post_processor", NULL);
    write_byte_level(&w, "decoder");
    write_model(&w, a);
    weft_json_write_end(&w);
    weft_status status = weft_json_writer_finish(&w, &text, &bytes);
    if (status == WEFT_OK) status = wi_synth_file(directory, "tokenizer.json", text, bytes);
    weft_json_writer_fini(&w);
    free(a);
    return status;
}
