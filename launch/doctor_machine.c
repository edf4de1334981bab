// The host: its kernel and limits, its processor, its memory.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "core/device.h"
#include "core/plugin.h"
#include "launch/doctor.h"

// The first line of a file, or "".
static const char *read_line(const char *path, char *text, int capacity)
{
    FILE *file = fopen(path, "re");
    text[0] = 0;
    if (!file) return text;
    if (!fgets(text, capacity, file)) text[0] = 0;
    fclose(file);
    text[strcspn(text, "\n")] = 0;
    return text;
}

static void find_kernel(wi_findings *out)
{
    struct utsname system = {0};
    uname(&system);
    int pid_fd = (int)syscall(SYS_pidfd_open, getpid(), 0), pid_error = errno;
    int memory_fd = memfd_create("weft-doctor", MFD_CLOEXEC), memory_error = errno;
    if (pid_fd >= 0 && memory_fd >= 0) {
        wi_found(out, WI_FOUND_OK, "kernel", "Linux %.60s, with pidfd_open and memfd_create", system.release);
    } else {
        wi_finding *f = wi_found(out, WI_FOUND_BAD, "kernel", "Linux %.60s: %s: %s; weft cannot watch over its ranks",
                                 system.release, pid_fd < 0 ? "pidfd_open" : "memfd_create",
                                 strerror(pid_fd < 0 ? pid_error : memory_error));
        wi_found_mend(f, "use Linux 5.3 or later, and a seccomp profile that lets these calls pass");
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory_fd);
    int again = memory_fd >= 0 ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (memory_fd >= 0 && again < 0) {
        wi_finding *f = wi_found(out, WI_FOUND_BAD, "proc", "%s: %s; ranks that mpirun starts share memory by it", path,
                                 strerror(errno));
        wi_found_mend(f, "mount /proc, without hidepid, and run all ranks of a host as one user");
    } else {
        wi_found(out, WI_FOUND_OK, "proc", "ranks of one user can open each other's shared memory");
    }
    if (again >= 0) close(again);
    if (memory_fd >= 0) close(memory_fd);
    if (pid_fd >= 0) close(pid_fd);
}

static void find_files(const wi_doctor *doctor, wi_findings *out)
{
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t needs = 64 + 4 * (rlim_t)doctor->ranks_here, wants = needs > 1024 ? needs : 1024;
    wi_level level = limit.rlim_cur < needs ? WI_FOUND_BAD : limit.rlim_cur < wants ? WI_FOUND_WARN : WI_FOUND_OK;
    wi_finding *f = wi_found(out, level, "files", "%llu file descriptors a process (ulimit -n)",
                             (unsigned long long)limit.rlim_cur);
    wi_found_fact(f, "limit", (double)limit.rlim_cur);
    if (level != WI_FOUND_OK)
        wi_found_mend(f, "ulimit -n %llu, or LimitNOFILE in the unit of slurmd or the container runtime",
                      (unsigned long long)wants);
}

static void find_slurm(wi_findings *out)
{
    const char *job = getenv("SLURM_JOB_ID");
    if (!job) {
        wi_found(out, WI_FOUND_NONE, "slurm", "not in a Slurm job");
        return;
    }
    static const char *const variables[] = {"SLURM_JOB_NODELIST", "SLURM_NTASKS", "SLURM_CPUS_PER_TASK", "SLURM_GPUS",
                                            "SLURM_MPI_TYPE"};
    char text[160] = "";
    for (int i = 0; i < 5; i++) {
        const char *value = getenv(variables[i]);
        size_t used = strlen(text);
        if (value) snprintf(text + used, sizeof text - used, ", %s=%.48s", variables[i] + strlen("SLURM_"), value);
    }
    wi_found(out, WI_FOUND_OK, "slurm", "job %.20s%s", job, text);
}

void wi_doctor_system(const wi_doctor *doctor, wi_findings *out)
{
    find_kernel(out);
    find_files(doctor, out);
    find_slurm(out);
}

// Cpus that the container's cgroup allows in time, 0 for no limit; version 2, then 1.
static double cpu_quota(void)
{
    char text[64], period[64];
    double quota = 0, per = 0;
    if (sscanf(read_line("/sys/fs/cgroup/cpu.max", text, sizeof text), "%lf %lf", &quota, &per) == 2 && per > 0)
        return quota / per;
    read_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, sizeof text);
    read_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period);
    quota = strtod(text, NULL), per = strtod(period, NULL);
    return quota > 0 && per > 0 ? quota / per : 0;
}

