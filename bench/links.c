// Pairs of ranks by themselves: who pairs with whom, what they do, and the line through it.
#include "bench/links.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "core/clock.h"
#include "core/sha256.h"

enum { CALLS_LEAST = 7, CALLS_MOST = 400, IN_FLIGHT = 8, SMALL = 64, NOISE_CALLS = 4000 };
static const double seconds_a_size = 0.12;
static const size_t sizes[WEFT_PAIR_POINTS] = {64, 1 << 10, 4 << 10, 16 << 10, 32 << 10, 64 << 10, 256 << 10, 1 << 20};
const double weft_noise_quantile[WEFT_NOISE_POINTS] = {0.5, 0.75, 0.9, 0.99, 0.999, 1};

// ---- noise ----

weft_noise weft_noise_of(double *seconds, size_t count)
{
    weft_noise noise = {0};
    if (count < 10) return noise;
    weft_sort(seconds, count);
    const double middle = weft_quantile(seconds, count, 0.5);
    noise.median_s = middle;
    for (int i = 0; i < WEFT_NOISE_POINTS; i++)
        noise.at[i] = weft_quantile(seconds, count, weft_noise_quantile[i]) / middle;
    return noise;
}

// Below the median as far as above it to the next point: what is faster than usual is so by little.
double weft_noise_at(const weft_noise *noise, double q)
{
    int i = 1;
    if (noise->at[0] <= 0) return 1;
    if (q <= 0.5) return 1 - (noise->at[1] - 1) * fmin(1, (0.5 - q) / 0.25) * 0.5;
    while (i < WEFT_NOISE_POINTS - 1 && q > weft_noise_quantile[i]) i++;
    const double part = (q - weft_noise_quantile[i - 1]) / (weft_noise_quantile[i] - weft_noise_quantile[i - 1]);
    return noise->at[i - 1] + part * (noise->at[i] - noise->at[i - 1]);
}

double weft_noise_extra(const weft_noise *noise, double medians, double q)
{
    const double own = medians > 0 ? 1 - (1 - q) / medians : 0;
    const double ratio = weft_noise_at(noise, own > 0 ? own : 0);
    return ratio > 1 ? (ratio - 1) * noise->median_s : 0;
}

// The same little work again and again: what differs is the machine's doing.
static weft_noise compute_noise(void)
{
    static const unsigned char bytes[32 << 10];
    double took[NOISE_CALLS];
    for (int i = 0; i < NOISE_CALLS; i++) {
        char text[65];
        weft_sha256 hash;
        const int64_t began = weft_clock_ns();
        weft_sha256_begin(&hash);
        weft_sha256_add(&hash, bytes, sizeof bytes);
        weft_sha256_end(&hash, text);
        took[i] = (double)(weft_clock_ns() - began) * 1e-9;
    }
    return weft_noise_of(took, NOISE_CALLS);
}

// ---- the line ----

void weft_pair_fit(weft_pair *p)
{
    double weight[WEFT_PAIR_POINTS], latency = 0, slope = 0;
    for (int i = 0; i < p->points; i++) weight[i] = 1;
    for (int turn = 0; turn < 20; turn++) {
        double a = 0, b = 0, c = 0, d = 0, e = 0, scale = 1e-9;
        for (int i = 0; i < p->points; i++) { // minimize w (latency + slope n - t)^2 / t^2
            const double w = weight[i] / (p->seconds[i] * p->seconds[i]), n = p->bytes[i];
            a += w, b += w * n, c += w * n * n;
            d += w * p->seconds[i], e += w * n * p->seconds[i];
        }
        const double det = a * c - b * b;
        slope = det > 0 ? fmax(0, (a * e - b * d) / det) : 0;
        latency = fmax(0, (d - slope * b) / a);
        if (latency <= 0) slope = e / c;
        p->error = 0;
        for (int i = 0; i < p->points; i++) {
            const double far = fabs((latency + slope * p->bytes[i]) / p->seconds[i] - 1);
            p->error = fmax(p->error, far);
            scale += far / p->points;
        }
        for (int i = 0; i < p->points; i++) {
            const double far = fabs((latency + slope * p->bytes[i]) / p->seconds[i] - 1);
            weight[i] = far > scale ? scale / far : 1;
        }
    }
    p->latency_s = latency;
    p->bytes_per_s = slope > 0 ? 1 / slope : 1e15;
}

