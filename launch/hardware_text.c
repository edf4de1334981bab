// A machine as text, a line a thing: for people to read, for tests to replay, and on its way from the process that
// looks at NVML.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "launch/hardware.h"
#include "launch/place.h"

static const char *const far_names[] = {"SELF", "PIX", "PXB", "PHB", "NODE", "SYS", "?"};

// ---- to text ----

static void print_nodes(const weft_topology *t, FILE *out)
{
    for (int node = wi_hardware_nodes(t, 0); node >= 0; node = wi_hardware_nodes(t, node + 1)) {
        int cpus[WEFT_CPUS_MAX];
        char text[4096];
        fprintf(out, "node %d", node);
        for (int half = 0; half < 2; half++) {
            int count = 0;
            for (int i = half ? t->allowed_cores : 0; i < (half ? t->allowed_count : t->allowed_cores); i++)
                if (t->numa_of[i] == node) cpus[count++] = t->allowed[i];
            if (count > 0)
                fprintf(out, " %s %s", half ? "siblings" : "cores", wi_cpus_text(cpus, count, text, sizeof text));
        }
        fputc('\n', out);
    }
}

static void print_gpu(const wi_gpu *gpu, FILE *out)
{
    fprintf(out, "gpu %s node %d%s", gpu->bus, gpu->node, gpu->closed ? " closed" : "");
    if (gpu->uuid[0]) fprintf(out, " uuid %s", gpu->uuid);
    if (gpu->name[0]) fprintf(out, " name %s", gpu->name);
    fputc('\n', out);
}

static void print_state(const wi_gpu *gpu, FILE *out)
{
    bool any = false;
    for (int i = 0; i < WI_STATE_COUNT; i++) {
        if (gpu->state[i] < 0) continue;
        if (!any) fprintf(out, "state %s", gpu->bus);
        fprintf(out, " %s %" PRId64, wi_state_names[i], gpu->state[i]);
        any = true;
    }
    if (any) fputc('\n', out);
}

static void print_far(const wi_hardware *h, int gpu, FILE *out)
{
    fprintf(out, "far %s", h->gpu[gpu].bus);
    for (int i = 0; i < h->gpus; i++)
        if (h->nvlink[gpu][i])
            fprintf(out, " NV%d+%s", h->nvlink[gpu][i], far_names[h->far_gpu[gpu][i]]);
        else
            fprintf(out, " %s", far_names[h->far_gpu[gpu][i]]);
    if (h->nics > 0) fputs(" |", out);
    for (int i = 0; i < h->nics; i++) fprintf(out, " %s", far_names[h->far_nic[gpu][i]]);
    fputc('\n', out);
}

void wi_hardware_print(const wi_hardware *h, FILE *out)
{
    fputs("weft machine 1\n", out);
    if (h->driver[0]) fprintf(out, "driver %s cuda %d\n", h->driver, h->cuda);
    print_nodes(&h->topology, out);
    for (int i = 0; i < h->gpus; i++) print_gpu(&h->gpu[i], out);
    for (int i = 0; i < h->migs; i++) fprintf(out, "mig %s of %s\n", h->mig[i].uuid, h->gpu[h->mig[i].gpu].bus);
    for (int i = 0; i < h->nics; i++) {
        const wi_nic *nic = &h->nic[i];
        fprintf(out, "nic %s at %s node %d port %d gbit %g%s%s%s\n", nic->name, nic->bus[0] ? nic->bus : "-", nic->node,
                nic->port, nic->gbit, nic->rdma ? " rdma" : "", nic->infiniband ? " infiniband" : "",
                nic->up ? " up" : "");
    }
    for (int i = 0; i < h->gpus; i++) print_far(h, i, out);
    for (int i = 0; i < h->gpus; i++) print_state(&h->gpu[i], out);
    for (int i = 0; i < h->environment_count; i++) fprintf(out, "env %s\n", h->environment[i]);
}

// ---- from text ----

typedef struct {
    const char *of;
    int line;
    char *rest; // of this line
    wi_hardware *out;
    int siblings[WEFT_CPUS_MAX], sibling_node[WEFT_CPUS_MAX], sibling_count;
} reader;

