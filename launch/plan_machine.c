// What a rank of the job would run on: a GPU of the table, a machine that weft doctor measured, or one like this.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/flags.h"
#include "core/json.h"
#include "launch/plan.h"
#include "launch/probe.h"

// Figures of public data sheets: dense bf16, memory as printed (10^9 bytes; what a card has beyond that is left to its
// driver and libraries), links for one direction. A node has a NIC for each GPU: what its makers' own systems have.
typedef struct {
    const char *name;
    double memory_gb, bandwidth_gb, tflops, link_gb, nic_gbit;
    int capability;
    const char *known_by; // words of NVIDIA's name for it
} gpu;

static const gpu gpus[] = {
    {"a100-40", 40, 1555, 312, 300, 200, 80, "A100 40GB"},  // SXM4, NVLink 3
    {"a100-80", 80, 2039, 312, 300, 200, 80, "A100 80GB"},  // SXM4, NVLink 3
    {"h100", 80, 3350, 989, 450, 400, 90, "H100 HBM3"},     // SXM5, NVLink 4
    {"h100-pcie", 80, 2000, 756, 64, 400, 90, "H100 PCIe"}, // PCIe 5 x16
    {"h200", 141, 4800, 989, 450, 400, 90, "H200"},         // SXM5, NVLink 4
    {"b200", 180, 8000, 2250, 900, 400, 100, "B200"},       // HGX, NVLink 5
    {"l40s", 48, 864, 362, 32, 200, 89, "L40S"},            // PCIe 4 x16
    {"l4", 24, 300, 121, 32, 100, 89, "L4"},                // PCIe 4 x16
};
enum { GPUS = sizeof gpus / sizeof *gpus };

// What programs reach of a sheet's figures, and what an exchange takes however small it is: customary values.
static const double reach_operations = 0.6, reach_bandwidth = 0.8, reach_link = 0.8;
static const double gpu_near_s = 8e-6, host_near_s = 8e-6, far_s = 20e-6;
static const double gpu_load = 2e9; // of a file system that many read
// Of a processor: a core's share of the bandwidth as far as its memory goes, linear layers and attention of the
// units' peak, exchanges and loading of the bandwidth, as measured with two ranks of one core (docs/benchmarks.md).
static const double core_bytes = 20e9, package_bytes = 200e9;
static const double host_reach_operations = 0.47, host_reach_attention = 0.48;
// By GEMMs of 1 to 512 rows: from 128 rows on each row adds as much, to half of the time of one row.
static const double host_unhidden = 0.47;
static const double host_sends = 1. / 5, host_loads = 1. / 12;
static const double host_nic_bytes = 12.5e9; // 100 Gbit/s of a node

static weft_status unknown_device(const char *device)
{
    const char *names[GPUS + 3] = {"cpu"};
    char list[160] = "cpu";
    for (int i = 0; i < GPUS; i++) {
        const size_t used = strlen(list);
        names[i + 1] = gpus[i].name;
        snprintf(list + used, sizeof list - used, ", %s", gpus[i].name);
    }
    names[GPUS + 1] = "cuda";
    const char *best = weft_flags_suggest(device, names);
    if (best) return weft_fail(WEFT_USAGE, "--device %.40s: did you mean %s?", device, best);
    return weft_fail(WEFT_USAGE, "--device %.40s: weft knows %s, cuda; of another machine: --machine FILE", device,
                     list);
}

static wi_machine of_gpu(const gpu *g)
{
    wi_machine m = {.memory = g->memory_gb * 1e9,
                    .operations = g->tflops * 1e12 * reach_operations,
                    .attention = g->tflops * 1e12 * reach_operations,
                    .bandwidth = g->bandwidth_gb * 1e9 * reach_bandwidth,
                    .near = g->link_gb * 1e9 * reach_link,
                    .far = g->nic_gbit * 1e9 / 8 * reach_link,
                    .near_s = gpu_near_s,
                    .far_s = far_s,
                    .load = gpu_load,
                    .capability = g->capability};
    m.nic = m.far; // each GPU has one of its own
    m.links.near = wi_pair_of(m.near_s, m.near);
    m.links.far = wi_pair_of(m.far_s, m.far);
    snprintf(m.name, sizeof m.name, "%s", g->name);
    snprintf(m.source, sizeof m.source, "%.0f %% of its data sheet's operations, %.0f %% of bandwidths",
             100 * reach_operations, 100 * reach_bandwidth);
    return m;
}

