// The spec of a scaling experiment: from its file to what it asks for. bench/scale_cells.c makes cells of it.
#include <stdlib.h>
#include <string.h>

#include "bench/scale_impl.h"
#include "core/flags.h"
#include "core/sha256.h"

// A place in the file, for errors: "spec.json: experiments[0].ranks".
typedef struct {
    const char *name, *at;
} place;

static weft_status wrong(const place *p, const char *member, const char *what)
{
    return weft_fail(WEFT_INVALID, "%s: %s%s%s: %s", p->name, p->at, *p->at ? "." : "", member, what);
}

// Every member of the object is one of these; a name that is none is most likely a slip.
static weft_status known_members(const place *p, const weft_json *object, const char *const *names)
{
    if (weft_json_kind_of(object) != WEFT_JSON_OBJECT)
        return weft_fail(WEFT_INVALID, "%s: %s: must be an object, { ... }", p->name, *p->at ? p->at : "the whole");
    for (const char *key = NULL; (key = weft_json_next_key(object, key));) {
        bool known = false;
        for (int i = 0; names[i]; i++) known = known || strcmp(names[i], key) == 0;
        if (known) continue;
        const char *best = weft_flags_suggest(key, names);
        char list[256] = "";
        for (int i = 0; names[i] && !best; i++)
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "there are ", names[i]);
        return weft_fail(WEFT_INVALID, "%s: %s%sunknown member %.60s; %s%s%s", p->name, p->at, *p->at ? ": " : "", key,
                         best ? "did you mean " : list, best ? best : "", best ? "?" : "");
    }
    return WEFT_OK;
}

static weft_status read_int(const place *p, const weft_json *object, const char *key, int64_t min, int64_t max,
                            int64_t fallback, int64_t *out)
{
    char what[80];
    const weft_json *value = weft_json_get(object, key);
    snprintf(what, sizeof what, "must be a whole number from %lld to %lld", (long long)min, (long long)max);
    *out = fallback;
    if (!value) return WEFT_OK;
    if (weft_json_kind_of(value) != WEFT_JSON_INT) return wrong(p, key, what);
    *out = weft_json_int_value(value);
    return *out < min || *out > max ? wrong(p, key, what) : WEFT_OK;
}

static weft_status read_text(const place *p, const weft_json *object, const char *key, const char **out)
{
    const weft_json *value = weft_json_get(object, key);
    if (!value) return WEFT_OK;
    *out = weft_json_string_value(value);
    return *out && **out && strlen(*out) < 4096 ? WEFT_OK : wrong(p, key, "must be a text that is not empty");
}

static weft_status read_words(const place *p, const weft_json *object, const char *key, weft_scale_words *out)
{
    const weft_json *value = weft_json_get(object, key);
    if (!value) return WEFT_OK;
    if (weft_json_kind_of(value) != WEFT_JSON_ARRAY || weft_json_size(value) > WEFT_SCALE_WORDS)
        return wrong(p, key, "must be an array of at most 32 texts, a word each");
    for (size_t i = 0; i < weft_json_size(value); i++) {
        const char *word = weft_json_string_value(weft_json_at(value, i));
        if (!word) return wrong(p, key, "must be an array of texts, a word each");
        out->at[out->count++] = word;
    }
    return WEFT_OK;
}

// Ascending, none twice.
static weft_status read_numbers(const place *p, const weft_json *object, const char *key, int64_t max, int64_t fallback,
                                wi_numbers *out)
{
    char what[96];
    const weft_json *value = weft_json_get(object, key);
    const size_t count = weft_json_size(value);
    snprintf(what, sizeof what, "must be an array of 1 to %d whole numbers from 1 to %lld, ascending", WI_NUMBERS_MAX,
             (long long)max);
    if (!value && fallback > 0) {
        *out = (wi_numbers){.at = {fallback}, .count = 1};
        return WEFT_OK;
    }
    if (!value) return wrong(p, key, "is missing");
    if (weft_json_kind_of(value) != WEFT_JSON_ARRAY || count == 0 || count > WI_NUMBERS_MAX) return wrong(p, key, what);
    for (size_t i = 0; i < count; i++) {
        const weft_json *one = weft_json_at(value, i);
        const int64_t number = weft_json_int_value(one);
        if (weft_json_kind_of(one) != WEFT_JSON_INT || number < 1 || number > max) return wrong(p, key, what);
        if (i > 0 && number <= out->at[i - 1]) return wrong(p, key, what);
        out->at[out->count++] = number;
    }
    return WEFT_OK;
}

static weft_status read_choice(const place *p, const weft_json *object, const char *key, const char *const *names,
                               int *out)
{
    const weft_json *value = weft_json_get(object, key);
    const char *text = weft_json_string_value(value);
    char what[160] = "must be one of";
    if (!value) return WEFT_OK;
    for (int i = 0; names[i]; i++) {
        if (text && strcmp(text, names[i]) == 0) {
            *out = i;
            return WEFT_OK;
        }
        snprintf(what + strlen(what), sizeof what - strlen(what), "%s %s", i ? "," : "", names[i]);
    }
    return wrong(p, key, what);
}

