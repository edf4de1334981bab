// A libnvidia-ml.so.1 whose answers stand in the file that FAKE_NVML names, a line each: "driver TEXT", "cuda 12040",
// "init 9", "gpus 8", and of GPU i "gpu i KEY VALUE", of all others "gpu * KEY VALUE". What is not there it does not
// support. The linker gives the functions the library's names.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/nvml_api.h"

enum { LINE = 256, GPUS = 16 };

#define FAKE(name, arguments, needed) nvmlReturn_t wi_fake_##name arguments;
WI_NVML_FUNCTIONS(FAKE)

// What follows `key` at the beginning of a line.
static int answer(const char *key, char value[LINE])
{
    char line[LINE];
    const char *path = getenv("FAKE_NVML");
    FILE *in = path ? fopen(path, "re") : NULL;
    int found = 0;
    while (in && !found && fgets(line, sizeof line, in)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, key, strlen(key)) != 0 || line[strlen(key)] != ' ') continue;
        snprintf(value, LINE, "%s", line + strlen(key) + 1);
        found = 1;
    }
    if (in) fclose(in);
    return found;
}

static int index_of(nvmlDevice_t device) { return (int)((uintptr_t)device - 1); }

static int of_gpu(nvmlDevice_t device, const char *key, char value[LINE])
{
    char whole[64];
    snprintf(whole, sizeof whole, "gpu %d %s", index_of(device), key);
    if (answer(whole, value)) return 1;
    snprintf(whole, sizeof whole, "gpu * %s", key);
    return answer(whole, value);
}

static nvmlReturn_t number(nvmlDevice_t device, const char *key, long long *out)
{
    char value[LINE];
    if (of_gpu(device, "lost", value)) return NVML_ERROR_GPU_IS_LOST;
    if (!of_gpu(device, key, value)) return NVML_ERROR_NOT_SUPPORTED;
    *out = strtoll(value, NULL, 0);
    return NVML_SUCCESS;
}

static nvmlReturn_t small(nvmlDevice_t device, const char *key, unsigned *out)
{
    long long value = 0;
    const nvmlReturn_t code = number(device, key, &value);
    *out = (unsigned)value;
    return code;
}

static nvmlReturn_t copy(const char *value, char *out, unsigned length)
{
    snprintf(out, length, "%s", value);
    return NVML_SUCCESS;
}

// ---- the system ----

nvmlReturn_t wi_fake_nvmlInit_v2(void)
{
    char value[LINE];
    return answer("init", value) ? (nvmlReturn_t)strtol(value, NULL, 10) : NVML_SUCCESS;
}

nvmlReturn_t wi_fake_nvmlShutdown(void) { return NVML_SUCCESS; }

nvmlReturn_t wi_fake_nvmlSystemGetDriverVersion(char *out, unsigned length)
{
    char value[LINE] = "0";
    answer("driver", value);
    return copy(value, out, length);
}

nvmlReturn_t wi_fake_nvmlSystemGetCudaDriverVersion(int *out)
{
    char value[LINE] = "0";
    answer("cuda", value);
    *out = (int)strtol(value, NULL, 10);
    return NVML_SUCCESS;
}

nvmlReturn_t wi_fake_nvmlDeviceGetCount_v2(unsigned *out)
{
    char value[LINE] = "0";
    answer("gpus", value);
    *out = (unsigned)strtol(value, NULL, 10);
    return NVML_SUCCESS;
}

nvmlReturn_t wi_fake_nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *out)
{
    *out = (nvmlDevice_t)(uintptr_t)(index + 1); // NOLINT(performance-no-int-to-ptr): a handle, never followed
    return NVML_SUCCESS;
}

// ---- a GPU ----

nvmlReturn_t wi_fake_nvmlDeviceGetName(nvmlDevice_t device, char *out, unsigned length)
{
    char value[LINE];
    return of_gpu(device, "name", value) ? copy(value, out, length) : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t wi_fake_nvmlDeviceGetUUID(nvmlDevice_t device, char *out, unsigned length)
{
    snprintf(out, length, index_of(device) < GPUS ? "GPU-%08d" : "MIG-%08d", index_of(device));
    return NVML_SUCCESS;
}

nvmlReturn_t wi_fake_nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *out)
{
    *out = (nvmlPciInfo_t){.bus = 16 * (unsigned)index_of(device) + 1};
    snprintf(out->busId, sizeof out->busId, "00000000:%02X:00.0", out->bus);
    return NVML_SUCCESS;
}

nvmlReturn_t wi_fake_nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *out)
{
    long long total = 0, used = 0;
    const nvmlReturn_t code = number(device, "memory", &total);
    if (code == NVML_SUCCESS) number(device, "used", &used);
    *out = (nvmlMemory_t){(unsigned long long)total, (unsigned long long)(total - used), (unsigned long long)used};
    return code;
}

nvmlReturn_t wi_fake_nvmlDeviceGetTemperature(nvmlDevice_t device, nvmlTemperatureSensors_t sensor, unsigned *out)
{
    return sensor == NVML_TEMPERATURE_GPU ? small(device, "temperature", out) : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t wi_fake_nvmlDeviceGetTemperatureThreshold(nvmlDevice_t device, nvmlTemperatureThresholds_t which,
                                                       unsigned *out)
{
    return which == NVML_TEMPERATURE_THRESHOLD_SLOWDOWN ? small(device, "slowdown", out) : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t wi_fake_nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *out) { return small(device, "power", out); }

nvmlReturn_t wi_fake_nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned *out)
{
    return small(device, "power-limit", out);
}

