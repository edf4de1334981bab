// What weft doctor finds: one line a thing, of one form, so that lines travel between ranks, go to the screen and into
// JSON alike. Inside launch/ only.
#ifndef WEFT_LAUNCH_DOCTOR_H
#define WEFT_LAUNCH_DOCTOR_H

#include "bench/links.h"
#include "core/cpu.h"
#include "core/json.h"
#include "launch/commands.h"
#include "launch/hardware.h"
#include "launch/seat.h"

typedef enum { WI_FOUND_OK, WI_FOUND_WARN, WI_FOUND_BAD, WI_FOUND_NONE } wi_level;

enum { WI_FACTS_MAX = 28, WI_CEILINGS = 8, WI_FINDINGS_MAX = 64, WI_CPU_WORDS = WEFT_CPUS_MAX / 64 };

typedef struct {
    char name[28]; // "limit_bytes"
    double value;
} wi_fact;

typedef struct {
    int32_t level, facts;
    char name[16]; // "memlock"
    char text[200];
    char mend[168]; // "" when there is nothing to mend
    wi_fact fact[WI_FACTS_MAX];
} wi_finding;

// Plain data: it is sent as it stands.
typedef struct {
    int32_t count;
    wi_finding at[WI_FINDINGS_MAX];
} wi_findings;

// Each adds one thing; the list never overflows into anything but its last entry.
wi_finding *wi_found(wi_findings *list, wi_level level, const char *name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void wi_found_mend(wi_finding *finding, const char *format, ...) __attribute__((format(printf, 2, 3)));
void wi_found_fact(wi_finding *finding, const char *name, double value);
const char *wi_level_name(int level);

// What each rank tells of itself; plain data too.
typedef struct {
    int32_t pid, cpus, cores, node_first, node_last; // what it may use
    int32_t machine_cpus;
    uint64_t cpu[WI_CPU_WORDS]; // bit c of word w: cpu 64 * w + c
    wi_rank_seat seat;          // with --device cuda
} wi_rank_facts;

typedef struct {
    bool measured;
    char why_not[160];
    double one, all;   // bytes a second, with one thread and with all of this host's ranks at once
    int threads;       // of all these ranks
    size_t bytes;      // the buffer
    double operations; // bf16 multiplications and additions a second of all these ranks; 0: not measured
    char by[32];       // what multiplies
} wi_bandwidth;

// Of --measure: rates of all ranks of this host together, the job's links.
typedef struct {
    bool done;
    double ceiling[WI_CEILINGS];
    weft_job_links links;
} wi_measures;

typedef struct {
    weft_job *job;
    const wi_call *call;
    const weft_topology *topology; // as this rank may use it
    const wi_rank_facts *ranks;    // [size of the world]
    int ranks_here;
    wi_bandwidth bandwidth;
    wi_hardware *hardware; // of this host; GPUs as far as they were looked at
    wi_measures measures;
} wi_doctor;

// Each looks at one side of the host it runs on and adds its lines. Local.
void wi_doctor_system(const wi_doctor *doctor, wi_findings *out);
void wi_doctor_processor(const wi_doctor *doctor, wi_findings *out);
void wi_doctor_memory(const wi_doctor *doctor, wi_findings *out);
void wi_doctor_libraries(const wi_doctor *doctor, wi_findings *out);
// GPUs and the driver, by NVML; without it by CUDA where that works. `loaded`: something shows that there is a driver.
void wi_doctor_gpus(const wi_doctor *doctor, bool cuda_works, bool loaded, wi_findings *out);
// "NVIDIA H200 at 0000:1b:00.0, 139.8 of 140.4 GiB free, ..."
char *wi_gpu_text(const wi_hardware *hardware, int gpu, char *text, size_t capacity);
void wi_doctor_ceilings(const wi_doctor *doctor, wi_findings *out);
// --measure, with so many threads of each rank. Collective over the world, of which `host` is this host's part;
// blocking.
weft_status wi_doctor_measure(const wi_doctor *doctor, weft_comm *host, int threads, wi_measures *out);
// The job's links, as lines and into an open object. On rank 0.
void wi_doctor_links(const wi_doctor *doctor, wi_findings *out);
void wi_doctor_write_links(weft_json_writer *json, const wi_doctor *doctor);
// Lines about the job and the places of its ranks, from what all ranks told. On rank 0.
void wi_doctor_job(const wi_doctor *doctor, wi_findings *out);
void wi_rank_text(const wi_doctor *doctor, int rank, char *text, size_t capacity);

// All that was found: the job's lines, and one list for each host with the rank whose host it is.
typedef struct {
    const wi_doctor *doctor;
    const wi_findings *job, *host; // host: [hosts]
    const int *leader;             // [hosts] the world rank that looked
    int hosts;
} wi_doctor_report;

void wi_doctor_print(const wi_doctor_report *report, FILE *out);
weft_status wi_doctor_write(const wi_doctor_report *report, const char *path); // JSON, schema weft.doctor/1

#endif
