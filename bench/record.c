#include <sys/utsname.h>

#include "bench/bench.h"
#include "core/clock.h"
#include "core/plugin.h"

static void write_machine(weft_json_writer *json)
{
    weft_cpu cpu = weft_cpu_detect();
    weft_topology topology;
    struct utsname system;
    char features[160];
    weft_json_write_object(json, "machine");
    weft_json_write_string(json, "cpu", cpu.name);
    weft_json_write_string(json, "vendor", cpu.vendor);
    weft_json_write_string(json, "features", weft_cpu_features_text(cpu.features, features));
    weft_json_write_string(json, "isa", weft_isa_name(cpu.isa));
    if (weft_topology_read(&topology) == WEFT_OK) {
        weft_json_write_int(json, "cores", topology.cores);
        weft_json_write_int(json, "cpus_allowed", topology.allowed_count);
        weft_json_write_int(json, "numa_nodes", topology.numa_nodes);
        weft_json_write_int(json, "l2_bytes", topology.l2);
        weft_json_write_int(json, "l3_bytes", topology.l3);
        weft_json_write_int(json, "memory_bytes", topology.memory);
    }
    if (uname(&system) == 0) weft_json_write_string(json, "kernel", system.release);
    weft_json_write_end(json);
}

static void write_job(weft_json_writer *json, weft_job *job)
{
    weft_comm *world = weft_job_world(job);
    weft_json_write_object(json, "job");
    weft_json_write_int(json, "ranks", weft_comm_size(world));
    weft_json_write_int(json, "hosts", weft_comm_nodes(world));
    weft_json_write_string(json, "host", weft_comm_host(world, 0));
    weft_json_write_string(json, "transport", weft_transport_name(weft_comm_transport(world)));
    weft_json_write_string(json, "launcher", weft_job_launcher_mpi(job) ? "mpi" : "weft");
    weft_json_write_end(json);
}

void weft_record_begin(weft_record *record, const char *kind, weft_job *job)
{
    weft_json_writer *json = &record->json;
    char stamp[32];
    weft_clock_wall(stamp, sizeof stamp);
    weft_json_writer_init(json, true);
    weft_json_write_object(json, NULL);
    weft_json_write_string(json, "schema", "weft.bench/1");
    weft_json_write_string(json, "kind", kind);
    weft_json_write_string(json, "time", stamp);
    weft_json_write_object(json, "build");
    weft_json_write_string(json, "version", weft_version());
    weft_json_write_string(json, "id", weft_build_id());
    weft_json_write_string(json, "text", weft_build_text());
    weft_json_write_end(json);
    write_machine(json);
    write_job(json, job);
    weft_json_write_object(json, "settings");
}

void weft_record_results(weft_record *record)
{
    weft_json_write_end(&record->json);
    weft_json_write_array(&record->json, "results");
}

void weft_record_result_begin(weft_record *record, const char *name, const char *unit)
{
    weft_json_write_object(&record->json, NULL);
    weft_json_write_string(&record->json, "name", name);
    weft_json_write_string(&record->json, "unit", unit);
    weft_json_write_object(&record->json, "case");
}

void weft_record_result_end(weft_record *record, const double *samples, size_t count, const weft_stats *stats)
{
    weft_json_writer *json = &record->json;
    weft_json_write_end(json);
    weft_json_write_object(json, "stats");
    weft_json_write_int(json, "count", (int64_t)stats->count);
    weft_json_write_real(json, "min", stats->min);
    weft_json_write_real(json, "p10", stats->p10);
    weft_json_write_real(json, "median", stats->median);
    weft_json_write_real(json, "p90", stats->p90);
    weft_json_write_real(json, "p99", stats->p99); // null where there are too few samples
    weft_json_write_real(json, "max", stats->max);
    weft_json_write_real(json, "mad", stats->mad);
    weft_json_write_end(json);
    weft_json_write_array(json, "samples");
    for (size_t i = 0; i < count; i++) weft_json_write_real(json, NULL, samples[i]);
    weft_json_write_end(json);
    weft_json_write_end(json);
}

weft_status weft_record_end(weft_record *record, const char *path)
{
    weft_json_write_end(&record->json);
    weft_json_write_end(&record->json);
    return weft_json_writer_save(&record->json, path);
}
