// Opening a checkpoint: one file, or the shards that an index names, as one map from names to places.
#include "model/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/checkpoint_impl.h"
#include "model/files.h"

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"
enum { FILES_MAX = 4096, INDEX_BYTES = 64 << 20, SHOWN = 80 };

static weft_status read_exactly(int fd, void *to, size_t bytes, const char *path)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t got = pread(fd, (char *)to + done, bytes - done, (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return weft_fail(WEFT_IO, "%s: %s at byte %zu", path, got < 0 ? strerror(errno) : "the file ends", done);
        done += (size_t)got;
    }
    return WEFT_OK;
}

static weft_status read_header(wi_checkpoint_file *file)
{
    unsigned char first[8] = {0};
    size_t bytes = 0;
    char *text = NULL;
    weft_status status;
    if (file->bytes >= sizeof first) WEFT_TRY(read_exactly(file->fd, first, sizeof first, file->path));
    WEFT_TRY(weft_safetensors_length(first, file->bytes, file->path, &bytes));
    text = malloc(bytes + sizeof first);
    if (!text) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for its header of %zu bytes", file->path, bytes);
    WEFT_TRY_GOTO(read_exactly(file->fd, text, bytes + sizeof first, file->path));
    status = weft_safetensors_parse(text + sizeof first, bytes, file->bytes, file->path, &file->header);
fail:
    free(text);
    return status;
}

static weft_status open_file(weft_checkpoint *c, int directory, const char *name)
{
    wi_checkpoint_file *file = &c->file[c->files];
    const size_t length = strlen(c->directory) + strlen(name) + 2;
    *file = (wi_checkpoint_file){.fd = -1, .path = malloc(length)};
    if (!file->path) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for a name", c->directory);
    snprintf(file->path, length, "%s/%s", c->directory, name);
    file->name = file->path + strlen(c->directory) + 1;
    c->files++;
    WEFT_TRY(wi_open_beneath(directory, c->directory, name, &file->fd, &file->bytes));
    return read_header(file);
}

// ---- the index ----

static weft_status read_index(const weft_checkpoint *c, int directory, weft_json **out)
{
    const weft_json_limits limits = {.bytes = INDEX_BYTES, .depth = 8, .wide_integers = true};
    char name[512], *text = NULL;
    uint64_t bytes = 0;
    int fd = -1;
    weft_status status;
    snprintf(name, sizeof name, "%s/" INDEX, c->directory);
    WEFT_TRY_GOTO(wi_open_beneath(directory, c->directory, INDEX, &fd, &bytes));
    if (bytes > INDEX_BYTES) {
        status =
            weft_fail(WEFT_LIMIT, "%s: %" PRIu64 " bytes, more than the %d that are allowed", name, bytes, INDEX_BYTES);
        goto fail;
    }
    text = malloc(bytes ? bytes : 1);
    if (!text) {
        status = weft_fail(WEFT_NO_MEMORY, "%s: no memory for %" PRIu64 " bytes", name, bytes);
        goto fail;
    }
    WEFT_TRY_GOTO(read_exactly(fd, text, bytes, name));
    status = weft_json_parse(text, bytes, name, &limits, out);
fail:
    free(text);
    if (fd >= 0) close(fd);
    return status;
}

static int file_of(const weft_checkpoint *c, const char *name)
{
    for (int i = c->files - 1; i >= 0; i--)
        if (strcmp(c->file[i].name, name) == 0) return i;
    return -1;
}

// Opens every file that the map names.
static weft_status open_shards(weft_checkpoint *c, int directory, const weft_json *map)
{
    if (weft_json_kind_of(map) != WEFT_JSON_OBJECT || weft_json_size(map) == 0)
        return weft_fail(WEFT_FORMAT, "%s/" INDEX ": \"weight_map\" must be an object from tensors to files",
                         c->directory);
    for (const char *tensor = NULL; (tensor = weft_json_next_key(map, tensor));) {
        const char *name = weft_json_string_value(weft_json_get(map, tensor));
        if (!name)
            return weft_fail(WEFT_FORMAT, "%s/" INDEX ": tensor %.*s: its file is not a string", c->directory, SHOWN,
                             tensor);
        if (file_of(c, name) >= 0) continue;
        if (c->files == FILES_MAX)
            return weft_fail(WEFT_LIMIT, "%s/" INDEX ": names more than %d files", c->directory, FILES_MAX);
        WEFT_TRY(open_file(c, directory, name));
    }
    return WEFT_OK;
}

// The map and the files say the same.
static weft_status check_index(const weft_checkpoint *c, const weft_json *map)
{
    for (const char *tensor = NULL; (tensor = weft_json_next_key(map, tensor));) {
        const weft_tensor_entry *entry = weft_checkpoint_find(c, tensor);
        const char *name = weft_json_string_value(weft_json_get(map, tensor));
        if (!entry || strcmp(c->file[entry->file].name, name) != 0)
            return weft_fail(WEFT_FORMAT, "%s/" INDEX ": tensor %.*s: is not in %.80s, where the index has it",
                             c->directory, SHOWN, tensor, name);
    }
    for (size_t i = 0; i < c->count; i++)
        if (!weft_json_get(map, c->tensor[i].name))
            return weft_fail(WEFT_FORMAT, "%s: tensor %.*s: is not in " INDEX, c->file[c->tensor[i].file].path, SHOWN,
                             c->tensor[i].name);
    return WEFT_OK;
}

