// weft doctor: what this machine and this job offer, and what is missing. Each host is looked at by its lowest rank;
// the bandwidth is measured by all ranks of a host at once, as they would read weights. Rank 0 tells.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/ceilings.h"
#include "bench/machine.h"
#include "core/device.h"
#include "launch/doctor.h"

typedef struct {
    bool quick, measure;
    const char *json, *record;
} doctor_options;

static const weft_flag doctor_flags[] = {
    {.name = "quick", .kind = WEFT_FLAG_BOOL, .offset = offsetof(doctor_options, quick), .help = "measure nothing"},
    {.name = "measure",
     .kind = WEFT_FLAG_BOOL,
     .offset = offsetof(doctor_options, measure),
     .help = "measure links and ceilings too (some ten seconds), for weft plan --machine FILE"},
    {.name = "json",
     .kind = WEFT_FLAG_STRING,
     .offset = offsetof(doctor_options, json),
     .value = "FILE",
     .help = "write all of it there; -: to stdout, without the text"},
    {.name = "record-machine",
     .kind = WEFT_FLAG_STRING,
     .offset = offsetof(doctor_options, record),
     .value = "FILE",
     .help = "write cpus, GPUs, NICs and how far they are from each other there, as text; -: to stdout"},
    {0}};

static const doctor_options doctor_defaults = {0};

static const weft_command doctor_command = {
    .name = "doctor",
    .summary = "what this machine and job offer, what is missing, and the mend",
    .usage = "weft doctor [flags]",
    .about = "Looks at the job, where its ranks are bound, the processor, memory and its measured bandwidth, limits, "
             "MPI, UCX and GPUs. Each line begins with ok, warn, bad or none (not here, and not needed). Exits with 0 "
             "unless something is bad.",
    .examples = "weft doctor\nweft -n 2 doctor --quick\nmpirun -np 4 weft doctor --json doctor.json\n"
                "weft -n 2 doctor --measure --json machine.json\nweft doctor --quick --record-machine machine.txt",
    .flags = doctor_flags,
    .common = wi_common_flags,
};

static void tell_of_self(const weft_topology *topology, wi_rank_facts *out)
{
    *out = (wi_rank_facts){.pid = (int32_t)getpid(),
                           .cpus = topology->allowed_count,
                           .cores = topology->allowed_cores,
                           .machine_cpus = topology->cpus,
                           .node_first = topology->numa_of[0],
                           .node_last = topology->numa_of[0]};
    for (int i = 0; i < topology->allowed_count; i++) {
        int cpu = topology->allowed[i], node = topology->numa_of[i];
        if (cpu < WEFT_CPUS_MAX) out->cpu[cpu / 64] |= UINT64_C(1) << (cpu % 64);
        if (node < out->node_first) out->node_first = node;
        if (node > out->node_last) out->node_last = node;
    }
}

// ---- bandwidth ----

// How many ranks of this host may use this rank's cpus, itself included.
static int sharers(const wi_doctor *doctor)
{
    weft_comm *world = weft_job_world(doctor->job);
    int me = weft_comm_rank(world), count = 0;
    for (int rank = 0; rank < weft_comm_size(world); rank++) {
        bool shared = false;
        for (int i = 0; i < WI_CPU_WORDS; i++)
            shared = shared || (doctor->ranks[rank].cpu[i] & doctor->ranks[me].cpu[i]);
        count += weft_comm_node(world, rank) == weft_comm_node(world, me) && shared;
    }
    return count > 0 ? count : 1;
}

static weft_status prepare_test(size_t bytes, int threads, const weft_topology *topology, weft_team **team,
                                weft_read_test **test)
{
    WEFT_TRY(weft_team_create(
        &(weft_team_options){.threads = threads, .cpus = topology->allowed, .cpu_count = topology->allowed_cores},
        team));
    return weft_read_test_create(*team, bytes, test);
}

static size_t available(void)
{
    weft_device *device = NULL;
    size_t free_bytes = 0, total = 0;
    if (weft_device_host(NULL, &device) < 0 || device->ops->memory(device, &free_bytes, &total) < 0) free_bytes = 0;
    weft_device_destroy(device);
    return free_bytes;
}

// Collective over the host's ranks, which compute at once.
static weft_status measure_arithmetic(weft_comm *host, weft_team *team, double seconds, wi_bandwidth *out)
{
    const weft_cpu cpu = weft_cpu_detect();
    weft_ceiling which = WEFT_CEILING_FMA_AVX2;
    weft_isa isa;
    int64_t done = 0;
    if (weft_isa_choose(&cpu, &isa) < 0) isa = WEFT_ISA_REF;
    weft_error_clear();
    WEFT_TRY(weft_comm_barrier(host));
    done = (int64_t)weft_arithmetic_measure(team, &cpu, isa, seconds, &which);
    WEFT_TRY(weft_comm_sum(host, &done, 1));
    out->operations = (double)done;
    snprintf(out->by, sizeof out->by, "%s", weft_ceiling_name(which));
    return WEFT_OK;
}

