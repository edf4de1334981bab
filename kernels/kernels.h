// kernels: how a device computes. One table of ops; `ref` fills every slot in plain C, each level of the processor then
// overrides what it improves. Kernels know shapes and pointers, never a rank. They do not allocate and cannot fail.
#ifndef WEFT_KERNELS_KERNELS_H
#define WEFT_KERNELS_KERNELS_H

#include <stddef.h>

#include "core/cpu.h"
#include "core/device.h"
#include "core/team.h"
#include "kernels/attention.h"
#include "kernels/gemm.h"
#include "kernels/pick.h"
#include "kernels/rows.h"

#ifdef __cplusplus
extern "C" {
#endif

// What every op is given beside its shapes. The arrays of an op may not overlap unless it says so.
typedef struct weft_kernels weft_kernels;
typedef struct weft_op {
    const weft_kernels *table;
    weft_team *team; // the threads it may use; NULL: the caller alone
    void *stream;    // a device's; NULL on the host
    void *scratch;   // aligned to 64, at least what the op's own ..._scratch() asks for; NULL where it asks for none
    size_t scratch_bytes;
} weft_op;

// out = a * w^T by a packed weight (kernels/gemm.h), with op->scratch of weft_gemm_scratch bytes. One a family: `ref`
// computes each of the host's, slowly; the levels override those whose instructions they have. NULL in the host's
// tables where a family is a device's, and in a device's where it is the host's. Those of the host are given no groups.
typedef void weft_gemm_fn(const weft_op *op, const weft_gemm_weight *weight, const weft_gemm_args *args);
typedef struct {
    weft_gemm_fn *run[WEFT_FAMILY_COUNT];
} weft_gemm_ops;

// A sum of rows and what follows it: in[0..n) (rows, width) by tree_add's tree, n at most WEFT_LEAVES; + bias; +
// residual; then RMSNorm of that. `out` may be the residual.
typedef struct {
    const float *const *in; // the array itself is the host's
    int n;
    const float *bias;     // (width) or NULL
    const float *residual; // (rows, width) or NULL
    float *out;
    size_t rows, width;
    const weft_norm *norm;              // where it goes and how, or NULL; `in`, `add` and sizes are not looked at
    const weft_device_meeting *meeting; // with the peers whose arrays these are, or NULL
} weft_row_total;

// Loops that do nothing but read, or multiply in f32: what they reach is what other ops are measured against. A
// device's; NULL on the host, which has bench/peak.
typedef struct {
    // `bytes` of the device's memory, a multiple of 16; out: 4 bytes of it that are not written but in theory.
    void (*read)(const weft_op *op, const void *from, size_t bytes, uint32_t *out);
    // Chains of fma on every processor; `rounds` says how long. Returns multiplications and additions. out: one float.
    double (*multiply)(const weft_op *op, int rounds, float *out);
} weft_probe_ops;

struct weft_kernels {
    weft_isa isa;   // of the host's
    int capability; // of a device's: 80, 90; else 0
    // out[i] = the sum of in[0..n)[i] by the binary tree over the numbers of the arrays, the lower one on the left:
    // ((0+1)+(2+3))+((4+5)+(6+7)). Where a partner is absent the other is copied, never added to zero: behind n, and
    // where in[i] is NULL. One at least is there. `out` may be one of the inputs; n is 1 to WEFT_TREE_MAX. On the host
    // the caller does it alone, whatever team the op has; `in` itself is the host's memory everywhere.
    void (*tree_add)(const weft_op *op, float *out, const float *const *in, int n, size_t count);
    // A device's alone, NULL on the host, where threads share a sum out and each takes a few rows at a time.
    void (*total)(const weft_op *op, const weft_row_total *args);
    weft_gemm_ops gemm;
    weft_attention_ops attention; // kernels/attention.h
    weft_row_ops rows;            // kernels/rows.h
    weft_pick_ops pick;           // kernels/pick.h
    weft_probe_ops probe;
};

// Packs by op->team, each thread the panels that it will read in a run. `memory` is aligned to 64, has the bytes that
// weft_gemm_pack_bytes says and lives as long as the weight. Local, blocking. Fails as weft_gemm_pack_bytes does.
weft_status weft_gemm_pack(const weft_op *op, weft_family family, const weft_gemm_source *sources, int count,
                           weft_fuse fuse, const weft_gemm_leaves *leaves, void *memory, weft_gemm_weight *out);
// The same in parts, where the sources are never whole in memory. `begin` lays the weight out; the sources' data is not
// looked at, and permutations are UNSUPPORTED. `panel` packs one of its panels from the sources that have rows in it,
// each cut to those rows: rows [32 p, 32 p + 32) of the stack, behind a gate rows [16 p, 16 p + 16) of both. Scales and
// zeros begin at the first of them. Any thread may pack any panel, each once.
weft_status weft_gemm_pack_begin(weft_family family, const weft_gemm_source *sources, int count, weft_fuse fuse,
                                 const weft_gemm_leaves *leaves, void *memory, weft_gemm_weight *out);
void weft_gemm_pack_panel(const weft_gemm_weight *weight, int64_t panel, const weft_gemm_source *parts, int count);
// The table's op for the weight's family; on the host once for each group.
void weft_gemm_run(const weft_op *op, const weft_gemm_weight *weight, const weft_gemm_args *args);

// Plain copies, in the op's order: to[i] = from[i], and rows of `width` floats from stride to stride.
void weft_copy_floats(const weft_op *op, float *to, const float *from, size_t count);
void weft_copy_rows(const weft_op *op, float *to, size_t to_stride, const float *from, size_t from_stride, size_t rows,
                    size_t width);

enum { WEFT_TREE_MAX = 1024 };

// Of the canonical order of all sums: it changes when a bit of any result does.
enum { WEFT_CONTRACT_VERSION = 2 };

// The table for a level of the processor; weft_isa_choose says which level to ask for.
weft_kernels weft_kernels_for(weft_isa isa);

#ifdef __cplusplus
}
#endif
#endif
