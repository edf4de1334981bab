// GPUs, the driver, and what is wrong with them, in plain words.
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/build.h"
#include "launch/doctor.h"
#include "launch/nvml_api.h"
#include "launch/probe.h"

static const double gib = 1024. * 1024 * 1024;

// ---- one GPU in a line ----

static void add(char *text, size_t capacity, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void add(char *text, size_t capacity, const char *format, ...)
{
    const size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    if (used + 1 < capacity) vsnprintf(text + used, capacity - used, format, args);
    va_end(args);
}

char *wi_gpu_text(const wi_hardware *h, int at, char *text, size_t capacity)
{
    const wi_gpu *gpu = &h->gpu[at];
    const int64_t *s = gpu->state;
    int most = 0;
    for (int i = 0; i < h->gpus; i++) most = h->nvlink[at][i] > most ? h->nvlink[at][i] : most;
    snprintf(text, capacity, "%.48s at %s", gpu->name[0] ? gpu->name : "a GPU", gpu->bus);
    if (gpu->node >= 0) add(text, capacity, ", NUMA node %d", gpu->node);
    if (s[WI_STATE_memory_total] >= 0)
        add(text, capacity, ", %.1f of %.1f GiB free", (double)s[WI_STATE_memory_free] / gib,
            (double)s[WI_STATE_memory_total] / gib);
    if (s[WI_STATE_temperature] >= 0) add(text, capacity, ", %" PRId64 " C", s[WI_STATE_temperature]);
    if (s[WI_STATE_power] >= 0)
        add(text, capacity, ", %" PRId64 " of %" PRId64 " W", s[WI_STATE_power] / 1000, s[WI_STATE_power_limit] / 1000);
    if (s[WI_STATE_sm_clock] >= 0)
        add(text, capacity, ", %" PRId64 " of %" PRId64 " MHz", s[WI_STATE_sm_clock], s[WI_STATE_sm_clock_max]);
    if (s[WI_STATE_pcie_max] >= 0)
        add(text, capacity, ", PCIe %" PRId64 " x%" PRId64, s[WI_STATE_pcie_max], s[WI_STATE_width]);
    if (s[WI_STATE_links] > 0) add(text, capacity, ", %" PRId64 " NVLinks", s[WI_STATE_links]);
    if (s[WI_STATE_mig] == 1) add(text, capacity, ", in MIG parts");
    return text;
}

static wi_finding *find_gpu(const wi_hardware *h, int at, wi_findings *out)
{
    char name[16], text[200];
    const wi_gpu *gpu = &h->gpu[at];
    snprintf(name, sizeof name, "gpu %d", at);
    wi_finding *f = wi_found(out, WI_FOUND_OK, name, "%s", wi_gpu_text(h, at, text, sizeof text));
    for (int i = 0; i < WI_STATE_COUNT; i++)
        if (gpu->state[i] >= 0) wi_found_fact(f, wi_state_names[i], (double)gpu->state[i]);
    return f;
}

// ---- what is wrong ----

typedef struct {
    const wi_hardware *hardware;
    int at;
    const int64_t *state;
    wi_findings *out;
} patient;

static wi_finding *wrong(const patient *p, wi_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static wi_finding *wrong(const patient *p, wi_level level, const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return wi_found(p->out, level, "gpu health", "GPU %d at %s: %s", p->at, p->hardware->gpu[p->at].bus, text);
}

static void judge_memory(const patient *p)
{
    const int64_t *s = p->state, used = s[WI_STATE_memory_total] - s[WI_STATE_memory_free];
    if (s[WI_STATE_ecc_uncorrected] > 0)
        wi_found_mend(
            wrong(p, WI_FOUND_BAD,
                  "%" PRId64 " memory errors that could not be corrected since the driver was loaded: what it "
                  "computes may be wrong",
                  s[WI_STATE_ecc_uncorrected]),
            "take the node out of use and reset the GPU (nvidia-smi --gpu-reset); if they come back, replace it");
    if (s[WI_STATE_remap_failed] > 0)
        wi_found_mend(wrong(p, WI_FOUND_BAD, "broken rows of its memory can no longer be replaced"), "replace the GPU");
    else if (s[WI_STATE_remap_pending] > 0)
        wi_found_mend(wrong(p, WI_FOUND_WARN, "broken rows of its memory wait to be replaced by spare ones"),
                      "reset the GPU when nothing runs on it: nvidia-smi --gpu-reset");
    if (s[WI_STATE_memory_total] > 0 && s[WI_STATE_mig] != 1 && used > s[WI_STATE_memory_total] / 10)
        wi_found_mend(wrong(p, WI_FOUND_WARN, "%.1f GiB of its memory are taken by others", (double)used / gib),
                      "nvidia-smi lists whose they are; weft counts on what is free");
}

// A limit of power under load is how GPUs work; heat and brakes are not.
static void judge_speed(const patient *p)
{
    const int64_t *s = p->state, bits = s[WI_STATE_throttle] > 0 ? s[WI_STATE_throttle] : 0;
    const int64_t hot = nvmlClocksThrottleReasonHwThermalSlowdown | nvmlClocksThrottleReasonSwThermalSlowdown;
    char clocks[64] = "";
    if (s[WI_STATE_sm_clock] >= 0)
        snprintf(clocks, sizeof clocks, " (%" PRId64 " of %" PRId64 " MHz)", s[WI_STATE_sm_clock],
                 s[WI_STATE_sm_clock_max]);
    if (bits & hot)
        wi_found_mend(wrong(p, WI_FOUND_WARN, "it is slowed down, since it is too hot: %" PRId64 " C%s",
                            s[WI_STATE_temperature], clocks),
                      "look at fans, air and dust; until then every rank waits for this one");
    else if (bits & nvmlClocksThrottleReasonHwPowerBrakeSlowdown)
        wi_found_mend(wrong(p, WI_FOUND_WARN, "it is slowed down by the machine's power supply%s", clocks),
                      "look at the power supplies and the limit of the rack");
    else if (bits & nvmlClocksThrottleReasonHwSlowdown)
        wi_found_mend(wrong(p, WI_FOUND_WARN, "its hardware slows it down%s", clocks),
                      "heat or power: nvidia-smi -q -d PERFORMANCE tells which");
    else if (s[WI_STATE_slowdown] > 0 && s[WI_STATE_temperature] + 3 >= s[WI_STATE_slowdown])
        wi_found_mend(wrong(p, WI_FOUND_WARN, "%" PRId64 " C, and it slows down at %" PRId64, s[WI_STATE_temperature],
                            s[WI_STATE_slowdown]),
                      "look at fans, air and dust");
}

// A GPU is compared with its like: a card without a bridge has links that are down, and is well.
static void judge_links(const patient *p)
{
    const wi_hardware *h = p->hardware;
    const int64_t *s = p->state;
    int64_t most = 0;
    for (int i = 0; i < h->gpus; i++)
        if (strcmp(h->gpu[i].name, h->gpu[p->at].name) == 0 && h->gpu[i].state[WI_STATE_links] > most)
            most = h->gpu[i].state[WI_STATE_links];
    if (s[WI_STATE_links] >= 0 && s[WI_STATE_links] < most)
        wi_found_mend(wrong(p, WI_FOUND_WARN, "%" PRId64 " of its NVLinks work, and %" PRId64 " of another like it",
                            s[WI_STATE_links], most),
                      "nvidia-smi nvlink --status; reset GPUs and fabric, or reseat the bridge");
    if (s[WI_STATE_width_max] > 0 && s[WI_STATE_width] >= 0 && s[WI_STATE_width] < s[WI_STATE_width_max])
        wi_found_mend(wrong(p, WI_FOUND_WARN, "PCIe with %" PRId64 " of %" PRId64 " lanes", s[WI_STATE_width],
                            s[WI_STATE_width_max]),
                      "reseat the card, or use a slot that has them");
}

static void judge(const patient *p, int ranks)
{
    const int64_t *s = p->state;
    if (s[WI_STATE_lost] == 1) {
        wi_found_mend(wrong(p, WI_FOUND_BAD, "it has fallen off the bus"),
                      "restart the node; if it comes back, replace it");
        return;
    }
    judge_memory(p);
    judge_speed(p);
    judge_links(p);
    if (s[WI_STATE_compute_mode] == NVML_COMPUTEMODE_PROHIBITED)
        wi_found_mend(wrong(p, WI_FOUND_WARN, "its mode lets nobody compute on it"), "nvidia-smi --compute-mode 0");
    if (s[WI_STATE_compute_mode] == NVML_COMPUTEMODE_EXCLUSIVE_PROCESS && ranks > p->hardware->gpus)
        wi_found_mend(wrong(p, WI_FOUND_WARN, "its mode is for one process, and ranks would share it"),
                      "start a rank for each GPU, or nvidia-smi --compute-mode 0");
}

// ---- the driver ----

// The first version that speaks a CUDA.
static int driver_for(int major) { return major <= 11 ? 450 : major == 12 ? 525 : 580; }

static void find_driver(const wi_hardware *told, wi_findings *out)
{
    const char *built = strstr(WEFT_BUILD_BACKENDS, "cuda ");
    const int major = built ? (int)strtol(built + 5, NULL, 10) : 0, speaks = told->cuda / 1000;
    if (major > 0 && speaks > 0 && speaks < major) {
        wi_finding *f = wi_found(out, WI_FOUND_WARN, "driver",
                                 "%s speaks CUDA %d.%d, and this build is of CUDA %.4s: "
                                 "--device cuda will not start",
                                 told->driver, speaks, told->cuda % 1000 / 10, built + 5);
        wi_found_mend(f, "update the driver to %d or later, or build weft with CUDA %d", driver_for(major), speaks);
    } else if (speaks > 0) {
        wi_found(out, WI_FOUND_OK, "driver", "%s, CUDA %d.%d, %d GPU%s", told->driver, speaks, told->cuda % 1000 / 10,
                 told->gpus, told->gpus == 1 ? "" : "s");
    } else {
        wi_found(out, WI_FOUND_OK, "driver", "%s", told->driver);
    }
    wi_found_fact(&out->at[out->count - 1], "gpus", told->gpus);
}

static void without_nvml(weft_status status, bool loaded, const wi_hardware *h, wi_findings *out)
{
    wi_finding *f;
    if (status == WEFT_NOT_FOUND && h->gpus > 0 && !loaded) {
        f = wi_found(out, WI_FOUND_WARN, "driver", "%d NVIDIA GPU%s on the bus, and no driver is loaded", h->gpus,
                     h->gpus == 1 ? "" : "s");
        wi_found_mend(f,
                      "install the driver (Debian: nvidia-driver); in a container, use docker --gpus all or apptainer "
                      "--nv");
    } else if (status == WEFT_NOT_FOUND) {
        f = wi_found(out, WI_FOUND_WARN, "driver", "no libnvidia-ml.so.1: nothing tells of the health of GPUs");
        wi_found_mend(f, "install the driver's libnvidia-ml.so.1; in a container, use its GPU option");
    } else {
        f = wi_found(out, WI_FOUND_WARN, "driver", "%.190s", weft_error_text());
        wi_found_mend(f, "reload or update the driver, or restart the node; nvidia-smi tells more");
    }
    weft_error_clear();
}

void wi_doctor_gpus(const wi_doctor *doctor, bool cuda_works, bool loaded, wi_findings *out)
{
    wi_hardware *h = doctor->hardware, *told = calloc(1, sizeof *told);
    if (!told) return;
    weft_status status = wi_probe_gpus(told);
    if (status == WEFT_OK) {
        find_driver(told, out);
    } else if (cuda_works || loaded || h->gpus > 0 || status != WEFT_NOT_FOUND) {
        without_nvml(status, loaded, h, out);
        memset(told, 0, sizeof *told);
        status = cuda_works ? wi_probe_devices(told) : status;
    }
    weft_error_clear();
    if (status == WEFT_OK) wi_hardware_add(h, told);
    for (int i = 0; i < told->gpus && status == WEFT_OK; i++) {
        const int at = wi_gpu_at(h, told->gpu[i].bus);
        const patient p = {h, at, h->gpu[at < 0 ? 0 : at].state, out};
        if (at < 0) continue;
        find_gpu(h, at, out);
        judge(&p, doctor->ranks_here);
    }
    free(told);
}
