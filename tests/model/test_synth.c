// Synthetic checkpoints: every shape is a whole, valid model directory; equal seeds give equal bytes by any threads.
#include <sys/stat.h>
#include <unistd.h>

#include "model/checkpoint.h"
#include "model/synth.h"
#include "tests/check.h"

static char root[64];

static const char *at(const char *name)
{
    static char path[4][256];
    static int turn;
    char *text = path[turn++ % 4];
    snprintf(text, sizeof path[0], "%s/%s", root, name);
    return text;
}

static void remove_all(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", root);
    CHECK_INT(system(command), 0); // NOLINT(cert-env33-c): the test's own directory
}

static uint64_t digest(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint64_t hash = 14695981039346656037U;
    CHECK(file);
    for (int c; (c = fgetc(file)) != EOF;) hash = (hash ^ (uint64_t)c) * 1099511628211U;
    fclose(file);
    return hash;
}

static weft_model_shape small(const char *family)
{
    const weft_model_shape *found = weft_model_shape_find(family);
    CHECK(found);
    weft_model_shape shape = *found;
    shape.hidden = 64;
    shape.layers = 2;
    shape.heads = 4;
    shape.kv_heads = 2;
    shape.head_dim = 16;
    shape.ffn = 96;
    shape.vocab = 300;
    return shape;
}

static void check_directory(const char *path, const weft_model_shape *shape, int files)
{
    weft_model_config config = {0};
    weft_checkpoint *checkpoint = NULL;
    weft_name_style style;
    weft_json *tokenizer = NULL;
    char name[300];
    CHECK_OK(weft_model_config_read(path, &config));
    CHECK_TEXT(weft_architecture_family(config.architecture), shape->family);
    CHECK_INT(config.hidden, shape->hidden);
    CHECK_INT(config.head_dim, shape->head_dim);
    CHECK_INT(config.stop_count, 1);
    CHECK_INT(config.stops[0], shape->vocab - 1);
    CHECK_OK(weft_checkpoint_open(path, &checkpoint));
    CHECK_OK(weft_checkpoint_check(checkpoint, &config, &style));
    CHECK_INT(weft_checkpoint_files(checkpoint), files);
    snprintf(name, sizeof name, "%s/tokenizer.json", path);
    CHECK_OK(weft_json_read(name, NULL, &tokenizer));
    CHECK_INT(weft_json_size(weft_json_get(weft_json_get(tokenizer, "model"), "vocab")), shape->vocab - 2);
    weft_json_free(tokenizer);
    weft_checkpoint_close(checkpoint);
    weft_model_config_fini(&config);
}

static void writes_families(void)
{
    for (int i = 0; weft_architecture_at(i); i++) {
        const char *family = weft_architecture_family(weft_architecture_at(i));
        const weft_model_shape shape = small(family);
        uint64_t bytes = 0;
        CHECK_OK(weft_synth_write(&shape, at(family), &(weft_synth_options){.seed = 1, .dtype = WEFT_BF16}, &bytes));
        CHECK(bytes > 100000);
        check_directory(at(family), &shape, 1);
    }
}

static void repeats_itself(void)
{
    weft_model_shape shape = small("llama");
    weft_team *team = NULL;
    shape.vocab = 9000; // several pieces
    weft_synth_options options = {.seed = 5, .dtype = WEFT_F32};
    CHECK_OK(weft_team_create(&(weft_team_options){.threads = 3}, &team));
    CHECK_OK(weft_synth_write(&shape, at("one"), &options, NULL));
    options.team = team;
    CHECK_OK(weft_synth_write(&shape, at("three"), &options, NULL));
    options.seed = 6;
    CHECK_OK(weft_synth_write(&shape, at("other"), &options, NULL));
    options.dtype = WEFT_BF16;
    options.shard_bytes = 200000;
    CHECK_OK(weft_synth_write(&shape, at("shards"), &options, NULL));
    const uint64_t first = digest(at("one/model.safetensors"));
    CHECK(first == digest(at("three/model.safetensors")));
    CHECK(first != digest(at("other/model.safetensors")));
    check_directory(at("shards"), &shape, 3);
    CHECK_FAILS(weft_synth_write(&shape, at("one"), &options, NULL), WEFT_INVALID, "holds a model already");
    CHECK_FAILS(weft_synth_write(&shape, at("no/where"), &options, NULL), WEFT_IO, "No such file");
    shape.kv_heads = 3;
    CHECK_FAILS(weft_synth_write(&shape, at("new"), &options, NULL), WEFT_INVALID, "num_key_value_heads");
    CHECK(access(at("new"), F_OK) != 0);
    weft_team_destroy(team);
}

static weft_status count(void *arg, const weft_expected *tensor)
{
    int64_t elements = 1;
    for (int i = 0; i < tensor->rank; i++) elements *= tensor->shape[i];
    *(int64_t *)arg += elements;
    return WEFT_OK;
}

// Published numbers of parameters.
static void has_the_published_sizes(void)
{
    static const struct {
        const char *name;
        int64_t parameters;
    } known[] = {{"tinyllama-1.1b", 1100048384},   {"llama-3-8b", 8030261248},        {"llama-3-70b", 70553706496},
                 {"qwen2.5-0.5b", 494032768},      {"mixtral-8x7b", 46702792704},     {"mistral-7b", 7241732096},
                 {"gpt-oss-20b", 20914757184},     {"qwen3-30b-a3b", 30532122624},    {"llama-2-70b", 68976648192},
                 {"llama-3.1-405b", 405853388800}, {"qwen2.5-72b", 72706203648},      {"qwen3-8b", 8190735360},
                 {"qwen3-32b", 32762123264},       {"qwen3-235b-a22b", 235093634560}, {"gpt-oss-120b", 116829156672}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        weft_json_writer writer;
        weft_model_config config = {0};
        const char *text;
        size_t bytes;
        int64_t parameters = 0;
        CHECK_OK(weft_model_shape_config(weft_model_shape_find(known[i].name), WEFT_BF16, &writer, &text, &bytes));
        CHECK_OK(weft_model_config_parse(text, bytes, known[i].name, NULL, 0, &config));
        CHECK_OK(weft_model_tensors(&config, WEFT_NAMES_PLAIN, count, &parameters));
        CHECK_INT(parameters, known[i].parameters);
        weft_model_config_fini(&config);
        weft_json_writer_fini(&writer);
    }
}

int main(void)
{
    snprintf(root, sizeof root, "%s", "/tmp/weft-synth-XXXXXX");
    CHECK(mkdtemp(root));
    has_the_published_sizes();
    writes_families();
    repeats_itself();
    remove_all();
    return 0;
}
