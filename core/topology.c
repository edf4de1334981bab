#include <hwloc.h>
#include <unistd.h>

#include "core/cgroup.h"
#include "core/cpu.h"

// Only what is asked for below: with devices and groups the load takes several times as long.
static void keep_cores_and_caches(hwloc_topology_t topology)
{
    hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_cache_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_ALL);
    hwloc_topology_set_type_filter(topology, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    hwloc_topology_set_type_filter(topology, HWLOC_OBJ_PACKAGE, HWLOC_TYPE_FILTER_KEEP_ALL);
    // The counts are of the machine; what this process may use is asked for apart.
    hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
}

static int count(hwloc_topology_t topology, hwloc_obj_type_t type)
{
    int found = hwloc_get_nbobjs_by_type(topology, type);
    return found > 0 ? found : 0;
}

static int64_t cache_bytes(hwloc_topology_t topology, hwloc_obj_type_t type)
{
    hwloc_obj_t cache = hwloc_get_obj_by_type(topology, type, 0);
    return cache && cache->attr ? (int64_t)cache->attr->cache.size : 0;
}

static void add_cpu(hwloc_topology_t topology, int cpu, weft_topology *out)
{
    if (out->allowed_count == WEFT_CPUS_MAX) return;
    hwloc_obj_t unit = hwloc_get_pu_obj_by_os_index(topology, (unsigned)cpu);
    int node = unit && unit->nodeset ? hwloc_bitmap_first(unit->nodeset) : 0;
    out->numa_of[out->allowed_count] = node < 0 ? 0 : node;
    out->allowed[out->allowed_count++] = cpu;
}

// Takes from each core one cpu of `left` a turn, until none is left.
static weft_status list_allowed(hwloc_topology_t topology, hwloc_bitmap_t left, weft_topology *out)
{
    // A virtual machine may show cpus without cores; each is a core then.
    hwloc_obj_type_t type = count(topology, HWLOC_OBJ_CORE) ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    hwloc_bitmap_t here = hwloc_bitmap_alloc();
    if (!here) return weft_fail(WEFT_NO_MEMORY, "no memory to list the cpus");
    for (int turn = 0; !hwloc_bitmap_iszero(left); turn++) {
        int found = 0;
        for (hwloc_obj_t core = NULL; (core = hwloc_get_next_obj_by_type(topology, type, core)) != NULL;) {
            hwloc_bitmap_and(here, core->cpuset, left);
            int cpu = hwloc_bitmap_first(here);
            if (cpu < 0) continue;
            hwloc_bitmap_clr(left, (unsigned)cpu);
            add_cpu(topology, cpu, out);
            found++;
        }
        if (turn == 0) out->allowed_cores = found;
        if (!found) break; // what is left belongs to no core
    }
    hwloc_bitmap_free(here);
    return WEFT_OK;
}

static weft_status read_allowed(hwloc_topology_t topology, weft_topology *out)
{
    weft_status status = WEFT_OK;
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (!set) return weft_fail(WEFT_NO_MEMORY, "no memory to list the cpus");
    if (hwloc_get_cpubind(topology, set, HWLOC_CPUBIND_THREAD) == 0) {
        hwloc_bitmap_and(set, set, hwloc_topology_get_allowed_cpuset(topology));
    } else {
        hwloc_bitmap_copy(set, hwloc_topology_get_allowed_cpuset(topology));
    }
    WEFT_TRY_GOTO(list_allowed(topology, set, out));
    if (out->allowed_count == 0) {
        status = weft_fail(WEFT_FAILED, "hwloc finds no cpu that this process may use; check its affinity with "
                                        "\"taskset -p\" and HWLOC_* in the environment");
    }
fail:
    hwloc_bitmap_free(set);
    return status;
}

static void read_memory(hwloc_topology_t topology, weft_topology *out)
{
    out->memory = (int64_t)hwloc_get_root_obj(topology)->total_memory;
    if (out->memory <= 0) out->memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    int64_t limit = wi_cgroup_memory_read().limit;
    out->memory_limit = limit < out->memory ? limit : out->memory;
}

weft_status weft_topology_read(weft_topology *out)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0) return weft_fail(WEFT_FAILED, "hwloc could not be started");
    weft_status status = WEFT_OK;
    weft_topology found = {0};
    keep_cores_and_caches(topology);
    if (hwloc_topology_load(topology) != 0) {
        status = weft_fail(WEFT_FAILED, "hwloc could not read the machine; check HWLOC_* in the environment");
        goto fail;
    }
    found.cpus = count(topology, HWLOC_OBJ_PU);
    found.cores = count(topology, HWLOC_OBJ_CORE);
    if (found.cores == 0) found.cores = found.cpus;
    found.packages = count(topology, HWLOC_OBJ_PACKAGE);
    if (found.packages == 0) found.packages = 1;
    found.numa_nodes = count(topology, HWLOC_OBJ_NUMANODE);
    found.l1d = cache_bytes(topology, HWLOC_OBJ_L1CACHE);
    found.l2 = cache_bytes(topology, HWLOC_OBJ_L2CACHE);
    found.l3 = cache_bytes(topology, HWLOC_OBJ_L3CACHE);
    WEFT_TRY_GOTO(read_allowed(topology, &found));
    read_memory(topology, &found);
    *out = found;
fail:
    hwloc_topology_destroy(topology);
    return status;
}
