#include "launch/hardware.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const wi_state_names[WI_STATE_COUNT] = {
#define WI_STATE_NAME(name) #name,
    WI_GPU_STATE(WI_STATE_NAME)
#undef WI_STATE_NAME
};

wi_gpu wi_gpu_unknown(void)
{
    wi_gpu gpu = {.node = -1};
    for (int i = 0; i < WI_STATE_COUNT; i++) gpu.state[i] = -1;
    return gpu;
}

int wi_gpu_at(const wi_hardware *h, const char *bus)
{
    for (int i = 0; i < h->gpus; i++)
        if (strcmp(h->gpu[i].bus, bus) == 0) return i;
    return -1;
}

bool wi_bus_normal(const char *text, char bus[16])
{
    unsigned domain, number, device, function;
    int length = 0;
    if (sscanf(text, "%8x:%2x:%2x.%1x%n", &domain, &number, &device, &function, &length) != 4 || text[length])
        return false;
    return snprintf(bus, 16, "%04x:%02x:%02x.%x", domain & 0xffff, number, device, function) < 16;
}

int wi_hardware_nodes(const weft_topology *t, int first)
{
    int found = -1;
    for (int i = 0; i < t->allowed_count; i++)
        if (t->numa_of[i] >= first && (found < 0 || t->numa_of[i] < found)) found = t->numa_of[i];
    return found;
}

// Both lists of GPUs are short, and their orders may differ.
void wi_hardware_add(wi_hardware *h, const wi_hardware *told)
{
    int at[WI_GPUS_MAX] = {0};
    for (int i = 0; i < told->gpus; i++) {
        const wi_gpu *from = &told->gpu[i];
        at[i] = wi_gpu_at(h, from->bus);
        if (at[i] < 0 && h->gpus < WI_GPUS_MAX) {
            at[i] = h->gpus++;
            h->gpu[at[i]] = *from;
            for (int k = 0; k < WI_GPUS_MAX; k++)
                h->far_gpu[at[i]][k] = h->far_gpu[k][at[i]] = k == at[i] ? WI_FAR_SELF : WI_FAR_UNKNOWN;
            for (int k = 0; k < WI_NICS_MAX; k++) h->far_nic[at[i]][k] = WI_FAR_UNKNOWN;
        } else if (at[i] >= 0) {
            wi_gpu *to = &h->gpu[at[i]];
            memcpy(to->state, from->state, sizeof to->state);
            if (from->uuid[0]) memcpy(to->uuid, from->uuid, sizeof to->uuid);
            if (from->name[0]) memcpy(to->name, from->name, sizeof to->name);
            to->closed = false;
        }
    }
    for (int i = 0; i < told->gpus; i++)
        for (int k = 0; k < told->gpus; k++)
            if (at[i] >= 0 && at[k] >= 0) h->nvlink[at[i]][at[k]] = told->nvlink[i][k];
    for (int i = 0; i < told->migs && h->migs < WI_MIGS_MAX; i++) {
        if (at[told->mig[i].gpu] < 0) continue;
        h->mig[h->migs] = told->mig[i];
        h->mig[h->migs++].gpu = at[told->mig[i].gpu];
    }
    memcpy(h->driver, told->driver, sizeof h->driver);
    h->cuda = told->cuda;
}

void wi_hardware_note_environment(wi_hardware *h)
{
    static const char *const names[] = {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "SLURM_LOCALID",
                                        "SLURM_GPUS_ON_NODE",   "SLURM_STEP_GPUS",   "SLURM_GPUS_PER_TASK",
                                        "SLURM_GPU_BIND",       "UCX_NET_DEVICES"};
    h->environment_count = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (!value || strchr(value, '\n')) continue;
        snprintf(h->environment[h->environment_count++], sizeof h->environment[0], "%s=%.120s", names[i], value);
    }
}
