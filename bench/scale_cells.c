// The cells of a scaling experiment, and the order in which they are run.
#include <stdlib.h>
#include <string.h>

#include "bench/scale_impl.h"
#include "core/philox.h"

static weft_status push(weft_scale_spec *spec, const weft_scale_cell *cell)
{
    if (spec->cells == WI_CELLS_MAX) return weft_fail(WEFT_LIMIT, "more than %d cells", WI_CELLS_MAX);
    if (spec->cells % 64 == 0) {
        weft_scale_cell *more = realloc(spec->cell, (size_t)(spec->cells + 64) * sizeof *more);
        if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for %d cells", spec->cells + 64);
        spec->cell = more;
    }
    spec->cell[spec->cells++] = *cell;
    return WEFT_OK;
}

static void name_cell(const weft_scale_spec *spec, weft_scale_cell *c)
{
    const char *variant = spec->variant[c->variant].name;
    snprintf(c->key, sizeof c->key, "%s: %d rank%s%s%s, prompt %lld, batch %lld%s%.60s",
             c->reference ? "reference" : spec->experiment[c->experiment].name, c->ranks, c->ranks > 1 ? "s" : "",
             c->ranks > 1 ? " " : "", c->ranks > 1 ? c->mesh : "", (long long)c->context, (long long)c->batch,
             *variant ? ", " : "", variant);
}

// The cell of the least ranks for the same work; of several meshes the same one, else the first.
static int base_of(const weft_scale_spec *spec, int first, int number)
{
    const weft_scale_cell *c = &spec->cell[number];
    int best = number;
    for (int i = first; i < number; i++) {
        const weft_scale_cell *b = &spec->cell[i];
        if (b->variant != c->variant || b->base_context != c->base_context || b->base_batch != c->base_batch) continue;
        const bool alike = strcmp(b->mesh, c->mesh) == 0;
        if (b->ranks < spec->cell[best].ranks || (b->ranks == spec->cell[best].ranks && best != number && alike))
            best = i;
    }
    return best;
}

// Whether the mesh can be had of so many ranks; *cell gets it.
static bool place_mesh(const wi_scale_mesh *mesh, weft_scale_cell *cell)
{
    snprintf(cell->mesh, sizeof cell->mesh, "%s", cell->ranks > 1 ? mesh->text : "-");
    cell->tp = mesh->tp;
    cell->cp = mesh->cp;
    cell->dense = mesh->dense;
    if (cell->ranks == 1) cell->tp = cell->cp = cell->dense = 1;
    if (mesh->tp == 0 && mesh->cp == 0) return true;
    if (cell->ranks == 1) return !(mesh->tp > 0 && mesh->cp > 0) || mesh->tp * mesh->cp == 1;
    if (cell->tp == 0) cell->tp = cell->ranks;
    if (cell->cp == 0) cell->cp = cell->ranks;
    return cell->tp * cell->cp == cell->ranks && cell->cp <= 32;
}

static weft_status add_ranks(const wi_scale_plan *plan, const weft_scale_cell *with, int first, weft_scale_spec *spec,
                             bool *fits)
{
    bool had = false;
    for (int m = 0; m < plan->meshes; m++) {
        weft_scale_cell cell = *with;
        if (!place_mesh(&plan->mesh[m], &cell)) continue;
        fits[m] = true;
        if (cell.ranks == 1 && had) continue; // all meshes of one rank are one
        had = true;
        name_cell(spec, &cell);
        WEFT_TRY(push(spec, &cell));
        spec->cell[spec->cells - 1].base = base_of(spec, first, spec->cells - 1);
    }
    return WEFT_OK;
}

static weft_scale_cell cell_at(const wi_scale_plan *plan, weft_scale_kind kind, int ranks, int64_t context,
                               int64_t batch)
{
    const int64_t least = plan->ranks.at[0];
    weft_scale_cell c = {.experiment = plan->experiment,
                         .ranks = ranks,
                         .generate = plan->generate,
                         .context = context,
                         .batch = batch,
                         .base_context = context,
                         .base_batch = batch};
    if (kind == WEFT_SCALE_WEAK_BATCH) c.batch = batch * ranks / least;
    if (kind == WEFT_SCALE_WEAK_CONTEXT) c.context = context * ranks / least;
    c.node_ranks = plan->node_ranks > 0 && plan->node_ranks < ranks ? (int)plan->node_ranks : ranks;
    c.nodes = (ranks + c.node_ranks - 1) / c.node_ranks;
    return c;
}

