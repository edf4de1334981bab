// What of NVML's interface is used, declared by hand: weft is built without NVIDIA's header and opens the library where
// it is. Names are NVML's own. tests/launch/nvml_header compares all of this with nvml.h. Inside launch/ only.
#ifndef WEFT_LAUNCH_NVML_API_H
#define WEFT_LAUNCH_NVML_API_H

#include <stddef.h>

// X(name, value)
#define WI_NVML_CONSTANTS(X)                                                                                           \
    X(NVML_SUCCESS, 0)                                                                                                 \
    X(NVML_ERROR_NOT_SUPPORTED, 3)                                                                                     \
    X(NVML_ERROR_NO_PERMISSION, 4)                                                                                     \
    X(NVML_ERROR_DRIVER_NOT_LOADED, 9)                                                                                 \
    X(NVML_ERROR_GPU_IS_LOST, 15)                                                                                      \
    X(NVML_ERROR_LIB_RM_VERSION_MISMATCH, 18)                                                                          \
    X(NVML_TEMPERATURE_GPU, 0)                                                                                         \
    X(NVML_TEMPERATURE_THRESHOLD_SLOWDOWN, 1)                                                                          \
    X(NVML_CLOCK_SM, 1)                                                                                                \
    X(NVML_CLOCK_MEM, 2)                                                                                               \
    X(NVML_MEMORY_ERROR_TYPE_UNCORRECTED, 1)                                                                           \
    X(NVML_VOLATILE_ECC, 0)                                                                                            \
    X(NVML_AGGREGATE_ECC, 1)                                                                                           \
    X(NVML_NVLINK_DEVICE_TYPE_GPU, 0)                                                                                  \
    X(NVML_NVLINK_DEVICE_TYPE_SWITCH, 2)                                                                               \
    X(NVML_COMPUTEMODE_DEFAULT, 0)                                                                                     \
    X(NVML_COMPUTEMODE_PROHIBITED, 2)                                                                                  \
    X(NVML_COMPUTEMODE_EXCLUSIVE_PROCESS, 3)                                                                           \
    X(nvmlClocksThrottleReasonGpuIdle, 0x1)                                                                            \
    X(nvmlClocksThrottleReasonSwPowerCap, 0x4)                                                                         \
    X(nvmlClocksThrottleReasonHwSlowdown, 0x8)                                                                         \
    X(nvmlClocksThrottleReasonSwThermalSlowdown, 0x20)                                                                 \
    X(nvmlClocksThrottleReasonHwThermalSlowdown, 0x40)                                                                 \
    X(nvmlClocksThrottleReasonHwPowerBrakeSlowdown, 0x80)

#ifndef WI_NVML_FROM_HEADER // the comparison has the types from there
typedef int nvmlReturn_t;
typedef struct nvmlDevice_st *nvmlDevice_t;
typedef unsigned nvmlTemperatureSensors_t, nvmlTemperatureThresholds_t, nvmlClockType_t, nvmlEnableState_t;
typedef unsigned nvmlMemoryErrorType_t, nvmlEccCounterType_t, nvmlIntNvLinkDeviceType_t, nvmlComputeMode_t;