double weft_pair_seconds(const weft_pair *p, double bytes, double slower)
{
    const int last = p->points - 1;
    const double more = (slower - 1) * bytes / p->bytes_per_s;
    int i = 1;
    if (p->points == 0) return 0;
    if (bytes <= p->bytes[0] || last == 0) return p->seconds[0] + more;
    if (bytes >= p->bytes[last]) return p->seconds[last] + (bytes - p->bytes[last]) / p->bytes_per_s + more;
    while (bytes > p->bytes[i]) i++;
    const double part = (bytes - p->bytes[i - 1]) / (p->bytes[i] - p->bytes[i - 1]);
    return p->seconds[i - 1] + part * (p->seconds[i] - p->seconds[i - 1]) + more;
}

// ---- a pair ----

// Some exchanges, `flight` of them begun before the first is ended. The first byte that rank 0 gives says whether
// another turn follows, so that nothing but what is measured travels.
static weft_status turns(weft_comm *pair, size_t bytes, int flight, double *took, int *count)
{
    const weft_channel_spec spec = {
        .shape = WEFT_ALLGATHER, .name = "pair", .bytes = bytes, .depth = flight > 1 ? flight : 2};
    const int peer = 1 - weft_comm_rank(pair);
    weft_exchange ex[IN_FLIGHT];
    weft_channel *channel = NULL;
    unsigned char *copy = malloc(bytes);
    weft_status status = copy ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for %zu bytes", bytes);
    status = weft_comm_agree(pair, status, NULL);
    if (status == WEFT_OK) status = weft_channel_create(pair, &spec, &channel);
    bool more = status == WEFT_OK;
    const int64_t until = weft_clock_ns() + (int64_t)(seconds_a_size * 1e9);
    *count = 0;
    for (int call = 0; more; call++) {
        const int64_t began = weft_clock_ns();
        const bool go = call < CALLS_LEAST || (began < until && call < CALLS_MOST);
        for (int i = 0; i < flight; i++) {
            WEFT_TRY_GOTO(weft_exchange_acquire(channel, &ex[i]));
            memset(ex[i].slot, go, bytes);
            WEFT_TRY_GOTO(weft_exchange_begin(&ex[i], bytes));
        }
        for (int i = 0; i < flight; i++) {
            WEFT_TRY_GOTO(weft_exchange_end(&ex[i]));
            memcpy(copy, ex[i].view[peer], bytes);
            more = weft_comm_rank(pair) == 0 ? go : copy[0] != 0;
            weft_exchange_release(&ex[i]);
        }
        if (call > 1) took[(*count)++] = (double)(weft_clock_ns() - began) * 1e-9; // the first two begin unlike
    }
fail:
    weft_channel_destroy(channel);
    free(copy);
    return status;
}

static weft_status measure_pair(weft_comm *pair, weft_pair *out)
{
    double *took = malloc((CALLS_MOST + 2) * sizeof *took);
    weft_status status = took ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for times");
    int count = 0;
    status = weft_comm_agree(pair, status, NULL);
    for (int i = 0; i < WEFT_PAIR_POINTS && status == WEFT_OK; i++) {
        status = turns(pair, sizes[i], 1, took, &count);
        if (status < 0) break;
        const weft_noise noise = weft_noise_of(took, (size_t)count);
        if (i == 0) out->noise = noise;
        weft_sort(took, (size_t)count);
        out->bytes[out->points] = (double)sizes[i];
        out->seconds[out->points++] = weft_quantile(took, (size_t)count, 0.5);
    }
    if (status == WEFT_OK) status = turns(pair, SMALL, IN_FLIGHT, took, &count);
    if (status == WEFT_OK) {
        weft_sort(took, (size_t)count);
        const double more = weft_quantile(took, (size_t)count, 0.5) - out->seconds[0];
        out->message_s = more > 0 ? more / (IN_FLIGHT - 1) : 0;
        weft_pair_fit(out);
    }
    free(took);
    return status;
}

