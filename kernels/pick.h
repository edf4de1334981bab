// Choosing: over rows of logits (softmax, the largest, log-sum-exp, top-k, sampling) and over the scores of a router.
// What rows.h says of rows, threads and bits holds here too. A logit that is NaN is never chosen, as if it were -inf;
// where logits are equal the lower id wins.
#ifndef WEFT_KERNELS_PICK_H
#define WEFT_KERNELS_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_op weft_op;

// Rows of logits; column j is id first + j.
typedef struct {
    const float *at; // (rows, width)
    size_t stride, rows, width;
    int32_t first;
} weft_logits;

// The sum of e^x is e^max * sum. Nothing at all, or only -inf: {-inf, 0}.
typedef struct {
    float max, sum;
} weft_lse;

// An id and its logit; {-1, -inf} where there is none.
typedef struct {
    int32_t id;
    float logit;
} weft_choice;

// What a request wants. Filters come in this order: the mask, temperature, top-k, top-p, min-p; each later one sees
// what the earlier ones left. Tokens are ranked by logit, then by lower id, so what is kept is unique:
//   top_k  the first k
//   top_p  those that have less than top_p of the mass before them, and the first
//   min_p  those whose probability is at least min_p times the first one's
// A weight e^((x - max) / temperature) counts as a whole number of 2^-44, so masses add up exactly in any order. The
// draw is a 64-bit Philox number u for (seed, continuation, position): the lowest id with more than u * 2^-64 of the
// mass kept at or below it.
typedef struct {
    float temperature; // 0 or less: the largest
    int32_t top_k;     // 0 or less: all
    float top_p;       // 1 or more: all
    float min_p;       // 0 or less: all
    uint64_t seed;
    uint32_t continuation;
} weft_sampling;

// One token a row. Rows may be several positions of one request.
typedef struct {
    weft_logits logits;
    const weft_sampling *const *how; // (rows)
    const uint64_t *position;        // (rows): of the token that is drawn
    // (rows) or NULL: bit j % 32 of a row's word j / 32 allows column j; a row's NULL allows all
    const uint32_t *const *allowed;
    weft_choice *out; // (rows); the logit as given
} weft_sample;

typedef struct {
    int32_t id;
    uint32_t count; // how often it was generated; 0: it stands in the prompt alone
} weft_seen;

// Changes one row of logits in place, for the ids that it holds: for each seen one x / repetition when x > 0, else
// x * repetition; then x - frequency * count; then x - presence where count > 0. Ids do not repeat.
typedef struct {
    float *logits; // (width)
    size_t width;
    int32_t first;
    const weft_seen *seen;
    size_t seen_count;
    float repetition, frequency, presence; // 1, 0, 0: nothing
} weft_penalty;

typedef struct {
    int32_t id;
    float add;
} weft_bias;

// The router of a mixture of experts. What ranks the experts, and what an expert weighs:
//   SOFTMAX   softmax over all experts; that, divided by the sum over the chosen ones where `normalize`
//   SELECTED  the score; softmax over the chosen ones
//   SIGMOID   1 / (1 + e^-score); that, divided by the sum over the chosen ones + 1e-20 where `normalize`
// `bias` is added for the ranking alone. With groups of equally many experts only the groups_kept groups with the
// largest sum of their two best stay. Ties go to the lower id, NaN ranks last. Sums over the chosen ones are in
// ascending id.
typedef enum { WEFT_ROUTE_SOFTMAX, WEFT_ROUTE_SELECTED, WEFT_ROUTE_SIGMOID } weft_route_kind;
enum { WEFT_EXPERTS_MAX = 1024 };
typedef struct {
    const float *scores; // (rows, experts)
    size_t stride;
    size_t rows, experts, k; // k is at most experts, and at most what groups_kept groups hold
    weft_route_kind kind;
    bool normalize;
    float scale;                // of all weights, at the end; 1
    const float *bias;          // (experts) or NULL
    size_t groups, groups_kept; // 0: no groups
    int32_t *ids;               // (rows, k), ascending in each row
    float *weights;             // (rows, k)
} weft_route;

// The rows of each of the experts first .. first + experts - 1, expert by expert and ascending inside one: expert e has
// the places offsets[e] to offsets[e + 1] - 1, and the row at a place is row_of[place].
typedef struct {
    const int32_t *ids; // (rows, k)
    size_t rows, k;
    int32_t first;
    size_t experts;
    int32_t *offsets; // (experts + 1)
    int32_t *row_of;  // (rows * k) at most
    int32_t *place;   // (rows, k): the place of a row's choice; -1 where its expert is not among these
} weft_route_group;

// out[row] = the sum of weights[row][j] * in[place[row][j]] over j, ascending: a product, then a chain of fma. Negative
// places are left out; a row without any gives zeros. A bias is added to what it belongs to, before its product.
typedef struct {
    float *out; // (rows, width)
    size_t out_stride;
    const float *in; // (places, width)
    size_t in_stride;
    const int32_t *place; // (rows, k)
    const float *weights; // (rows, k)
    size_t rows, k, width;
    const float *bias; // (experts, width), bias_stride apart: the one of ids[row][j]; NULL: none
    size_t bias_stride;
    const int32_t *ids; // (rows, k)
} weft_combine;

typedef struct {
    // out = softmax over each row, by sixteen lanes; in place allowed. A row of -inf gives zeros; NaN and inf give NaN.
    void (*softmax)(const weft_op *op, float *out, size_t out_stride, const float *in, size_t in_stride, size_t rows,
                    size_t width);
    // The largest of each row: its first one with the lowest id. {first, -inf} where all are -inf or NaN.
    void (*argmax)(const weft_op *op, const weft_logits *logits, weft_choice *out);
    // For each row and each of `leaves` leaves, out[row * leaves + leaf]: leaf i has the columns begin[i] to begin[i +
    // 1] - 1.
    void (*lse_leaves)(const weft_op *op, const weft_logits *logits, const size_t *begin, size_t leaves, weft_lse *out);
    // out[row] from in[row * leaves + leaf], by the binary tree over the leaves: max, then mul, mul, add; leaves with
    // nothing are copied over. leaves is 1 to 32. A row's result may lie in its own first leaf.
    void (*lse_tree)(const weft_op *op, const weft_lse *in, size_t leaves, size_t rows, weft_lse *out);
    // out[row * each + i] = (x - max) - log(sum) for the id ids[row * each + i]; ids that the row does not hold leave
    // theirs as it is.
    void (*logprob)(const weft_op *op, const weft_logits *logits, const weft_lse *lse, const int32_t *ids, size_t each,
                    float *out);
    void (*penalize)(const weft_op *op, const weft_penalty *args);
    // One row: logits[id - first] += add for the ids that it holds.
    void (*bias)(const weft_op *op, float *logits, size_t width, int32_t first, const weft_bias *biases, size_t count);
    // out[row * k ..]: the k first in rank. Needs scratch of weft_pick_scratch bytes.
    void (*top)(const weft_op *op, const weft_logits *logits, size_t k, weft_choice *out);
    void (*sample)(const weft_op *op, const weft_sample *args); // likewise
    void (*route)(const weft_op *op, const weft_route *args);
    void (*group)(const weft_op *op, const weft_route_group *args);
    void (*combine)(const weft_op *op, const weft_combine *args);
} weft_pick_ops;

// Bytes of op->scratch for `top` and `sample` over rows of that width. A device does as many rows at once as its
// scratch has room for: with that of one thread over a hundred of a large vocabulary.
size_t weft_pick_scratch(size_t width, int threads);

#ifdef __cplusplus
}
#endif
#endif
