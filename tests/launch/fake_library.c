// Libraries that weft doctor may meet, each built from this file with one name defined. The linker gives the functions
// the names that the library has.
#if defined(FAKE_UCX) // crashes when it is loaded
#include <signal.h>
__attribute__((constructor)) static void crash(void) { raise(SIGABRT); }
#elif defined(FAKE_CUDA) // a driver for two devices
int wi_fake_init(unsigned flags) { return (int)flags; }
int wi_fake_version(int *version) { return *version = 12040, 0; }
int wi_fake_count(int *count) { return *count = 2, 0; }
#elif defined(FAKE_NCCL)
int wi_fake_version(int *version) { return *version = 22809, 0; }
#elif defined(FAKE_NCCL_OLD)
int wi_fake_version(int *version) { return *version = 21805, 0; }
#endif