// ---- the parts of a spec ----

static weft_status read_variants(const char *name, const weft_json *root, weft_scale_spec *out)
{
    static const char *const members[] = {"name", "prepare", "flags", NULL};
    const weft_json *all = weft_json_get(root, "variants");
    const size_t count = weft_json_size(all);
    const place top = {name, ""};
    out->variant[0].name = "";
    out->variants = 1;
    if (!all) return WEFT_OK;
    if (weft_json_kind_of(all) != WEFT_JSON_ARRAY || count == 0 || count > WEFT_SCALE_VARIANTS)
        return wrong(&top, "variants", "must be an array of 1 to 16 objects");
    for (size_t i = 0; i < count; i++) {
        char at[32];
        const weft_json *one = weft_json_at(all, i);
        weft_scale_variant *v = &out->variant[i];
        snprintf(at, sizeof at, "variants[%zu]", i);
        const place p = {name, at};
        *v = (weft_scale_variant){0};
        WEFT_TRY(known_members(&p, one, members));
        WEFT_TRY(read_text(&p, one, "name", &v->name));
        if (!v->name || strlen(v->name) > 60) return wrong(&p, "name", "must be a text of 1 to 60 bytes");
        WEFT_TRY(read_words(&p, one, "prepare", &v->prepare));
        WEFT_TRY(read_words(&p, one, "flags", &v->flags));
        for (size_t j = 0; j < i; j++)
            if (strcmp(out->variant[j].name, v->name) == 0) return wrong(&p, "name", "another variant has it");
    }
    out->variants = (int)count;
    return WEFT_OK;
}

// "tp", "cp-mesh", "2x4": tp 2, cp 4.
static bool read_mesh(const char *text, wi_scale_mesh *out)
{
    const char *rest;
    char *end;
    *out = (wi_scale_mesh){.text = text};
    if (strlen(text) >= sizeof((weft_scale_cell *)0)->mesh) return false;
    if (strcmp(text, "auto") == 0) return true;
    if (strcmp(text, "tp") == 0) {
        out->cp = 1;
        out->dense = 1;
        return true;
    }
    if (text[0] >= '1' && text[0] <= '9') {
        out->tp = (int)strtol(text, &end, 10);
        if (*end != 'x' || end[1] < '1' || end[1] > '9') return false;
        out->cp = (int)strtol(end + 1, &end, 10);
        rest = end;
    } else if (strncmp(text, "cp", 2) == 0) {
        out->tp = 1;
        rest = text + 2;
    } else {
        return false;
    }
    out->dense = *rest ? 2 : 1;
    return !*rest || strcmp(rest, "-mesh") == 0;
}

static weft_status read_meshes(const place *p, const weft_json *object, wi_scale_plan *out)
{
    static const char what[] = "must be an array of 1 to 16 of auto, tp, cp, cp-mesh, AxB and AxB-mesh (tp A, cp B)";
    const weft_json *all = weft_json_get(object, "meshes");
    const size_t count = weft_json_size(all);
    if (!all) {
        out->meshes = 1;
        return read_mesh("auto", &out->mesh[0]) ? WEFT_OK : wrong(p, "meshes", what);
    }
    if (weft_json_kind_of(all) != WEFT_JSON_ARRAY || count == 0 || count > WI_NUMBERS_MAX)
        return wrong(p, "meshes", what);
    for (size_t i = 0; i < count; i++) {
        const char *text = weft_json_string_value(weft_json_at(all, i));
        if (!text || !read_mesh(text, &out->mesh[i])) return wrong(p, "meshes", what);
        for (size_t j = 0; j < i; j++)
            if (strcmp(out->mesh[j].text, text) == 0) return wrong(p, "meshes", "one is there twice");
    }
    out->meshes = (int)count;
    return WEFT_OK;
}

static weft_status read_experiment(const char *name, const weft_json *one, int number, weft_scale_spec *out)
{
    static const char *const members[] = {"name",     "scaling", "ranks",    "node_ranks", "meshes",
                                          "contexts", "batches", "generate", NULL};
    static const char *const kinds[] = {"strong", "weak-batch", "weak-context", NULL};
    char at[32];
    int kind = WEFT_SCALE_STRONG;
    weft_scale_experiment *e = &out->experiment[number];
    wi_scale_plan plan = {.experiment = number};
    snprintf(at, sizeof at, "experiments[%d]", number);
    const place p = {name, at};
    WEFT_TRY(known_members(&p, one, members));
    WEFT_TRY(read_text(&p, one, "name", &e->name));
    if (!e->name || strlen(e->name) > 60) return wrong(&p, "name", "must be a text of 1 to 60 bytes");
    for (int i = 0; i < number; i++)
        if (strcmp(out->experiment[i].name, e->name) == 0) return wrong(&p, "name", "another experiment has it");
    WEFT_TRY(read_choice(&p, one, "scaling", kinds, &kind));
    e->kind = (weft_scale_kind)kind;
    WEFT_TRY(read_numbers(&p, one, "ranks", 4096, 0, &plan.ranks));
    WEFT_TRY(read_numbers(&p, one, "contexts", 1 << 20, 512, &plan.contexts));
    WEFT_TRY(read_numbers(&p, one, "batches", 4096, 1, &plan.batches));
    WEFT_TRY(read_int(&p, one, "generate", 2, 1 << 16, 32, &plan.generate));
    WEFT_TRY(read_int(&p, one, "node_ranks", 1, 4096, 0, &plan.node_ranks));
    WEFT_TRY(read_meshes(&p, one, &plan));
    return wi_scale_cells_add(&plan, name, at, out);
}

