// weft score: how probable a model holds given tokens or a text to be.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/sha256.h"
#include "launch/model_open.h"

typedef struct {
    wi_model_flags model;
    const char *tokens, *text, *file, *logits;
    int64_t top_k, context, stride;
    bool digest, summary;
} options_of_score;

#define FIELD(field) offsetof(options_of_score, field)
static const weft_flag flags[] = {
    {.name = "tokens",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(tokens),
     .value = "ID,ID,...",
     .help = "score these token ids, as they are"},
    {.name = "text", .kind = WEFT_FLAG_STRING, .offset = FIELD(text), .value = "TEXT", .help = "score this text"},
    {.name = "input",
     .letter = 'i',
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(file),
     .value = "FILE",
     .help = "score the text of a file; -: of standard input"},
    {.name = "top-k",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(top_k),
     .help = "tell the K likeliest tokens at each position",
     .max = 1000},
    {.name = "context",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(context),
     .help = "tokens that the model sees at once; 0: all, up to what it is made for",
     .max = 1 << 24},
    {.name = "stride",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(stride),
     .help = "where a text is longer than the context, how far the window moves; 0: half the context",
     .max = 1 << 24},
    {.name = "logits",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(logits),
     .value = "FILE.npy",
     .help = "write all logits there: float32, positions by vocabulary"},
    {.name = "digest",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(digest),
     .help = "print a hash of all logits' bytes alone"},
    {.name = "summary", .kind = WEFT_FLAG_BOOL, .offset = FIELD(summary), .help = "print the last line alone"},
    WI_DEVICE_FLAG(options_of_score),
    WI_MODEL_FLAGS(options_of_score),
    {0}};

static const options_of_score defaults = {.model = WI_MODEL_DEFAULTS};
static const char *const operands[] = {"MODEL", NULL};

static const weft_command command = {
    .name = "score",
    .summary = "log-probabilities of given tokens or text",
    .usage = "weft score MODEL --tokens IDS | --text TEXT | -i FILE [flags]",
    .about =
        "Prints a line of JSON for each token: its position, its id, its log-probability after those before it (null "
        "for "
        "the first), and the likeliest tokens at its place where --top-k asks for them. The last line has the negative "
        "log-likelihood, the perplexity and the number of tokens scored; of a text also its bytes and the bits a byte. "
        "A "
        "text longer than the context is scored in windows that overlap, each token once.",
    .examples = "weft score demo --text 'It was a fine morning' --top-k 3\n"
                "weft score demo -i demo/heldout.txt --summary\n"
                "weft score demo --tokens 1,15,27 --digest",
    .flags = flags,
    .common = wi_common_flags,
    .operands_min = 1,
    .operands_max = 1,
    .operands = operands,
};

typedef struct {
    const options_of_score *options;
    wi_model model;
    weft_op op; // scratch for picking
    int32_t *tokens;
    int count;
    size_t text_bytes;  // 0: ids were given
    int window, scored; // where the window begins; positions whose logits have been seen
    double nll;
    weft_sha256 hash;
    FILE *npy;
    weft_choice *next; // the likeliest at the coming position
    bool has_next;
    float next_logprob;
    weft_status status;
} score;

static void print_position(const score *s, int position)
{
    if (s->options->summary || s->options->digest || !s->model.speaks) return;
    printf("{\"pos\":%d,\"id\":%d,\"logprob\":", position, s->tokens[position]);
    if (s->has_next)
        printf("%.9g", (double)s->next_logprob);
    else
        printf("null");
    if (s->options->top_k > 0 && s->has_next) {
        printf(",\"top\":[");
        for (int i = 0; i < s->options->top_k && s->next[i].id >= 0; i++)
            printf("%s{\"id\":%d,\"logprob\":%.9g}", i ? "," : "", s->next[i].id, (double)s->next[i].logit);
        printf("]");
    }
    printf("}\n");
}

