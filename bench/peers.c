// Finding the peers, and letting them have the machine.
#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/peers_impl.h"

static const struct {
    const char *name, *file, *package;
    int64_t rest_ns; // how long its threads spin after a call
} known[WI_PEER_COUNT] = {
    [WI_PEER_ONEDNN] = {"oneDNN", "libdnnl.so.2", "libdnnl2", 10000000},
    [WI_PEER_OPENBLAS] = {"OpenBLAS", "libopenblas.so.0", "libopenblas0", 60000000},
};

// dlsym gives an object's address where a function's is wanted.
bool wi_peer_find(void *library, const char *name, void *function)
{
    void *address = library ? dlsym(library, name) : NULL;
    memcpy(function, &address, sizeof address);
    return address;
}

static void find_onednn(wi_peers *p)
{
    const struct {
        int major, minor, patch;
    } * version;
    const void *(*version_of)(void);
    void *library = p->library[WI_PEER_ONEDNN];
    const bool whole = wi_peer_find(library, "dnnl_version", &version_of) &&
                       wi_peer_find(library, "omp_set_num_threads", &p->set_threads[WI_PEER_ONEDNN]) &&
                       wi_peer_find(library, "dnnl_engine_create", &p->engine_create) &&
                       wi_peer_find(library, "dnnl_engine_destroy", &p->engine_destroy) &&
                       wi_peer_find(library, "dnnl_stream_create", &p->stream_create) &&
                       wi_peer_find(library, "dnnl_stream_destroy", &p->stream_destroy);
    if (!whole || p->engine_create(&p->engine, 1, 0) != 0 || p->stream_create(&p->stream, p->engine, 1) != 0) return;
    version = version_of();
    p->there[WI_PEER_ONEDNN] = version->major == 2;
    snprintf(p->text[WI_PEER_ONEDNN], sizeof p->text[0], "oneDNN %d.%d.%d", version->major, version->minor,
             version->patch);
}

static void find_openblas(wi_peers *p)
{
    const char *(*config)(void);
    void *library = p->library[WI_PEER_OPENBLAS];
    if (!wi_peer_find(library, "openblas_get_config", &config) ||
        !wi_peer_find(library, "openblas_set_num_threads", &p->set_threads[WI_PEER_OPENBLAS]) ||
        !wi_peer_find(library, "cblas_sgemm", &p->sgemm))
        return;
    p->there[WI_PEER_OPENBLAS] = true;
    snprintf(p->text[WI_PEER_OPENBLAS], sizeof p->text[0], "%.60s", config());
}

weft_status wi_peers_open(wi_peers **out)
{
    wi_peers *p = calloc(1, sizeof *p);
    if (!p) return weft_fail(WEFT_NO_MEMORY, "no memory for the libraries to compare with");
    sched_getaffinity(0, sizeof p->all_cpus, &p->all_cpus);
    for (int i = 0; i < WI_PEER_COUNT; i++) {
        snprintf(p->text[i], sizeof p->text[i], "%s is not installed (%s, Debian's %s)", known[i].name, known[i].file,
                 known[i].package);
        p->library[i] = dlopen(known[i].file, RTLD_NOW | RTLD_LOCAL);
    }
    if (p->library[WI_PEER_ONEDNN]) find_onednn(p);
    if (p->library[WI_PEER_OPENBLAS]) find_openblas(p);
    *out = p;
    return WEFT_OK;
}

// The libraries stay: their threads may not outlive their code.
void wi_peers_close(wi_peers *p)
{
    if (!p) return;
    if (p->stream) p->stream_destroy(p->stream);
    if (p->engine) p->engine_destroy(p->engine);
    free(p);
}

const char *wi_peer_name(wi_peer peer) { return known[peer].name; }

const char *wi_peer_text(const wi_peers *peers, wi_peer peer) { return peers->text[peer]; }

bool wi_peer_there(const wi_peers *peers, wi_peer peer) { return peers && peers->there[peer]; }

void wi_peer_begin(wi_peers *p, wi_peer peer, int threads)
{
    p->threads = threads;
    p->set_threads[peer](threads);
    if (threads == 1) return;
    sched_getaffinity(0, sizeof p->own_cpus, &p->own_cpus);
    sched_setaffinity(0, sizeof p->all_cpus, &p->all_cpus);
}

void wi_peer_end(wi_peers *p, wi_peer peer)
{
    if (p->threads == 1) return;
    sched_setaffinity(0, sizeof p->own_cpus, &p->own_cpus);
    nanosleep(&(struct timespec){.tv_nsec = known[peer].rest_ns}, NULL);
}