static weft_status wrong(const reader *r, const char *what, const char *word)
{
    return weft_fail(WEFT_FORMAT, "%s:%d: %s%s%.60s%s; write it by weft doctor --record-machine FILE", r->of, r->line,
                     what, word ? " \"" : "", word ? word : "", word ? "\"" : "");
}

static char *next_word(reader *r)
{
    while (*r->rest == ' ') r->rest++;
    if (!*r->rest) return NULL;
    char *word = r->rest;
    r->rest += strcspn(r->rest, " ");
    if (*r->rest) *r->rest++ = 0;
    return word;
}

static bool number_of(const char *word, int64_t *out)
{
    char *end;
    if (!word || !*word) return false;
    errno = 0;
    *out = strtoll(word, &end, 10);
    return !*end && errno == 0;
}

static weft_status read_int(reader *r, int64_t low, int64_t high, int64_t *out)
{
    const char *word = next_word(r);
    int64_t value;
    if (!number_of(word, &value) || value < low || value > high)
        return wrong(r, "a number is missing or too large", word);
    *out = value;
    return WEFT_OK;
}

// "0-3,8" into a list.
static weft_status read_cpus(reader *r, int node, int *cpus, int *nodes, int *count)
{
    char *word = next_word(r), *at = word;
    while (at && *at) {
        char *end;
        const long first = strtol(at, &end, 10), last = *end == '-' ? strtol(end + 1, &end, 10) : first;
        if (end == at || (*end && *end != ',') || first < 0 || last < first || last >= WEFT_CPUS_MAX * 8)
            return wrong(r, "no list of cpus:", word);
        for (long cpu = first; cpu <= last && *count < WEFT_CPUS_MAX; cpu++) {
            nodes[*count] = node;
            cpus[(*count)++] = (int)cpu;
        }
        at = *end ? end + 1 : end;
    }
    return word ? WEFT_OK : wrong(r, "no list of cpus", NULL);
}

static weft_status read_node(reader *r)
{
    weft_topology *t = &r->out->topology;
    int64_t node = 0;
    const char *key;
    WEFT_TRY(read_int(r, 0, 65535, &node));
    while ((key = next_word(r)) != NULL) {
        if (strcmp(key, "cores") == 0) {
            WEFT_TRY(read_cpus(r, (int)node, t->allowed, t->numa_of, &t->allowed_count));
        } else if (strcmp(key, "siblings") == 0) {
            WEFT_TRY(read_cpus(r, (int)node, r->siblings, r->sibling_node, &r->sibling_count));
        } else {
            return wrong(r, "unknown", key);
        }
    }
    return WEFT_OK;
}

static void copy_text(char *to, size_t capacity, const char *from) { snprintf(to, capacity, "%s", from); }

static weft_status read_gpu(reader *r)
{
    wi_gpu gpu = wi_gpu_unknown();
    int64_t number = 0;
    const char *key = next_word(r);
    if (!key || !wi_bus_normal(key, gpu.bus)) return wrong(r, "no bus id:", key ? key : "");
    if (r->out->gpus == WI_GPUS_MAX) return wrong(r, "too many GPUs", NULL);
    while ((key = next_word(r)) != NULL) {
        if (strcmp(key, "node") == 0) {
            WEFT_TRY(read_int(r, -1, 65535, &number));
            gpu.node = (int)number;
        } else if (strcmp(key, "closed") == 0) {
            gpu.closed = true;
        } else if (strcmp(key, "uuid") == 0) {
            const char *word = next_word(r);
            copy_text(gpu.uuid, sizeof gpu.uuid, word ? word : "");
        } else if (strcmp(key, "name") == 0) {
            copy_text(gpu.name, sizeof gpu.name, r->rest);
            break;
        } else {
            return wrong(r, "unknown", key);
        }
    }
    r->out->gpu[r->out->gpus++] = gpu;
    return WEFT_OK;
}

static weft_status read_known_gpu(reader *r, int *gpu)
{
    char bus[16];
    const char *word = next_word(r);
    *gpu = word && wi_bus_normal(word, bus) ? wi_gpu_at(r->out, bus) : -1;
    return *gpu >= 0 ? WEFT_OK : wrong(r, "no such GPU:", word ? word : "");
}

