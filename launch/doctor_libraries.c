// MPI, and what comes by dlopen: UCX, CUDA, NCCL; the GPUs behind CUDA stand in doctor_gpus.c.
#include <string.h>
#include <unistd.h>

#include "core/build.h"
#include "launch/doctor.h"
#include "launch/libraries.h"
#include "launch/probe.h"

static void find_mpi(const wi_doctor *doctor, wi_findings *out)
{
    char text[WI_LIBRARY_TEXT], components[WI_LIBRARY_TEXT];
    weft_status status = wi_library_mpi(text);
    if (status == WEFT_OK && weft_job_launcher_mpi(doctor->job)) {
        wi_library_mpi_components(components);
        wi_found(out, WI_FOUND_OK, "mpi", "%.100s%s%.90s", text, components[0] ? "; " : "", components);
    } else if (status == WEFT_OK) {
        wi_found(out, WI_FOUND_OK, "mpi", "%s", text);
    } else if (strstr(WEFT_BUILD_BACKENDS, "mpi none")) {
        wi_finding *f = wi_found(out, WI_FOUND_NONE, "mpi", "this build has no MPI: ranks are of one host, by weft -n");
        wi_found_mend(f, "for more hosts, install an MPI with headers (Debian: libopenmpi-dev) and build again");
    } else {
        wi_finding *f = wi_found(out, WI_FOUND_WARN, "mpi", "%.190s", weft_error_text());
        wi_found_mend(f, "load the MPI that weft was built with (%.60s): its module, or LD_LIBRARY_PATH",
                      WEFT_BUILD_BACKENDS);
    }
    weft_error_clear();
}

typedef struct {
    const char *name;   // of the line
    const char *absent; // the mend where it should be here and is not
    const char *broken; // the mend where it is here and does not work
} library;

static const library ucx = {"ucx", "install UCX (Debian: libucx0): there is an RDMA device",
                            "ucx_info -v tells more; weft does without it"};
static const library cuda = {"cuda", "a driver is loaded: in a container, use docker --gpus all or apptainer --nv",
                             "ask for GPUs (srun --gpus, docker --gpus all), look at CUDA_VISIBLE_DEVICES; nvidia-smi "
                             "tells more"};
static const char nccl_mend[] =
    "install NCCL 2.20 or later where the loader finds libnccl.so.2 (Debian: libnccl2; PyPI: "
    "nvidia-nccl-cu13): there are several GPUs";

// Returns whether the library works. `wanted`: something here shows that it should.
static bool find_library(wi_findings *out, const library *of, weft_status status, const char *text, bool wanted)
{
    bool absent = status == WEFT_NOT_FOUND;
    if (status == WEFT_OK) {
        wi_found(out, WI_FOUND_OK, of->name, "%s", text);
        return true;
    }
    wi_finding *f =
        wi_found(out, absent && !wanted ? WI_FOUND_NONE : WI_FOUND_WARN, of->name, "%.190s", weft_error_text());
    if (f->level == WI_FOUND_WARN) wi_found_mend(f, "%s", absent ? of->absent : of->broken);
    weft_error_clear();
    return false;
}

// What moves bytes between GPUs; without it they go through the host's memory.
static void find_nccl(wi_findings *out, int devices)
{
    enum { OLDEST = 220 };
    char text[WI_LIBRARY_TEXT] = "";
    int version = 0;
    wi_finding *f;
    const weft_status status = wi_probe("nccl", text, &version);
    const wi_level level = devices > 1 ? WI_FOUND_WARN : WI_FOUND_NONE;
    if (status == WEFT_OK && version >= OLDEST) {
        wi_found(out, WI_FOUND_OK, "nccl", "%s", text);
        return;
    }
    if (status == WEFT_OK)
        f = wi_found(out, level, "nccl", "%s is too old and is not used: weft takes 2.20 and later", text);
    else if (status == WEFT_NOT_FOUND)
        f = wi_found(out, level, "nccl", "no libnccl.so.2 is found: what GPUs tell each other goes through the host");
    else
        f = wi_found(out, WI_FOUND_WARN, "nccl", "%.190s", weft_error_text());
    if (f->level == WI_FOUND_WARN) wi_found_mend(f, "%s", nccl_mend);
    weft_error_clear();
}

void wi_doctor_libraries(const wi_doctor *doctor, wi_findings *out)
{
    char text[WI_LIBRARY_TEXT] = "";
    int devices = 0;
    bool rdma = access("/dev/infiniband/uverbs0", F_OK) == 0;
    bool loaded = access("/proc/driver/nvidia/version", F_OK) == 0 || access("/dev/nvidiactl", F_OK) == 0;
    find_mpi(doctor, out);
    find_library(out, &ucx, wi_probe("ucx", text, NULL), text, rdma);
    bool works = find_library(out, &cuda, wi_probe("cuda", text, &devices), text, loaded);
    if (works) wi_found_fact(&out->at[out->count - 1], "devices", devices);
    wi_doctor_gpus(doctor, works, loaded, out);
    find_nccl(out, devices);
}
