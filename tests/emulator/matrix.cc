// ldmatrix, mma and wgmma. A wgmma reads shared memory at a point drawn by chance between its commit and the wait for
// it; its accumulators are NaN from its issue until that wait.
#include <stdlib.h>

#include "kernels/cuda/ptx.cuh"
#include "tests/emulator/run.h"

static inline float f32_of(uint32_t bf16) { return __uint_as_float(bf16 << 16); }

// ---- ldmatrix and mma -----------------------------------------------------------------------------------------------

struct emu_ldmatrix_operands {
    uint32_t *r;
    const uint16_t *row;
    int count;
    bool transposed;
};

// Lane l gets, of each matrix, row l/4 and the columns 2(l%4) and 2(l%4)+1, or the same of its transpose.
static void finish_ldmatrix(void *const at[32], unsigned)
{
    const emu_ldmatrix_operands *lanes[32];
    for (int lane = 0; lane < 32; lane++) lanes[lane] = (const emu_ldmatrix_operands *)at[lane];
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < lanes[lane]->count; i++) {
            int row = lane / 4, column = lane % 4 * 2;
            uint32_t low, high;
            if (lanes[lane]->transposed) {
                low = lanes[8 * i + column]->row[row];
                high = lanes[8 * i + column + 1]->row[row];
            } else {
                low = lanes[8 * i + row]->row[column];
                high = lanes[8 * i + row]->row[column + 1];
            }
            lanes[lane]->r[i] = low | high << 16;
        }
}

void emu_ldmatrix(uint32_t *r, int count, const void *row, bool transposed, const char *file, int line)
{
    emu_fiber *self = emu_at_work.at;
    if (emu_at_work.warps[self->warp].live != 0xffffffffu) emu_die(file, line, "ldmatrix in a warp that is not whole");
    // Only the first lanes' rows are read where there are fewer than four matrices.
    if (self->lane < 8 * count && (uintptr_t)row % 16) emu_die(file, line, "ldmatrix: a row is aligned to 16");
    if (self->lane < 8 * count) wi_shared_at(row, file, line);
    emu_ldmatrix_operands mine = {r, (const uint16_t *)row, count, transposed};
    emu_meet(0xffffffffu, finish_ldmatrix, &mine, "ldmatrix", file, line);
}

struct emu_mma_operands {
    float *d;
    const uint32_t *a, *b;
};

// Products of bf16 are exact in f32, so that adding each is one fma.
// All k of one 16 x 8 piece after the other: its sums stay in registers.
static void multiply(float *d, const float *a, const float *b, int n)
{
    for (int row = 0; row < 16; row++)
        for (int first = 0; first < n; first += 8) {
            float sums[8];
            memcpy(sums, d + row * n + first, sizeof sums);
            for (int k = 0; k < 16; k++)
                for (int i = 0; i < 8; i++) sums[i] += a[row * 16 + k] * b[k * n + first + i];
            memcpy(d + row * n + first, sums, sizeof sums);
        }
}

// A, 16 x 16: lane l has rows l/4 and l/4+8, columns 2(l%4) and 8 further.
static void spread_a(float *out, const uint32_t *regs, int lane)
{
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + (i & 1) * 8, column = lane % 4 * 2 + (i >> 1) * 8;
        out[row * 16 + column] = f32_of(regs[i] & 0xffff);
        out[row * 16 + column + 1] = f32_of(regs[i] >> 16);
    }
}

// Accumulators, 16 x n: lane l has, of every 8 columns, 2(l%4) and the next, in rows l/4 and l/4+8.
static int place_of(int lane, int i, int n)
{
    return (lane / 4 + (i >> 1 & 1) * 8) * n + i / 4 * 8 + lane % 4 * 2 + (i & 1);
}