// "NVIDIA A100-SXM4-80GB" has the words "A100" and "80GB".
static bool has_word(const char *name, const char *word, size_t length)
{
    for (const char *at = name; *at;) {
        const size_t own = strcspn(at, " -");
        if (own == length && memcmp(at, word, length) == 0) return true;
        at += own + strspn(at + own, " -");
    }
    return false;
}

static bool is_known(const char *name, const char *words)
{
    for (size_t length; *words; words += length + (words[length] == ' ')) {
        length = strcspn(words, " ");
        if (!has_word(name, words, length)) return false;
    }
    return true;
}

wi_machine wi_machine_gpu(const char *name, int capability, double memory)
{
    const gpu *like = NULL;
    bool known = false;
    for (int i = 0; i < GPUS && !known; i++) {
        if ((known = is_known(name, gpus[i].known_by))) like = &gpus[i];
        if (!known && gpus[i].capability <= capability &&
            (!like || gpus[i].capability > like->capability ||
             (gpus[i].capability == like->capability && gpus[i].bandwidth_gb < like->bandwidth_gb)))
            like = &gpus[i];
    }
    wi_machine m = of_gpu(like ? like : &gpus[GPUS - 1]);
    if (!known) snprintf(m.source, sizeof m.source, "guessed by those of %s", m.name);
    if (memory > 0) m.memory = memory;
    m.capability = capability;
    snprintf(m.name, sizeof m.name, "%.70s", name);
    return m;
}

// The first of this machine's GPUs; of several kinds the others are not looked at.
static weft_status of_gpus_here(wi_machine *out)
{
    wi_hardware *h = calloc(1, sizeof *h);
    weft_status status = h ? wi_probe_gpus(h) : weft_fail(WEFT_NO_MEMORY, "no memory to look at GPUs");
    if (h && status < 0) status = wi_probe_devices(h);
    if (status == WEFT_OK && h->gpus > 0) {
        const int64_t *state = h->gpu[0].state, memory = state[WI_STATE_memory_total];
        const int64_t capability = state[WI_STATE_capability];
        *out = wi_machine_gpu(h->gpu[0].name, capability > 0 ? (int)capability : 80, memory > 0 ? (double)memory : 0);
    } else {
        status =
            weft_fail(WEFT_NOT_FOUND, "--device cuda: no GPU is found here (weft doctor says more); name one, as in "
                                      "--device h100");
    }
    free(h);
    return status;
}

// ---- processors ----

// bf16 operations a second of a core, as the family's registers and units allow at 2 GHz.
static double core_operations(weft_family family, weft_isa isa)
{
    const double clock = 2e9;
    if (family == WEFT_FAMILY_AMX) return 1024 * clock; // half of what the unit could, were its tiles there in time
    if (family == WEFT_FAMILY_BF16_DOT) return 128 * clock;
    return (isa >= WEFT_ISA_AVX512 ? 64 : isa == WEFT_ISA_AVX2 ? 32 : 4) * clock;
}

static void link_up(wi_machine *m, int node_ranks)
{
    m->nic = m->far * node_ranks;
    m->links.near = wi_pair_of(m->near_s, m->near);
    m->links.far = wi_pair_of(m->far_s, m->nic);
}

// A node's figures, shared by its ranks. What they send each other they write and read in memory.
static void share(wi_machine *m, int node_ranks)
{
    m->memory /= node_ranks;
    m->operations *= host_reach_operations / node_ranks;
    m->bandwidth /= node_ranks;
    m->attention = m->operations * host_reach_attention;
    m->unhidden = host_unhidden;
    m->near = m->bandwidth * host_sends;
    m->load = m->bandwidth * host_loads;
    m->far = host_nic_bytes / node_ranks;
    m->near_s = host_near_s;
    m->far_s = far_s;
    m->is_host = true;
    link_up(m, node_ranks);
}

// With `threads` for each rank, all of the machine's cores may be meant: a rank that asks is bound to its own.
static weft_status of_here(int node_ranks, int threads, wi_machine *out)
{
    weft_topology topology, *t = &topology;
    const weft_cpu cpu = weft_cpu_detect();
    weft_isa isa;
    wi_machine m = {.is_host = true};
    WEFT_TRY(weft_isa_choose(&cpu, &isa));
    WEFT_TRY(weft_topology_read(t));
    const int all = t->cores > t->allowed_cores ? t->cores : t->allowed_cores;
    const int cores = threads == 0 ? t->allowed_cores : threads < all / node_ranks ? threads * node_ranks : all;
    const double most = package_bytes * (t->packages > 1 ? t->packages : 1);
    m.memory = (double)t->memory_limit;
    m.operations = cores * core_operations(weft_family_choose(&cpu, isa, WEFT_BF16), isa);
    m.bandwidth = core_bytes * cores < most ? core_bytes * cores : most;
    share(&m, node_ranks);
    snprintf(m.name, sizeof m.name, "this machine");
    snprintf(m.source, sizeof m.source, "guessed from %d cores; measure them: weft doctor --json FILE", cores);
    *out = m;
    return WEFT_OK;
}

