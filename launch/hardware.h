// A machine as placement sees it: NUMA nodes and their cpus, GPUs and their health, NICs, and how far these are from
// each other. Read from hwloc, sysfs and NVML, or from the text that weft doctor --record-machine writes. Inside
// launch/ only.
#ifndef WEFT_LAUNCH_HARDWARE_H
#define WEFT_LAUNCH_HARDWARE_H

#include <stdio.h>

#include "core/cpu.h"

enum { WI_GPUS_MAX = 16, WI_NICS_MAX = 32, WI_MIGS_MAX = 64, WI_ENV_MAX = 16 };

// Of two devices, as nvidia-smi topo calls it: the nearer the smaller.
typedef enum {
    WI_FAR_SELF,
    WI_FAR_PIX,  // one PCIe switch between them
    WI_FAR_PXB,  // several
    WI_FAR_PHB,  // a host bridge
    WI_FAR_NODE, // host bridges of one NUMA node
    WI_FAR_SYS,  // NUMA nodes
    WI_FAR_UNKNOWN
} wi_far;

// X(name): what a GPU tells of itself, each a number; -1: it does not tell.
#define WI_GPU_STATE(X)                                                                                                \
    X(memory_total) /* bytes */                                                                                        \
    X(memory_free)                                                                                                     \
    X(temperature) /* degrees */                                                                                       \
    X(slowdown)    /* the temperature from which it slows down */                                                      \
    X(power)       /* milliwatts */                                                                                    \
    X(power_limit)                                                                                                     \
    X(sm_clock) /* MHz */                                                                                              \
    X(sm_clock_max)                                                                                                    \
    X(memory_clock)                                                                                                    \
    X(throttle)        /* NVML's bits */                                                                               \
    X(ecc)             /* 0: off, 1: on */                                                                             \
    X(ecc_uncorrected) /* since the driver was loaded */                                                               \
    X(ecc_ever)                                                                                                        \
    X(remap_pending) /* rows of memory wait for a reset to be replaced */                                              \
    X(remap_failed)                                                                                                    \
    X(pcie) /* generation now, and the most that card and slot can */                                                  \
    X(pcie_max)                                                                                                        \
    X(width) /* lanes, likewise */                                                                                     \
    X(width_max)                                                                                                       \
    X(links) /* of NVLink: that work, and that do not */                                                               \
    X(links_down)                                                                                                      \
    X(mig)          /* 0: off, 1: on */                                                                                \
    X(compute_mode) /* NVML's number; 0: any process may use it */                                                     \
    X(capability)   /* 90: 9.0 */                                                                                      \
    X(lost)         /* 1: it has fallen off the bus */

enum {
#define WI_STATE_INDEX(name) WI_STATE_##name,
    WI_GPU_STATE(WI_STATE_INDEX)
#undef WI_STATE_INDEX
        WI_STATE_COUNT
};
extern const char *const wi_state_names[WI_STATE_COUNT];

typedef struct {
    char bus[16];  // "0000:1b:00.0"
    char uuid[48]; // "GPU-..."; "" where nobody tells
    char name[64];
    int node;    // NUMA; -1: unknown
    bool closed; // this process may not open it: no driver, or a cgroup
    int64_t state[WI_STATE_COUNT];
} wi_gpu;

typedef struct {
    char name[24]; // "mlx5_0", "eth0"
    char bus[16];
    int node;
    bool rdma, infiniband, up;
    int port; // of an RDMA device, the first that is up
    double gbit;
} wi_nic;

typedef struct {
    char uuid[96];
    int gpu; // whose part it is
} wi_mig;

typedef struct {
    weft_topology topology; // what this process may use
    char driver[32];        // "550.54.15"; "": none, or nobody tells
    int cuda;               // that the driver speaks: 12040 is 12.4; 0: unknown
    int gpus, nics, migs;
    wi_gpu gpu[WI_GPUS_MAX]; // by bus id, as NVML counts
    wi_nic nic[WI_NICS_MAX];
    wi_mig mig[WI_MIGS_MAX];
    uint8_t far_gpu[WI_GPUS_MAX][WI_GPUS_MAX], far_nic[WI_GPUS_MAX][WI_NICS_MAX]; // wi_far
    uint8_t nvlink[WI_GPUS_MAX][WI_GPUS_MAX];                                     // links between two GPUs
    int environment_count;
    char environment[WI_ENV_MAX][160]; // "NAME=value" of what steers placement, where it was recorded
} wi_hardware;

wi_gpu wi_gpu_unknown(void);                                     // nothing told
int wi_gpu_at(const wi_hardware *hardware, const char *bus);     // -1: none is there
bool wi_bus_normal(const char *text, char bus[16]);              // "00000000:1B:00.0" to "0000:1b:00.0"
int wi_hardware_nodes(const weft_topology *topology, int first); // the smallest NUMA node from `first` on; -1: no more

// As text, and back. `of` names the text where it is wrong (FORMAT).
void wi_hardware_print(const wi_hardware *hardware, FILE *out);
weft_status wi_hardware_parse(const char *of, const char *text, wi_hardware *out);
weft_status wi_hardware_load(const char *path, wi_hardware *out);

// Cpus by hwloc, where they are not given; GPUs and NICs by sysfs and the driver's files. Opens no library of NVIDIA's.
// Local.
weft_status wi_hardware_read(const weft_topology *allowed, wi_hardware *out);
// The second half, from the tree under `root` ("": the machine's); out->topology stands.
void wi_hardware_devices(const char *root, wi_hardware *out);
// What NVML said of the same machine.
void wi_hardware_add(wi_hardware *hardware, const wi_hardware *told);
// The variables that steer placement, from this process's environment.
void wi_hardware_note_environment(wi_hardware *hardware);

#endif
