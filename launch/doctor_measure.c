// weft doctor --measure: the ceilings of this host's processors and memory, and the links of the job, as the file that
// weft plan --machine goes by has them.
#include <string.h>

#include "bench/ceilings.h"
#include "core/team.h"
#include "launch/doctor.h"

enum { CEILINGS = WI_CEILINGS };
static const struct {
    weft_ceiling which;
    const char *fact;
} ceilings[CEILINGS] = {
    {WEFT_CEILING_FMA_AVX512, "fma_avx512_per_s"}, {WEFT_CEILING_FMA_AVX2, "fma_avx2_per_s"},
    {WEFT_CEILING_BF16_DOT, "bf16_dot_per_s"},     {WEFT_CEILING_AMX_BF16, "amx_bf16_per_s"},
    {WEFT_CEILING_READ_L2, "read_l2_per_s"},       {WEFT_CEILING_READ_L3, "read_l3_per_s"},
    {WEFT_CEILING_READ_DRAM, "read_dram_per_s"},   {WEFT_CEILING_COPY_DRAM, "copy_dram_per_s"},
};

// Collective over the host's ranks, which work at once; the sum over them.
static weft_status measure_ceilings(weft_comm *host, const weft_topology *topology, int threads, wi_measures *out)
{
    const double seconds = 0.1;
    const weft_cpu cpu = weft_cpu_detect();
    weft_isa isa;
    weft_team *team = NULL;
    weft_ceilings *c = NULL;
    weft_status status;
    if (weft_isa_choose(&cpu, &isa) < 0) isa = WEFT_ISA_REF;
    weft_error_clear();
    status = weft_team_create(
        &(weft_team_options){.threads = threads, .cpus = topology->allowed, .cpu_count = topology->allowed_cores},
        &team);
    if (status == WEFT_OK) status = weft_ceilings_create(team, &cpu, isa, &c);
    WEFT_TRY_GOTO(weft_comm_agree(host, status, NULL));
    for (int i = 0; i < CEILINGS; i++) {
        WEFT_TRY_GOTO(weft_comm_barrier(host));
        int64_t rate = (int64_t)weft_ceiling_measure(c, ceilings[i].which, threads, seconds);
        WEFT_TRY_GOTO(weft_comm_sum(host, &rate, 1));
        out->ceiling[i] = (double)rate;
    }
    status = WEFT_OK;
fail:
    weft_ceilings_destroy(c);
    weft_team_destroy(team);
    return status;
}

weft_status wi_doctor_measure(const wi_doctor *doctor, weft_comm *host, int threads, wi_measures *out)
{
    weft_comm *world = weft_job_world(doctor->job);
    WEFT_TRY(weft_comm_agree(world, measure_ceilings(host, doctor->topology, threads, out), NULL));
    WEFT_TRY(weft_links_measure(world, &out->links));
    out->done = true;
    return WEFT_OK;
}

// ---- what is told ----

void wi_doctor_ceilings(const wi_doctor *doctor, wi_findings *out)
{
    const wi_measures *m = &doctor->measures;
    char text[200] = "";
    size_t used = 0;
    if (!m->done) return;
    for (int i = 0; i < CEILINGS; i++)
        if (m->ceiling[i] > 0)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s: %.0f", used ? "; " : "",
                                     weft_ceiling_name(ceilings[i].which), m->ceiling[i] * 1e-9);
    wi_finding *f = wi_found(out, WI_FOUND_OK, "ceilings", "in G/s: %s", text);
    for (int i = 0; i < CEILINGS; i++) wi_found_fact(f, ceilings[i].fact, m->ceiling[i]);
}

static void find_link(const char *name, const char *where, const char *transport, const weft_pair *p, wi_findings *out)
{
    char shared[64] = "";
    if (p->points == 0) {
        wi_found(out, WI_FOUND_NONE, name, "no two ranks %s", where);
        return;
    }
    if (p->sharers > 0)
        snprintf(shared, sizeof shared, "; %d at once have %.3g GB/s each", p->sharers, p->shared_bytes_per_s * 1e-9);
    wi_finding *f = wi_found(
        out, WI_FOUND_OK, name, "%s by %s: %.3g us and %.3g GB/s (within %.0f %%), %.2g us a further message%s", where,
        transport, p->latency_s * 1e6, p->bytes_per_s * 1e-9, 100 * p->error, p->message_s * 1e6, shared);
    wi_found_fact(f, "latency_s", p->latency_s);
    wi_found_fact(f, "bytes_per_s", p->bytes_per_s);
    wi_found_fact(f, "message_s", p->message_s);
    wi_found_fact(f, "sharers", p->sharers);
    wi_found_fact(f, "shared_bytes_per_s", p->shared_bytes_per_s);
}

void wi_doctor_links(const wi_doctor *doctor, wi_findings *out)
{
    const weft_job_links *l = &doctor->measures.links;
    weft_comm *world = weft_job_world(doctor->job);
    if (!doctor->measures.done) return;
    find_link("link near", "inside a host",
              weft_comm_nodes(world) > 1 ? "shm" : weft_transport_name(weft_comm_transport(world)), &l->near, out);
    find_link("link far", "between hosts", weft_transport_name(weft_comm_transport(world)), &l->far, out);
    wi_found(out, WI_FOUND_OK, "noise", "the same work takes %.2f, %.2f and %.2f of its median at 90, 99 and 99.9 %%",
             l->noise.at[2], l->noise.at[3], l->noise.at[4]);
}

static void write_noise(weft_json_writer *json, const weft_noise *noise)
{
    weft_json_write_object(json, "noise");
    weft_json_write_real(json, "median_s", noise->median_s);
    weft_json_write_array(json, "quantiles");
    for (int i = 0; i < WEFT_NOISE_POINTS; i++) weft_json_write_real(json, NULL, noise->at[i]);
    weft_json_write_end(json);
    weft_json_write_end(json);
}

static void write_pair(weft_json_writer *json, const char *name, const weft_pair *p)
{
    if (p->points == 0) return;
    weft_json_write_object(json, name);
    weft_json_write_real(json, "latency_s", p->latency_s);
    weft_json_write_real(json, "bytes_per_s", p->bytes_per_s);
    weft_json_write_real(json, "error", p->error);
    weft_json_write_real(json, "message_s", p->message_s);
    weft_json_write_int(json, "sharers", p->sharers);
    weft_json_write_real(json, "shared_bytes_per_s", p->shared_bytes_per_s);
    weft_json_write_array(json, "points");
    for (int i = 0; i < p->points; i++) {
        weft_json_write_array(json, NULL);
        weft_json_write_real(json, NULL, p->bytes[i]);
        weft_json_write_real(json, NULL, p->seconds[i]);
        weft_json_write_end(json);
    }
    weft_json_write_end(json);
    write_noise(json, &p->noise);
    weft_json_write_end(json);
}

void wi_doctor_write_links(weft_json_writer *json, const wi_doctor *doctor)
{
    const weft_job_links *l = &doctor->measures.links;
    if (!doctor->measures.done) return;
    weft_json_write_object(json, "links");
    weft_json_write_string(json, "transport", weft_transport_name(weft_comm_transport(weft_job_world(doctor->job))));
    weft_json_write_int(json, "ranks", weft_comm_size(weft_job_world(doctor->job)));
    write_pair(json, "near", &l->near);
    write_pair(json, "far", &l->far);
    write_noise(json, &l->noise);
    weft_json_write_end(json);
}
