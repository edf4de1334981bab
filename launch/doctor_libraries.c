// MPI, and what comes by dlopen: UCX, CUDA, NCCL.
#include <string.h>
#include <unistd.h>

#include "core/build.h"
#include "launch/doctor.h"
#include "launch/libraries.h"

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

// One line for a library that may be absent. `wanted` says what shows that it should be there.
static void find_library(wi_findings *out, const char *name, weft_status status, const char *text, bool wanted,
                         const char *mend)
{
    wi_finding *f;
    if (status == WEFT_OK)
        f = wi_found(out, WI_FOUND_OK, name, "%s", text);
    else if (status == WEFT_NOT_FOUND && !wanted)
        f = wi_found(out, WI_FOUND_NONE, name, "%.190s", weft_error_text());
    else
        f = wi_found(out, WI_FOUND_WARN, name, "%.190s", weft_error_text());
    if (f->level == WI_FOUND_WARN) wi_found_mend(f, "%s", mend);
    weft_error_clear();
}

void wi_doctor_libraries(const wi_doctor *doctor, wi_findings *out)
{
    char text[WI_LIBRARY_TEXT];
    int devices = 0;
    bool rdma = access("/dev/infiniband/uverbs0", F_OK) == 0;
    bool driver = access("/proc/driver/nvidia/version", F_OK) == 0 || access("/dev/nvidiactl", F_OK) == 0;
    find_mpi(doctor, out);
    find_library(out, "ucx", wi_library_ucx(text), text, rdma,
                 "install UCX (Debian: libucx0): there is an RDMA device");
    weft_status status = wi_library_cuda(text, &devices);
    find_library(out, "cuda", status, text, driver,
                 "a driver is loaded: in a container, use docker --gpus all or apptainer --nv");
    if (status == WEFT_OK) wi_found_fact(&out->at[out->count - 1], "devices", devices);
    if (status == WEFT_OK || driver)
        find_library(out, "driver", wi_library_nvml(text), text, true,
                     "restart after an update of the driver; nvidia-smi tells more");
    find_library(out, "nccl", wi_library_nccl(text), text, devices > 1,
                 "install NCCL (libnccl.so.2) where the loader finds it: there are several GPUs");
}
