// Libraries that are looked at in a process of their own: to load UCX is to let it patch the memory functions of the
// whole process, a driver may take seconds or crash, and none of that should happen to a rank. Inside launch/ only.
#ifndef WEFT_LAUNCH_PROBE_H
#define WEFT_LAUNCH_PROBE_H

#include "launch/hardware.h"
#include "launch/libraries.h"

// Starts this program anew to look at "ucx", "cuda" or "nccl", with a limit of ten seconds. What the library
// gave, as the functions of libraries.h say; FAILED when it crashed or hung. *number (may be NULL) as there. Local,
// blocking.
weft_status wi_probe(const char *library, char text[WI_LIBRARY_TEXT], int *number);

// Likewise, all that NVML tells of this machine's GPUs; and what CUDA tells through weft's plug-in. Local, blocking.
weft_status wi_probe_gpus(wi_hardware *out);
weft_status wi_probe_devices(wi_hardware *out);

// In that process: argv[1] is WI_PROBE_WORD. Returns the exit code.
#define WI_PROBE_WORD "probe-library"
int wi_probe_main(const char *library);

#endif