// Collective over the host's ranks. The leader reads alone first, from a buffer that no cache holds; then all read,
// each its part of so many bytes.
static weft_status measure(weft_comm *host, const weft_topology *topology, int threads, wi_bandwidth *out)
{
    const double seconds = 0.25;
    weft_team *team = NULL;
    weft_read_test *test = NULL;
    int64_t bytes = (int64_t)weft_read_test_bytes(topology, available()), sums[2] = {0, threads};
    bool leads = weft_comm_rank(host) == 0;
    weft_status status;
    WEFT_TRY_GOTO(weft_comm_min(host, &bytes, 1));
    size_t part = (size_t)bytes / (size_t)weft_comm_size(host), least = (size_t)threads * (4 << 20);
    if (part < least) part = least;
    status = prepare_test(leads && part < (size_t)bytes ? (size_t)bytes : part, threads, topology, &team, &test);
    WEFT_TRY_GOTO(weft_comm_agree(host, status, NULL));
    if (leads) out->one = weft_read_test_run(test, 1, 0, seconds);
    WEFT_TRY_GOTO(weft_comm_barrier(host));
    sums[0] = (int64_t)weft_read_test_run(test, threads, part, seconds);
    WEFT_TRY_GOTO(weft_comm_sum(host, sums, 2));
    out->all = (double)sums[0];
    WEFT_TRY_GOTO(measure_arithmetic(host, team, seconds, out));
    out->threads = (int)sums[1];
    out->bytes = (size_t)bytes;
    out->measured = true;
    status = WEFT_OK;
fail:
    weft_read_test_destroy(test);
    weft_team_destroy(team);
    return status;
}

static int threads_of(const wi_doctor *doctor)
{
    const int threads = doctor->topology->allowed_cores / sharers(doctor);
    return threads > 0 ? threads : 1;
}

// A host that cannot be measured is a line of the report and no failure of the job.
static weft_status measure_host(wi_doctor *doctor, weft_comm *host, bool quick)
{
    wi_bandwidth *b = &doctor->bandwidth;
    if (quick) {
        snprintf(b->why_not, sizeof b->why_not, "--quick");
        return WEFT_OK;
    }
    weft_status status = measure(host, doctor->topology, threads_of(doctor), b);
    if (status == WEFT_LOST || status == WEFT_DEADLINE) return status;
    if (status < 0) snprintf(b->why_not, sizeof b->why_not, "%.150s", weft_error_text());
    weft_error_clear();
    return WEFT_OK;
}

// ---- the whole ----

static weft_status gather_hosts(weft_comm *leaders, const wi_findings *mine, wi_findings **all, int **ranks)
{
    int hosts = weft_comm_size(leaders);
    *all = calloc((size_t)hosts, sizeof **all);
    *ranks = calloc((size_t)hosts, sizeof **ranks);
    weft_status status = *all && *ranks ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for %d hosts", hosts);
    WEFT_TRY(weft_comm_agree(leaders, status, NULL));
    for (int host = 0; host < hosts; host++) (*ranks)[host] = weft_comm_world_rank(leaders, host);
    return weft_comm_allgather(leaders, mine, sizeof *mine, *all);
}

static weft_status tell(const wi_doctor_report *report, const doctor_options *options)
{
    int bad = 0;
    bool only_json =
        (options->json && strcmp(options->json, "-") == 0) || (options->record && strcmp(options->record, "-") == 0);
    if (!only_json) wi_doctor_print(report, stdout);
    if (options->json) WEFT_TRY(wi_doctor_write(report, options->json));
    for (int host = 0; host < report->hosts; host++)
        for (int i = 0; i < report->host[host].count; i++) bad += report->host[host].at[i].level == WI_FOUND_BAD;
    if (bad) return weft_fail(WEFT_FAILED, "doctor: %d found bad; each has its mend beside it", bad);
    return WEFT_OK;
}

static weft_status record(wi_hardware *hardware, const char *path)
{
    const bool to_stdout = strcmp(path, "-") == 0;
    FILE *out = to_stdout ? stdout : fopen(path, "we");
    if (!out) return weft_fail(WEFT_IO, "--record-machine %s: %s", path, strerror(errno));
    wi_hardware_note_environment(hardware);
    wi_hardware_print(hardware, out);
    const bool failed = ferror(out) || (to_stdout ? fflush(out) : fclose(out)) != 0;
    return failed ? weft_fail(WEFT_IO, "--record-machine %s: %s", path, strerror(errno)) : WEFT_OK;
}

