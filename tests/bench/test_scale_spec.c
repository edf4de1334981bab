// The spec of a scaling experiment: what it becomes, and that each mistake is one clear line.
#include "bench/scale.h"
#include "tests/check.h"

static weft_status parse(const char *text, weft_scale_spec *out)
{
    return weft_scale_spec_parse(text, strlen(text), "s.json", out);
}

static void refuse(const char *text, weft_status status, const char *part)
{
    weft_scale_spec spec;
    CHECK_FAILS(parse(text, &spec), status, part);
    CHECK_HAS(weft_error_text(), "s.json");
    CHECK(!strchr(weft_error_text(), '\n'));
}

static const weft_scale_cell *named(const weft_scale_spec *spec, const char *key)
{
    for (int i = 0; i < spec->cells; i++)
        if (strcmp(spec->cell[i].key, key) == 0) return &spec->cell[i];
    CHECK_FAIL("no cell is called %s", key);
    return NULL;
}

static void check_cells(void)
{
    weft_scale_spec spec;
    CHECK_OK(parse("{\"model\":\"m\",\"experiments\":[{\"name\":\"s\",\"ranks\":[1,2,4],\"meshes\":[\"tp\",\"cp-mesh\","
                   "\"2x2\"],\"contexts\":[64,128],\"batches\":[3],\"generate\":8}]}",
                   &spec));
    // One of one rank, two of two, three of four, for both contexts.
    CHECK_INT(spec.cells, 12);
    CHECK_INT(spec.repeats, 6);
    const weft_scale_cell *one = named(&spec, "s: 1 rank, prompt 64, batch 3");
    const weft_scale_cell *cp = named(&spec, "s: 4 ranks cp-mesh, prompt 64, batch 3");
    const weft_scale_cell *both = named(&spec, "s: 4 ranks 2x2, prompt 128, batch 3");
    CHECK_INT(one->base, one - spec.cell);
    CHECK_INT(cp->base, one - spec.cell);
    CHECK_INT(cp->tp, 1);
    CHECK_INT(cp->cp, 4);
    CHECK_INT(cp->dense, 2);
    CHECK_INT(both->tp, 2);
    CHECK_INT(both->cp, 2);
    CHECK_INT(both->dense, 1);
    CHECK_INT(both->nodes, 1);
    CHECK_TEXT(spec.cell[both->base].key, "s: 1 rank, prompt 128, batch 3");
    weft_scale_spec_free(&spec);
}

// Weak scaling, nodes, variants, and one rank for prompts that no cell of one rank has.
static void check_weak(void)
{
    weft_scale_spec spec;
    CHECK_OK(parse("{\"model\":\"m\",\"variants\":[{\"name\":\"a\"},{\"name\":\"b\",\"prepare\":[\"true\"]}],"
                   "\"experiments\":[{\"name\":\"w\",\"scaling\":\"weak-batch\",\"ranks\":[2,4],\"node_ranks\":2,"
                   "\"batches\":[3],\"contexts\":[64]},{\"name\":\"c\",\"scaling\":\"weak-context\",\"ranks\":[1,2],"
                   "\"contexts\":[100]}]}",
                   &spec));
    const weft_scale_cell *four = named(&spec, "w: 4 ranks auto, prompt 64, batch 6, b");
    CHECK_INT(four->nodes, 2);
    CHECK_INT(four->node_ranks, 2);
    CHECK_INT(four->batch, 6);
    CHECK_INT(four->tp, 0);
    CHECK_TEXT(spec.cell[four->base].key, "w: 2 ranks auto, prompt 64, batch 3, b");
    CHECK_INT(named(&spec, "c: 2 ranks auto, prompt 200, batch 1, a")->context, 200);
    CHECK(named(&spec, "reference: 1 rank, prompt 64, batch 6, a, draws 32")->reference);
    CHECK(named(&spec, "reference: 1 rank, prompt 200, batch 1, a, draws 32")->reference);
    CHECK_INT(spec.cells, 4 + 4 + 2);
    weft_scale_spec_free(&spec);
}

// Every cell once a turn, references in the first turn alone; another order each turn, the same one each time.
static void check_order(void)
{
    weft_scale_spec spec;
    int order[2][64];
    CHECK_OK(
        parse("{\"model\":\"m\",\"experiments\":[{\"name\":\"w\",\"scaling\":\"weak-batch\",\"ranks\":[1,2,3,4,5,6,"
              "7,8]}]}",
              &spec));
    CHECK_INT(spec.cells, 9);
    CHECK_INT(weft_scale_order(&spec, 0, order[0]), 9);
    CHECK(spec.cell[order[0][0]].reference);
    for (int turn = 1; turn < 4; turn++) {
        bool seen[64] = {false};
        CHECK_INT(weft_scale_order(&spec, turn, order[1]), 8);
        for (int i = 0; i < 8; i++) {
            CHECK(!seen[order[1][i]]);
            seen[order[1][i]] = true;
        }
        CHECK(memcmp(order[1], order[0] + 1, 8 * sizeof **order) != 0);
    }
    CHECK_INT(weft_scale_order(&spec, 3, order[0]), 8);
    CHECK_BYTES(order[0], order[1], 8 * sizeof **order);
    weft_scale_spec_free(&spec);
}

