// A directory as a checkpoint: one file or shards; indices that lie; links; ranges read by one thread and by several.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/checkpoint.h"
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

static void write_file(const char *name, const void *bytes, size_t count)
{
    FILE *file = fopen(at(name), "wb");
    CHECK(file);
    CHECK_INT(fwrite(bytes, 1, count, file), count);
    CHECK_INT(fclose(file), 0);
}

static void write_text(const char *name, const char *text) { write_file(name, text, strlen(text)); }

// A file of F32 tensors of `rows` x 8, whose element i is `base` + i.
static void write_shard(const char *name, const char *const *tensors, int count, int rows, float base)
{
    char header[4096] = "{", *all;
    size_t used = 1, each = (size_t)rows * 8 * sizeof(float);
    for (int i = 0; i < count; i++)
        used += (size_t)snprintf(header + used, sizeof header - used,
                                 "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%d,8],\"data_offsets\":[%zu,%zu]}",
                                 i ? "," : "", tensors[i], rows, (size_t)i * each, (size_t)(i + 1) * each);
    used += (size_t)snprintf(header + used, sizeof header - used, "}");
    const size_t bytes = 8 + used + (size_t)count * each;
    all = calloc(1, bytes);
    CHECK(all);
    for (int i = 0; i < 8; i++) all[i] = (char)((uint64_t)used >> 8 * i);
    memcpy(all + 8, header, used);
    for (int i = 0; i < count * rows * 8; i++) {
        const float value = base + (float)i;
        memcpy(all + 8 + used + (size_t)i * sizeof value, &value, sizeof value);
    }
    write_file(name, all, bytes);
    free(all);
}

static void start(const char *name)
{
    static char command[256];
    snprintf(command, sizeof command, "%s", "/tmp/weft-checkpoint-XXXXXX");
    if (root[0]) {
        char removal[128];
        snprintf(removal, sizeof removal, "rm -rf %s", root);
        CHECK_INT(system(removal), 0); // NOLINT(cert-env33-c): the test's own directory
    }
    root[0] = 0;
    if (!name) return;
    CHECK(mkdtemp(command));
    snprintf(root, sizeof root, "%s", command);
}

static void refuse(weft_status status, const char *part, const char *reason)
{
    weft_checkpoint *checkpoint = NULL;
    CHECK_FAILS(weft_checkpoint_open(root, &checkpoint), status, reason);
    CHECK_HAS(weft_error_text(), part);
    CHECK(!checkpoint);
}

static const char *const one[] = {"a", "b"}, *const two[] = {"c"};
#define INDEX "model.safetensors.index.json"
#define FIRST "model-00001-of-00002.safetensors"
#define SECOND "model-00002-of-00002.safetensors"

static void opens_one_file(void)
{
    weft_checkpoint *c = NULL;
    start("one");
    refuse(WEFT_NOT_FOUND, root, "neither model.safetensors nor");
    write_text("pytorch_model.bin", "");
    refuse(WEFT_UNSUPPORTED, "pytorch_model.bin", "pickle");
    write_shard("model.safetensors", one, 2, 3, 0);
    CHECK_OK(weft_checkpoint_open(root, &c));
    CHECK_INT(weft_checkpoint_count(c), 2);
    CHECK_INT(weft_checkpoint_files(c), 1);
    CHECK_INT(weft_checkpoint_bytes(c), 2 * 3 * 8 * 4);
    CHECK(!weft_checkpoint_find(c, "c"));
    const weft_tensor_entry *b = weft_checkpoint_find(c, "b");
    CHECK(b && b->shape[0] == 3);
    CHECK_HAS(weft_checkpoint_file(c, b), "/model.safetensors");
    weft_checkpoint_close(c);
    write_text("model.safetensors", "1234567");
    refuse(WEFT_FORMAT, "/model.safetensors", "too short");
    write_text("model.safetensors", "");
    refuse(WEFT_FORMAT, "/model.safetensors", "too short");
    write_file("model.safetensors", "\x02\0\0\0\0\0\0\0{}x", 11);
    refuse(WEFT_FORMAT, "/model.safetensors", "not what was written");
    CHECK_FAILS(weft_checkpoint_open("/nowhere/at/all", &c), WEFT_NOT_FOUND, "MODEL is a directory");
}

static void opens_shards(void)
{
    weft_checkpoint *c = NULL;
    start("shards");
    write_shard(FIRST, one, 2, 3, 0);
    write_shard(SECOND, two, 1, 5, 1000);
    write_text(INDEX, "{\"metadata\":{\"total_size\":352},\"weight_map\":{\"a\":\"" FIRST "\",\"c\":\"" SECOND
                      "\",\"b\":\"" FIRST "\"}}");
    CHECK_OK(weft_checkpoint_open(root, &c));
    CHECK_INT(weft_checkpoint_count(c), 3);
    CHECK_INT(weft_checkpoint_files(c), 2);
    CHECK_HAS(weft_checkpoint_file(c, weft_checkpoint_find(c, "c")), SECOND);
    float row[8];
    weft_read read = {
        .tensor = weft_checkpoint_find(c, "c"), .row = 4, .rows = 1, .columns = 8, .to = row, .to_stride = sizeof row};
    CHECK_OK(weft_checkpoint_read(c, &read, 1, &(weft_read_options){0}));
    CHECK_REAL((double)row[0], 1032);
    weft_checkpoint_close(c);
}