static weft_status measure_rate(weft_comm *pair, double *out)
{
    double took[CALLS_MOST + 2];
    const size_t bytes = 1 << 20;
    int count;
    WEFT_TRY(turns(pair, bytes, 1, took, &count));
    weft_sort(took, (size_t)count);
    *out = (double)bytes / weft_quantile(took, (size_t)count, 0.5);
    return WEFT_OK;
}

// ---- who pairs with whom ----

// This rank's number among those of its host, and how many they are.
static int local_rank(const weft_comm *world, int rank, int *here)
{
    int local = 0;
    *here = 0;
    for (int r = 0; r < weft_comm_size(world); r++) {
        if (weft_comm_node(world, r) != weft_comm_node(world, rank)) continue;
        local += r < rank;
        ++*here;
    }
    return local;
}

static int fewest_on_a_host(const weft_comm *world)
{
    int fewest = weft_comm_size(world), here;
    for (int r = 0; r < weft_comm_size(world); r++) {
        local_rank(world, r, &here);
        if (here < fewest) fewest = here;
    }
    return fewest;
}

// Of rank 0's host and the next: neighbours of one host, or those with one number on two hosts. -1: none.
static int pair_of(const weft_comm *world, bool far, int sharers)
{
    int here;
    const int rank = weft_comm_rank(world), host = weft_comm_node(world, rank), hosts = weft_comm_nodes(world);
    const int local = local_rank(world, rank, &here);
    if (local >= sharers) return -1;
    if (far) return host / 2 * 2 + 1 < hosts ? host / 2 * sharers + local : -1;
    return local / 2 * 2 + 1 < sharers ? host * sharers + local / 2 : -1;
}

// One pair of the job alone while the others wait, then all of them at once. What rank 0's pair sees is told to all.
static weft_status measure_class(weft_comm *world, bool far, int sharers, weft_pair *out)
{
    const int rank = weft_comm_rank(world), number = pair_of(world, far, sharers);
    weft_comm *pair = NULL;
    weft_status status = WEFT_OK;
    weft_pair found = {0};
    WEFT_TRY(weft_comm_split(world, number, rank, "pair", &pair));
    if (number == 0) status = measure_pair(pair, &found);
    status = weft_comm_agree(world, status, NULL);
    if (status == WEFT_OK && sharers > (far ? 1 : 3)) {
        double rate = 0;
        if (number >= 0) status = measure_rate(pair, &rate);
        int64_t least = number >= 0 ? (int64_t)rate : INT64_MAX;
        status = weft_comm_agree(world, status, NULL);
        if (status == WEFT_OK) status = weft_comm_min(world, &least, 1);
        found.sharers = sharers;
        found.shared_bytes_per_s = (double)least;
    }
    weft_comm_destroy(pair);
    if (status == WEFT_OK) status = weft_comm_bcast(world, 0, &found, sizeof found);
    if (status == WEFT_OK) *out = found;
    return status;
}

weft_status weft_links_measure(weft_comm *world, weft_job_links *out)
{
    const int fewest = fewest_on_a_host(world);
    weft_job_links links = {0};
    WEFT_TRY(weft_comm_barrier(world));
    if (weft_comm_rank(world) == 0) links.noise = compute_noise(); // the others wait: ranks may share cores
    WEFT_TRY(weft_comm_bcast(world, 0, &links.noise, sizeof links.noise));
    if (fewest > 1) WEFT_TRY(measure_class(world, false, fewest, &links.near));
    if (weft_comm_nodes(world) > 1) WEFT_TRY(measure_class(world, true, fewest, &links.far));
    *out = links;
    return WEFT_OK;
}