static weft_status read_state(reader *r)
{
    int gpu;
    const char *key;
    WEFT_TRY(read_known_gpu(r, &gpu));
    while ((key = next_word(r)) != NULL) {
        int at = 0;
        while (at < WI_STATE_COUNT && strcmp(key, wi_state_names[at]) != 0) at++;
        if (at == WI_STATE_COUNT) return wrong(r, "unknown", key);
        WEFT_TRY(read_int(r, 0, INT64_MAX, &r->out->gpu[gpu].state[at]));
    }
    return WEFT_OK;
}

static weft_status read_mig(reader *r)
{
    wi_mig mig = {0};
    const char *uuid = next_word(r), *of = next_word(r);
    if (!uuid || !of || strcmp(of, "of") != 0 || r->out->migs == WI_MIGS_MAX) return wrong(r, "no part of a GPU", NULL);
    copy_text(mig.uuid, sizeof mig.uuid, uuid);
    WEFT_TRY(read_known_gpu(r, &mig.gpu));
    r->out->mig[r->out->migs++] = mig;
    return WEFT_OK;
}

static weft_status read_nic(reader *r)
{
    wi_nic nic = {.node = -1};
    int64_t number = 0;
    const char *key = next_word(r);
    if (!key || r->out->nics == WI_NICS_MAX) return wrong(r, "no name, or too many NICs", NULL);
    copy_text(nic.name, sizeof nic.name, key);
    while ((key = next_word(r)) != NULL) {
        if (strcmp(key, "at") == 0) {
            const char *bus = next_word(r);
            if (bus && strcmp(bus, "-") != 0 && !wi_bus_normal(bus, nic.bus)) return wrong(r, "no bus id:", bus);
        } else if (strcmp(key, "node") == 0) {
            WEFT_TRY(read_int(r, -1, 65535, &number));
            nic.node = (int)number;
        } else if (strcmp(key, "port") == 0) {
            WEFT_TRY(read_int(r, 0, 255, &number));
            nic.port = (int)number;
        } else if (strcmp(key, "gbit") == 0) {
            const char *word = next_word(r);
            nic.gbit = word ? strtod(word, NULL) : 0;
        } else if (strcmp(key, "rdma") == 0) {
            nic.rdma = true;
        } else if (strcmp(key, "infiniband") == 0) {
            nic.infiniband = true;
        } else if (strcmp(key, "up") == 0) {
            nic.up = true;
        } else {
            return wrong(r, "unknown", key);
        }
    }
    r->out->nic[r->out->nics++] = nic;
    return WEFT_OK;
}

static bool far_of(const char *word, uint8_t *far)
{
    for (int i = 0; i <= WI_FAR_UNKNOWN; i++)
        if (strcmp(word, far_names[i]) == 0) {
            *far = (uint8_t)i;
            return true;
        }
    return false;
}

static weft_status read_far(reader *r)
{
    wi_hardware *h = r->out;
    int gpu;
    char *word;
    WEFT_TRY(read_known_gpu(r, &gpu));
    for (int i = 0; i < h->gpus; i++) {
        if (!(word = next_word(r))) return wrong(r, "not a word for each GPU", NULL);
        char *rest = strchr(word, '+');
        int64_t links = 0;
        if (rest) *rest++ = 0;
        if (rest && (strncmp(word, "NV", 2) != 0 || !number_of(word + 2, &links) || links < 1 || links > 255))
            return wrong(r, "unknown", word);
        if (!far_of(rest ? rest : word, &h->far_gpu[gpu][i])) return wrong(r, "unknown", word);
        h->nvlink[gpu][i] = (uint8_t)links;
    }
    if (h->nics > 0 && (!(word = next_word(r)) || strcmp(word, "|") != 0)) return wrong(r, "no | before NICs", NULL);
    for (int i = 0; i < h->nics; i++)
        if (!(word = next_word(r)) || !far_of(word, &h->far_nic[gpu][i]))
            return wrong(r, "not a word for each NIC", NULL);
    return WEFT_OK;
}