static void refuses_indices(void)
{
    start("index");
    write_shard(FIRST, one, 2, 3, 0);
    write_shard(SECOND, two, 1, 5, 0);
#define MAP(rest) "{\"weight_map\":{" rest "}}"
    write_text(INDEX, "[]");
    refuse(WEFT_FORMAT, INDEX, "weight_map");
    write_text(INDEX, "{");
    refuse(WEFT_FORMAT, INDEX, "too early");
    write_text(INDEX, MAP("\"a\":1"));
    refuse(WEFT_FORMAT, "tensor a", "not a string");
    write_text(INDEX, MAP("\"a\":\"" FIRST "\",\"b\":\"" FIRST "\",\"c\":\"model-00003.safetensors\""));
    refuse(WEFT_NOT_FOUND, "model-00003.safetensors", "No such file");
    write_text(INDEX, MAP("\"a\":\"" FIRST "\",\"b\":\"" FIRST "\",\"x\":\"" SECOND "\""));
    refuse(WEFT_FORMAT, "tensor x", "is not in " SECOND);
    write_text(INDEX, MAP("\"a\":\"" FIRST "\",\"b\":\"" SECOND "\",\"c\":\"" SECOND "\""));
    refuse(WEFT_FORMAT, "tensor b", "is not in " SECOND);
    write_text(INDEX, MAP("\"a\":\"" FIRST "\",\"c\":\"" SECOND "\""));
    refuse(WEFT_FORMAT, "tensor b", "is not in model.safetensors.index.json");
    write_text(INDEX, MAP("\"a\":\"" FIRST "\",\"a\":\"" FIRST "\""));
    refuse(WEFT_FORMAT, INDEX, "keep one of the two");
    write_shard(SECOND, one, 1, 5, 0);
    write_text(INDEX, MAP("\"a\":\"" FIRST "\",\"b\":\"" FIRST "\",\"c\":\"" SECOND "\""));
    refuse(WEFT_FORMAT, "tensor a", "as well");
}

static void stays_beneath(void)
{
    weft_checkpoint *c = NULL;
    static const char *const outside[] = {"../model.safetensors", "/etc/passwd", "sub/x.safetensors", "..", ".", ""};
    start("beneath");
    write_shard(FIRST, one, 2, 3, 0);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        char text[256];
        snprintf(text, sizeof text, MAP("\"a\":\"" FIRST "\",\"b\":\"%s\""), outside[i]);
        write_text(INDEX, text);
        refuse(WEFT_INVALID, root, "must be the name of a file beside the others");
    }
    write_text(INDEX, MAP("\"a\":\"" FIRST "\",\"b\":\"" SECOND "\""));
    CHECK_INT(symlink(SECOND, at(SECOND)), 0); // a loop
    refuse(WEFT_INVALID, SECOND, "a link that leaves");
    CHECK_INT(unlink(at(SECOND)), 0);
    CHECK_INT(symlink("/etc/passwd", at(SECOND)), 0);
    refuse(WEFT_INVALID, SECOND, "a link that leaves");
    CHECK_INT(unlink(at(SECOND)), 0);
    CHECK_INT(mkfifo(at(SECOND), 0600), 0); // must not be waited for
    refuse(WEFT_INVALID, SECOND, "not a regular file");
    CHECK_INT(unlink(at(SECOND)), 0);
    CHECK_INT(mkdir(at(SECOND), 0700), 0);
    refuse(WEFT_INVALID, SECOND, "not a regular file");
    CHECK_INT(rmdir(at(SECOND)), 0);
    // beneath: followed
    CHECK_INT(rename(at(FIRST), at("stored")), 0);
    CHECK_INT(symlink("stored", at("model.safetensors")), 0);
    CHECK_OK(weft_checkpoint_open(root, &c));
    weft_checkpoint_close(c);
    // as a hub's cache has it: snapshots/REVISION/model.safetensors -> ../../blobs/HASH
    CHECK_INT(mkdir(at("blobs"), 0700) | mkdir(at("snapshots"), 0700) | mkdir(at("snapshots/r"), 0700), 0);
    CHECK_INT(rename(at("stored"), at("blobs/0a1b")), 0);
    CHECK_INT(symlink("../../blobs/0a1b", at("snapshots/r/model.safetensors")), 0);
    CHECK_OK(weft_checkpoint_open(at("snapshots/r"), &c));
    weft_checkpoint_close(c);
    CHECK_INT(unlink(at("snapshots/r/model.safetensors")), 0);
    CHECK_INT(symlink("../../blobs/../blobs/0a1b", at("snapshots/r/model.safetensors")), 0);
    CHECK_FAILS(weft_checkpoint_open(at("snapshots/r"), &c), WEFT_INVALID, "a link that leaves");
}

