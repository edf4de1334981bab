// model.safetensors.index.json beside two shards that are whole.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/checkpoint.h"
#include "tests/fuzz/fuzz.h"

typedef struct {
    char path[64];
} folder;

static void write_file(const folder *f, const char *name, const void *bytes, size_t count)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, count) != (ssize_t)count) abort();
    close(fd);
}

static void write_shard(const folder *f, const char *name, const char *tensor)
{
    char all[160];
    unsigned char length[8] = {0};
    snprintf(all + 8, sizeof all - 8, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", tensor);
    const size_t used = strlen(all + 8);
    length[0] = (unsigned char)used;
    memcpy(all, length, sizeof length);
    write_file(f, name, all, 8 + used + 4);
}

static const folder *make_folder(void)
{
    static folder made;
    if (made.path[0]) return &made;
    snprintf(made.path, sizeof made.path, "%s", "/dev/shm/weft-fuzz-XXXXXX");
    if (!mkdtemp(made.path)) abort();
    write_shard(&made, "model-00001-of-00002.safetensors", "a");
    write_shard(&made, "model-00002-of-00002.safetensors", "b");
    return &made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const folder *f = make_folder();
    weft_checkpoint *checkpoint = NULL;
    write_file(f, "model.safetensors.index.json", data, size);
    if (weft_checkpoint_open(f->path, &checkpoint) == WEFT_OK) {
        float value;
        for (size_t i = 0; i < weft_checkpoint_count(checkpoint); i++) {
            weft_read read = {.tensor = weft_checkpoint_at(checkpoint, i),
                              .rows = 1,
                              .columns = 1,
                              .to = &value,
                              .to_stride = sizeof value};
            if (weft_checkpoint_read(checkpoint, &read, 1, &(weft_read_options){0}) < 0) abort();
        }
    }
    weft_checkpoint_close(checkpoint);
    return 0;
}
