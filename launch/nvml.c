#include "launch/nvml.h"

#include <dlfcn.h>
#include <string.h>

#include "launch/nvml_api.h"

#define CHECK_TYPE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type);
#define CHECK_FIELD(type, field, offset) _Static_assert(offsetof(type, field) == (offset), #type "." #field);
WI_NVML_TYPES(CHECK_TYPE)
WI_NVML_FIELDS(CHECK_FIELD)

enum { LINKS_MAX = 36 }; // of any GPU so far; one that has fewer says so

static const char library_name[] = "libnvidia-ml.so.1";

static bool find(void *library, const char *name, void *function, size_t bytes)
{
    void *address = dlsym(library, name);
    memcpy(function, &address, bytes);
    return address != NULL;
}

static weft_status open_api(wi_nvml *api)
{
    void *library = dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *text = dlerror();
        return weft_fail(WEFT_NOT_FOUND, "%s", text ? text : library_name);
    }
#define FIND(name, arguments, needed)                                                                                  \
    if (!find(library, #name, (void *)&api->name, sizeof api->name) && (needed))                                       \
        return weft_fail(WEFT_FAILED, "%s has no %s: the driver is too old; update it", library_name, #name);
    WI_NVML_FUNCTIONS(FIND)
#undef FIND
    return WEFT_OK;
}

static weft_status failed(nvmlReturn_t code)
{
    switch (code) {
    case NVML_ERROR_DRIVER_NOT_LOADED:
        return weft_fail(WEFT_FAILED, "NVML is here and the driver is not loaded");
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return weft_fail(WEFT_FAILED, "the driver was updated and the old one still runs (NVML error %d)", code);
    case NVML_ERROR_NO_PERMISSION:
        return weft_fail(WEFT_FAILED, "NVML may not talk to the driver: no permission for /dev/nvidiactl");
    default:
        return weft_fail(WEFT_FAILED, "nvmlInit_v2: error %d", code);
    }
}

// ---- one GPU ----

typedef struct {
    const wi_nvml *api;
    nvmlDevice_t device;
    wi_gpu *gpu;
} told;

static void set(const told *t, int state, nvmlReturn_t code, long long value)
{
    if (code == NVML_SUCCESS && value >= 0) t->gpu->state[state] = value;
    if (code == NVML_ERROR_GPU_IS_LOST) t->gpu->state[WI_STATE_lost] = 1;
}

// The values are read when the call has written them: an argument of its own call they may not be.
static void set_small(const told *t, int state, nvmlReturn_t code, const unsigned *value)
{
    set(t, state, code, *value);
}

static void set_large(const told *t, int state, nvmlReturn_t code, const unsigned long long *value)
{
    set(t, state, code, (long long)*value);
}

static void ask(const told *t, int state, nvmlReturn_t (*function)(nvmlDevice_t, unsigned *))
{
    unsigned value = 0;
    if (function) set_small(t, state, function(t->device, &value), &value);
}

static void read_heat(const told *t)
{
    const wi_nvml *api = t->api;
    unsigned value = 0;
    unsigned long long bits = 0;
    if (api->nvmlDeviceGetTemperature)
        set_small(t, WI_STATE_temperature, api->nvmlDeviceGetTemperature(t->device, NVML_TEMPERATURE_GPU, &value),
                  &value);
    if (api->nvmlDeviceGetTemperatureThreshold)
        set_small(t, WI_STATE_slowdown,
                  api->nvmlDeviceGetTemperatureThreshold(t->device, NVML_TEMPERATURE_THRESHOLD_SLOWDOWN, &value),
                  &value);
    ask(t, WI_STATE_power, api->nvmlDeviceGetPowerUsage);
    ask(t, WI_STATE_power_limit, api->nvmlDeviceGetEnforcedPowerLimit);
    if (api->nvmlDeviceGetClockInfo) {
        set_small(t, WI_STATE_sm_clock, api->nvmlDeviceGetClockInfo(t->device, NVML_CLOCK_SM, &value), &value);
        set_small(t, WI_STATE_memory_clock, api->nvmlDeviceGetClockInfo(t->device, NVML_CLOCK_MEM, &value), &value);
    }
    if (api->nvmlDeviceGetMaxClockInfo)
        set_small(t, WI_STATE_sm_clock_max, api->nvmlDeviceGetMaxClockInfo(t->device, NVML_CLOCK_SM, &value), &value);
    if (api->nvmlDeviceGetCurrentClocksThrottleReasons)
        set_large(t, WI_STATE_throttle, api->nvmlDeviceGetCurrentClocksThrottleReasons(t->device, &bits), &bits);
}

static void read_memory(const told *t)
{
    const wi_nvml *api = t->api;
    nvmlMemory_t memory = {0};
    nvmlEnableState_t now = 0, pending = 0;
    unsigned long long errors = 0;
    unsigned corrected, uncorrected, waits = 0, gave_up = 0;
    if (api->nvmlDeviceGetMemoryInfo) {
        const nvmlReturn_t code = api->nvmlDeviceGetMemoryInfo(t->device, &memory);
        set(t, WI_STATE_memory_total, code, (long long)memory.total);
        set(t, WI_STATE_memory_free, code, (long long)memory.free);
    }
    if (api->nvmlDeviceGetEccMode)
        set_small(t, WI_STATE_ecc, api->nvmlDeviceGetEccMode(t->device, &now, &pending), &now);
    if (api->nvmlDeviceGetTotalEccErrors) {
        const nvmlMemoryErrorType_t bad = NVML_MEMORY_ERROR_TYPE_UNCORRECTED;
        set_large(t, WI_STATE_ecc_uncorrected,
                  api->nvmlDeviceGetTotalEccErrors(t->device, bad, NVML_VOLATILE_ECC, &errors), &errors);
        set_large(t, WI_STATE_ecc_ever, api->nvmlDeviceGetTotalEccErrors(t->device, bad, NVML_AGGREGATE_ECC, &errors),
                  &errors);
    }
    if (api->nvmlDeviceGetRemappedRows) {
        const nvmlReturn_t code = api->nvmlDeviceGetRemappedRows(t->device, &corrected, &uncorrected, &waits, &gave_up);
        set(t, WI_STATE_remap_pending, code, waits);
        set(t, WI_STATE_remap_failed, code, gave_up);
    }
}

static void read_modes(const told *t)
{
    const wi_nvml *api = t->api;
    unsigned now = 0, pending = 0;
    nvmlComputeMode_t mode = 0;
    int major = 0, minor = 0;
    ask(t, WI_STATE_pcie, api->nvmlDeviceGetCurrPcieLinkGeneration);
    ask(t, WI_STATE_pcie_max, api->nvmlDeviceGetMaxPcieLinkGeneration);
    ask(t, WI_STATE_width, api->nvmlDeviceGetCurrPcieLinkWidth);
    ask(t, WI_STATE_width_max, api->nvmlDeviceGetMaxPcieLinkWidth);
    if (api->nvmlDeviceGetMigMode)
        set_small(t, WI_STATE_mig, api->nvmlDeviceGetMigMode(t->device, &now, &pending), &now);
    if (api->nvmlDeviceGetComputeMode)
        set_small(t, WI_STATE_compute_mode, api->nvmlDeviceGetComputeMode(t->device, &mode), &mode);
    if (api->nvmlDeviceGetCudaComputeCapability) {
        const nvmlReturn_t code = api->nvmlDeviceGetCudaComputeCapability(t->device, &major, &minor);
        set(t, WI_STATE_capability, code, major * 10 + minor);
    }
}

static void read_identity(const told *t)
{
    nvmlPciInfo_t pci = {0};
    char text[96] = "";
    if (t->api->nvmlDeviceGetPciInfo_v3(t->device, &pci) == NVML_SUCCESS) wi_bus_normal(pci.busId, t->gpu->bus);
    if (t->api->nvmlDeviceGetName(t->device, text, sizeof text) == NVML_SUCCESS)
        snprintf(t->gpu->name, sizeof t->gpu->name, "%.63s", text);
    if (t->api->nvmlDeviceGetUUID(t->device, text, sizeof text) == NVML_SUCCESS)
        snprintf(t->gpu->uuid, sizeof t->gpu->uuid, "%.47s", text);
}

static void read_parts(const told *t, int gpu, wi_hardware *out)
{
    const wi_nvml *api = t->api;
    unsigned most = 0;
    nvmlDevice_t part;
    if (t->gpu->state[WI_STATE_mig] != 1 || !api->nvmlDeviceGetMaxMigDeviceCount ||
        !api->nvmlDeviceGetMigDeviceHandleByIndex ||
        api->nvmlDeviceGetMaxMigDeviceCount(t->device, &most) != NVML_SUCCESS)
        return;
    for (unsigned i = 0; i < most && out->migs < WI_MIGS_MAX; i++) {
        wi_mig *mig = &out->mig[out->migs];
        if (api->nvmlDeviceGetMigDeviceHandleByIndex(t->device, i, &part) != NVML_SUCCESS ||
            api->nvmlDeviceGetUUID(part, mig->uuid, sizeof mig->uuid) != NVML_SUCCESS)
            continue;
        mig->gpu = gpu;
        out->migs++;
    }
}

// ---- links ----

// Links to other GPUs; returns how many end at a switch, by which a GPU reaches all others.
static int read_links(const told *t, int gpu, wi_hardware *out)
{
    const wi_nvml *api = t->api;
    int up = 0, down = 0, to_switch = 0;
    if (!api->nvmlDeviceGetNvLinkState) return 0;
    for (unsigned link = 0; link < LINKS_MAX; link++) {
        nvmlEnableState_t works = 0;
        nvmlPciInfo_t pci = {0};
        nvmlIntNvLinkDeviceType_t kind = NVML_NVLINK_DEVICE_TYPE_SWITCH;
        char bus[16] = "";
        if (api->nvmlDeviceGetNvLinkState(t->device, link, &works) != NVML_SUCCESS) continue;
        up += works != 0;
        down += works == 0;
        if (!works) continue;
        if (api->nvmlDeviceGetNvLinkRemotePciInfo_v2 &&
            api->nvmlDeviceGetNvLinkRemotePciInfo_v2(t->device, link, &pci) == NVML_SUCCESS)
            wi_bus_normal(pci.busId, bus);
        const int peer = bus[0] ? wi_gpu_at(out, bus) : -1;
        if (api->nvmlDeviceGetNvLinkRemoteDeviceType) api->nvmlDeviceGetNvLinkRemoteDeviceType(t->device, link, &kind);
        if (peer >= 0)
            out->nvlink[gpu][peer]++;
        else
            to_switch += kind == NVML_NVLINK_DEVICE_TYPE_SWITCH;
    }
    if (up + down == 0) return 0;
    t->gpu->state[WI_STATE_links] = up;
    t->gpu->state[WI_STATE_links_down] = down;
    return to_switch;
}

static void join_by_switch(const int *to_switch, wi_hardware *out)
{
    for (int g = 0; g < out->gpus; g++)
        for (int k = 0; k < out->gpus; k++) {
            const int links = to_switch[g] < to_switch[k] ? to_switch[g] : to_switch[k];
            if (g != k && links > out->nvlink[g][k]) out->nvlink[g][k] = (uint8_t)links;
        }
}

// ---- all ----

static void read_gpus(const wi_nvml *api, unsigned count, wi_hardware *out)
{
    nvmlDevice_t device[WI_GPUS_MAX] = {NULL};
    int to_switch[WI_GPUS_MAX] = {0};
    for (unsigned i = 0; i < count && out->gpus < WI_GPUS_MAX; i++) {
        wi_gpu *gpu = &out->gpu[out->gpus];
        *gpu = wi_gpu_unknown();
        const nvmlReturn_t code = api->nvmlDeviceGetHandleByIndex_v2(i, &device[out->gpus]);
        const told t = {api, device[out->gpus], gpu};
        // One that another task's cgroup has is not this one's to see.
        if (code != NVML_SUCCESS) continue;
        read_identity(&t);
        if (!gpu->bus[0]) continue;
        read_heat(&t);
        read_memory(&t);
        read_modes(&t);
        read_parts(&t, out->gpus, out);
        out->gpus++;
    }
    for (int g = 0; g < out->gpus; g++) {
        const told t = {api, device[g], &out->gpu[g]};
        to_switch[g] = read_links(&t, g, out);
    }
    join_by_switch(to_switch, out);
}

weft_status wi_nvml_read(wi_hardware *out)
{
    wi_nvml api = {0};
    unsigned count = 0;
    memset(out, 0, sizeof *out);
    memset(out->far_gpu, WI_FAR_UNKNOWN, sizeof out->far_gpu);
    WEFT_TRY(open_api(&api));
    nvmlReturn_t code = api.nvmlInit_v2();
    if (code != NVML_SUCCESS) return failed(code);
    if (api.nvmlSystemGetDriverVersion(out->driver, sizeof out->driver) != NVML_SUCCESS) out->driver[0] = 0;
    if (!out->driver[0]) snprintf(out->driver, sizeof out->driver, "unknown");
    if (!api.nvmlSystemGetCudaDriverVersion || api.nvmlSystemGetCudaDriverVersion(&out->cuda) != NVML_SUCCESS)
        out->cuda = 0;
    code = api.nvmlDeviceGetCount_v2(&count);
    if (code == NVML_SUCCESS) read_gpus(&api, count, out);
    api.nvmlShutdown();
    return code == NVML_SUCCESS ? WEFT_OK : weft_fail(WEFT_FAILED, "nvmlDeviceGetCount_v2: error %d", code);
}