static void finish_mma(void *const at[32], unsigned)
{
    float a[16 * 16], b[16 * 8], d[16 * 8];
    for (int lane = 0; lane < 32; lane++) {
        const emu_mma_operands *of = (const emu_mma_operands *)at[lane];
        spread_a(a, of->a, lane);
        for (int i = 0; i < 4; i++) d[place_of(lane, i, 8)] = of->d[i];
        for (int i = 0; i < 4; i++)
            b[(lane % 4 * 2 + i % 2 + i / 2 * 8) * 8 + lane / 4] = f32_of(of->b[i / 2] >> i % 2 * 16 & 0xffff);
    }
    multiply(d, a, b, 8);
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) ((const emu_mma_operands *)at[lane])->d[i] = d[place_of(lane, i, 8)];
}

void wi_mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char *file, int line)
{
    if (emu_at_work.warps[emu_at_work.at->warp].live != 0xffffffffu)
        emu_die(file, line, "mma in a warp that is not whole");
    emu_mma_operands mine = {d, a, b};
    emu_meet(0xffffffffu, finish_mma, &mine, "mma", file, line);
}

// ---- wgmma: each warp of four does its 16 rows ----------------------------------------------------------------------

// Accumulators of a warp while wgmmas that write them are under way.
struct emu_accumulators {
    float *of[32]; // the lanes' own
    int n, under_way;
    float value[16 * 256];
};
struct emu_wgmma_job {
    emu_accumulators *to;
    bool keep, from_regs, transposed;
    uint64_t a, b;
    float regs[16 * 16]; // A
    const char *file;
    int line;
};
struct emu_wgmma_warp {
    std::vector<emu_accumulators *> busy;
    std::vector<emu_wgmma_job> jobs;
    std::vector<size_t> groups; // where each committed one ends in `jobs`
    size_t done;                // jobs that have been computed
    bool fenced;
    uint64_t issued;
};
static emu_wgmma_warp wgmma_of[EMU_WARPS_MAX];
static std::vector<emu_accumulators *> &idle = *new std::vector<emu_accumulators *>(); // kept to the end

struct emu_wgmma_operands {
    int n;
    float *d;
    const uint32_t *a_regs;
    uint64_t a, b;
    bool transposed, keep;
    const char *file;
    int line;
};

void emu_wgmma_begin(void)
{
    for (emu_wgmma_warp &warp : wgmma_of) {
        warp.groups.clear();
        warp.jobs.clear();
        warp.done = 0;
        warp.fenced = false;
        warp.issued = 0;
    }
}

void emu_wgmma_end(void)
{
    for (int i = 0; i < EMU_WARPS_MAX; i++) {
        const emu_wgmma_warp *warp = &wgmma_of[i];
        if (!warp->jobs.empty())
            emu_die(warp->jobs[0].file, warp->jobs[0].line, "warp %d has ended before a wgmma that it did not wait for",
                    i);
        if (warp->issued != wgmma_of[i & ~3].issued)
            emu_die(nullptr, 0, "warps %d and %d of a warpgroup issued %llu and %llu wgmmas", i & ~3, i,
                    (unsigned long long)wgmma_of[i & ~3].issued, (unsigned long long)warp->issued);
    }
}

// Shared memory as a descriptor names it.
struct emu_tile {
    size_t start, leading, stride;
    const emu_wgmma_job *job;
};

static emu_tile tile_of(uint64_t descriptor, const emu_wgmma_job *job)
{
    if (descriptor >> 62 != 1) emu_die(job->file, job->line, "wgmma: only the swizzle of 128 bytes is emulated");
    if (descriptor >> 49 & 7) emu_die(job->file, job->line, "wgmma: a base offset is not emulated");
    return {(size_t)(descriptor & 0x3fff) << 4, (size_t)(descriptor >> 16 & 0x3fff) << 4,
            (size_t)(descriptor >> 32 & 0x3fff) << 4, job};
}

