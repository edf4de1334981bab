// A checkpoint: a directory of safetensors files as it comes from a hub, seen as one map from names to places. Opening
// it checks every header and the index; nothing else is read until weft_checkpoint_read is told which ranges.
// Files are looked for beneath the directory alone: what the index names must be a plain file name, and a link may lead
// no farther than to the blobs of a hub's cache. Pickles (*.bin, *.pt) are never opened.
#ifndef WEFT_MODEL_CHECKPOINT_H
#define WEFT_MODEL_CHECKPOINT_H

#include "core/team.h"
#include "model/config.h"
#include "model/names.h"
#include "model/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_checkpoint weft_checkpoint;

// Local, blocking. NOT_FOUND, FORMAT, LIMIT, UNSUPPORTED, IO: one line with file, tensor and reason.
weft_status weft_checkpoint_open(const char *directory, weft_checkpoint **out);
void weft_checkpoint_close(weft_checkpoint *checkpoint); // accepts NULL

size_t weft_checkpoint_count(const weft_checkpoint *checkpoint);
const weft_tensor_entry *weft_checkpoint_at(const weft_checkpoint *checkpoint, size_t index);         // by name
const weft_tensor_entry *weft_checkpoint_find(const weft_checkpoint *checkpoint, const char *name);   // NULL: none
const char *weft_checkpoint_file(const weft_checkpoint *checkpoint, const weft_tensor_entry *tensor); // its path
int weft_checkpoint_files(const weft_checkpoint *checkpoint);
uint64_t weft_checkpoint_bytes(const weft_checkpoint *checkpoint); // of all tensors

// Holds every tensor that the model has, each of its shape and f32, f16 or bf16, and none that nothing would read. A
// matrix may be e4m3 where the config says in which blocks: then its scales are there too. All that is missing is
// counted, the first is named. `style` says how its names are spelled.
weft_status weft_checkpoint_check(const weft_checkpoint *checkpoint, const weft_model_config *config,
                                  weft_name_style *style);

// The scales of an e4m3 matrix, (blocks of rows, blocks of columns): the tensor of its name with "_scale_inv" behind.
// NULL: none.
const weft_tensor_entry *weft_checkpoint_scales(const weft_checkpoint *checkpoint, const weft_tensor_entry *matrix);

// ---- reading ----

// One range: rows [row, row + rows) and columns [column, column + columns) of a tensor seen as a matrix whose rows are
// its last dimension. `reader` reads it from the file and `receiver` owns the memory at `to`, both by their rank in the
// group that loads together. Today every rank reads for itself.
typedef struct {
    const weft_tensor_entry *tensor;
    int64_t row, rows, column, columns;
    int reader, receiver;
    void *to; // rows stand to_stride bytes apart; looked at by the receiver alone
    size_t to_stride;
} weft_read;

// What a rank does for a list of ranges that all ranks know: reads those that it is the reader of. A range whose
// receiver is another rank goes to `send`, from memory that is the callee's until it returns. Threads of `team` (NULL:
// the caller) share the bytes. Local, blocking. IO with file and tensor when bytes cannot be read.
typedef weft_status weft_read_send_fn(void *arg, const weft_read *range, const void *bytes);
typedef struct {
    int rank;
    weft_team *team;
    weft_read_send_fn *send; // NULL: every range must be the rank's own
    void *send_arg;
} weft_read_options;
weft_status weft_checkpoint_read(const weft_checkpoint *checkpoint, const weft_read *reads, size_t count,
                                 const weft_read_options *options);

// One range by the calling thread, which may be any of several at once. Returns false and says nothing when it fails;
// weft_checkpoint_read_failure then tells the line.
bool weft_checkpoint_read_range(const weft_checkpoint *checkpoint, const weft_read *range);
weft_status weft_checkpoint_read_failure(const weft_checkpoint *checkpoint, const weft_read *range);

#ifdef __cplusplus
}
#endif
#endif
