// Routing: every level and team against a definition in double and by sorting, and a whole mixture (route, group,
// gather, an expert each, combine) against the sum over each row's experts.
#include <math.h>

#include "tests/check.h"
#include "tests/kernels/walk.h"

typedef struct {
    size_t rows, experts, k, groups, kept;
    weft_route_kind kind;
    bool normalize, bias;
    weft_values values;
} route_case;

static bool in_group(const route_case *c, size_t e, const bool *kept)
{
    return c->groups <= 1 || kept[e / (c->experts / c->groups)];
}

// Which experts a row must choose, from ranks given as floats.
static void plain_choice(const route_case *c, const float *ranks, bool *chosen)
{
    bool kept[WEFT_EXPERTS_MAX] = {0};
    for (size_t n = 0; n < c->kept && c->groups > 1; n++) {
        size_t best = c->groups;
        float best_score = 0;
        for (size_t g = 0; g < c->groups; g++) {
            float first = -INFINITY, second = -INFINITY;
            for (size_t e = 0; e < c->experts; e++) {
                if (e / (c->experts / c->groups) != g) continue;
                const float x = isnan(ranks[e]) ? -INFINITY : ranks[e];
                if (x > first)
                    second = first, first = x;
                else if (x > second)
                    second = x;
            }
            const float score = c->experts / c->groups > 1 ? first + second : first;
            if (!kept[g] && (best == c->groups || score > best_score)) best = g, best_score = score;
        }
        kept[best] = true;
    }
    memset(chosen, 0, c->experts);
    for (size_t n = 0; n < c->k; n++) {
        size_t best = c->experts;
        float most = 0;
        for (size_t e = 0; e < c->experts; e++) {
            const float x = isnan(ranks[e]) || !in_group(c, e, kept) ? -INFINITY : ranks[e];
            if (!chosen[e] && (best == c->experts || x > most)) best = e, most = x;
        }
        chosen[best] = true;
    }
}

static void check_weights(weft_walk *walk, int way, const route_case *c, const float *scores, const int32_t *ids,
                          const float *weights)
{
    double values[WEFT_EXPERTS_MAX] = {0}, sum = 0, all = 0, max = -INFINITY;
    for (size_t e = 0; e < c->experts; e++) max = fmax(max, (double)scores[e]);
    for (size_t e = 0; e < c->experts; e++) {
        const double x = (double)scores[e];
        values[e] = c->kind == WEFT_ROUTE_SIGMOID ? 1 / (1 + exp(-x)) : exp(x - max);
        all += values[e];
    }
    for (size_t j = 0; j < c->k; j++) sum += values[ids[j]];
    const double divisor = c->normalize || c->kind == WEFT_ROUTE_SELECTED ? sum
                           : c->kind == WEFT_ROUTE_SOFTMAX                ? all
                                                                          : 1;
    for (size_t j = 0; j < c->k; j++) {
        const double expected = values[ids[j]] / divisor * 2.5;
        weft_walk_close(walk, way, "weight", weights + j, &expected, 1, 4e-6, 1e-20);
    }
}

