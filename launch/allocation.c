#include "launch/allocation.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/flags.h"

enum { FILE_MOST = 4 << 20 };

static weft_status add_host(wi_allocation *a, const char *name, size_t length)
{
    if (length == 0 || length >= WI_HOST_NAME)
        return weft_fail(WEFT_INVALID, "a host's name must have 1 to %d letters: %.40s", WI_HOST_NAME - 1, name);
    if (a->hosts == WI_HOSTS_MAX) return weft_fail(WEFT_LIMIT, "more than %d hosts", WI_HOSTS_MAX);
    if ((a->hosts & (a->hosts - 1)) == 0) { // room for twice as many
        wi_host *more = realloc(a->host, (size_t)(a->hosts ? 2 * a->hosts : 1) * sizeof *more);
        if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for %d hosts", 2 * a->hosts);
        a->host = more;
    }
    a->host[a->hosts] = (wi_host){0};
    memcpy(a->host[a->hosts++].name, name, length);
    return WEFT_OK;
}

void wi_allocation_free(wi_allocation *allocation)
{
    free(allocation->host);
    *allocation = (wi_allocation){0};
}

// ---- Slurm's lists ----

static weft_status bad_list(const char *list)
{
    return weft_fail(WEFT_INVALID, "%.80s is no list of hosts as Slurm writes it, like a[1-3,07],b", list);
}

// A number of digits alone; how many there are tells how far it is padded.
static bool take_number(const char **at, long *value, int *digits)
{
    const char *begin = *at;
    *value = 0;
    while (**at >= '0' && **at <= '9' && *at - begin < 9) *value = *value * 10 + (*(*at)++ - '0');
    *digits = (int)(*at - begin);
    return *digits > 0;
}

// One name of the list, of which `prefix` is done; `rest` goes up to `end` and may have more brackets.
static weft_status expand(wi_allocation *a, const char *prefix, const char *rest, const char *end)
{
    char name[WI_HOST_NAME];
    const char *open = memchr(rest, '[', (size_t)(end - rest));
    const int head = (int)((open ? open : end) - rest);
    if (snprintf(name, sizeof name, "%s%.*s", prefix, head, rest) >= (int)sizeof name) return bad_list(rest);
    if (!open) return add_host(a, name, strlen(name));
    const char *close = memchr(open, ']', (size_t)(end - open));
    if (!close) return bad_list(rest);
    const size_t used = strlen(name);
    for (const char *at = open + 1; at < close; at += *at == ',') {
        long first, last;
        int digits, ignored;
        if (!take_number(&at, &first, &digits)) return bad_list(rest);
        last = first;
        if (*at == '-' && (at++, !take_number(&at, &last, &ignored))) return bad_list(rest);
        if (last < first || last - first >= WI_HOSTS_MAX || (*at != ',' && at != close)) return bad_list(rest);
        for (long i = first; i <= last; i++) {
            if (snprintf(name + used, sizeof name - used, "%0*ld", digits, i) >= (int)(sizeof name - used))
                return bad_list(rest);
            WEFT_TRY(expand(a, name, close + 1, end));
        }
    }
    return WEFT_OK;
}

weft_status wi_allocation_add_list(wi_allocation *out, const char *list)
{
    const char *at = list;
    while (*at) {
        int depth = 0;
        const char *end = at;
        for (; *end && (depth > 0 || *end != ','); end++) {
            depth += (*end == '[') - (*end == ']');
            if (depth < 0 || depth > 1) return bad_list(list);
        }
        if (end == at || depth != 0) return bad_list(list);
        WEFT_TRY(expand(out, "", at, end));
        at = end + (*end == ',');
    }
    return out->hosts > 0 ? WEFT_OK : bad_list(list);
}

weft_status wi_counts_expand(const char *text, const char *name, int *counts, int count)
{
    int put = 0;
    for (const char *at = text; *at; at += *at == ',') {
        long value, times = 1;
        int digits;
        bool good = take_number(&at, &value, &digits);
        if (good && strncmp(at, "(x", 2) == 0) {
            at += 2;
            good = take_number(&at, &times, &digits) && *at++ == ')';
        }
        if (!good || (*at && *at != ',') || times > count - put)
            return weft_fail(WEFT_INVALID, "%s=%.80s: not a number for each of %d hosts, like 2(x3),1", name, text,
                             count);
        while (times-- > 0) counts[put++] = (int)value;
    }
    if (put != count)
        return weft_fail(WEFT_INVALID, "%s=%.80s: has numbers for %d hosts of %d", name, text, put, count);
    return WEFT_OK;
}

// ---- Slurm's variables ----

static int number_of(const char *variable)
{
    int64_t value;
    const char *text = getenv(variable);
    return text && weft_parse_int(text, &value) && value > 0 && value < INT32_MAX ? (int)value : 0;
}

static weft_status read_counts(const wi_allocation *a, const char *variable, int *counts)
{
    const char *text = getenv(variable);
    memset(counts, 0, (size_t)a->hosts * sizeof *counts);
    return text && *text ? wi_counts_expand(text, variable, counts, a->hosts) : WEFT_OK;
}

static void also(wi_allocation *a, const char *from)
{
    const size_t used = strlen(a->from);
    snprintf(a->from + used, sizeof a->from - used, "%s", from);
}