static weft_status read_launcher(const place *p, const weft_json *root, weft_scale_spec *out)
{
    static const char *const names[] = {"auto", "weft", "mpirun", "srun", NULL};
    int launcher = WEFT_SCALE_BY_AUTO;
    if (weft_json_kind_of(weft_json_get(root, "launcher")) == WEFT_JSON_ARRAY) {
        WEFT_TRY(read_words(p, root, "launcher", &out->launch));
        return out->launch.count > 0 ? WEFT_OK : wrong(p, "launcher", "must have a word");
    }
    WEFT_TRY(read_choice(p, root, "launcher", names, &launcher));
    out->launcher = (weft_scale_launcher)launcher;
    return WEFT_OK;
}

static weft_status read_all(const char *name, weft_scale_spec *out)
{
    static const char *const members[] = {"schema",   "model",       "machine",   "threads",  "repeats",
                                          "rounds",   "seed",        "flags",     "deadline", "launcher",
                                          "variants", "experiments", "reference", NULL};
    const place p = {name, ""};
    const weft_json *root = out->document, *all = weft_json_get(root, "experiments");
    const char *schema = "weft.scale/1";
    bool reference = true;
    int64_t deadline;
    WEFT_TRY(known_members(&p, root, members));
    WEFT_TRY(read_text(&p, root, "schema", &schema));
    if (strcmp(schema, "weft.scale/1") != 0) return wrong(&p, "schema", "must be weft.scale/1, or be left out");
    WEFT_TRY(read_text(&p, root, "model", &out->model));
    if (!out->model) return wrong(&p, "model", "is missing: the directory of a checkpoint");
    WEFT_TRY(read_text(&p, root, "machine", &out->machine));
    WEFT_TRY(read_int(&p, root, "threads", 1, 1024, 1, &out->threads));
    WEFT_TRY(read_int(&p, root, "repeats", 1, 1000, 6, &out->repeats));
    WEFT_TRY(read_int(&p, root, "rounds", 1, 1000, 3, &out->rounds));
    WEFT_TRY(read_int(&p, root, "seed", 0, INT64_MAX, 1, &out->seed));
    WEFT_TRY(read_int(&p, root, "deadline", 1, 86400, 60, &deadline));
    out->deadline = (double)deadline;
    WEFT_TRY(read_words(&p, root, "flags", &out->flags));
    WEFT_TRY(read_launcher(&p, root, out));
    if (weft_json_bool(root, "reference", true, &reference) < 0) return wrong(&p, "reference", "must be true or false");
    WEFT_TRY(read_variants(name, root, out));
    if (weft_json_kind_of(all) != WEFT_JSON_ARRAY || weft_json_size(all) == 0 ||
        weft_json_size(all) > WEFT_SCALE_EXPERIMENTS)
        return wrong(&p, "experiments", "must be an array of 1 to 32 objects");
    out->experiments = (int)weft_json_size(all);
    for (int i = 0; i < out->experiments; i++) WEFT_TRY(read_experiment(name, weft_json_at(all, (size_t)i), i, out));
    return reference ? wi_scale_references_add(out) : WEFT_OK;
}

weft_status weft_scale_spec_parse(const char *text, size_t bytes, const char *name, weft_scale_spec *out)
{
    weft_scale_spec spec = {0};
    weft_sha256 hash;
    weft_status status;
    const weft_json_limits limits = {.bytes = 1 << 20, .depth = 8};
    weft_sha256_begin(&hash);
    weft_sha256_add(&hash, text, bytes);
    weft_sha256_end(&hash, spec.hash);
    WEFT_TRY(weft_json_parse(text, bytes, name, &limits, &spec.document));
    WEFT_TRY_GOTO(read_all(name, &spec));
    *out = spec;
    return WEFT_OK;
fail:
    weft_scale_spec_free(&spec);
    return status;
}

void weft_scale_spec_free(weft_scale_spec *spec)
{
    weft_json_free(spec->document);
    free(spec->cell);
    *spec = (weft_scale_spec){0};
}