static void find_isa(const weft_cpu *cpu, wi_findings *out)
{
    weft_isa isa;
    if (weft_isa_choose(cpu, &isa) < 0) {
        wi_found(out, WI_FOUND_BAD, "isa", "%s", weft_error_text());
        weft_error_clear();
        return;
    }
    if (cpu->amx_denied) {
        wi_finding *f = wi_found(out, WI_FOUND_WARN, "isa", "%s; the processor has AMX and the kernel denies it",
                                 weft_isa_name(isa));
        wi_found_mend(f, "use Linux 5.16 or later, and a seccomp profile that lets arch_prctl pass");
    } else if (isa == WEFT_ISA_REF && cpu->isa == WEFT_ISA_REF) {
        wi_finding *f = wi_found(out, WI_FOUND_WARN, "isa", "ref: no AVX2, FMA and F16C here; plain C is slow");
        wi_found_mend(f, "in a virtual machine, pass the host's processor through (qemu: -cpu host)");
    } else {
        wi_found(out, WI_FOUND_OK, "isa", "%s%s%s", weft_isa_name(isa), getenv("WEFT_ISA") ? ", by WEFT_ISA" : "",
                 cpu->isa == WEFT_ISA_AMX ? "; the kernel grants AMX" : "");
    }
}

static const char *plural(int count, const char *one, const char *more) { return count == 1 ? one : more; }

void wi_doctor_processor(const wi_doctor *doctor, wi_findings *out)
{
    const weft_topology *t = doctor->topology;
    weft_cpu cpu = weft_cpu_detect();
    char features[160], l1d[16], l2[16], l3[16];
    wi_found(out, WI_FOUND_OK, "processor", "%s: %s", cpu.name, weft_cpu_features_text(cpu.features, features));
    find_isa(&cpu, out);
    double quota = cpu_quota();
    wi_finding *f = wi_found(out, WI_FOUND_OK, "cores", "%d in %d package%s, %d NUMA node%s, %d cpu%s", t->cores,
                             t->packages, plural(t->packages, "", "s"), t->numa_nodes, plural(t->numa_nodes, "", "s"),
                             t->cpus, plural(t->cpus, "", "s"));
    wi_found_fact(f, "cores", t->cores);
    wi_found_fact(f, "cpus", t->cpus);
    wi_found_fact(f, "numa_nodes", t->numa_nodes);
    if (quota > 0 && quota < t->allowed_count) {
        f->level = WI_FOUND_WARN;
        size_t used = strlen(f->text);
        snprintf(f->text + used, sizeof f->text - used, "; the cgroup gives the time of %.3g", quota);
        wi_found_mend(f, "use at most %d threads in all, or raise the quota (docker: --cpus)",
                      quota < 1 ? 1 : (int)quota);
        wi_found_fact(f, "quota_cpus", quota);
    }
    f = wi_found(out, WI_FOUND_OK, "caches", "L1d %s, L2 %s, L3 %s", weft_format_bytes(t->l1d, l1d),
                 weft_format_bytes(t->l2, l2), weft_format_bytes(t->l3, l3));
    wi_found_fact(f, "l1d_bytes", (double)t->l1d);
    wi_found_fact(f, "l2_bytes", (double)t->l2);
    wi_found_fact(f, "l3_bytes", (double)t->l3);
}

static void find_memory(const wi_doctor *doctor, wi_findings *out)
{
    const int64_t little = INT64_C(1) << 30;
    const weft_topology *t = doctor->topology;
    weft_device *device = NULL;
    size_t free_bytes = 0, total = 0;
    char all[16], limit[16], left[16];
    if (weft_device_host(NULL, &device) < 0 || device->ops->memory(device, &free_bytes, &total) < 0) {
        wi_found(out, WI_FOUND_BAD, "memory", "%s", weft_error_text());
        weft_error_clear();
    } else {
        bool limited = t->memory_limit < t->memory;
        wi_finding *f = wi_found(
            out, (int64_t)free_bytes < little ? WI_FOUND_WARN : WI_FOUND_OK, "memory", "%s, %s available%s%s",
            weft_format_bytes(t->memory, all), weft_format_bytes((int64_t)free_bytes, left),
            limited ? ", the cgroup's limit is " : "", limited ? weft_format_bytes(t->memory_limit, limit) : "");
        wi_found_fact(f, "total_bytes", (double)t->memory);
        wi_found_fact(f, "limit_bytes", (double)t->memory_limit);
        wi_found_fact(f, "available_bytes", (double)free_bytes);
        if (f->level == WI_FOUND_WARN)
            wi_found_mend(f, limited ? "raise the limit (Slurm: --mem, docker: --memory)" : "end what else runs here");
    }
    weft_device_destroy(device);
}

