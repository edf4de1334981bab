// The line through a link's points, what lies between them, and noise.
#include <math.h>

#include "bench/links.h"
#include "core/philox.h"
#include "tests/check.h"

static weft_pair pair_of(double latency, double rate, double noise)
{
    weft_pair p = {.points = WEFT_PAIR_POINTS};
    for (int i = 0; i < p.points; i++) {
        const weft_philox4 draw = weft_draw4(7, 0, (uint64_t)i, WEFT_DRAW_TEST);
        p.bytes[i] = 64 << (2 * i);
        p.seconds[i] = (latency + p.bytes[i] / rate) * (1 + noise * (2 * weft_unit_float(draw.word[0]) - 1));
    }
    weft_pair_fit(&p);
    return p;
}

static bool near(double a, double b, double part) { return fabs(a / b - 1) <= part; }

static weft_status measure(weft_job *job, int rank, void *arg)
{
    weft_job_links links;
    weft_status status = weft_links_measure(weft_job_world(job), &links);
    if (status < 0) return status;
    CHECK_INT(links.near.points, WEFT_PAIR_POINTS);
    CHECK_INT(links.far.points, 0);
    CHECK(links.near.bytes_per_s > 0 && links.near.seconds[0] > 0 && links.noise.at[0] > 0);
    CHECK_INT(links.near.sharers, 0);
    return WEFT_OK;
}

int main(void)
{
    weft_pair p = pair_of(20e-6, 1e9, 0);
    CHECK(near(p.latency_s, 20e-6, 1e-6) && near(p.bytes_per_s, 1e9, 1e-6) && p.error < 1e-6);
    CHECK(near(weft_pair_seconds(&p, 1e5, 1), 120e-6, 1e-6));
    CHECK(near(weft_pair_seconds(&p, 1e8, 1), 100.02e-3, 1e-6));
    CHECK(near(weft_pair_seconds(&p, 1e5, 3), 320e-6, 1e-6));
    CHECK(near(weft_pair_seconds(&p, 1, 1), p.seconds[0], 1e-9));
    p = pair_of(20e-6, 1e9, 0.1);
    CHECK(near(p.latency_s, 20e-6, 0.1) && near(p.bytes_per_s, 1e9, 0.1));
    // One point that is far off moves the line little.
    p = pair_of(20e-6, 1e9, 0);
    p.seconds[3] *= 5;
    weft_pair_fit(&p);
    CHECK(near(p.latency_s, 20e-6, 0.15) && near(p.bytes_per_s, 1e9, 0.15));
    CHECK(p.error > 0.7);
    // No latency can be seen, or no rate.
    p = pair_of(0, 1e6, 0);
    CHECK(p.latency_s < 1e-9 && near(p.bytes_per_s, 1e6, 1e-6));
    p = pair_of(1e-3, 1e18, 0);
    CHECK(near(p.latency_s, 1e-3, 1e-6) && p.bytes_per_s > 1e12);

    double times[1000];
    for (int i = 0; i < 1000; i++) times[i] = i < 900 ? 2 : 4;
    weft_noise noise = weft_noise_of(times, 1000);
    CHECK_REAL(noise.at[0], 1);
    CHECK_REAL(noise.at[1], 1);
    CHECK_REAL(weft_noise_at(&noise, 0.3), 1);
    CHECK_REAL(weft_noise_at(&noise, 0.995), 2);
    CHECK_REAL(weft_noise_at(&noise, 1), 2);
    noise = weft_noise_of(times, 5);
    CHECK_REAL(noise.at[0], 0);
    CHECK_REAL(weft_noise_at(&noise, 0.9), 1);

    CHECK_OK(weft_job_run_threads(&(weft_job_options){.deadline_ns = 60000000000}, 3, measure, NULL));
    return 0;
}