static void test_route(weft_walk *walk, const route_case *c)
{
    weft_walk_case(walk, "route (%zu, %zu) k %zu kind %d groups %zu/%zu %s%s%s", c->rows, c->experts, c->k, c->kind,
                   c->kept, c->groups, weft_values_name(c->values), c->normalize ? " normalize" : "",
                   c->bias ? " bias" : "");
    const size_t stride = c->experts + 3;
    float *scores = weft_walk_memory(walk, c->rows * stride * sizeof *scores, 4),
          *bias = weft_walk_memory(walk, c->experts * sizeof *bias, 4);
    float *weights = weft_walk_memory(walk, c->rows * c->k * sizeof *weights, 4),
          *expected = weft_walk_memory(walk, c->rows * c->k * sizeof *weights, 0);
    int32_t *ids = weft_walk_memory(walk, c->rows * c->k * sizeof *ids, 4),
            *first = weft_walk_memory(walk, c->rows * c->k * sizeof *ids, 0);
    weft_walk_fill(scores, c->rows * stride, c->values, c->experts);
    weft_walk_fill(bias, c->experts, WEFT_VALUES_PLAIN, 4);
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        weft_walk_again(walk, ids);
        weft_walk_again(walk, weights);
        op->table->pick.route(op, &(weft_route){scores, stride, c->rows, c->experts, c->k, c->kind, c->normalize, 2.5F,
                                                c->bias ? bias : NULL, c->groups, c->kept, ids, weights});
        if (way == 0) {
            memcpy(expected, weights, c->rows * c->k * sizeof *weights);
            memcpy(first, ids, c->rows * c->k * sizeof *ids);
        }
        weft_walk_same(walk, way, "ids", ids, first, c->rows * c->k * sizeof *ids);
        weft_walk_same_floats(walk, way, "weights", weights, expected, c->rows * c->k);
    }
    for (size_t r = 0; r < c->rows; r++) {
        bool chosen[WEFT_EXPERTS_MAX];
        // Exact where the ranks are the scores; softmax and sigmoid keep the order but for rounding, so without a bias
        // too.
        const bool exact = c->kind == WEFT_ROUTE_SELECTED && !c->bias;
        if (exact) {
            plain_choice(c, scores + r * stride, chosen);
            for (size_t j = 0; j < c->k; j++) CHECK(chosen[first[r * c->k + j]]);
        }
        for (size_t j = 1; j < c->k; j++) CHECK(first[r * c->k + j - 1] < first[r * c->k + j]);
        if (c->values == WEFT_VALUES_PLAIN)
            check_weights(walk, 0, c, scores + r * stride, first + r * c->k, expected + r * c->k);
    }
    weft_walk_release(walk);
}

// The bias changes who is chosen and not what they weigh; ties go to the lower id; groups hide even the best expert.
static void test_by_hand(weft_walk *walk)
{
    const weft_op *op = weft_walk_way(walk, weft_walk_ways(walk) - 1);
    int32_t *ids = weft_walk_memory(walk, 2 * sizeof *ids, 0);
    float *weights = weft_walk_memory(walk, 2 * sizeof *weights, 0), *scores = weft_walk_memory(walk, 16, 0),
          *bias = weft_walk_memory(walk, 16, 0);
    memcpy(scores, (const float[]){1, 1, 1, 0}, 16);
    memcpy(bias, (const float[]){0, 0, 0, 5}, 16);
    weft_route args = {scores, 4, 1, 4, 2, WEFT_ROUTE_SELECTED, false, 1, NULL, 0, 0, ids, weights};
    op->table->pick.route(op, &args);
    CHECK_INT(ids[0], 0);
    CHECK_INT(ids[1], 1);
    CHECK_REAL(weights[0], 0.5);
    args.bias = bias;
    args.kind = WEFT_ROUTE_SIGMOID;
    op->table->pick.route(op, &args);
    CHECK_INT(ids[0], 0);
    CHECK_INT(ids[1], 3);
    CHECK_REAL(weights[1], 0.5); // sigmoid of 0: the bias is not in it
    memcpy(scores, (const float[]){9, 0, 5, 5}, 16);
    args = (weft_route){scores, 4, 1, 4, 2, WEFT_ROUTE_SELECTED, false, 1, NULL, 2, 1, ids, weights};
    op->table->pick.route(op, &args);
    CHECK_INT(ids[0], 2); // 5 + 5 beats 9 + 0
    CHECK_INT(ids[1], 3);
    weft_walk_release(walk);
}

// What `combine` gives where the expert with number e multiplies the row by e - low + 1.
static void combine_plainly(const weft_combine *a, const float *x, int32_t low, size_t held, float *out)
{
    for (size_t r = 0; r < a->rows; r++)
        for (size_t i = 0; i < a->width; i++) {
            float sum = 0;
            bool begun = false;
            for (size_t j = r * a->k; j < (r + 1) * a->k; j++) {
                if (a->ids[j] < low || a->ids[j] >= low + (int32_t)held) continue;
                float y = x[r * a->width + i] * (float)(a->ids[j] - low + 1);
                if (a->bias) y += a->bias[(size_t)a->ids[j] * a->bias_stride + i];
                sum = begun ? fmaf(a->weights[j], y, sum) : a->weights[j] * y;
                begun = true;
            }
            out[r * a->width + i] = sum;
        }
}