// Every rank's own figures, measured while the others of its node were at work too.
weft_status wi_machine_measured(const wi_measured *measured, int node_ranks, wi_machine *out)
{
    weft_topology topology;
    WEFT_TRY(weft_topology_read(&topology));
    wi_machine m = {.memory = (double)topology.memory_limit,
                    .bandwidth = measured->bandwidth * node_ranks,
                    .operations = measured->operations * node_ranks};
    share(&m, node_ranks);
    if (measured->linear > 0) {
        m.operations = measured->linear; // their reading is in it
        m.unhidden = 0;
    }
    if (measured->stream > 0) m.bandwidth = measured->stream;
    m.near_link = measured->near;
    m.far_link = measured->far;
    snprintf(m.name, sizeof m.name, "a rank of the job");
    snprintf(m.source, sizeof m.source, "measured in it");
    *out = m;
    return WEFT_OK;
}

// ---- what weft doctor wrote ----

static const weft_json *finding(const weft_json *findings, const char *name)
{
    for (size_t i = 0; i < weft_json_size(findings); i++) {
        const weft_json *f = weft_json_at(findings, i);
        const char *called = weft_json_string_value(weft_json_get(f, "name"));
        if (called && strcmp(called, name) == 0) return f;
    }
    return NULL;
}

static double fact(const weft_json *findings, const char *name, const char *of)
{
    return weft_json_real_value(weft_json_get(finding(findings, name), of));
}

static weft_status read_findings(const weft_json *root, const char *file, int node_ranks, wi_machine *out)
{
    const char *schema = weft_json_string_value(weft_json_get(root, "schema"));
    const weft_json *findings = weft_json_get(weft_json_at(weft_json_get(root, "hosts"), 0), "findings");
    if (!schema || strcmp(schema, "weft.doctor/1") != 0)
        return weft_fail(WEFT_FORMAT, "--machine %s: not what weft doctor --json FILE writes (weft.doctor/1)", file);
    wi_machine m = {.memory = fact(findings, "memory", "limit_bytes"),
                    .bandwidth = fact(findings, "bandwidth", "all_bytes_per_s"),
                    .operations = fact(findings, "arithmetic", "all_operations_per_s")};
    if (m.memory <= 0 || m.bandwidth <= 0 || m.operations <= 0)
        return weft_fail(WEFT_FORMAT,
                         "--machine %s: no measured bandwidth, arithmetic and memory in it: write it by weft doctor "
                         "--json FILE, without --quick",
                         file);
    share(&m, node_ranks);
    m.l2 = fact(findings, "caches", "l2_bytes") * fact(findings, "bandwidth", "all_threads") / node_ranks;
    m.l3 = fact(findings, "caches", "l3_bytes") / node_ranks;
    m.l2_bandwidth = fact(findings, "ceilings", "read_l2_per_s") / node_ranks;
    m.l3_bandwidth = fact(findings, "ceilings", "read_l3_per_s") / node_ranks;
    const weft_json *links = weft_json_get(root, "links");
    if (links) wi_links_read(links, node_ranks, &m);
    m.pairs = links != NULL;
    snprintf(m.name, sizeof m.name, "the machine of %.50s", file);
    snprintf(m.source, sizeof m.source, "measured by weft doctor%s", links ? ", links too" : "");
    *out = m;
    return WEFT_OK;
}

weft_status wi_machine_find(const char *device, const char *file, int node_ranks, int threads, wi_machine *out)
{
    weft_json *root = NULL;
    if (file) {
        if (device) return weft_fail(WEFT_USAGE, "--device %.40s and --machine %s: give one of them", device, file);
        WEFT_TRY(weft_json_read(file, NULL, &root));
        const weft_status status = read_findings(root, file, node_ranks, out);
        weft_json_free(root);
        return status;
    }
    if (!device || strcmp(device, "cpu") == 0) return of_here(node_ranks, threads, out);
    if (strcmp(device, "cuda") == 0) return of_gpus_here(out);
    for (int i = 0; i < GPUS; i++) {
        if (strcmp(gpus[i].name, device) != 0) continue;
        *out = of_gpu(&gpus[i]);
        return WEFT_OK;
    }
    return unknown_device(device);
}