weft_status wi_allocation_slurm(wi_allocation *out)
{
    const char *list = getenv("SLURM_JOB_NODELIST");
    wi_allocation a = {.slurm = true, .from = "SLURM_JOB_NODELIST"};
    int *counts = NULL;
    weft_status status;
    if (!list || !*list) return WEFT_NOT_FOUND;
    WEFT_TRY_GOTO(wi_allocation_add_list(&a, list));
    counts = calloc((size_t)a.hosts, sizeof *counts);
    if (!counts) WEFT_TRY_GOTO(weft_fail(WEFT_NO_MEMORY, "no memory for %d hosts", a.hosts));
    WEFT_TRY_GOTO(read_counts(&a, "SLURM_TASKS_PER_NODE", counts));
    for (int i = 0; i < a.hosts; i++) a.host[i].slots = counts[i];
    if (a.host[0].slots > 0) also(&a, ", SLURM_TASKS_PER_NODE");
    WEFT_TRY_GOTO(read_counts(&a, "SLURM_JOB_CPUS_PER_NODE", counts));
    for (int i = 0; i < a.hosts; i++) a.host[i].cpus = counts[i];
    a.tasks = number_of("SLURM_NTASKS");
    a.task_cpus = number_of("SLURM_CPUS_PER_TASK");
    a.gpus = number_of("SLURM_GPUS_ON_NODE");
    if (a.tasks > 0) also(&a, ", SLURM_NTASKS");
    if (a.task_cpus > 0) also(&a, ", SLURM_CPUS_PER_TASK");
    if (a.gpus > 0) also(&a, ", SLURM_GPUS_ON_NODE");
    free(counts);
    *out = a;
    return WEFT_OK;
fail:
    free(counts);
    wi_allocation_free(&a);
    return status;
}

// ---- host files ----

static wi_host *find_host(const wi_allocation *a, const char *name, size_t length)
{
    for (int i = 0; i < a->hosts; i++)
        if (strlen(a->host[i].name) == length && memcmp(a->host[i].name, name, length) == 0) return &a->host[i];
    return NULL;
}

// "slots=4", of which other words (max_slots=...) say nothing here; 0 where it is no number.
static int slots_of(const char *words, const char *end)
{
    static const char name[] = "slots";
    for (const char *at = words; at + sizeof name < end; at++) {
        if (strncmp(at, name, sizeof name - 1) != 0 || (at[-1] != ' ' && at[-1] != '\t')) continue;
        long value;
        int digits;
        at += sizeof name - 1;
        while (*at == ' ' || *at == '\t') at++;
        if (*at++ != '=') return 0;
        while (*at == ' ' || *at == '\t') at++;
        return take_number(&at, &value, &digits) && value <= 4096 ? (int)value : 0;
    }
    return -1;
}

// A name on several lines has as many slots as they say together, each one where it says nothing.
static weft_status read_host(wi_allocation *a, const char *begin, const char *end, const char *path, int line)
{
    const size_t length = strcspn(begin, " \t\r\n#");
    const int slots = slots_of(begin + length, end);
    wi_host *host = find_host(a, begin, length);
    if (slots == 0) return weft_fail(WEFT_INVALID, "%s:%d: slots= must be 1 to 4096", path, line);
    if (!host) {
        WEFT_TRY(add_host(a, begin, length));
        a->host[a->hosts - 1].slots = slots > 0 ? slots : 0;
        return WEFT_OK;
    }
    host->slots = (host->slots > 0 ? host->slots : 1) + (slots > 0 ? slots : 1);
    return WEFT_OK;
}

weft_status wi_allocation_text(const char *text, const char *path, wi_allocation *out)
{
    wi_allocation a = {.file = path};
    weft_status status;
    int line = 0;
    for (const char *at = text; *at; at += *at == '\n') {
        const char *begin = at + strspn(at, " \t\r");
        line++;
        at += strcspn(at, "\n");
        const char *comment = memchr(begin, '#', begin < at ? (size_t)(at - begin) : 0);
        if (begin < at && begin != comment) WEFT_TRY_GOTO(read_host(&a, begin, comment ? comment : at, path, line));
    }
    if (a.hosts == 0) WEFT_TRY_GOTO(weft_fail(WEFT_INVALID, "%s: names no host; a line is: name slots=4", path));
    snprintf(a.from, sizeof a.from, "%.140s", path);
    *out = a;
    return WEFT_OK;
fail:
    wi_allocation_free(&a);
    return status;
}

weft_status wi_allocation_file(const char *path, wi_allocation *out)
{
    FILE *file = fopen(path, "re");
    if (!file) return weft_fail(WEFT_NOT_FOUND, "--hostfile %s: %s", path, strerror(errno));
    char *text = calloc(1, FILE_MOST + 1);
    weft_status status = text ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory to read %s", path);
    if (text && (fread(text, 1, FILE_MOST, file) == FILE_MOST || ferror(file)))
        status = weft_fail(WEFT_IO, "--hostfile %s: cannot be read, or is larger than %d bytes", path, FILE_MOST);
    if (status == WEFT_OK) status = wi_allocation_text(text, path, out);
    free(text);
    fclose(file);
    return status;
}

// ---- numbers ----

weft_status wi_allocation_numbers(int hosts, wi_allocation *out)
{
    wi_allocation a = {.from = "this host"};
    char name[WI_HOST_NAME] = "";
    weft_status status;
    if (hosts > 1) snprintf(a.from, sizeof a.from, "--nodes");
    if (hosts <= 1 && gethostname(name, sizeof name - 1) != 0) snprintf(name, sizeof name, "localhost");
    for (int i = 0; i < (hosts > 1 ? hosts : 1); i++) {
        if (hosts > 1) snprintf(name, sizeof name, "node%d", i);
        WEFT_TRY_GOTO(add_host(&a, name, strlen(name)));
    }
    *out = a;
    return WEFT_OK;
fail:
    wi_allocation_free(&a);
    return status;
}
