// The additions of a sum, shared among the threads of a team.
#include "core/clock.h"
#include "parallel/sum_impl.h"

// So many floats of a slice are worth waking the team for.
enum { TEAM_FLOATS = 16384 };

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

typedef struct {
    weft_sum *sum;
    const weft_sum_finish *finish;
    float *out;
    size_t begin, end;  // of the sum's floats
    const float **from; // [tree] the arrays at `begin`
} addition;

// What was added is to lie in both places: in `kept` because it is wanted there, in the slot for the others.
static void leave(const weft_op *op, float *kept, float *slot, bool in_kept, bool shared, size_t count)
{
    if (!in_kept)
        weft_copy_floats(op, kept, slot, count);
    else if (shared)
        weft_copy_floats(op, slot, kept, count);
}

// A block at a time, so that what follows the tree finds it in the cache; a device takes all at once.
static void add_range(const addition *a, const float **in, size_t begin, size_t end)
{
    enum { BLOCK = 2048 };
    const weft_sum *sum = a->sum;
    const weft_sum_finish *f = a->finish;
    const weft_op alone = wi_op_alone(f->op, &sum->kernels);
    const size_t block = alone.stream ? end - begin : BLOCK;
    for (size_t at = begin, next; at < end; at = next) {
        float *out = a->out + (at - a->begin);
        next = smaller(end, at + block);
        // Biases begin anew with each row.
        if (f->bias) next = smaller(next, (at / f->width + 1) * f->width);
        for (int i = 0; i < sum->tree; i++) in[i] = a->from[i] ? a->from[i] + (at - a->begin) : NULL;
        sum->kernels.tree_add(&alone, out, in, sum->tree, next - at);
        if (f->bias) sum->kernels.rows.add(&alone, out, out, f->bias + at % f->width, next - at);
        float *kept = f->out ? f->out + at : out;
        if (f->residual) sum->kernels.rows.add(&alone, kept, out, f->residual + at, next - at);
        if (kept != out) leave(&alone, kept, out, f->residual != NULL, sum->two_shot, next - at);
    }
}

static void add_share(void *arg, int thread, int threads)
{
    const addition *a = arg;
    const float *in[WEFT_TREE_MAX];
    int64_t begin, end;
    weft_team_share((int64_t)(a->end - a->begin), WI_LINE_FLOATS, thread, threads, &begin, &end);
    if (begin < end) add_range(a, in, a->begin + (size_t)begin, a->begin + (size_t)end);
}

// By the team, where there is one and so many floats are worth waking it for.
static void share_out(addition *a, size_t floats, weft_job_fn *job)
{
    const weft_op *op = a->finish->op;
    if (op && op->team && floats >= TEAM_FLOATS)
        weft_team_run(op->team, job, a);
    else
        job(a, 0, 1);
}

void wi_sum_add(weft_sum *sum, const weft_sum_finish *finish, size_t begin, size_t end, float *out)
{
    addition a = {.sum = sum, .finish = finish, .out = out, .begin = begin, .end = end, .from = sum->in};
    share_out(&a, end - begin, add_share);
}

static void copy_share(void *arg, int thread, int threads)
{
    const addition *a = arg;
    const weft_sum *sum = a->sum;
    const weft_op alone = wi_op_alone(a->finish->op, &sum->kernels);
    for (int p = 0; p < weft_comm_size(sum->comm); p++) {
        int64_t begin, end;
        if (p == weft_comm_rank(sum->comm)) continue;
        weft_team_share((int64_t)(sum->begin[p + 1] - sum->begin[p]), WI_LINE_FLOATS, thread, threads, &begin, &end);
        if (begin < end)
            weft_copy_floats(&alone, a->finish->out + sum->begin[p] + begin, sum->part[p] + begin,
                             (size_t)(end - begin));
    }
}

void wi_sum_copy_parts(weft_sum *sum, const weft_sum_finish *finish)
{
    addition a = {.sum = sum, .finish = finish};
    share_out(&a, sum->count, copy_share);
}

// ---- by rows ----

// Some rows at a time, so that what follows finds them in the cache; a row op goes quicker by a few rows than by one.
static void add_rows(const addition *a, int64_t begin, int64_t end, bool first_thread)
{
    enum { ROWS = 4 };
    const weft_sum *sum = a->sum;
    const weft_sum_then *then = a->finish->then;
    const size_t width = sum->width, first = a->begin / width;
    const float *in[WEFT_TREE_MAX];
    const weft_op alone = wi_op_alone(a->finish->op, &sum->kernels);
    const int64_t each = alone.stream ? end - begin : ROWS;
    float *room = then->room + (first + (size_t)begin) * width; // this thread's, by rows that nobody else has
    for (int64_t row = begin, next; row < end; row = next) {
        next = end - row < each ? end : row + each;
        const size_t at = (size_t)row * width, count = (size_t)(next - row) * width;
        for (int i = 0; i < sum->tree; i++) in[i] = a->from[i] ? a->from[i] + at : NULL;
        sum->kernels.tree_add(&alone, room, in, sum->tree, count);
        for (size_t i = 0; a->finish->bias && i < count; i += width)
            sum->kernels.rows.add(&alone, room + i, room + i, a->finish->bias, width);
        const uint64_t began = weft_clock_ticks();
        then->run(then->arg, &alone, (weft_range){(int64_t)first + row, (int64_t)first + next}, room,
                  a->out + (size_t)row * then->row_floats);
        if (first_thread) a->sum->aside += weft_clock_ticks() - began;
    }
}

static void add_share_of_rows(void *arg, int thread, int threads)
{
    const addition *a = arg;
    int64_t begin, end;
    weft_team_share((int64_t)((a->end - a->begin) / a->sum->width), 1, thread, threads, &begin, &end);
    if (begin < end) add_rows(a, begin, end, thread == 0);
}

void wi_sum_add_rows(weft_sum *sum, const weft_sum_finish *finish, weft_range rows, float *out)
{
    const size_t width = sum->width;
    addition a = {.sum = sum,
                  .finish = finish,
                  .out = out,
                  .begin = (size_t)rows.begin * width,
                  .end = (size_t)rows.end * width,
                  .from = sum->in};
    sum->aside = 0;
    share_out(&a, a.end - a.begin, add_share_of_rows);
}
