// What NVML tells of this machine's GPUs. Inside launch/ only.
#ifndef WEFT_LAUNCH_NVML_H
#define WEFT_LAUNCH_NVML_H

#include "launch/hardware.h"

// GPUs with their state, links between them, their parts, the driver. Of an old driver, what it has. NOT_FOUND where
// the library is not there, FAILED where it does not work. Opens it in this process: use wi_probe_gpus.
weft_status wi_nvml_read(wi_hardware *out);

#endif
