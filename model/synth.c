// Random weights to disk. Element i of tensor t is the 16 bits number i % 8 of the Philox block i / 8 with t as its
// continuation, taken as a value in (-1, 1) and stretched; no state, so threads share a tensor as they like.
#include "model/synth.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/checked.h"
#include "core/philox.h"
#include "kernels/kernels.h"
#include "model/names.h"
#include "model/synth_impl.h"

enum { PIECE = 1 << 18, NUMBERS = 8 }; // elements made at once; numbers of a block
#define SHARD_BYTES 5000000000

typedef struct {
    weft_expected what;
    uint64_t elements, offset; // offset: of its first byte in the shard's data
    int shard;
} tensor;

typedef struct {
    const weft_model_config *config;
    const weft_synth_options *options;
    const char *directory;
    tensor *tensor;
    size_t count, room;
    int shards;
    uint64_t total, done;
    weft_kernels kernels;
} synth;

// ---- what is there ----

static weft_status note_tensor(void *arg, const weft_expected *what)
{
    synth *s = arg;
    size_t elements;
    if (s->count == s->room) {
        const size_t room = s->room ? 2 * s->room : 256;
        tensor *larger = realloc(s->tensor, room * sizeof *larger);
        if (!larger) return weft_fail(WEFT_NO_MEMORY, "no memory for a list of tensors");
        s->tensor = larger;
        s->room = room;
    }
    if (!weft_size_product(what->shape, what->rank, &elements))
        return weft_fail(WEFT_OVERFLOW, "tensor %s is too large", what->name);
    s->tensor[s->count++] = (tensor){.what = *what, .elements = elements};
    return WEFT_OK;
}

static void place_tensors(synth *s)
{
    const uint64_t size = (uint64_t)weft_dtype_bits(s->options->dtype) / 8;
    const uint64_t most = s->options->shard_bytes ? s->options->shard_bytes : SHARD_BYTES;
    uint64_t used = 0;
    for (size_t i = 0; i < s->count; i++) {
        tensor *t = &s->tensor[i];
        if (used && used + t->elements * size > most) {
            s->shards++;
            used = 0;
        }
        t->shard = s->shards;
        t->offset = used;
        used += t->elements * size;
        s->total += t->elements * size;
    }
    s->shards++;
}

// ---- values ----

// Values lie within `middle` +- `reach`.
static void range_of(const synth *s, const weft_expected *what, float *middle, float *reach)
{
    const weft_model_config *c = s->config;
    const bool norm = what->rank == 1 && what->part != WEFT_PART_SINKS && strstr(what->name, "norm");
    const float root3 = 1.7320508F; // of a deviation of 1
    *middle = norm && c->norm != WEFT_NORM_ONE_PLUS ? 1 : 0;
    *reach = 0.1F;
    if (norm || what->rank == 1) return;
    double deviation = 1 / sqrt((double)what->shape[what->rank - 1]);
    if (what->part == WEFT_PART_EXPERTS_GATE_UP || what->part == WEFT_PART_EXPERTS_DOWN)
        deviation = 1 / sqrt((double)what->shape[1]);
    if (what->part == WEFT_PART_EMBEDDING && !c->tied && c->embedding_scale == 1) deviation = 1;
    *reach = root3 * (float)deviation;
}

static void make_values(const synth *s, size_t index, uint64_t begin, size_t count, float *out)
{
    float middle, reach;
    range_of(s, &s->tensor[index].what, &middle, &reach);
    const float step = reach / 32768;
    for (size_t i = 0; i < count; i += NUMBERS) {
        const weft_philox4 block =
            weft_draw4(s->options->seed, (uint32_t)index, (begin + i) / NUMBERS, WEFT_DRAW_WEIGHTS);
        for (size_t j = 0; j < NUMBERS && i + j < count; j++) {
            const uint32_t number = block.word[j / 2] >> 16 * (j % 2) & 0xffff;
            out[i + j] = middle + ((float)number - 32767.5F) * step;
        }
    }
}

typedef struct {
    const synth *s;
    size_t index;
    int fd;
    uint64_t base; // of the data in the file
    atomic_uint_least64_t next;
    atomic_int error;
} writing;

static bool write_all(int fd, const void *bytes, size_t count, uint64_t at)
{
    for (size_t done = 0; done < count;) {
        ssize_t put = pwrite(fd, (const char *)bytes + done, count - done, (off_t)(at + done));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) {
            if (put == 0) errno = EIO;
            return false;
        }
        done += (size_t)put;
    }
    return true;
}