// ---- the whole ----

static int by_name(const void *left, const void *right)
{
    return strcmp(((const weft_tensor_entry *)left)->name, ((const weft_tensor_entry *)right)->name);
}

static weft_status join_files(weft_checkpoint *c)
{
    size_t count = 0;
    for (int i = 0; i < c->files; i++) count += c->file[i].header.count;
    c->tensor = calloc(count ? count : 1, sizeof *c->tensor);
    if (!c->tensor) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for %zu tensors", c->directory, count);
    for (int i = 0; i < c->files; i++)
        for (size_t t = 0; t < c->file[i].header.count; t++) {
            c->tensor[c->count] = c->file[i].header.at[t];
            c->tensor[c->count].file = i;
            c->bytes += c->tensor[c->count++].bytes;
        }
    qsort(c->tensor, c->count, sizeof *c->tensor, by_name);
    for (size_t i = 1; i < c->count; i++)
        if (by_name(&c->tensor[i - 1], &c->tensor[i]) == 0)
            return weft_fail(WEFT_FORMAT, "%s: tensor %.*s: stands in %.80s as well", c->file[c->tensor[i].file].path,
                             SHOWN, c->tensor[i].name, c->file[c->tensor[i - 1].file].name);
    return WEFT_OK;
}

static weft_status nothing_here(const weft_checkpoint *c, int directory)
{
    static const char *const pickles[] = {"pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth"};
    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++)
        if (faccessat(directory, pickles[i], F_OK, 0) == 0)
            return weft_fail(WEFT_UNSUPPORTED,
                             "%s: holds %s, a pickle, which weft does not open; get the model as safetensors",
                             c->directory, pickles[i]);
    return weft_fail(WEFT_NOT_FOUND, "%s: neither " SINGLE " nor " INDEX " is there; is the download complete?",
                     c->directory);
}

static weft_status open_all(weft_checkpoint *c, int directory)
{
    weft_json *index = NULL;
    weft_status status;
    // A link that leads nowhere is there, and refused with its name.
    if (faccessat(directory, SINGLE, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        WEFT_TRY_GOTO(open_file(c, directory, SINGLE));
        status = join_files(c);
    } else if (faccessat(directory, INDEX, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        WEFT_TRY_GOTO(read_index(c, directory, &index));
        const weft_json *map = weft_json_get(index, "weight_map");
        WEFT_TRY_GOTO(open_shards(c, directory, map));
        WEFT_TRY_GOTO(join_files(c));
        status = check_index(c, map);
    } else {
        status = nothing_here(c, directory);
    }
fail:
    weft_json_free(index);
    return status;
}

weft_status weft_checkpoint_open(const char *directory, weft_checkpoint **out)
{
    weft_checkpoint *c = calloc(1, sizeof *c);
    int fd = -1;
    weft_status status;
    if (c) c->directory = strdup(directory);
    if (c) c->file = calloc(FILES_MAX, sizeof *c->file);
    if (!c || !c->directory || !c->file) {
        status = weft_fail(WEFT_NO_MEMORY, "no memory to open %s", directory);
        goto fail;
    }
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        status = weft_fail(errno == ENOENT ? WEFT_NOT_FOUND : WEFT_IO, "%s: %s; MODEL is a directory", directory,
                           strerror(errno));
        goto fail;
    }
    WEFT_TRY_GOTO(open_all(c, fd));
    close(fd);
    *out = c;
    return WEFT_OK;
fail:
    if (fd >= 0) close(fd);
    weft_checkpoint_close(c);
    return status;
}

void weft_checkpoint_close(weft_checkpoint *checkpoint)
{
    if (!checkpoint) return;
    for (int i = 0; i < checkpoint->files; i++) {
        weft_safetensors_fini(&checkpoint->file[i].header);
        if (checkpoint->file[i].fd >= 0) close(checkpoint->file[i].fd);
        free(checkpoint->file[i].path);
    }
    free(checkpoint->file);
    free(checkpoint->tensor);
    free(checkpoint->directory);
    free(checkpoint);
}

size_t weft_checkpoint_count(const weft_checkpoint *checkpoint) { return checkpoint->count; }

const weft_tensor_entry *weft_checkpoint_at(const weft_checkpoint *checkpoint, size_t index)
{
    return index < checkpoint->count ? &checkpoint->tensor[index] : NULL;
}

const weft_tensor_entry *weft_checkpoint_find(const weft_checkpoint *checkpoint, const char *name)
{
    const weft_tensor_entry key = {.name = name};
    return bsearch(&key, checkpoint->tensor, checkpoint->count, sizeof key, by_name);
}

const char *weft_checkpoint_file(const weft_checkpoint *checkpoint, const weft_tensor_entry *tensor)
{
    return checkpoint->file[tensor->file].path;
}

int weft_checkpoint_files(const weft_checkpoint *checkpoint) { return checkpoint->files; }

uint64_t weft_checkpoint_bytes(const weft_checkpoint *checkpoint) { return checkpoint->bytes; }
