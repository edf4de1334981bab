// The machine's devices, by what the kernel shows of them: PCI functions, RDMA devices, network interfaces, and the
// files of NVIDIA's driver.
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/hardware.h"

enum { PATH_PARTS_MAX = 16, NVIDIA = 0x10de };

// Where a device stands: the host bridge, then the bridges down to it.
typedef struct {
    char part[PATH_PARTS_MAX][16];
    int count;
} pci_path;

// The first line of the file without its end; false when there is none.
static bool read_line(char *text, size_t capacity, const char *root, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static bool read_line(char *text, size_t capacity, const char *root, const char *format, ...)
{
    char path[PATH_MAX];
    const size_t used = (size_t)snprintf(path, sizeof path, "%.1024s", root);
    va_list args;
    va_start(args, format);
    // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is begun in the line above
    const int length = vsnprintf(path + used, sizeof path - used, format, args);
    va_end(args);
    FILE *in = length > 0 && used + (size_t)length < sizeof path ? fopen(path, "re") : NULL;
    if (!in) return false;
    const bool got = fgets(text, (int)capacity, in) != NULL;
    fclose(in);
    if (got) text[strcspn(text, "\n")] = 0;
    return got;
}

// Of a PCI function.
static int number_at(const char *root, const char *bus, const char *file, int otherwise)
{
    char text[64];
    return read_line(text, sizeof text, root, "/sys/bus/pci/devices/%s/%s", bus, file) ? (int)strtol(text, NULL, 0)
                                                                                       : otherwise;
}

// The PCI parts of a link's target: ".../pci0000:16/0000:16:01.0/0000:1b:00.0/net/eth0".
static void path_of(const char *root, const char *folder, const char *name, pci_path *out)
{
    char path[PATH_MAX], whole[PATH_MAX], *save = NULL;
    out->count = 0;
    if (snprintf(path, sizeof path, "%s%s/%s", root, folder, name) >= (int)sizeof path || !realpath(path, whole))
        return;
    for (char *part = strtok_r(whole, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        char bus[16];
        const bool bridge = strncmp(part, "pci", 3) == 0 && strchr(part, ':');
        if ((!bridge && !wi_bus_normal(part, bus)) || out->count == PATH_PARTS_MAX) continue;
        snprintf(out->part[out->count++], sizeof out->part[0], "%.15s", bridge ? part : bus);
    }
}

static wi_far distance(const pci_path *a, const pci_path *b, int node_a, int node_b, bool one_node)
{
    int same = 0;
    while (same < a->count && same < b->count && strcmp(a->part[same], b->part[same]) == 0) same++;
    if (a->count == 0 || b->count == 0) return WI_FAR_UNKNOWN;
    if (same == a->count || same == b->count) return WI_FAR_SELF;
    const int left = a->count - same > b->count - same ? a->count - same : b->count - same;
    if (same >= 2) return left <= 2 ? WI_FAR_PIX : WI_FAR_PXB;
    if (same == 1) return WI_FAR_PHB;
    if (one_node || (node_a >= 0 && node_a == node_b)) return WI_FAR_NODE;
    return node_a >= 0 && node_b >= 0 ? WI_FAR_SYS : WI_FAR_UNKNOWN;
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

// The names in a folder, in order.
static int list(const char *root, const char *folder, char names[][32], int capacity)
{
    char path[PATH_MAX];
    int count = 0;
    snprintf(path, sizeof path, "%s%s", root, folder);
    DIR *directory = opendir(path);
    if (!directory) return 0;
    for (const struct dirent *entry; count < capacity && (entry = readdir(directory)) != NULL;)
        if (entry->d_name[0] != '.' && strlen(entry->d_name) < 32) snprintf(names[count++], 32, "%.31s", entry->d_name);
    closedir(directory);
    qsort(names, (size_t)count, 32, by_name);
    return count;
}

// ---- GPUs ----

// "Model: NVIDIA H200", with tabs between.
static void read_information(const char *root, wi_gpu *gpu, int *minor)
{
    char path[PATH_MAX], line[256];
    snprintf(path, sizeof path, "%s/proc/driver/nvidia/gpus/%s/information", root, gpu->bus);
    FILE *in = fopen(path, "re");
    if (!in) return;
    while (fgets(line, sizeof line, in)) {
        char *value = strchr(line, ':');
        if (!value) continue;
        value += 1 + strspn(value + 1, " \t");
        value[strcspn(value, "\n")] = 0;
        if (strncmp(line, "Model", 5) == 0) snprintf(gpu->name, sizeof gpu->name, "%.63s", value);
        if (strncmp(line, "GPU UUID", 8) == 0 && !strchr(value, '?'))
            snprintf(gpu->uuid, sizeof gpu->uuid, "%.47s", value);
        if (strncmp(line, "Device Minor", 12) == 0) *minor = (int)strtol(value, NULL, 10);
    }
    fclose(in);
}

// A cgroup that keeps a device from a process shows only when it is opened.
static bool opens(const char *root, int minor)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/dev/nvidia%d", root, minor);
    const int device = open(path, O_RDONLY | O_CLOEXEC);
    if (device >= 0) close(device);
    return device >= 0;
}

static int node_at(const wi_hardware *h, int told)
{
    const int first = wi_hardware_nodes(&h->topology, 0);
    // A machine of one node tells none.
    return told < 0 && h->topology.numa_nodes <= 1 && first >= 0 ? first : told;
}

static void add_gpu(const char *root, const char *bus, wi_hardware *h)
{
    wi_gpu gpu = wi_gpu_unknown();
    int minor = -1;
    if (h->gpus == WI_GPUS_MAX || !wi_bus_normal(bus, gpu.bus)) return;
    gpu.node = node_at(h, number_at(root, bus, "numa_node", -1));
    read_information(root, &gpu, &minor);
    gpu.closed = minor < 0 || !opens(root, minor);
    h->gpu[h->gpus++] = gpu;
}

// ---- NICs ----

static void look_at_port(const char *root, const char *name, const char *port, wi_nic *nic)
{
    static const char folder[] = "/sys/class/infiniband";
    char text[64];
    const bool up =
        read_line(text, sizeof text, root, "%s/%s/ports/%s/state", folder, name, port) && strstr(text, "ACTIVE");
    if (nic->port > 0 && (nic->up || !up)) return;
    nic->port = (int)strtol(port, NULL, 10);
    nic->up = up;
    if (read_line(text, sizeof text, root, "%s/%s/ports/%s/rate", folder, name, port)) nic->gbit = strtod(text, NULL);
    if (read_line(text, sizeof text, root, "%s/%s/ports/%s/link_layer", folder, name, port))
        nic->infiniband = strcmp(text, "InfiniBand") == 0;
}

static void add_rdma(const char *root, const char *name, wi_hardware *h, pci_path *path)
{
    char folder[128], ports[8][32];
    wi_nic nic = {.node = -1, .rdma = true};
    snprintf(nic.name, sizeof nic.name, "%.23s", name);
    snprintf(folder, sizeof folder, "/sys/class/infiniband/%.31s/ports", name);
    const int count = list(root, folder, ports, 8);
    for (int i = 0; i < count; i++) look_at_port(root, name, ports[i], &nic);
    snprintf(folder, sizeof folder, "/sys/class/infiniband/%.31s", name);
    path_of(root, folder, "device", path);
    if (path->count > 0) snprintf(nic.bus, sizeof nic.bus, "%s", path->part[path->count - 1]);
    nic.node = node_at(h, number_at(root, nic.bus, "numa_node", -1));
    h->nic[h->nics++] = nic;
}

static bool is_rdma(const wi_hardware *h, const char *bus)
{
    for (int i = 0; i < h->nics; i++)
        if (h->nic[i].rdma && strcmp(h->nic[i].bus, bus) == 0) return true;
    return false;
}

// Interfaces of cards alone: bridges and tunnels have no device.
static void add_interface(const char *root, const char *name, wi_hardware *h, pci_path *path)
{
    char folder[128], text[32];
    wi_nic nic = {.node = -1};
    snprintf(folder, sizeof folder, "/sys/class/net/%.31s", name);
    path_of(root, folder, "device", path);
    if (path->count == 0 || is_rdma(h, path->part[path->count - 1])) return;
    snprintf(nic.name, sizeof nic.name, "%.23s", name);
    snprintf(nic.bus, sizeof nic.bus, "%s", path->part[path->count - 1]);
    nic.up = read_line(text, sizeof text, root, "/sys/class/net/%s/operstate", name) && strcmp(text, "up") == 0;
    if (read_line(text, sizeof text, root, "/sys/class/net/%s/speed", name)) nic.gbit = strtod(text, NULL) / 1000;
    if (nic.gbit < 0) nic.gbit = 0; // not known
    nic.node = node_at(h, number_at(root, nic.bus, "numa_node", -1));
    h->nic[h->nics++] = nic;
}

// ---- all ----

void wi_hardware_devices(const char *root, wi_hardware *h)
{
    enum { NAMES = 1024 };
    char(*names)[32] = calloc(NAMES, sizeof *names);
    pci_path *gpus = calloc(WI_GPUS_MAX, sizeof *gpus), *nics = calloc(WI_NICS_MAX, sizeof *nics);
    const bool one = h->topology.numa_nodes <= 1;
    h->gpus = h->nics = h->migs = 0;
    if (!names || !gpus || !nics) goto out;
    int count = list(root, "/sys/bus/pci/devices", names, NAMES);
    for (int i = 0; i < count && h->gpus < WI_GPUS_MAX; i++) {
        const int kind = number_at(root, names[i], "class", 0) >> 8;
        if ((kind != 0x300 && kind != 0x302) || number_at(root, names[i], "vendor", 0) != NVIDIA) continue;
        path_of(root, "/sys/bus/pci/devices", names[i], &gpus[h->gpus]);
        add_gpu(root, names[i], h);
    }
    count = list(root, "/sys/class/infiniband", names, NAMES);
    for (int i = 0; i < count && h->nics < WI_NICS_MAX; i++) add_rdma(root, names[i], h, &nics[h->nics]);
    count = list(root, "/sys/class/net", names, NAMES);
    for (int i = 0; i < count && h->nics < WI_NICS_MAX; i++) add_interface(root, names[i], h, &nics[h->nics]);
    for (int g = 0; g < h->gpus; g++) {
        for (int k = 0; k < h->gpus; k++)
            h->far_gpu[g][k] =
                (uint8_t)(g == k ? WI_FAR_SELF : distance(&gpus[g], &gpus[k], h->gpu[g].node, h->gpu[k].node, one));
        for (int k = 0; k < h->nics; k++)
            h->far_nic[g][k] = (uint8_t)distance(&gpus[g], &nics[k], h->gpu[g].node, h->nic[k].node, one);
    }
out:
    free(names);
    free(gpus);
    free(nics);
}

weft_status wi_hardware_read(const weft_topology *allowed, wi_hardware *out)
{
    memset(out, 0, sizeof *out);
    if (allowed)
        out->topology = *allowed;
    else
        WEFT_TRY(weft_topology_read(&out->topology));
    wi_hardware_devices("", out);
    return WEFT_OK;
}