static weft_status keep_sent(void *arg, const weft_read *range, const void *bytes)
{
    memcpy(arg, bytes, (size_t)range->rows * (size_t)range->columns * sizeof(float));
    return WEFT_OK;
}

// Rows and columns of a large tensor, by 1 and by 3 threads, and for another rank.
static void reads_ranges(void)
{
    enum { ROWS = 300000 };
    weft_checkpoint *c = NULL;
    weft_team *team = NULL;
    start("ranges");
    write_shard("model.safetensors", one, 2, ROWS, 0);
    CHECK_OK(weft_checkpoint_open(root, &c));
    CHECK_OK(weft_team_create(&(weft_team_options){.threads = 3}, &team));
    float *whole = calloc((size_t)ROWS * 8, sizeof(float)), part[2 * 5 + 2], sent[2 * 8] = {0};
    const weft_tensor_entry *a = weft_checkpoint_find(c, "a"), *b = weft_checkpoint_find(c, "b");
    weft_read reads[] = {
        {.tensor = a, .rows = ROWS, .columns = 8, .to = whole, .to_stride = 8 * sizeof(float)},
        {.tensor = b, .row = 7, .rows = 2, .column = 1, .columns = 5, .to = part, .to_stride = 6 * sizeof(float)},
        {.tensor = b, .rows = 0, .columns = 8, .to_stride = 32},
        {.tensor = a, .row = 2, .rows = 2, .columns = 8, .receiver = 1},
        {.tensor = a, .rows = 2, .columns = 8, .reader = 1, .receiver = 1},
    };
    for (int threads = 0; threads < 2; threads++) {
        memset(whole, 0, (size_t)ROWS * 8 * sizeof(float));
        for (size_t i = 0; i < sizeof part / sizeof *part; i++) part[i] = -1;
        CHECK_OK(weft_checkpoint_read(
            c, reads, 5, &(weft_read_options){.team = threads ? team : NULL, .send = keep_sent, .send_arg = sent}));
        for (int i = 0; i < ROWS * 8; i++)
            if (whole[i] != (float)i) CHECK_FAIL("element %d is %g", i, (double)whole[i]);
        CHECK_REAL((double)part[0], (double)(float)(ROWS * 8 + 7 * 8 + 1));
        CHECK_REAL((double)part[5], -1); // between rows
        CHECK_REAL((double)part[6], (double)(float)(ROWS * 8 + 8 * 8 + 1));
        CHECK_REAL((double)sent[0], 16);
    }
    CHECK_FAILS(weft_checkpoint_read(c, &reads[3], 1, &(weft_read_options){0}), WEFT_INTERNAL, "nobody sends");
    reads[1].columns = 8;
    CHECK_FAILS(weft_checkpoint_read(c, &reads[1], 1, &(weft_read_options){0}), WEFT_INTERNAL, "outside");
    // cut after it was opened
    CHECK_INT(truncate(at("model.safetensors"), 5000), 0);
    CHECK_FAILS(weft_checkpoint_read(c, reads, 1, &(weft_read_options){.team = team}), WEFT_IO, "tensor a: the file");
    free(whole);
    weft_team_destroy(team);
    weft_checkpoint_close(c);
}

// A config, and files that hold what it says, or not.
#define CONFIG                                                                                                         \
    "{\"model_type\":\"llama\",\"hidden_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":1,"                   \
    "\"intermediate_size\":3,\"vocab_size\":3,\"max_position_embeddings\":16,\"tie_word_embeddings\":true}"

static void checks_against_config(void)
{
    weft_model_config config = {0};
    weft_checkpoint *c = NULL;
    weft_name_style style = WEFT_NAMES_COUNT;
    start("config");
    CHECK_OK(weft_model_config_parse(CONFIG, strlen(CONFIG), "config.json", NULL, 0, &config));
    static const char *const names[] = {"model.embed_tokens.weight", "model.layers.0.mlp.gate_proj.weight"};
    write_shard("model.safetensors", names, 2, 3, 0);
    CHECK_OK(weft_checkpoint_open(root, &c));
    CHECK_FAILS(weft_checkpoint_check(c, &config, &style), WEFT_INVALID,
                "model.layers.0.input_layernorm.weight: is missing, and 8 more");
    weft_checkpoint_close(c);
    write_shard("model.safetensors", names, 2, 4, 0);
    CHECK_OK(weft_checkpoint_open(root, &c));
    CHECK_FAILS(weft_checkpoint_check(c, &config, &style), WEFT_INVALID,
                "model.embed_tokens.weight: is (4, 8), and by config.json it must be (3, 8)");
    CHECK_INT(style, WEFT_NAMES_COUNT);
    weft_checkpoint_close(c);
    weft_model_config_fini(&config);
}

int main(void)
{
    opens_one_file();
    opens_shards();
    refuses_indices();
    stays_beneath();
    reads_ranges();
    checks_against_config();
    start(NULL);
    return 0;
}