// The logits at a position tell the probability of the token behind it.
static void score_row(score *s, int position, const float *row, size_t vocab)
{
    enum { LEAVES = 8 };
    const weft_logits logits = {.at = row, .stride = vocab, .rows = 1, .width = vocab};
    size_t begin[LEAVES + 1];
    weft_lse leaves[LEAVES], all;
    print_position(s, position);
    s->has_next = position + 1 < s->count;
    if (!s->has_next) return;
    for (size_t i = 0; i <= LEAVES; i++) begin[i] = i * vocab / LEAVES;
    s->op.table->pick.lse_leaves(&s->op, &logits, begin, LEAVES, leaves);
    s->op.table->pick.lse_tree(&s->op, leaves, LEAVES, 1, &all);
    s->op.table->pick.logprob(&s->op, &logits, &all, &s->tokens[position + 1], 1, &s->next_logprob);
    s->nll -= (double)s->next_logprob;
    if (s->options->top_k == 0) return;
    s->op.table->pick.top(&s->op, &logits, (size_t)s->options->top_k, s->next);
    for (int i = 0; i < s->options->top_k; i++)
        if (s->next[i].id >= 0) s->op.table->pick.logprob(&s->op, &logits, &all, &s->next[i].id, 1, &s->next[i].logit);
}

static void on_logits(void *arg, int64_t position, int rows, const float *logits, size_t vocab)
{
    score *s = arg;
    for (int i = 0; i < rows; i++) {
        const int at = s->window + (int)position + i;
        const float *row = logits + (size_t)i * vocab;
        if (at < s->scored) continue; // a window before this one saw it
        s->scored = at + 1;
        if (s->options->digest) weft_sha256_add(&s->hash, row, vocab * sizeof *row);
        if (s->npy && fwrite(row, sizeof *row, vocab, s->npy) != vocab && s->status == WEFT_OK)
            s->status = weft_fail(WEFT_IO, "%s: cannot be written", s->options->logits);
        score_row(s, at, row, vocab);
    }
}

static const weft_request_calls calls = {.logits = on_logits};

// The header of a .npy file: version 1, padded so that data begin at a multiple of 64.
static weft_status open_npy(score *s, size_t vocab)
{
    char head[128];
    const int used =
        snprintf(head, sizeof head, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %zu), }", s->count, vocab);
    s->npy = fopen(s->options->logits, "wb");
    if (!s->npy) return weft_fail(WEFT_IO, "%s: cannot be written; is its directory there?", s->options->logits);
    fprintf(s->npy, "\x93NUMPY%c%c%c%c%-117.*s\n", 1, 0, 118, 0, used, head);
    return WEFT_OK;
}

static weft_status read_ids(const char *text, int32_t **ids, int *count)
{
    *ids = malloc((strlen(text) / 2 + 1) * sizeof **ids);
    if (!*ids) return weft_fail(WEFT_NO_MEMORY, "no memory for the ids of --tokens");
    for (const char *at = text; *count == 0 || *at; at++) {
        char *end;
        const long id = strtol(at, &end, 10);
        if (end == at || id < 0 || id > INT32_MAX || (*end && *end != ','))
            return weft_fail(WEFT_USAGE, "--tokens: \"%.20s\" is no list of token ids; write them as 1,2,3", at);
        (*ids)[(*count)++] = (int32_t)id;
        at = end;
        if (!*at) break;
    }
    return WEFT_OK;
}

static weft_status read_input(score *s)
{
    const options_of_score *o = s->options;
    char *text = NULL;
    if (!o->tokens + !o->text + !o->file != 2)
        return weft_fail(WEFT_USAGE, "give one of --tokens, --text and --input (weft score --help shows examples)");
    if (o->tokens) return read_ids(o->tokens, &s->tokens, &s->count);
    if (o->text) {
        s->text_bytes = strlen(o->text);
        return wi_model_encode(&s->model, o->text, s->text_bytes, &s->tokens, &s->count);
    }
    WEFT_TRY(wi_read_text(s->model.world, o->file, &text, &s->text_bytes));
    weft_status status = wi_model_encode(&s->model, text, s->text_bytes, &s->tokens, &s->count);
    free(text);
    return status;
}