static weft_status read_driver(reader *r)
{
    const char *version = next_word(r), *key = next_word(r);
    int64_t cuda = 0;
    if (!version || !key || strcmp(key, "cuda") != 0) return wrong(r, "no versions", NULL);
    WEFT_TRY(read_int(r, 0, INT32_MAX, &cuda));
    copy_text(r->out->driver, sizeof r->out->driver, version);
    r->out->cuda = (int)cuda;
    return WEFT_OK;
}

static weft_status read_env(reader *r)
{
    if (r->out->environment_count == WI_ENV_MAX || !strchr(r->rest, '=')) return wrong(r, "no NAME=value", NULL);
    copy_text(r->out->environment[r->out->environment_count++], sizeof r->out->environment[0], r->rest);
    return WEFT_OK;
}

static weft_status read_line(reader *r)
{
    static const struct {
        const char *key;
        weft_status (*read)(reader *);
    } lines[] = {{"node", read_node}, {"gpu", read_gpu}, {"state", read_state},   {"mig", read_mig},
                 {"nic", read_nic},   {"far", read_far}, {"driver", read_driver}, {"env", read_env}};
    const char *key = next_word(r);
    if (!key || key[0] == '#') return WEFT_OK;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (strcmp(key, lines[i].key) == 0) return lines[i].read(r);
    return wrong(r, "unknown", key);
}

// Siblings stand behind all cores, as in a topology that was read.
static void finish(reader *r)
{
    weft_topology *t = &r->out->topology;
    t->allowed_cores = t->allowed_count;
    for (int i = 0; i < r->sibling_count && t->allowed_count < WEFT_CPUS_MAX; i++) {
        t->numa_of[t->allowed_count] = r->sibling_node[i];
        t->allowed[t->allowed_count++] = r->siblings[i];
    }
    t->cpus = t->allowed_count;
    t->cores = t->allowed_cores;
    for (int node = wi_hardware_nodes(t, 0); node >= 0; node = wi_hardware_nodes(t, node + 1)) t->numa_nodes++;
}

weft_status wi_hardware_parse(const char *of, const char *text, wi_hardware *out)
{
    char line[4096];
    reader *r = calloc(1, sizeof *r);
    weft_status status = WEFT_OK;
    if (!r) return weft_fail(WEFT_NO_MEMORY, "%s: no memory to read it", of);
    memset(out, 0, sizeof *out);
    memset(out->far_gpu, WI_FAR_UNKNOWN, sizeof out->far_gpu);
    memset(out->far_nic, WI_FAR_UNKNOWN, sizeof out->far_nic);
    r->of = of;
    r->out = out;
    while (*text && status == WEFT_OK) {
        const size_t length = strcspn(text, "\n");
        r->line++;
        r->rest = line;
        snprintf(line, sizeof line, "%.*s", (int)(length < sizeof line ? length : sizeof line - 1), text);
        if (length >= sizeof line)
            status = wrong(r, "the line is too long", NULL);
        else if (r->line > 1)
            status = read_line(r);
        else if (strcmp(line, "weft machine 1") != 0)
            status = wrong(r, "the first line is not \"weft machine 1\" but", line);
        text += length + (text[length] == '\n');
    }
    if (status == WEFT_OK && r->line == 0) status = wrong(r, "it is empty", NULL);
    if (status == WEFT_OK) finish(r);
    free(r);
    return status;
}

weft_status wi_hardware_load(const char *path, wi_hardware *out)
{
    enum { BYTES_MAX = 1 << 18 };
    FILE *in = fopen(path, "re");
    if (!in) return weft_fail(errno == ENOENT ? WEFT_NOT_FOUND : WEFT_IO, "%s: %s", path, strerror(errno));
    char *text = calloc(1, BYTES_MAX);
    const size_t got = text ? fread(text, 1, BYTES_MAX - 1, in) : 0;
    weft_status status = text ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "%s: no memory to read it", path);
    if (status == WEFT_OK && (ferror(in) || got == BYTES_MAX - 1))
        status = weft_fail(WEFT_IO, "%s: cannot be read whole", path);
    fclose(in);
    if (status == WEFT_OK) status = wi_hardware_parse(path, text, out);
    free(text);
    return status;
}
