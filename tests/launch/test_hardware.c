// What the kernel shows of a machine's devices, from a tree of files as it would be: a switch with a GPU and a NIC, one
// with a GPU alone, a second socket, a card that is not NVIDIA's, ports that are down.
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/hardware.h"
#include "tests/check.h"

static char root[64];
static wi_hardware machine; // larger than a stack frame should be

static void make_folders(const char *path)
{
    char folder[512];
    for (const char *at = path + 1; (at = strchr(at, '/')) != NULL; at++) {
        snprintf(folder, sizeof folder, "%.*s", (int)(at - path), path);
        mkdir(folder, 0700);
    }
}

static void put(const char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(const char *text, const char *format, ...)
{
    char path[512];
    va_list args;
    int used = snprintf(path, sizeof path, "%s", root);
    va_start(args, format);
    vsnprintf(path + used, sizeof path - (size_t)used, format, args);
    va_end(args);
    make_folders(path);
    FILE *out = fopen(path, "w");
    CHECK(out != NULL);
    fputs(text, out);
    fclose(out);
}

// The folder ROOT/FROM shows the one at ROOT/TO.
static void join(const char *from, const char *to)
{
    char path[512], target[512];
    snprintf(path, sizeof path, "%s%s", root, from);
    snprintf(target, sizeof target, "%s%s", root, to);
    make_folders(path);
    CHECK_INT(symlink(target, path), 0);
}

static void put_function(const char *path, const char *class, const char *vendor, int node)
{
    char text[16], link[128];
    snprintf(text, sizeof text, "%d\n", node);
    put(class, "%s/class", path);
    put(vendor, "%s/vendor", path);
    put(text, "%s/numa_node", path);
    snprintf(link, sizeof link, "/sys/bus/pci/devices%s", strrchr(path, '/'));
    join(link, path);
}

static void put_gpu(const char *path, int node, int minor, bool opens)
{
    const char *bus = strrchr(path, '/') + 1;
    char text[160];
    put_function(path, "0x030200\n", "0x10de\n", node);
    snprintf(text, sizeof text, "Model: \t\t NVIDIA H200\nGPU UUID: \t GPU-%d\nDevice Minor: \t %d\n", minor, minor);
    put(text, "/proc/driver/nvidia/gpus/%s/information", bus);
    if (opens) put("", "/dev/nvidia%d", minor);
}

static void put_rdma(const char *name, const char *path, int node, const char *state, const char *layer)
{
    char link[128];
    put_function(path, "0x020700\n", "0x15b3\n", node);
    put(state, "/sys/class/infiniband/%s/ports/1/state", name);
    put(layer, "/sys/class/infiniband/%s/ports/1/link_layer", name);
    put("400 Gb/sec (4X NDR)\n", "/sys/class/infiniband/%s/ports/1/rate", name);
    snprintf(link, sizeof link, "/sys/class/infiniband/%s/device", name);
    join(link, path);
}

static void make_machine(void)
{
    static const char first[] = "/sys/devices/pci0000:16/0000:16:01.0/0000:17:00.0";
    char path[256];
    snprintf(root, sizeof root, "/tmp/weft-test-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
    snprintf(path, sizeof path, "%s/0000:18:00.0/0000:19:00.0", first);
    put_rdma("mlx5_0", path, 0, "4: ACTIVE\n", "InfiniBand\n");
    snprintf(path, sizeof path, "%s/0000:18:01.0/0000:1b:00.0", first);
    put_gpu(path, 0, 0, true);
    put_gpu("/sys/devices/pci0000:16/0000:16:02.0/0000:43:00.0", 0, 1, true);
    put_gpu("/sys/devices/pci0000:80/0000:80:01.0/0000:9d:00.0", 1, 2, false);
    put_rdma("mlx5_1", "/sys/devices/pci0000:97/0000:97:01.0/0000:98:00.0", 1, "1: DOWN\n", "Ethernet\n");
    put_function("/sys/devices/pci0000:00/0000:00:02.0", "0x030000\n", "0x8086\n", 0);
    put_function("/sys/devices/pci0000:00/0000:00:1f.6", "0x020000\n", "0x8086\n", 0);
    put("up\n", "/sys/devices/pci0000:00/0000:00:1f.6/net/eno1/operstate");
    put("25000\n", "/sys/devices/pci0000:00/0000:00:1f.6/net/eno1/speed");
    join("/sys/devices/pci0000:00/0000:00:1f.6/net/eno1/device", "/sys/devices/pci0000:00/0000:00:1f.6");
    join("/sys/class/net/eno1", "/sys/devices/pci0000:00/0000:00:1f.6/net/eno1");
    // The interface of an RDMA card is that card; a bridge is no card.
    put("up\n", "/sys/class/net/ib0/operstate");
    snprintf(path, sizeof path, "%s/0000:18:00.0/0000:19:00.0", first);
    join("/sys/class/net/ib0/device", path);
    put("up\n", "/sys/class/net/docker0/operstate");
}

static void set_topology(int nodes)
{
    machine.topology = (weft_topology){.allowed_count = 2, .allowed_cores = 2, .allowed = {0, 1}, .numa_nodes = nodes};
    machine.topology.numa_of[1] = nodes - 1;
}

static void test_tree(void)
{
    static const uint8_t gpus[3][3] = {{WI_FAR_SELF, WI_FAR_PHB, WI_FAR_SYS},
                                       {WI_FAR_PHB, WI_FAR_SELF, WI_FAR_SYS},
                                       {WI_FAR_SYS, WI_FAR_SYS, WI_FAR_SELF}},
                         nics[3][3] = {{WI_FAR_PIX, WI_FAR_SYS, WI_FAR_NODE},
                                       {WI_FAR_PHB, WI_FAR_SYS, WI_FAR_NODE},
                                       {WI_FAR_SYS, WI_FAR_NODE, WI_FAR_SYS}};
    set_topology(2);
    wi_hardware_devices(root, &machine);
    CHECK_INT(machine.gpus, 3);
    CHECK_TEXT(machine.gpu[0].bus, "0000:1b:00.0");
    CHECK_TEXT(machine.gpu[0].name, "NVIDIA H200");
    CHECK_TEXT(machine.gpu[1].uuid, "GPU-1");
    CHECK(!machine.gpu[1].closed);
    CHECK(machine.gpu[2].closed);
    CHECK_INT(machine.gpu[2].node, 1);
    CHECK_INT(machine.nics, 3);
    CHECK_TEXT(machine.nic[0].name, "mlx5_0");
    CHECK_TEXT(machine.nic[0].bus, "0000:19:00.0");
    CHECK(machine.nic[0].up && machine.nic[0].rdma && machine.nic[0].infiniband);
    CHECK_REAL(machine.nic[0].gbit, 400);
    CHECK(!machine.nic[1].up && machine.nic[1].rdma && !machine.nic[1].infiniband);
    CHECK_TEXT(machine.nic[2].name, "eno1");
    CHECK(machine.nic[2].up && !machine.nic[2].rdma);
    CHECK_REAL(machine.nic[2].gbit, 25);
    for (int g = 0; g < 3; g++)
        for (int i = 0; i < 3; i++) {
            CHECK_INT(machine.far_gpu[g][i], gpus[g][i]);
            CHECK_INT(machine.far_nic[g][i], nics[g][i]);
        }
}

// A machine of one node may not number it, and all of it is near.
static void test_one_node(void)
{
    put("-1\n", "/sys/devices/pci0000:80/0000:80:01.0/0000:9d:00.0/numa_node");
    set_topology(1);
    wi_hardware_devices(root, &machine);
    CHECK_INT(machine.gpu[2].node, 0);
    CHECK_INT(machine.far_gpu[0][2], WI_FAR_NODE);
    set_topology(2);
    wi_hardware_devices(root, &machine);
    CHECK_INT(machine.gpu[2].node, -1);
    CHECK_INT(machine.far_gpu[0][2], WI_FAR_UNKNOWN);
}

// NVML tells more of GPUs that sysfs shows, and of one that it does not.
static void test_add(void)
{
    static wi_hardware told;
    set_topology(2);
    wi_hardware_devices(root, &machine);
    CHECK_OK(
        wi_hardware_parse("told",
                          "weft machine 1\ndriver 550.1 cuda 12040\ngpu 0000:43:00.0 node -1 uuid GPU-x name B\n"
                          "gpu 0000:1b:00.0 node -1 uuid GPU-y name A\ngpu 0000:ff:00.0 node -1 name C\n"
                          "mig MIG-1 of 0000:43:00.0\n"
                          "far 0000:43:00.0 SELF NV4+? ?\nfar 0000:1b:00.0 NV4+? SELF ?\nstate 0000:1b:00.0 power 7\n",
                          &told));
    wi_hardware_add(&machine, &told);
    CHECK_INT(machine.gpus, 4);
    CHECK_TEXT(machine.gpu[0].name, "A");
    CHECK_INT(machine.gpu[0].state[WI_STATE_power], 7);
    CHECK_INT(machine.gpu[1].state[WI_STATE_power], -1);
    CHECK_TEXT(machine.gpu[1].uuid, "GPU-x");
    CHECK_TEXT(machine.gpu[3].name, "C");
    CHECK_INT(machine.nvlink[0][1], 4);
    CHECK_INT(machine.nvlink[1][0], 4);
    CHECK_INT(machine.nvlink[0][3], 0);
    CHECK_INT(machine.far_gpu[3][0], WI_FAR_UNKNOWN);
    CHECK_INT(machine.far_gpu[0][1], WI_FAR_PHB);
    CHECK_INT(machine.mig[0].gpu, 1);
    CHECK_INT(machine.cuda, 12040);
}

static void test_here(void)
{
    CHECK_OK(wi_hardware_read(NULL, &machine));
    CHECK(machine.topology.allowed_cores > 0);
    const weft_topology given = {.allowed_count = 1, .allowed_cores = 1, .allowed = {5}, .numa_nodes = 1};
    CHECK_OK(wi_hardware_read(&given, &machine));
    CHECK_INT(machine.topology.allowed[0], 5);
}

int main(void)
{
    char remove[96];
    make_machine();
    test_tree();
    test_one_node();
    test_add();
    test_here();
    snprintf(remove, sizeof remove, "rm -r %s", root);
    return system(remove) == 0 ? 0 : 1; // NOLINT(cert-env33-c): its own folder
}