// On the ranks that look at their hosts.
static weft_status look(wi_doctor *doctor, weft_comm *leaders)
{
    const doctor_options *options = doctor->call->options;
    wi_findings *job = calloc(1, sizeof *job), *mine = calloc(1, sizeof *mine), *all = NULL;
    int *ranks = NULL;
    weft_status status = WEFT_OK;
    doctor->hardware = calloc(1, sizeof *doctor->hardware);
    if (!job || !mine || !doctor->hardware) status = weft_fail(WEFT_NO_MEMORY, "no memory for what is found");
    WEFT_TRY_GOTO(weft_comm_agree(leaders, status, NULL));
    if (wi_hardware_read(doctor->topology, doctor->hardware) < 0) weft_error_clear();
    wi_doctor_system(doctor, mine);
    wi_doctor_processor(doctor, mine);
    wi_doctor_memory(doctor, mine);
    wi_doctor_ceilings(doctor, mine);
    wi_doctor_libraries(doctor, mine);
    status = gather_hosts(leaders, mine, &all, &ranks);
    if (status == WEFT_OK && weft_comm_rank(leaders) == 0) {
        wi_doctor_job(doctor, job);
        wi_doctor_links(doctor, job);
        wi_doctor_report report = {doctor, job, all, ranks, weft_comm_size(leaders)};
        if (options->record) status = record(doctor->hardware, options->record);
        if (status == WEFT_OK) status = tell(&report, options);
    }
fail:
    free(all);
    free(ranks);
    free(job);
    free(mine);
    free(doctor->hardware);
    doctor->hardware = NULL;
    return status;
}

static weft_status run_parts(wi_doctor *doctor, const doctor_options *options)
{
    weft_comm *world = weft_job_world(doctor->job), *host = NULL, *leaders = NULL;
    int me = weft_comm_rank(world);
    weft_status status;
    WEFT_TRY_GOTO(weft_comm_split(world, weft_comm_node(world, me), me, "host", &host));
    doctor->ranks_here = weft_comm_size(host);
    bool leads = weft_comm_rank(host) == 0;
    WEFT_TRY_GOTO(weft_comm_split(world, leads ? 0 : -1, me, "leaders", &leaders));
    int64_t signal = weft_job_drain_signal(doctor->job);
    WEFT_TRY_GOTO(weft_comm_max(world, &signal, 1));
    if (signal) {
        status = weft_fail(WEFT_DRAINED, "doctor: stopped by signal %d", (int)signal);
        goto fail;
    }
    WEFT_TRY_GOTO(measure_host(doctor, host, options->quick));
    if (options->measure) {
        wi_measures *m = &doctor->measures;
        WEFT_TRY_GOTO(wi_doctor_measure(doctor, host, threads_of(doctor), m));
    }
    status = leads ? look(doctor, leaders) : WEFT_OK;
    // Nobody leaves a group that others still use.
    status = weft_comm_agree(world, status, NULL);
fail:
    weft_comm_destroy(leaders);
    weft_comm_destroy(host);
    return status;
}

static weft_status run_doctor(weft_job *job, const wi_call *call)
{
    weft_comm *world = weft_job_world(job);
    weft_topology *topology = calloc(1, sizeof *topology);
    wi_rank_facts mine = {0}, *ranks = calloc((size_t)weft_comm_size(world), sizeof *ranks);
    wi_doctor doctor = {.job = job, .call = call, .topology = topology, .ranks = ranks};
    weft_status status = WEFT_OK;
    if (!topology || !ranks) status = weft_fail(WEFT_NO_MEMORY, "no memory to look around");
    if (status == WEFT_OK) status = weft_topology_read(topology);
    WEFT_TRY_GOTO(weft_comm_agree(world, status, NULL));
    tell_of_self(topology, &mine);
    if (wi_seat_find(wi_seat_place(world), 0, NULL, topology, &mine.seat, NULL) < 0) {
        mine.seat = (wi_rank_seat){.device = -1, .node = -1};
        weft_error_clear();
    }
    WEFT_TRY_GOTO(weft_comm_allgather(world, &mine, sizeof mine, ranks));
    status = run_parts(&doctor, call->options);
fail:
    free(topology);
    free(ranks);
    return status;
}

const wi_entry wi_doctor_entry = {
    .command = &doctor_command, .defaults = &doctor_defaults, .bytes = sizeof doctor_defaults, .run = run_doctor};