static void write_share(void *arg, int thread, int threads)
{
    writing *w = arg;
    const tensor *t = &w->s->tensor[w->index];
    const weft_dtype type = w->s->options->dtype;
    const size_t size = (size_t)weft_dtype_bits(type) / 8;
    const weft_op op = {.table = &w->s->kernels};
    float *values = malloc(PIECE * sizeof *values);
    void *stored = malloc(PIECE * size);
    if (!values || !stored) atomic_store(&w->error, ENOMEM);
    while (values && stored && atomic_load(&w->error) == 0) {
        const uint64_t begin = atomic_fetch_add(&w->next, PIECE);
        if (begin >= t->elements) break;
        const size_t count = t->elements - begin < PIECE ? (size_t)(t->elements - begin) : PIECE;
        make_values(w->s, w->index, begin, count, values);
        w->s->kernels.rows.convert(&op, stored, type, values, WEFT_F32, count);
        if (!write_all(w->fd, stored, count * size, w->base + t->offset + begin * size)) atomic_store(&w->error, errno);
    }
    free(values);
    free(stored);
}

// ---- files ----

static void shard_name(const synth *s, int shard, char name[64])
{
    if (s->shards == 1)
        snprintf(name, 64, "model.safetensors");
    else
        snprintf(name, 64, "model-%05d-of-%05d.safetensors", shard + 1, s->shards);
}

static weft_status make_header(const synth *s, int shard, weft_json_writer *w, const char **text, size_t *bytes)
{
    const uint64_t size = (uint64_t)weft_dtype_bits(s->options->dtype) / 8;
    const char *type = s->options->dtype == WEFT_F32 ? "F32" : s->options->dtype == WEFT_F16 ? "F16" : "BF16";
    weft_json_writer_init(w, false);
    weft_json_write_object(w, NULL);
    weft_json_write_object(w, "__metadata__");
    weft_json_write_string(w, "format", "pt");
    weft_json_write_end(w);
    for (size_t i = 0; i < s->count; i++) {
        const tensor *t = &s->tensor[i];
        if (t->shard != shard) continue;
        weft_json_write_object(w, t->what.name);
        weft_json_write_string(w, "dtype", type);
        weft_json_write_array(w, "shape");
        for (int d = 0; d < t->what.rank; d++) weft_json_write_int(w, NULL, t->what.shape[d]);
        weft_json_write_end(w);
        weft_json_write_array(w, "data_offsets");
        weft_json_write_int(w, NULL, (int64_t)t->offset);
        weft_json_write_int(w, NULL, (int64_t)(t->offset + t->elements * size));
        weft_json_write_end(w);
        weft_json_write_end(w);
    }
    weft_json_write_end(w);
    return weft_json_writer_finish(w, text, bytes);
}

static weft_status write_tensors(synth *s, int shard, int fd, uint64_t base, const char *path)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->tensor[i].shard != shard) continue;
        writing w = {.s = s, .index = i, .fd = fd, .base = base};
        if (s->options->team && s->tensor[i].elements > PIECE)
            weft_team_run(s->options->team, write_share, &w);
        else
            write_share(&w, 0, 1);
        const int error = atomic_load(&w.error);
        if (error) return weft_fail(error == ENOMEM ? WEFT_NO_MEMORY : WEFT_IO, "%s: %s", path, strerror(error));
        s->done += s->tensor[i].elements * (uint64_t)weft_dtype_bits(s->options->dtype) / 8;
        if (s->options->progress) s->options->progress(s->options->progress_arg, s->done, s->total);
    }
    return WEFT_OK;
}

static weft_status write_shard(synth *s, int shard)
{
    char name[64], path[4096];
    unsigned char length[8];
    const char *text = NULL;
    size_t bytes = 0;
    weft_json_writer header = {0};
    int fd = -1;
    weft_status status;
    shard_name(s, shard, name);
    snprintf(path, sizeof path, "%s/%s", s->directory, name);
    WEFT_TRY_GOTO(make_header(s, shard, &header, &text, &bytes));
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)bytes >> 8 * i);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 || !write_all(fd, length, sizeof length, 0) || !write_all(fd, text, bytes, sizeof length)) {
        status = weft_fail(WEFT_IO, "%s: %s", path, strerror(errno));
        goto fail;
    }
    WEFT_TRY_GOTO(write_tensors(s, shard, fd, sizeof length + bytes, path));
    if (close(fd) < 0) status = weft_fail(WEFT_IO, "%s: %s", path, strerror(errno));
    fd = -1;
fail:
    if (fd >= 0) close(fd);
    weft_json_writer_fini(&header);
    return status;
}