// Eight values: the swizzle leaves 16 bytes together.
static void values_at(const emu_tile *tile, size_t offset, float out[8])
{
    size_t address = tile->start + offset;
    address ^= (address >> 7 & 7) << 4;
    if (address < EMU_SHARED_FIRST || address - EMU_SHARED_FIRST + 16 > emu_shared_bytes)
        emu_die(tile->job->file, tile->job->line, "wgmma: reads at byte %zu of %zu of shared memory",
                address - EMU_SHARED_FIRST, emu_shared_bytes);
    uint16_t values[8];
    memcpy(values, emu_shared_now + (address - EMU_SHARED_FIRST), 16);
    for (int i = 0; i < 8; i++) out[i] = f32_of(values[i]);
}

// 16 columns of row `row` of a K-major operand.
static void k_major(const emu_tile *tile, int row, float out[16])
{
    size_t at = (size_t)(row / 8) * tile->stride + (size_t)(row % 8) * 128;
    values_at(tile, at, out);
    values_at(tile, at + 16, out + 8);
}
// 8 columns from n of row k of an MN-major one.
static void mn_major(const emu_tile *tile, int n, int k, float out[8])
{
    values_at(tile,
              (size_t)(n / 64) * tile->leading + (size_t)(k / 8) * tile->stride + (size_t)(k % 8) * 128 +
                  2 * (size_t)(n % 64),
              out);
}

static void load_b(const emu_wgmma_job *job, float *b) // (16, n)
{
    int n = job->to->n;
    emu_tile tile = tile_of(job->b, job);
    for (int column = 0; column < n && !job->transposed; column++) {
        float row[16];
        k_major(&tile, column, row);
        for (int k = 0; k < 16; k++) b[k * n + column] = row[k];
    }
    for (int k = 0; k < 16 && job->transposed; k++)
        for (int column = 0; column < n; column += 8) mn_major(&tile, column, k, b + k * n + column);
}

static void compute(const emu_wgmma_job *job, int quarter)
{
    static float a[16 * 16], b[16 * 256];
    int n = job->to->n;
    load_b(job, b);
    if (job->from_regs) {
        memcpy(a, job->regs, sizeof a);
    } else {
        emu_tile tile = tile_of(job->a, job);
        for (int row = 0; row < 16; row++) k_major(&tile, quarter * 16 + row, a + row * 16);
    }
    if (!job->keep) memset(job->to->value, 0, sizeof(float) * 16 * (size_t)n);
    multiply(job->to->value, a, b, n);
}

static void compute_until(int index, size_t job)
{
    emu_wgmma_warp *warp = &wgmma_of[index];
    for (; warp->done < job; warp->done++) compute(&warp->jobs[warp->done], index & 3);
}

static emu_accumulators *accumulators_of(emu_wgmma_warp *warp, void *const at[32], int n)
{
    const emu_wgmma_operands *first = (const emu_wgmma_operands *)at[0];
    for (emu_accumulators *busy : warp->busy)
        if (busy->of[0] == first->d) {
            if (busy->n != n)
                emu_die(first->file, first->line, "wgmma: its accumulators are another's of another size");
            return busy;
        }
    if (idle.empty()) idle.push_back((emu_accumulators *)malloc(sizeof(emu_accumulators)));
    emu_accumulators *out = idle.back();
    idle.pop_back();
    out->n = n;
    out->under_way = 0;
    for (int lane = 0; lane < 32; lane++) {
        out->of[lane] = ((const emu_wgmma_operands *)at[lane])->d;
        for (int i = 0; i < n / 2; i++) {
            out->value[place_of(lane, i, n)] = out->of[lane][i];
            out->of[lane][i] = __uint_as_float(0xffffffffu);
        }
    }
    warp->busy.push_back(out);
    return out;
}

