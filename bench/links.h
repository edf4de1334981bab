// The links of a job by themselves: what an exchange between two ranks takes inside of a host and between hosts, alone
// and while all ranks do it; how much the time of the same work varies. A machine's model is made of these figures.
#ifndef WEFT_BENCH_LINKS_H
#define WEFT_BENCH_LINKS_H

#include <stdbool.h>

#include "comm/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { WEFT_PAIR_POINTS = 8, WEFT_NOISE_POINTS = 6 };

// How times of the same thing vary: quantiles over the median, at 0.5, 0.75, 0.9, 0.99, 0.999 and 1. Zeroed: unknown.
typedef struct {
    double median_s;
    double at[WEFT_NOISE_POINTS];
} weft_noise;
extern const double weft_noise_quantile[WEFT_NOISE_POINTS];
// Of so many times, which are sorted; zeroed where there are fewer than ten.
weft_noise weft_noise_of(double *seconds, size_t count);
// The quantile q in [0, 1], by lines between the points; 1 where nothing is known.
double weft_noise_at(const weft_noise *noise, double q);

// What stalls add, in seconds and at the quantile q, to work that takes so many medians without: each median of it has
// as many chances to meet one, and of several the longest counts.
double weft_noise_extra(const weft_noise *noise, double medians, double q);

// Two ranks that send each other so many bytes at once.
typedef struct {
    double latency_s, bytes_per_s; // the line through the points
    double error;                  // the farthest point's distance from the line, as a part of its time
    double message_s;              // that each further message adds, where several are on their way
    int points;                    // 0: there is no such link
    double bytes[WEFT_PAIR_POINTS], seconds[WEFT_PAIR_POINTS]; // ascending; medians
    int sharers;               // ranks of a host that then did it at once; 0: not measured
    double shared_bytes_per_s; // and what each of them had
    weft_noise noise;
} weft_pair;

// A line that minimizes relative distances, where points far from it count less (Huber). `count` of at least 2.
void weft_pair_fit(weft_pair *pair);
// What an exchange of so many bytes takes: by lines between the points, beyond the last at the rate of the fit.
// `slower`
// >= 1: how much less the pair has of the link than alone.
double weft_pair_seconds(const weft_pair *pair, double bytes, double slower);

typedef struct {
    weft_pair near, far; // inside of a host, between hosts
    weft_noise noise;    // of computing
} weft_job_links;

// Collective over `world`, blocking: some seconds, more where links are slow. The same on all ranks.
weft_status weft_links_measure(weft_comm *world, weft_job_links *out);

#ifdef __cplusplus
}
#endif
#endif
