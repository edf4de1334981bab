// Libraries that weft doctor may meet, each built from this file with one name defined.
#if defined(FAKE_UCX) // crashes when it is loaded
#include <signal.h>
__attribute__((constructor)) static void crash(void) { raise(SIGABRT); }
#elif defined(FAKE_CUDA) // a driver for two devices
int cuInit(unsigned flags);
int cuInit(unsigned flags) { return (int)flags; }
int cuDriverGetVersion(int *version);
int cuDriverGetVersion(int *version) { return *version = 12040, 0; }
int cuDeviceGetCount(int *count);
int cuDeviceGetCount(int *count) { return *count = 2, 0; }
#elif defined(FAKE_NVML) // fails to start
int nvmlInit_v2(void);
int nvmlInit_v2(void) { return 18; }
int nvmlShutdown(void);
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char *version, unsigned length);
int nvmlSystemGetDriverVersion(char *version, unsigned length) { return version[0] = 0, (int)length; }
#elif defined(FAKE_NCCL)
int ncclGetVersion(int *version);
int ncclGetVersion(int *version) { return *version = 22809, 0; }
#endif