static void finish_wgmma(void *const at[32], unsigned)
{
    const emu_wgmma_operands *first = (const emu_wgmma_operands *)at[0];
    int index = emu_at_work.at->warp;
    emu_wgmma_warp *warp = &wgmma_of[index];
    if (!warp->fenced) emu_die(first->file, first->line, "wgmma without a wi_wgmma_fence since the last wait");
    emu_wgmma_job job = {};
    for (int lane = 0; lane < 32; lane++) {
        const emu_wgmma_operands *of = (const emu_wgmma_operands *)at[lane];
        if (of->a != first->a || of->b != first->b || of->keep != first->keep || of->n != first->n ||
            of->transposed != first->transposed || !of->a_regs != !first->a_regs)
            emu_die(first->file, first->line, "wgmma: lanes 0 and %d of warp %d differ in a descriptor or in keep",
                    lane, index);
        if (of->a_regs) spread_a(job.regs, of->a_regs, lane);
    }
    job.to = accumulators_of(warp, at, first->n);
    job.to->under_way++;
    job.keep = first->keep, job.from_regs = first->a_regs, job.transposed = first->transposed;
    job.a = first->a, job.b = first->b, job.file = first->file, job.line = first->line;
    warp->jobs.push_back(job);
    warp->issued++;
}

void emu_wgmma(int n, float *d, const uint32_t *a_regs, uint64_t a, uint64_t b, bool transposed, bool keep,
               const char *file, int line)
{
    int first = emu_at_work.at->warp & ~3;
    if (emu_capability() < 90) emu_die(file, line, "wgmma: the device's capability is below 9.0");
    if (first * 32 + 128 > emu_at_work.threads) emu_die(file, line, "wgmma in a warpgroup that is not whole");
    emu_wgmma_operands mine = {n, d, a_regs, a, b, transposed, keep, file, line};
    emu_meet(0xffffffffu, finish_wgmma, &mine, "wgmma", file, line);
}

static void finish_fence(void *const[32], unsigned) { wgmma_of[emu_at_work.at->warp].fenced = true; }

void wi_wgmma_fence(const char *file, int line)
{
    emu_meet(0xffffffffu, finish_fence, nullptr, "wi_wgmma_fence", file, line);
}

static void finish_commit(void *const[32], unsigned)
{
    int index = emu_at_work.at->warp;
    emu_wgmma_warp *warp = &wgmma_of[index];
    warp->groups.push_back(warp->jobs.size());
    if (emu_chance(2)) compute_until(index, warp->jobs.size());
}

void wi_wgmma_commit(const char *file, int line)
{
    emu_meet(0xffffffffu, finish_commit, nullptr, "wi_wgmma_commit", file, line);
}

// The operand is how many groups may still be under way.
static void finish_wait(void *const at[32], unsigned)
{
    int index = emu_at_work.at->warp;
    emu_wgmma_warp *warp = &wgmma_of[index];
    size_t but = (size_t) * (const int *)at[0];
    warp->fenced = false;
    if (warp->groups.size() <= but) return;
    size_t groups = warp->groups.size() - but, jobs = warp->groups[groups - 1];
    compute_until(index, jobs);
    for (size_t i = 0; i < jobs; i++) {
        emu_accumulators *to = warp->jobs[i].to;
        if (--to->under_way) continue;
        for (int lane = 0; lane < 32; lane++)
            for (int k = 0; k < to->n / 2; k++) to->of[lane][k] = to->value[place_of(lane, k, to->n)];
        for (size_t k = 0; k < warp->busy.size(); k++)
            if (warp->busy[k] == to) warp->busy.erase(warp->busy.begin() + (ptrdiff_t)k);
        idle.push_back(to);
    }
    warp->jobs.erase(warp->jobs.begin(), warp->jobs.begin() + (ptrdiff_t)jobs);
    warp->groups.erase(warp->groups.begin(), warp->groups.begin() + (ptrdiff_t)groups);
    for (size_t &end : warp->groups) end -= jobs;
    warp->done -= jobs;
}

void emu_wgmma_wait(int but, const char *file, int line)
{
    emu_meet(0xffffffffu, finish_wait, &but, "wi_wgmma_wait", file, line);
}