static weft_status score_windows(score *s, int context, int stride)
{
    int64_t id;
    int rows;
    for (s->window = 0; s->scored < s->count; s->window += stride) {
        const int left = s->count - s->window;
        const weft_request request = {.tokens = s->tokens + s->window,
                                      .token_count = left < context ? left : context,
                                      .prompt_logits = true,
                                      .calls = &calls,
                                      .arg = s};
        WEFT_TRY(weft_engine_submit(s->model.engine, &request, &id));
        do WEFT_TRY(weft_engine_step(s->model.engine, &rows));
        while (rows > 0 && s->status == WEFT_OK);
        WEFT_TRY(s->status);
    }
    return WEFT_OK;
}

static void print_end(score *s)
{
    const int scored = s->count - 1;
    if (s->options->digest) {
        char text[65];
        weft_sha256_end(&s->hash, text);
        wi_print_digest(&s->model, text);
        return;
    }
    printf("{\"nll\":%.9g,\"ppl\":%.9g,\"tokens\":%d", s->nll, scored > 0 ? exp(s->nll / scored) : 1.0, scored);
    if (s->text_bytes > 0)
        printf(",\"bytes\":%zu,\"bits_per_byte\":%.9g", s->text_bytes, s->nll / log(2) / (double)s->text_bytes);
    printf("}\n");
}

static weft_status run_score(weft_job *job, const wi_call *call)
{
    const options_of_score *o = call->options;
    score s = {.options = o};
    weft_status status;
    WEFT_TRY_GOTO(wi_one_replica(&o->model, "weft score"));
    WEFT_TRY_GOTO(wi_model_begin(job, call, &o->model, !o->tokens, &s.model));
    WEFT_TRY_GOTO(read_input(&s));
    const size_t vocab = (size_t)s.model.config.vocab;
    int64_t context = o->context > 0 ? o->context : s.model.config.positions;
    if (context > s.count) context = s.count;
    const int64_t stride = o->stride > 0 ? o->stride : context / 2 > 0 ? context / 2 : 1;
    if (stride > context)
        WEFT_TRY_GOTO(weft_fail(
            WEFT_USAGE,
            "--stride %lld: the context is %lld tokens, and what lies between two windows would not be scored",
            (long long)stride, (long long)context));
    const wi_model_needs needs = {
        .positions = context, .requests = 1, .logit_rows = (int)o->model.chunk, .prompt = context};
    WEFT_TRY_GOTO(wi_model_load(&s.model, call, &o->model, &needs));
    s.op = s.model.op;
    s.op.scratch_bytes = weft_pick_scratch(vocab, weft_team_threads(s.model.team));
    s.op.scratch = aligned_alloc(64, (s.op.scratch_bytes + 127) / 64 * 64);
    s.next = calloc((size_t)o->top_k + 1, sizeof *s.next);
    WEFT_TRY_GOTO(s.op.scratch && s.next ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory to score with"));
    weft_sha256_begin(&s.hash);
    if (o->logits && s.model.speaks) status = open_npy(&s, vocab);
    WEFT_TRY_GOTO(weft_comm_agree(s.model.world, status, NULL));
    WEFT_TRY_GOTO(score_windows(&s, (int)context, (int)stride));
    if (s.model.speaks) print_end(&s);
fail:
    if (s.npy && fclose(s.npy) != 0 && status == WEFT_OK)
        status = weft_fail(WEFT_IO, "%s: cannot be written", o->logits);
    wi_model_close(&s.model);
    free(s.op.scratch);
    free(s.next);
    free(s.tokens);
    return status;
}

const wi_entry wi_score_entry = {
    .command = &command, .defaults = &defaults, .bytes = sizeof defaults, .run = run_score};