#define WITH(rest) "{\"model\":\"m\",\"experiments\":[{\"name\":\"s\"," rest "}]}"
static void check_refusals(void)
{
    refuse("", WEFT_FORMAT, "s.json");
    refuse("{\"model\":", WEFT_FORMAT, "s.json");
    refuse("[]", WEFT_INVALID, "must be an object");
    refuse("{}", WEFT_INVALID, "model: is missing");
    refuse("{\"model\":3}", WEFT_INVALID, "model: must be a text");
    refuse("{\"model\":\"m\"}", WEFT_INVALID, "experiments: must be an array");
    refuse("{\"model\":\"m\",\"repeat\":3}", WEFT_INVALID, "unknown member repeat; did you mean repeats?");
    refuse("{\"model\":\"m\",\"qqq\":3}", WEFT_INVALID, "there are schema, model");
    refuse("{\"schema\":\"weft.scale/2\",\"model\":\"m\"}", WEFT_INVALID, "must be weft.scale/1");
    refuse("{\"model\":\"m\",\"repeats\":0,\"experiments\":[]}", WEFT_INVALID,
           "repeats: must be a whole number from 1");
    refuse("{\"model\":\"m\",\"launcher\":\"ssh\"}", WEFT_INVALID, "launcher: must be one of auto, weft, mpirun, srun");
    refuse("{\"model\":\"m\",\"launcher\":[]}", WEFT_INVALID, "launcher: must have a word");
    refuse("{\"model\":\"m\",\"flags\":\"--weights int8\"}", WEFT_INVALID, "flags: must be an array");
    refuse("{\"model\":\"m\",\"reference\":1}", WEFT_INVALID, "reference: must be true or false");
    refuse("{\"model\":\"m\",\"variants\":[{\"name\":\"a\"},{\"name\":\"a\"}]}", WEFT_INVALID,
           "variants[1].name: another variant has it");
    refuse("{\"model\":\"m\",\"variants\":[{}]}", WEFT_INVALID, "variants[0].name: must be a text");
    refuse("{\"model\":\"m\",\"experiments\":[]}", WEFT_INVALID, "1 to 32 objects");
    refuse("{\"model\":\"m\",\"experiments\":[3]}", WEFT_INVALID, "experiments[0]: must be an object");
    refuse(WITH("\"rank\":[1]"), WEFT_INVALID, "did you mean ranks?");
    refuse(WITH("\"generate\":4"), WEFT_INVALID, "experiments[0].ranks: is missing");
    refuse(WITH("\"ranks\":2"), WEFT_INVALID, "experiments[0].ranks: must be an array");
    refuse(WITH("\"ranks\":[2,1]"), WEFT_INVALID, "ascending");
    refuse(WITH("\"ranks\":[0]"), WEFT_INVALID, "from 1 to 4096");
    refuse(WITH("\"ranks\":[1.5]"), WEFT_INVALID, "whole numbers");
    refuse(WITH("\"ranks\":[2],\"generate\":1"), WEFT_INVALID, "generate: must be a whole number from 2");
    refuse(WITH("\"ranks\":[2],\"meshes\":[\"pp\"]"), WEFT_INVALID, "meshes: must be an array");
    refuse(WITH("\"ranks\":[2],\"meshes\":[\"2x\"]"), WEFT_INVALID, "meshes: must be an array");
    refuse(WITH("\"ranks\":[2],\"meshes\":[\"tp\",\"tp\"]"), WEFT_INVALID, "one is there twice");
    refuse(WITH("\"ranks\":[2],\"meshes\":[\"2x2\"]"), WEFT_INVALID, "2x2 fits none of the ranks");
    refuse(WITH("\"ranks\":[3],\"node_ranks\":2"), WEFT_INVALID, "3 ranks cannot stand on nodes of 2 each");
    refuse(WITH("\"ranks\":[1,4096],\"scaling\":\"weak-batch\",\"batches\":[2]"), WEFT_INVALID, "a batch of 8192");
    refuse(WITH("\"ranks\":[1],\"scaling\":\"weak\""), WEFT_INVALID, "scaling: must be one of strong");
}

int main(void)
{
    check_cells();
    check_weak();
    check_order();
    check_refusals();
    return 0;
}
