// What exchanges take over links that weft doctor --measure fitted, as MPI runs them (weft_comm_steps).
#include <math.h>

#include "launch/plan.h"

// ---- reading them ----

static weft_noise read_noise(const weft_json *of)
{
    weft_noise noise = {.median_s = weft_json_real_value(weft_json_get(of, "median_s"))};
    const weft_json *list = weft_json_get(of, "quantiles");
    double before = 1;
    if (weft_json_size(list) != WEFT_NOISE_POINTS || !(noise.median_s > 0)) return (weft_noise){0};
    for (int i = 0; i < WEFT_NOISE_POINTS; i++) {
        noise.at[i] = weft_json_real_value(weft_json_at(list, (size_t)i));
        if (!(noise.at[i] >= before)) return (weft_noise){0};
        before = noise.at[i];
    }
    return noise;
}

// Zeroed where it is not there or cannot be.
static weft_pair read_pair(const weft_json *of)
{
    const weft_json *points = weft_json_get(of, "points");
    weft_pair p = {.latency_s = weft_json_real_value(weft_json_get(of, "latency_s")),
                   .bytes_per_s = weft_json_real_value(weft_json_get(of, "bytes_per_s")),
                   .error = weft_json_real_value(weft_json_get(of, "error")),
                   .message_s = weft_json_real_value(weft_json_get(of, "message_s")),
                   .sharers = (int)weft_json_real_value(weft_json_get(of, "sharers")),
                   .shared_bytes_per_s = weft_json_real_value(weft_json_get(of, "shared_bytes_per_s"))};
    const size_t count = weft_json_size(points);
    if (count < 2 || count > WEFT_PAIR_POINTS || !(p.bytes_per_s > 0)) return (weft_pair){0};
    for (size_t i = 0; i < count; i++) {
        const weft_json *point = weft_json_at(points, i);
        p.bytes[i] = weft_json_real_value(weft_json_at(point, 0));
        p.seconds[i] = weft_json_real_value(weft_json_at(point, 1));
        if (!(p.seconds[i] > 0) || !(p.bytes[i] > (i > 0 ? p.bytes[i - 1] : 0))) return (weft_pair){0};
    }
    p.points = (int)count;
    p.noise = read_noise(weft_json_get(of, "noise"));
    return p;
}

// Data sheets and guesses say a latency and a rate: the line between two points.
weft_pair wi_pair_of(double latency_s, double bytes_per_s)
{
    weft_pair p = {.latency_s = latency_s,
                   .bytes_per_s = bytes_per_s,
                   .message_s = latency_s / 8,
                   .points = 2,
                   .bytes = {64, 1 << 20}};
    for (int i = 0; i < 2; i++) p.seconds[i] = latency_s + p.bytes[i] / bytes_per_s;
    return p;
}

void wi_links_read(const weft_json *of, int node_ranks, wi_machine *out)
{
    const weft_job_links links = {.near = read_pair(weft_json_get(of, "near")),
                                  .far = read_pair(weft_json_get(of, "far")),
                                  .noise = read_noise(weft_json_get(of, "noise"))};
    out->links.noise = links.noise;
    if (links.near.points > 0) {
        const double shared = links.near.shared_bytes_per_s;
        out->near = shared > 0 && node_ranks > 2 ? fmin(shared, links.near.bytes_per_s) : links.near.bytes_per_s;
        out->near_s = links.near.latency_s;
        out->links.near = links.near;
    }
    if (links.far.points > 0) {
        out->nic = fmax(links.far.bytes_per_s, links.far.sharers * links.far.shared_bytes_per_s);
        out->far = fmin(links.far.bytes_per_s, out->nic / node_ranks);
        out->far_s = links.far.latency_s;
        out->links.far = links.far;
    }
}

// ---- exchanges ----

static double larger(double a, double b) { return a > b ? a : b; }

// Where memory is shared, peers are read one after the other.
static double near_seconds(const wi_machine *m, const weft_traffic *t)
{
    const weft_pair *p = &m->links.near;
    const double slower = larger(1, p->bytes_per_s / m->near);
    if (t->near == 0) return 0;
    return weft_pair_seconds(p, t->bytes, slower) +
           (t->near - 1) * larger(p->message_s, t->bytes * slower / p->bytes_per_s);
}

// How much less of its link a rank has than a pair alone: `senders` of its node send at once, and what leaves the
// switch of the node goes over fewer lines.
static double crowding(const wi_machine *m, const wi_fabric *f, double senders, double leaving)
{
    const double share = m->nic / senders, up = f->oversubscription > 1 ? larger(1, f->oversubscription * leaving) : 1;
    return larger(1, m->links.far.bytes_per_s / share * up);
}

// Which part of a group's far traffic leaves the switch of a node.
static double leaving_of(const wi_fabric *f, const weft_traffic *t, int node_ranks)
{
    const double here = (double)f->switch_nodes * node_ranks, group = t->near + t->far + 1.;
    if (f->switch_nodes <= 0 || group <= here) return 0;
    return larger(0, (group - here) / t->far);
}

static double far_seconds(const wi_machine *m, const wi_fabric *f, const weft_traffic *t, int node_ranks)
{
    const weft_pair *p = &m->links.far;
    const int group = t->near + t->far + 1;
    const double leaving = leaving_of(f, t, node_ranks), slower = crowding(m, f, node_ranks, leaving), n = t->bytes;
    const weft_steps steps =
        weft_comm_steps(WEFT_TRANSPORT_MPI, t->each ? WEFT_ALLTOALL : WEFT_ALLGATHER, (size_t)n, group);
    double seconds = 0;
    if (t->far == 0) return 0;
    if (steps == WEFT_STEPS_AT_ONCE)
        return weft_pair_seconds(p, n, slower) + (t->far - 1) * larger(p->message_s, n * slower / p->bytes_per_s);
    if (t->each) return t->far * weft_pair_seconds(p, n, slower);
    if (steps == WEFT_STEPS_DOUBLING) {
        for (int had = 1; had < group; had *= 2) {
            const int sent = had * 2 <= group ? had : group - had;
            seconds += weft_pair_seconds(p, sent * n, slower);
        }
        return seconds;
    }
    // From rank to rank around: of those of a group on one node one sends beyond it at a time.
    return (group - 1) * weft_pair_seconds(p, n, crowding(m, f, (double)node_ranks / (t->near + 1), leaving));
}

double wi_exchange_seconds(const wi_machine *m, const wi_fabric *fabric, const weft_traffic *t, int node_ranks)
{
    return (t->far > 0 ? far_seconds(m, fabric, t, node_ranks) : 0) + near_seconds(m, t);
}