weft_status wi_synth_file(const char *directory, const char *name, const char *text, size_t bytes)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    const bool good = fd >= 0 && write_all(fd, text, bytes, 0);
    const int error = errno;
    if ((fd >= 0 && close(fd) < 0) || !good) return weft_fail(WEFT_IO, "%s: %s", path, strerror(good ? errno : error));
    return WEFT_OK;
}

static weft_status write_index(const synth *s)
{
    weft_json_writer w;
    const char *text;
    size_t bytes;
    char name[64];
    weft_json_writer_init(&w, true);
    weft_json_write_object(&w, NULL);
    weft_json_write_object(&w, "metadata");
    weft_json_write_int(&w, "total_size", (int64_t)s->total);
    weft_json_write_end(&w);
    weft_json_write_object(&w, "weight_map");
    for (size_t i = 0; i < s->count; i++) {
        shard_name(s, s->tensor[i].shard, name);
        weft_json_write_string(&w, s->tensor[i].what.name, name);
    }
    weft_json_write_end(&w);
    weft_json_write_end(&w);
    weft_status status = weft_json_writer_finish(&w, &text, &bytes);
    if (status == WEFT_OK) status = wi_synth_file(s->directory, "model.safetensors.index.json", text, bytes);
    weft_json_writer_fini(&w);
    return status;
}

// ---- the whole ----

static weft_status prepare_directory(const char *directory)
{
    static const char *const signs[] = {"config.json", "model.safetensors", "model.safetensors.index.json"};
    char path[4096];
    if (strlen(directory) > sizeof path - 80)
        return weft_fail(WEFT_LIMIT, "%.60s...: a path of %zu bytes is too long", directory, strlen(directory));
    if (mkdir(directory, 0755) < 0 && errno != EEXIST) return weft_fail(WEFT_IO, "%s: %s", directory, strerror(errno));
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, signs[i]);
        if (access(path, F_OK) == 0)
            return weft_fail(WEFT_INVALID, "%s: holds a model already (%s); name another directory", directory,
                             signs[i]);
    }
    return WEFT_OK;
}

static weft_status write_small_files(const synth *s, const weft_model_shape *shape, const char *config, size_t bytes)
{
    char generation[128];
    const int length = snprintf(generation, sizeof generation,
                                "{\n  \"bos_token_id\": %" PRId64 ",\n  \"eos_token_id\": %" PRId64 "\n}\n",
                                shape->vocab - 2, shape->vocab - 1);
    WEFT_TRY(wi_synth_file(s->directory, "generation_config.json", generation, (size_t)length));
    WEFT_TRY(wi_synth_tokenizer(s->directory, shape->vocab));
    return wi_synth_file(s->directory, "config.json", config, bytes);
}

weft_status weft_synth_write(const weft_model_shape *shape, const char *directory, const weft_synth_options *options,
                             uint64_t *written)
{
    const weft_cpu cpu = weft_cpu_detect();
    weft_model_config config = {0};
    weft_json_writer writer = {0};
    synth s = {.config = &config, .options = options, .directory = directory};
    const char *text;
    size_t bytes;
    weft_isa isa;
    weft_status status;
    WEFT_TRY_GOTO(weft_isa_choose(&cpu, &isa));
    s.kernels = weft_kernels_for(isa);
    if (options->dtype != WEFT_BF16 && options->dtype != WEFT_F16 && options->dtype != WEFT_F32) {
        status = weft_fail(WEFT_INVALID, "weights are written in bf16, f16 or f32, not in %s",
                           weft_dtype_name(options->dtype));
        goto fail;
    }
    WEFT_TRY_GOTO(weft_model_shape_config(shape, options->dtype, &writer, &text, &bytes));
    WEFT_TRY_GOTO(weft_model_config_parse(text, bytes, shape->name, NULL, 0, &config));
    WEFT_TRY_GOTO(weft_model_tensors(&config, WEFT_NAMES_PLAIN, note_tensor, &s));
    place_tensors(&s);
    WEFT_TRY_GOTO(prepare_directory(directory));
    for (int i = 0; i < s.shards; i++) WEFT_TRY_GOTO(write_shard(&s, i));
    if (s.shards > 1) WEFT_TRY_GOTO(write_index(&s));
    // Last, so that a directory with a config.json is whole.
    WEFT_TRY_GOTO(write_small_files(&s, shape, text, bytes));
    if (written) *written = s.total;
fail:
    free(s.tensor);
    weft_json_writer_fini(&writer);
    weft_model_config_fini(&config);
    return status;
}