weft_status wi_scale_cells_add(const wi_scale_plan *plan, const char *name, const char *at, weft_scale_spec *spec)
{
    const weft_scale_kind kind = spec->experiment[plan->experiment].kind;
    const int first = spec->cells;
    bool fits[WI_NUMBERS_MAX] = {0};
    for (int r = 0; r < plan->ranks.count; r++)
        if (plan->ranks.at[r] > plan->node_ranks && plan->node_ranks > 0 && plan->ranks.at[r] % plan->node_ranks)
            return weft_fail(WEFT_INVALID, "%s: %s.ranks: %lld ranks cannot stand on nodes of %lld each", name, at,
                             (long long)plan->ranks.at[r], (long long)plan->node_ranks);
    for (int v = 0; v < spec->variants; v++)
        for (int c = 0; c < plan->contexts.count; c++)
            for (int b = 0; b < plan->batches.count; b++)
                for (int r = 0; r < plan->ranks.count; r++) {
                    weft_scale_cell cell =
                        cell_at(plan, kind, (int)plan->ranks.at[r], plan->contexts.at[c], plan->batches.at[b]);
                    cell.variant = v;
                    if (cell.batch > 4096 || cell.context > 1 << 20)
                        return weft_fail(WEFT_INVALID, "%s: %s: %d ranks would have a batch of %lld, prompts of %lld",
                                         name, at, cell.ranks, (long long)cell.batch, (long long)cell.context);
                    WEFT_TRY(add_ranks(plan, &cell, first, spec, fits));
                }
    for (int m = 0; m < plan->meshes; m++)
        if (!fits[m])
            return weft_fail(WEFT_INVALID, "%s: %s.meshes: %s fits none of the ranks", name, at, plan->mesh[m].text);
    return WEFT_OK;
}

weft_status wi_scale_references_add(weft_scale_spec *spec)
{
    const int cells = spec->cells;
    for (int i = 0; i < cells; i++) {
        const int64_t context = spec->cell[i].context, generate = spec->cell[i].generate;
        int64_t batch = 0;
        bool there = false;
        for (int j = 0; j < cells; j++)
            if (spec->cell[j].context == context && spec->cell[j].generate == generate && spec->cell[j].batch > batch)
                batch = spec->cell[j].batch;
        for (int j = 0; j < spec->cells; j++) {
            const weft_scale_cell *c = &spec->cell[j];
            there = there || (c->context == context && c->generate == generate && c->batch == batch && c->ranks == 1);
        }
        if (there) continue;
        weft_scale_cell one = spec->cell[i];
        one.reference = true;
        one.ranks = one.nodes = one.node_ranks = one.tp = one.cp = one.dense = 1;
        one.batch = batch;
        one.base = spec->cells;
        one.variant = 0;
        snprintf(one.mesh, sizeof one.mesh, "-");
        name_cell(spec, &one);
        snprintf(one.key + strlen(one.key), sizeof one.key - strlen(one.key), ", draws %lld", (long long)generate);
        WEFT_TRY(push(spec, &one));
    }
    return WEFT_OK;
}

int weft_scale_order(const weft_scale_spec *spec, int turn, int *order)
{
    int count = 0;
    for (int i = 0; i < spec->cells && turn == 0; i++)
        if (spec->cell[i].reference) order[count++] = i;
    const int first = count;
    for (int i = 0; i < spec->cells; i++)
        if (!spec->cell[i].reference) order[count++] = i;
    for (int i = count - 1; i > first; i--) { // every order is as likely
        const weft_philox4 drawn = weft_draw4((uint64_t)spec->seed, (uint32_t)turn, (uint64_t)i, WEFT_DRAW_TEST);
        const int j = first + (int)(weft_unit_double(drawn.word[0], drawn.word[1]) * (double)(i - first + 1));
        const int swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
    return count;
}
