// Weights as one object: sizes first, then memory, then the load.
#include "model/weights.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/checked.h"
#include "model/load.h"

typedef struct {
    void *at;
    size_t bytes;
} block;

struct weft_weights_memory {
    weft_device *device;
    block *block;
    size_t blocks;
    int64_t layers;
};

static weft_status take(weft_weights *w, size_t bytes, void **out)
{
    struct weft_weights_memory *memory = w->memory;
    block *b = &memory->block[memory->blocks];
    WEFT_TRY(weft_device_alloc(memory->device, bytes, &b->at));
    b->bytes = bytes;
    memory->blocks++;
    *out = b->at;
    return WEFT_OK;
}

static weft_status check_options(const weft_weights_options *o)
{
    const weft_dtype type = o->type;
    if (o->as_stored) return WEFT_OK;
    if (type != WEFT_F32 && type != WEFT_F16 && type != WEFT_BF16 && type != WEFT_I8 && type != WEFT_I4 &&
        type != WEFT_E4M3)
        return weft_fail(WEFT_INVALID, "weights in %s: use f32, f16, bf16, e4m3, int8 or int4", weft_dtype_name(type));
    const bool group = o->group == 32 || o->group == 64 || o->group == 128;
    if ((type == WEFT_I8 && !group && o->group != 0) || ((type == WEFT_I4 || type == WEFT_E4M3) && !group))
        return weft_fail(WEFT_INVALID, "weights in %s by groups of %d: use 32, 64 or 128", weft_dtype_name(type),
                         o->group);
    return WEFT_OK;
}

static weft_status check_room(const wi_planner *p, weft_device *device)
{
    size_t free_bytes = 0, all = 0;
    if (device->ops->memory(device, &free_bytes, &all) < 0) return WEFT_OK; // not known: the allocation decides
    if (p->plan->bytes <= free_bytes) return WEFT_OK;
    return weft_fail(WEFT_NO_MEMORY,
                     "the weights in %s need %" PRIu64
                     " MiB and %zu MiB are free; use more ranks or nodes, or --weights "
                     "int8 or int4",
                     weft_dtype_name(p->weights->type), p->plan->bytes >> 20, free_bytes >> 20);
}

// A place for every vector; those without a slot continue the one before.
static weft_status place_vectors(const wi_planner *p)
{
    void *memory;
    size_t used = 0; // floats
    WEFT_TRY(take(p->weights, p->plan->floats * sizeof(float), &memory));
    p->plan->floats_at = memory;
    for (size_t i = 0; i < p->plan->vectors; i++) {
        wi_vector *v = &p->plan->vector[i];
        if (v->slot) used = weft_align_up(used, 16);
        v->at = used;
        used += (size_t)v->count;
        if (v->slot) *v->slot = p->plan->floats_at + v->at;
    }
    return WEFT_OK;
}

// Memory for a matrix and those that follow it.
static weft_status take_matrices(const wi_planner *p, size_t first)
{
    const wi_plan *plan = p->plan;
    size_t end = first + 1;
    void *memory;
    while (end < plan->matrices && plan->matrix[end].follows) end++;
    WEFT_TRY(take(p->weights, plan->matrix[first].bytes * (end - first), &memory));
    for (size_t i = first; i < end; i++)
        plan->matrix[i].memory = (unsigned char *)memory + plan->matrix[first].bytes * (i - first);
    return WEFT_OK;
}

static weft_status place_matrices(const wi_planner *p)
{
    for (size_t i = 0; i < p->plan->matrices; i++) {
        wi_matrix *m = &p->plan->matrix[i];
        weft_gemm_source sources[WI_SOURCES_MAX];
        if (m->count == 0) continue;
        for (int s = 0; s < m->count; s++) sources[s] = wi_matrix_source(m, s);
        if (!m->follows) WEFT_TRY(take_matrices(p, i));
        WEFT_TRY(weft_gemm_pack_begin(m->family, sources, m->count, m->fuse, m->cut ? &m->leaves : NULL, m->memory,
                                      m->weight));
    }
    return WEFT_OK;
}

static weft_status prepare(wi_planner *p, weft_device *device)
{
    weft_weights *w = p->weights;
    const weft_model_config *c = p->config;
    WEFT_TRY(weft_checkpoint_check(p->checkpoint, c, &p->style));
    w->memory = calloc(1, sizeof *w->memory);
    if (!w->memory) return weft_fail(WEFT_NO_MEMORY, "no memory for weights");
    w->memory->device = device;
    w->memory->layers = c->layers;
    WEFT_TRY(wi_plan_make(p));
    WEFT_TRY(check_room(p, device));
    w->memory->block = calloc(p->plan->matrices + 1, sizeof *w->memory->block);
    if (!w->memory->block) return weft_fail(WEFT_NO_MEMORY, "no memory for weights");
    WEFT_TRY(place_vectors(p));
    WEFT_TRY(place_matrices(p));
    w->bytes = p->plan->bytes;
    return WEFT_OK;
}

static weft_status agree(const wi_planner *p, weft_status status)
{
    weft_comm *all = p->layout->mesh.all;
    return all ? weft_comm_agree(all, status, NULL) : status;
}

static weft_status load(wi_planner *p, weft_device *device)
{
    const weft_weights_options *o = p->options;
    WEFT_TRY(agree(p, prepare(p, device)));
    WEFT_TRY(agree(p, wi_plan_run(p)));
    if (p->replicas > 1) WEFT_TRY(wi_plan_share(p));
    if (p->config->tied) p->weights->embedding = p->weights->head;
    if (o->progress) o->progress(o->progress_arg, p->plan->bytes, p->plan->bytes);
    return WEFT_OK;
}

weft_status weft_weights_load(const weft_checkpoint *checkpoint, const weft_model_config *config,
                              const weft_layout *layout, const weft_weights_options *options, const weft_op *op,
                              weft_device *device, weft_weights *out)
{
    const weft_mesh *mesh = &layout->mesh;
    const bool shares = mesh->cp && mesh->shape.dense == WEFT_DENSE_TP && device->ops->is_host;
    weft_weights weights = {0};
    wi_plan plan = {0};
    wi_planner planner = {.checkpoint = checkpoint,
                          .replicas = shares ? mesh->shape.cp : 1,
                          .replica = mesh->cp_rank,
                          .config = config,
                          .layout = layout,
                          .options = options,
                          .op = op,
                          .device = device,
                          .weights = &weights,
                          .plan = &plan};
    WEFT_TRY(check_options(options));
    weft_status status = load(&planner, device);
    wi_plan_free(&plan);
    if (status < 0)
        weft_weights_free(&weights);
    else
        *out = weights;
    return status;
}

void weft_weights_free(weft_weights *weights)
{
    struct weft_weights_memory *memory = weights->memory;
    for (int64_t i = 0; memory && weights->layer && i < memory->layers; i++) free(weights->layer[i].expert);
    for (size_t i = 0; memory && i < memory->blocks; i++)
        weft_device_free(memory->device, memory->block[i].at, memory->block[i].bytes);
    if (memory) free(memory->block);
    free(memory);
    free(weights->layer);
    *weights = (weft_weights){0};
}
