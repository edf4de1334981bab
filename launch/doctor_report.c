// What was found, as text and as JSON.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/build.h"
#include "core/clock.h"
#include "core/json.h"
#include "core/plugin.h"
#include "launch/doctor.h"

static void print_finding(const wi_finding *f, const char *host, FILE *out)
{
    fprintf(out, "%-4s  %-10s  %s%s%s\n", wi_level_name(f->level), f->name, host, host[0] ? ": " : "", f->text);
    if (f->mend[0]) fprintf(out, "%18smend: %s\n", "", f->mend);
}

// Rank 0's host in full; of the others what is wrong, and their bandwidth, by which a slow one is found.
void wi_doctor_print(const wi_doctor_report *report, FILE *out)
{
    weft_comm *world = weft_job_world(report->doctor->job);
    int bad = 0, warn = 0;
    fprintf(out, "ok    %-10s  %s, build %s, %s\n", "weft", weft_version(), weft_build_id(), weft_build_text());
    for (int i = 0; i < report->job->count; i++) {
        print_finding(&report->job->at[i], "", out);
        warn += report->job->at[i].level == WI_FOUND_WARN;
    }
    for (int host = 0; host < report->hosts; host++)
        for (int i = 0; i < report->host[host].count; i++) {
            const wi_finding *f = &report->host[host].at[i];
            bool wrong = f->level == WI_FOUND_WARN || f->level == WI_FOUND_BAD;
            bad += f->level == WI_FOUND_BAD;
            warn += f->level == WI_FOUND_WARN;
            if (host == 0)
                print_finding(f, "", out);
            else if (wrong || (f->level == WI_FOUND_OK && strcmp(f->name, "bandwidth") == 0))
                print_finding(f, weft_comm_host(world, report->leader[host]), out);
        }
    fprintf(out, "%-4s  %-10s  %d bad, %d to be warned of\n", bad ? "bad" : warn ? "warn" : "ok", "all", bad, warn);
}

static void write_findings(weft_json_writer *json, const wi_findings *list)
{
    weft_json_write_array(json, "findings");
    for (int i = 0; i < list->count; i++) {
        const wi_finding *f = &list->at[i];
        weft_json_write_object(json, NULL);
        weft_json_write_string(json, "name", f->name);
        weft_json_write_string(json, "level", wi_level_name(f->level));
        weft_json_write_string(json, "text", f->text);
        weft_json_write_string(json, "mend", f->mend[0] ? f->mend : NULL);
        for (int j = 0; j < f->facts; j++) {
            double value = f->fact[j].value;
            // A count stays a count: 20000 and not 20000.0.
            if (fabs(value) <= 1e15 && value == (double)(int64_t)value)
                weft_json_write_int(json, f->fact[j].name, (int64_t)value);
            else
                weft_json_write_real(json, f->fact[j].name, value);
        }
        weft_json_write_end(json);
    }
    weft_json_write_end(json);
}

static void write_ranks(weft_json_writer *json, const wi_doctor *doctor)
{
    weft_comm *world = weft_job_world(doctor->job);
    weft_json_write_array(json, "ranks");
    for (int rank = 0; rank < weft_comm_size(world); rank++) {
        const wi_rank_facts *facts = &doctor->ranks[rank];
        weft_json_write_object(json, NULL);
        weft_json_write_int(json, "rank", rank);
        weft_json_write_string(json, "host", weft_comm_host(world, rank));
        weft_json_write_int(json, "pid", facts->pid);
        weft_json_write_array(json, "cpus");
        for (int cpu = 0; cpu < WEFT_CPUS_MAX; cpu++)
            if (facts->cpu[cpu / 64] >> (cpu % 64) & 1) weft_json_write_int(json, NULL, cpu);
        weft_json_write_end(json);
        weft_json_write_bool(json, "bound", facts->cpus < facts->machine_cpus);
        if (facts->seat.device >= 0) {
            weft_json_write_int(json, "device", facts->seat.device);
            weft_json_write_string(json, "gpu", facts->seat.bus);
            weft_json_write_int(json, "gpu_node", facts->seat.node);
            weft_json_write_string(json, "nic", facts->seat.nic[0] ? facts->seat.nic : NULL);
        }
        weft_json_write_end(json);
    }
    weft_json_write_end(json);
}

static void write_all(weft_json_writer *json, const wi_doctor_report *report)
{
    weft_comm *world = weft_job_world(report->doctor->job);
    char stamp[32];
    weft_clock_wall(stamp, sizeof stamp);
    weft_json_write_object(json, NULL);
    weft_json_write_string(json, "schema", "weft.doctor/1");
    weft_json_write_string(json, "time", stamp);
    weft_json_write_object(json, "build");
    weft_json_write_string(json, "version", weft_version());
    weft_json_write_string(json, "id", weft_build_id());
    weft_json_write_string(json, "text", weft_build_text());
    weft_json_write_string(json, "backends", WEFT_BUILD_BACKENDS);
    weft_json_write_end(json);
    weft_json_write_object(json, "job");
    weft_json_write_string(json, "transport", weft_transport_name(weft_comm_transport(world)));
    write_ranks(json, report->doctor);
    write_findings(json, report->job);
    weft_json_write_end(json);
    wi_doctor_write_links(json, report->doctor);
    weft_json_write_array(json, "hosts");
    for (int host = 0; host < report->hosts; host++) {
        weft_json_write_object(json, NULL);
        weft_json_write_string(json, "host", weft_comm_host(world, report->leader[host]));
        write_findings(json, &report->host[host]);
        weft_json_write_end(json);
    }
    weft_json_write_end(json);
    weft_json_write_end(json);
}

weft_status wi_doctor_write(const wi_doctor_report *report, const char *path)
{
    weft_json_writer json;
    weft_json_writer_init(&json, true);
    write_all(&json, report);
    return weft_json_writer_save(&json, path);
}