typedef struct {
    char busIdLegacy[16];
    unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

typedef struct {
    unsigned long long total, free, used;
} nvmlMemory_t;

enum {
#define WI_NVML_VALUE(name, value) name = (value),
    WI_NVML_CONSTANTS(WI_NVML_VALUE)
#undef WI_NVML_VALUE
};
#endif

// X(type, bytes)
#define WI_NVML_TYPES(X)                                                                                               \
    X(nvmlReturn_t, 4)                                                                                                 \
    X(nvmlTemperatureSensors_t, 4)                                                                                     \
    X(nvmlTemperatureThresholds_t, 4)                                                                                  \
    X(nvmlClockType_t, 4)                                                                                              \
    X(nvmlEnableState_t, 4)                                                                                            \
    X(nvmlMemoryErrorType_t, 4)                                                                                        \
    X(nvmlEccCounterType_t, 4)                                                                                         \
    X(nvmlIntNvLinkDeviceType_t, 4)                                                                                    \
    X(nvmlComputeMode_t, 4)                                                                                            \
    X(nvmlPciInfo_t, 68)                                                                                               \
    X(nvmlMemory_t, 24)

// X(type, field, offset)
#define WI_NVML_FIELDS(X)                                                                                              \
    X(nvmlPciInfo_t, domain, 16)                                                                                       \
    X(nvmlPciInfo_t, bus, 20)                                                                                          \
    X(nvmlPciInfo_t, pciSubSystemId, 32)                                                                               \
    X(nvmlPciInfo_t, busId, 36)                                                                                        \
    X(nvmlMemory_t, total, 0)                                                                                          \
    X(nvmlMemory_t, free, 8)                                                                                           \
    X(nvmlMemory_t, used, 16)

// X(function, arguments, needed): each returns nvmlReturn_t. What is not needed an old driver may lack.
#define WI_NVML_FUNCTIONS(X)                                                                                           \
    X(nvmlInit_v2, (void), 1)                                                                                          \
    X(nvmlShutdown, (void), 1)                                                                                         \
    X(nvmlSystemGetDriverVersion, (char *, unsigned), 1)                                                               \
    X(nvmlSystemGetCudaDriverVersion, (int *), 0)                                                                      \
    X(nvmlDeviceGetCount_v2, (unsigned *), 1)                                                                          \
    X(nvmlDeviceGetHandleByIndex_v2, (unsigned, nvmlDevice_t *), 1)                                                    \
    X(nvmlDeviceGetName, (nvmlDevice_t, char *, unsigned), 1)                                                          \
    X(nvmlDeviceGetUUID, (nvmlDevice_t, char *, unsigned), 1)                                                          \
    X(nvmlDeviceGetPciInfo_v3, (nvmlDevice_t, nvmlPciInfo_t *), 1)                                                     \
    X(nvmlDeviceGetMemoryInfo, (nvmlDevice_t, nvmlMemory_t *), 0)                                                      \
    X(nvmlDeviceGetTemperature, (nvmlDevice_t, nvmlTemperatureSensors_t, unsigned *), 0)                               \
    X(nvmlDeviceGetTemperatureThreshold, (nvmlDevice_t, nvmlTemperatureThresholds_t, unsigned *), 0)                   \
    X(nvmlDeviceGetPowerUsage, (nvmlDevice_t, unsigned *), 0)                                                          \
    X(nvmlDeviceGetEnforcedPowerLimit, (nvmlDevice_t, unsigned *), 0)                                                  \
    X(nvmlDeviceGetClockInfo, (nvmlDevice_t, nvmlClockType_t, unsigned *), 0)                                          \
    X(nvmlDeviceGetMaxClockInfo, (nvmlDevice_t, nvmlClockType_t, unsigned *), 0)                                       \
    X(nvmlDeviceGetCurrentClocksThrottleReasons, (nvmlDevice_t, unsigned long long *), 0)                              \
    X(nvmlDeviceGetEccMode, (nvmlDevice_t, nvmlEnableState_t *, nvmlEnableState_t *), 0)                               \
    X(nvmlDeviceGetTotalEccErrors, (nvmlDevice_t, nvmlMemoryErrorType_t, nvmlEccCounterType_t, unsigned long long *),  \
      0)                                                                                                               \
    X(nvmlDeviceGetRemappedRows, (nvmlDevice_t, unsigned *, unsigned *, unsigned *, unsigned *), 0)                    \
    X(nvmlDeviceGetNvLinkState, (nvmlDevice_t, unsigned, nvmlEnableState_t *), 0)                                      \
    X(nvmlDeviceGetNvLinkRemotePciInfo_v2, (nvmlDevice_t, unsigned, nvmlPciInfo_t *), 0)                               \
    X(nvmlDeviceGetNvLinkRemoteDeviceType, (nvmlDevice_t, unsigned, nvmlIntNvLinkDeviceType_t *), 0)                   \
    X(nvmlDeviceGetCurrPcieLinkGeneration, (nvmlDevice_t, unsigned *), 0)                                              \
    X(nvmlDeviceGetMaxPcieLinkGeneration, (nvmlDevice_t, unsigned *), 0)                                               \
    X(nvmlDeviceGetCurrPcieLinkWidth, (nvmlDevice_t, unsigned *), 0)                                                   \
    X(nvmlDeviceGetMaxPcieLinkWidth, (nvmlDevice_t, unsigned *), 0)                                                    \
    X(nvmlDeviceGetMigMode, (nvmlDevice_t, unsigned *, unsigned *), 0)                                                 \
    X(nvmlDeviceGetMaxMigDeviceCount, (nvmlDevice_t, unsigned *), 0)                                                   \
    X(nvmlDeviceGetMigDeviceHandleByIndex, (nvmlDevice_t, unsigned, nvmlDevice_t *), 0)                                \
    X(nvmlDeviceGetComputeMode, (nvmlDevice_t, nvmlComputeMode_t *), 0)                                                \
    X(nvmlDeviceGetCudaComputeCapability, (nvmlDevice_t, int *, int *), 0)

// The functions where the library was opened; NULL for what it lacks.
typedef struct {
#define WI_NVML_POINTER(name, arguments, needed) nvmlReturn_t(*name) arguments;
    WI_NVML_FUNCTIONS(WI_NVML_POINTER)
#undef WI_NVML_POINTER
} wi_nvml;

#endif