nvmlReturn_t wi_fake_nvmlDeviceGetClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned *out)
{
    return small(device, type == NVML_CLOCK_SM ? "clock" : "memory-clock", out);
}

nvmlReturn_t wi_fake_nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned *out)
{
    return type == NVML_CLOCK_SM ? small(device, "clock-max", out) : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t wi_fake_nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long *out)
{
    long long value = 0;
    const nvmlReturn_t code = number(device, "throttle", &value);
    *out = (unsigned long long)value;
    return code;
}

nvmlReturn_t wi_fake_nvmlDeviceGetEccMode(nvmlDevice_t device, nvmlEnableState_t *now, nvmlEnableState_t *pending)
{
    *pending = 0;
    return small(device, "ecc", now);
}

nvmlReturn_t wi_fake_nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, nvmlMemoryErrorType_t type,
                                                 nvmlEccCounterType_t counter, unsigned long long *out)
{
    long long value = 0;
    if (type != NVML_MEMORY_ERROR_TYPE_UNCORRECTED) return NVML_ERROR_NOT_SUPPORTED;
    const nvmlReturn_t code = number(device, counter == NVML_VOLATILE_ECC ? "uncorrected" : "uncorrected-ever", &value);
    *out = (unsigned long long)value;
    return code;
}

nvmlReturn_t wi_fake_nvmlDeviceGetRemappedRows(nvmlDevice_t device, unsigned *corrected, unsigned *uncorrected,
                                               unsigned *waits, unsigned *gave_up)
{
    *corrected = *uncorrected = *gave_up = 0;
    const nvmlReturn_t code = small(device, "remap-pending", waits);
    if (code == NVML_SUCCESS) small(device, "remap-failed", gave_up);
    return code;
}

// ---- links ----

// "links 17 of 18": the first so many work.
static nvmlReturn_t links_of(nvmlDevice_t device, unsigned *up, unsigned *all)
{
    char value[LINE];
    if (!of_gpu(device, "links", value)) return NVML_ERROR_NOT_SUPPORTED;
    return sscanf(value, "%u of %u", up, all) == 2 ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t wi_fake_nvmlDeviceGetNvLinkState(nvmlDevice_t device, unsigned link, nvmlEnableState_t *out)
{
    unsigned up, all;
    const nvmlReturn_t code = links_of(device, &up, &all);
    if (code != NVML_SUCCESS || link >= all) return NVML_ERROR_NOT_SUPPORTED;
    *out = link < up;
    return NVML_SUCCESS;
}

// "peer 1": all links end there; without it, at a switch.
nvmlReturn_t wi_fake_nvmlDeviceGetNvLinkRemotePciInfo_v2(nvmlDevice_t device, unsigned link, nvmlPciInfo_t *out)
{
    unsigned peer;
    (void)link;
    if (small(device, "peer", &peer) != NVML_SUCCESS) {
        *out = (nvmlPciInfo_t){.busId = "00000000:F0:00.0"};
        return NVML_SUCCESS;
    }
    return wi_fake_nvmlDeviceGetPciInfo_v3((nvmlDevice_t)(uintptr_t)(peer + 1),
                                           out); // NOLINT(performance-no-int-to-ptr)
}

nvmlReturn_t wi_fake_nvmlDeviceGetNvLinkRemoteDeviceType(nvmlDevice_t device, unsigned link,
                                                         nvmlIntNvLinkDeviceType_t *out)
{
    char value[LINE];
    (void)link;
    *out = of_gpu(device, "peer", value) ? NVML_NVLINK_DEVICE_TYPE_GPU : NVML_NVLINK_DEVICE_TYPE_SWITCH;
    return NVML_SUCCESS;
}

nvmlReturn_t wi_fake_nvmlDeviceGetCurrPcieLinkGeneration(nvmlDevice_t device, unsigned *out)
{
    return small(device, "pcie", out);
}

nvmlReturn_t wi_fake_nvmlDeviceGetMaxPcieLinkGeneration(nvmlDevice_t device, unsigned *out)
{
    return small(device, "pcie-max", out);
}

nvmlReturn_t wi_fake_nvmlDeviceGetCurrPcieLinkWidth(nvmlDevice_t device, unsigned *out)
{
    return small(device, "width", out);
}

nvmlReturn_t wi_fake_nvmlDeviceGetMaxPcieLinkWidth(nvmlDevice_t device, unsigned *out)
{
    return small(device, "width-max", out);
}

// ---- modes ----

nvmlReturn_t wi_fake_nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *now, unsigned *pending)
{
    char value[LINE];
    *pending = 0;
    *now = of_gpu(device, "parts", value) != 0;
    return NVML_SUCCESS;
}

nvmlReturn_t wi_fake_nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned *out)
{
    return small(device, "parts", out);
}

nvmlReturn_t wi_fake_nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index, nvmlDevice_t *out)
{
    const uintptr_t handle = 1 + GPUS * (1 + (uintptr_t)index) + (uintptr_t)index_of(device);
    *out = (nvmlDevice_t)handle; // NOLINT(performance-no-int-to-ptr)
    return NVML_SUCCESS;
}

nvmlReturn_t wi_fake_nvmlDeviceGetComputeMode(nvmlDevice_t device, nvmlComputeMode_t *out)
{
    return small(device, "mode", out);
}

nvmlReturn_t wi_fake_nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor)
{
    unsigned value = 0;
    const nvmlReturn_t code = small(device, "capability", &value);
    *major = (int)value / 10;
    *minor = (int)value % 10;
    return code;
}