static void test_mixture(weft_walk *walk, size_t rows, size_t experts, size_t k, size_t width, int32_t low, size_t held)
{
    weft_walk_case(walk, "mixture (%zu, %zu) k %zu width %zu holding %zu from %d", rows, experts, k, width, held, low);
    float *scores = weft_walk_memory(walk, rows * experts * sizeof *scores, 0),
          *x = weft_walk_memory(walk, rows * width * sizeof *x, 4);
    int32_t *ids = weft_walk_memory(walk, rows * k * sizeof *ids, 0),
            *place = weft_walk_memory(walk, rows * k * sizeof *place, 0);
    int32_t *offsets = weft_walk_memory(walk, (held + 1) * sizeof *offsets, 0),
            *row_of = weft_walk_memory(walk, rows * k * sizeof *row_of, 0);
    float *weights = weft_walk_memory(walk, rows * k * sizeof *weights, 0),
          *moved = weft_walk_memory(walk, rows * k * width * sizeof *moved, 0);
    float *out = weft_walk_memory(walk, rows * width * sizeof *out, width % 16 == 0 ? 0 : 4),
          *expected = weft_walk_memory(walk, rows * width * sizeof *out, 0),
          *bias = weft_walk_memory(walk, experts * (width + 5) * sizeof *bias, 4);
    weft_walk_fill(bias, experts * (width + 5), WEFT_VALUES_PLAIN, 3);
    weft_walk_fill(scores, rows * experts, WEFT_VALUES_PLAIN, 1);
    weft_walk_fill(x, rows * width, WEFT_VALUES_PLAIN, 2);
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        op->table->pick.route(op, &(weft_route){scores, experts, rows, experts, k, WEFT_ROUTE_SOFTMAX, true, 1, NULL, 0,
                                                0, ids, weights});
        op->table->pick.group(op, &(weft_route_group){ids, rows, k, low, held, offsets, row_of, place});
        CHECK_INT(offsets[0], 0);
        const size_t all = (size_t)offsets[held];
        op->table->rows.gather(
            op, &(weft_move){moved, width * sizeof *x, x, width * sizeof *x, row_of, all, width * sizeof *x});
        for (size_t e = 0; e < held; e++) // expert e multiplies by e + 1
            for (int32_t p = offsets[e]; p < offsets[e + 1]; p++) {
                CHECK(p == offsets[e] || row_of[p - 1] < row_of[p]);
                for (size_t i = 0; i < width; i++) moved[(size_t)p * width + i] *= (float)(e + 1);
            }
        weft_combine args = {.out = out,
                             .out_stride = width,
                             .in = moved,
                             .in_stride = width,
                             .place = place,
                             .weights = weights,
                             .rows = rows,
                             .k = k,
                             .width = width,
                             .bias_stride = width + 5,
                             .ids = ids};
        for (int biased = 0; biased < 2; biased++) {
            args.bias = biased ? bias : NULL;
            op->table->pick.combine(op, &args);
            combine_plainly(&args, x, low, held, expected);
            weft_walk_same_floats(walk, way, biased ? "combined with bias" : "combined", out, expected, rows * width);
        }
    }
    weft_walk_release(walk);
}

int main(void)
{
    weft_walk *walk = weft_walk_begin();
    const size_t experts[] = {1, 4, 8, 17, 64, 256, 1024};
    for (size_t i = 0; i < sizeof experts / sizeof *experts; i++)
        for (int kind = 0; kind < 3; kind++)
            for (weft_values values = 0; values < WEFT_VALUES_COUNT; values++)
                for (int flags = 0; flags < 4; flags++) {
                    const size_t k = experts[i] < 8 ? (experts[i] + 1) / 2 : 8, groups = experts[i] == 256  ? 8
                                                                                         : experts[i] == 64 ? 64
                                                                                                            : 0;
                    test_route(walk, &(route_case){17, experts[i], k, groups, groups ? groups / 2 : 0,
                                                   (weft_route_kind)kind, flags & 1, flags & 2, values});
                }
    test_by_hand(walk);
    test_mixture(walk, 1, 8, 2, 64, 0, 8);
    test_mixture(walk, 37, 16, 4, 203, 0, 16);
    test_mixture(walk, 37, 16, 4, 80, 5, 6);
    test_mixture(walk, 70, 128, 8, 300, 0, 128);
    test_mixture(walk, 700, 6, 3, 16, 1, 4);
    weft_walk_end(walk);
    return 0;
}