static void find_bandwidth(const wi_doctor *doctor, wi_findings *out)
{
    const wi_bandwidth *b = &doctor->bandwidth;
    char bytes[16];
    if (!b->measured) {
        wi_found(out, WI_FOUND_NONE, "bandwidth", "not measured: %s", b->why_not);
        return;
    }
    bool sanitized = !strstr(weft_build_text(), "sanitizers: none");
    wi_finding *f =
        wi_found(out, WI_FOUND_OK, "bandwidth", "reads %.1f GB/s with 1 thread, %.1f GB/s with %d (%s buffer%s)",
                 b->one * 1e-9, b->all * 1e-9, b->threads, weft_format_bytes((int64_t)b->bytes, bytes),
                 sanitized ? "; built with sanitizers, so these are too low" : "");
    wi_found_fact(f, "one_thread_bytes_per_s", b->one);
    wi_found_fact(f, "all_bytes_per_s", b->all);
    wi_found_fact(f, "all_threads", b->threads);
    wi_found_fact(f, "buffer_bytes", (double)b->bytes);
}

static void find_arithmetic(const wi_doctor *doctor, wi_findings *out)
{
    const wi_bandwidth *b = &doctor->bandwidth;
    if (!b->measured || b->operations <= 0) {
        wi_found(out, WI_FOUND_NONE, "arithmetic", "not measured: %s", b->measured ? "no vectors here" : b->why_not);
        return;
    }
    wi_finding *f = wi_found(out, WI_FOUND_OK, "arithmetic", "%.0f GFLOP/s with %d thread%s (%s)", b->operations * 1e-9,
                             b->threads, plural(b->threads, "", "s"), b->by);
    wi_found_fact(f, "all_operations_per_s", b->operations);
    wi_found_fact(f, "all_threads", b->threads);
}

static void find_memlock(wi_findings *out)
{
    struct rlimit limit = {0};
    char text[16];
    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (limit.rlim_cur == RLIM_INFINITY) {
        wi_found(out, WI_FOUND_OK, "memlock", "unlimited");
        return;
    }
    bool rdma = access("/dev/infiniband/uverbs0", F_OK) == 0;
    wi_finding *f = wi_found(out, rdma ? WI_FOUND_WARN : WI_FOUND_OK, "memlock", "%s (ulimit -l); %s",
                             weft_format_bytes((int64_t)limit.rlim_cur, text),
                             rdma ? "RDMA wants it unlimited" : "no RDMA device here needs more");
    wi_found_fact(f, "limit_bytes", (double)limit.rlim_cur);
    if (rdma) wi_found_mend(f, "ulimit -l unlimited, or LimitMEMLOCK=infinity in slurmd.service");
}

static void find_pages(wi_findings *out)
{
    char text[128];
    read_line("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text);
    char *begin = strchr(text, '['), *end = begin ? strchr(begin, ']') : NULL;
    if (!begin || !end) {
        wi_found(out, WI_FOUND_NONE, "pages", "this kernel has no transparent huge pages");
        return;
    }
    *end = 0;
    bool never = strcmp(begin + 1, "never") == 0;
    wi_finding *f =
        wi_found(out, never ? WI_FOUND_WARN : WI_FOUND_OK, "pages", "transparent huge pages: %s", begin + 1);
    if (never) wi_found_mend(f, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
}

static void find_shm(wi_findings *out)
{
    const double little = 256 << 20; // a container's 64 MiB is too little for NCCL
    struct statvfs info;
    char all[16], left[16];
    if (statvfs("/dev/shm", &info) != 0) {
        wi_finding *f =
            wi_found(out, WI_FOUND_WARN, "/dev/shm", "%s; Open MPI and NCCL use it, weft does not", strerror(errno));
        wi_found_mend(f, "mount -t tmpfs tmpfs /dev/shm");
        return;
    }
    double size = (double)info.f_blocks * (double)info.f_frsize,
           free_size = (double)info.f_bavail * (double)info.f_frsize;
    wi_finding *f = wi_found(out, free_size < little ? WI_FOUND_WARN : WI_FOUND_OK, "/dev/shm",
                             "%s, %s free (for Open MPI and NCCL; weft does not use it)",
                             weft_format_bytes((int64_t)size, all), weft_format_bytes((int64_t)free_size, left));
    wi_found_fact(f, "size_bytes", size);
    wi_found_fact(f, "free_bytes", free_size);
    if (f->level == WI_FOUND_WARN)
        wi_found_mend(f, size < little
                             ? "make it larger (docker: --shm-size 1g or --ipc host; mount -o remount,size=1g)"
                             : "remove what lies there of ended jobs");
}

void wi_doctor_memory(const wi_doctor *doctor, wi_findings *out)
{
    find_memory(doctor, out);
    find_bandwidth(doctor, out);
    find_arithmetic(doctor, out);
    find_pages(out);
    find_memlock(out);
    find_shm(out);
}
