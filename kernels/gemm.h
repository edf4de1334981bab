// GEMM: pack a weight once, then run it on any number of rows: out[m][n] = the sum over k of a[m][k] * w[n][k].
//
// What is fixed and shows in bits: the family (which instruction multiplies), the weight's format, its leaves along K.
// What may be chosen freely and never shows: M, tiles, threads, which rows or columns stand beside a result, the level
// of the processor inside the FMA family. Nothing here allocates; a run cannot fail.
//
// Arithmetic. Activations are f32 and rounded once (to nearest even) to the compute type: FMA: none, dot and AMX:
// bf16. Accumulators are f32 and start from +0 at the first column of each leaf; columns come in ascending order.
//   FMA  acc = fma(a, w, acc) for each column: one chain an output.
//   dot  vdpbf16ps on columns (2j, 2j+1) of the leaf.
//   AMX  TDPBF16PS on 32 columns of the leaf: the even columns and the odd columns as two chains from 0, added, then
//        added to acc. Dot and AMX read denormals as zero and flush them; a leaf is padded with zeros to whole steps.
//   MMA  mma.sync.m16n8k16 on 16 columns of the leaf, the weight on the left, each on top of the one before.
//   WGMMA  wgmma.m64nNk16 likewise: N alone depends on M. Both keep denormals, but activations lose theirs when they
//        are rounded; a leaf is padded with zeros.
//   BLAS  a library's product of bf16, in an order that it chooses and that may depend on M: for --numerics fast alone.
// Quantized weights. A code stands for a level (int8: itself; int4: codebook[code], by default code - 8; e4m3: the
// number that it is), a level for the value (level - zero) * scale.
//   AMX, MMA, WGMMA
//        w = bf16((level - zero) * scale), each operation rounded to f32 first. But int8 with a scale a row and no
//        zeros is multiplied as it is, and the root of a leaf is acc * scale. In AMX the tiles take level * 2^-104,
//        which is exact, and activations bf16(a * 2^64), and the scale is scale * 2^40: so activations from 2^64 on are
//        infinite there.
//   FMA and dot: the chain of a group runs over its levels (in the dot family rounded to bf16, which is exact for
//        integers and e4m3) from +0 to s; then acc = fma(scale, t, acc), where t = s without a zero, else fma(-zero,
//        sum, s), and sum is that of the group's rounded activations, added in ascending order from +0. A group that a
//        leaf cuts is two groups with one scale; without groups the leaf is the group. So a zero costs nothing inside
//        the chain.
// NaN stays NaN, but which NaN is not defined.
#ifndef WEFT_KERNELS_GEMM_H
#define WEFT_KERNELS_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/cpu.h"
#include "core/status.h"
#include "core/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- families -------------------------------------------------------------------------------------------------------

typedef enum {
    WEFT_FAMILY_FMA,
    WEFT_FAMILY_BF16_DOT,
    WEFT_FAMILY_AMX,
    WEFT_FAMILY_MMA,   // NVIDIA, sm_80 and up
    WEFT_FAMILY_WGMMA, // NVIDIA, sm_90a
    WEFT_FAMILY_BLAS,  // NVIDIA, cuBLASLt; never chosen but on demand (weft_device_kind.open_blas)
    WEFT_FAMILY_COUNT,
    WEFT_FAMILY_HOST_COUNT = WEFT_FAMILY_MMA, // those before it are in every table of the host
} weft_family;

// The family that multiplies weights of a type on this processor under a level (weft_isa_choose): never a matter of M
// or of a timing. Ranks on unlike processors take the lowest of their answers.
weft_family weft_family_choose(const weft_cpu *cpu, weft_isa isa, weft_dtype weights);
// The same of a device, by its capability: 80, 90. Its table has FMA beside it.
weft_family weft_family_of_device(int capability, weft_dtype weights);
// Whether the instructions of a family are there; where they are not, `ref` computes it slowly.
bool weft_family_native(const weft_cpu *cpu, weft_isa isa, weft_family family);
const char *weft_family_name(weft_family family); // "fma", "bf16dot", "amx", "mma", "wgmma", "cublaslt"
bool weft_family_from_name(const char *name, weft_family *out);

// ---- what a weight is made from -------------------------------------------------------------------------------------

// A matrix of N rows (outputs) and K columns. Rows stand row_bytes apart, at any alignment. int4: two codes a byte, the
// even column in the low half.
typedef struct {
    weft_dtype type; // F32, BF16, F16, I8, I4, E4M3
    const void *data;
    int64_t n, k;
    size_t row_bytes;
    // `data` may be a part: it begins at this row and this column (a multiple of 8) of the matrix whose K is `k`.
    // Scales and zeros always begin at the matrix's first.
    int64_t first_row, first_column;
    // I8, I4, E4M3: the scale of row r, column k is scales[r / scale_rows][k / group]
    const void *scales;
    weft_dtype scale_type; // F32, BF16, F16
    size_t scale_row_bytes;
    int scale_rows; // 1 (or 0): each row its own; 128: blocks
    int group;      // columns that share a scale: 16, 32, 64, 128; 0: the row
    // laid out as the scales; NULL: none. On the scale of the levels, so an int4 code z as zero is z - 8.
    const void *zeros;
    weft_dtype zero_type; // I8, F32, BF16, F16
    size_t zero_row_bytes;
    const float *codebook;      // I4: the 16 levels; NULL: code - 8
    const int32_t *permutation; // [columns held]: column k meets a[permutation[k]]; NULL: a[k]. Copied by the pack.
} weft_gemm_source;

enum { WEFT_LEAVES = 8, WEFT_ROOTS_MAX = 4, WEFT_SOURCES_MAX = 8 };

// How K is cut. NULL stands for the column form: one leaf, the whole K, owned.
typedef struct {
    int64_t begin[WEFT_LEAVES + 1]; // ascending from 0 to K; all but the last are multiples of 8; a leaf may be empty
    int first, count;               // the leaves that this weight holds; its activations begin at begin[first]
} weft_gemm_leaves;

// The maximal aligned subtrees of the tree over the leaves that a range owns, in ascending order. A subtree whose
// partner is empty stands for both (a copy). Returns how many; 0 when the range holds no column.
typedef struct {
    int first, count; // the leaves below it
} weft_gemm_root;
int weft_gemm_roots(const weft_gemm_leaves *leaves, weft_gemm_root roots[WEFT_ROOTS_MAX]);

typedef enum {
    WEFT_FUSE_STACK, // the rows of the sources one after the other: QKV
    WEFT_FUSE_GATE,  // two sources of as many rows, gate and up, that the epilogue joins into one output
} weft_fuse;

// ---- the packed weight ----------------------------------------------------------------------------------------------

// Plain data that points into the memory given to the pack. The fields are for kernels/ alone.
typedef struct {
    weft_family family;
    weft_dtype type; // of the packed elements
    weft_fuse fuse;
    int64_t n;       // packed rows, without padding; gate and up counted both
    int64_t columns; // of the result: n, or n/2 behind a gate
    int64_t k;       // columns held
    int64_t padded;  // with the zeros behind the leaves
    int64_t panels;  // of 32 rows
    size_t panel_bytes;
    size_t zeros_at, codes_at; // in a panel, behind the scales
    unsigned char *data;
    const int32_t *permutation;
    weft_dtype scale_type, zero_type;
    bool scaled, has_zero;
    bool exact;          // levels are multiplied, and the roots of leaves scaled (AMX, MMA, WGMMA)
    int sub;             // MMA, WGMMA: columns of a record that share a scale
    size_t record_bytes; // MMA, WGMMA: a step's codes, scales and zeros
    int group;           // 0: none, or a row's
    int64_t group_first; // number of the first group held
    int64_t k_first;     // begin[first]
    float codebook[16];
    int leaves; // held and not empty
    struct {
        int64_t begin, end; // columns held
        int64_t at;         // its first column in the padded order of AMX, MMA and WGMMA
        int depth, merges;  // the stack before it, and the additions of the two on top after it
    } leaf[WEFT_LEAVES];
    int roots;
    bool whole; // the one root is the whole sum: the epilogue may follow
} weft_gemm_weight;

// The memory that a pack needs, aligned to 64. Local, not blocking. INVALID, LIMIT or UNSUPPORTED for sources that do
// not fit each other or the family; OVERFLOW.
weft_status weft_gemm_pack_bytes(weft_family family, const weft_gemm_source *sources, int count, weft_fuse fuse,
                                 const weft_gemm_leaves *leaves, size_t *bytes);

// A weight whose packed bytes were copied to `memory`, of a device perhaps. They hold no pointers.
void weft_gemm_weight_move(weft_gemm_weight *weight, void *memory);

enum { WEFT_GEMM_PANEL = 32 }; // packed rows in a panel; behind a gate half of them are gate's and half are up's
int64_t weft_gemm_panels(const weft_gemm_weight *weight);

// ---- the run --------------------------------------------------------------------------------------------------------

typedef enum { WEFT_ACT_NONE, WEFT_ACT_SILU, WEFT_ACT_GELU_TANH, WEFT_ACT_GELU_ERF } weft_act;

// Activation rows where they were made, in pieces that follow each other.
typedef struct {
    int count;
    const int64_t *begin;     // [count + 1] the first row of each, from 0 to m
    const void *const *piece; // [count] its rows, a_stride apart
    bool halves;              // they are rounded already, as weft_norm.halves says; not FMA, not AMX when `exact`
} weft_gemm_rows;

// Several weights, alike but for what they hold, that lie one behind the other in memory: the experts of a layer. The
// run is given the first, and a result's row has the bits that a run of its weight alone gives it.
typedef struct {
    int count;
    // [count + 1], ascending: the rows of weight g are offsets[g] - offsets[0] up to offsets[g + 1] - offsets[0] - 1,
    // and m is offsets[count] - offsets[0]. On a device they may be known to the device alone.
    const int32_t *offsets;
    size_t bias_stride; // floats from one weight's bias to the next one's
} weft_gemm_groups;

// After the tree, once, in this order, each where it is given: + bias, + addend, act (behind a gate: act(gate) * up),
// + residual. A weight that holds a part of the leaves only takes none of them. Strides in floats.
typedef struct {
    int64_t m;
    const float *a; // (m, k)
    size_t a_stride;
    const weft_gemm_rows *rows;     // instead of `a`, or NULL
    const int32_t *index;           // (m): row i meets a[index[i]]; NULL: a[i]. With `a` alone.
    const weft_gemm_groups *groups; // NULL: all rows meet the one weight. With `a`, without permutation.
    float *out[WEFT_ROOTS_MAX];     // (m, columns), one a root
    size_t out_stride;
    const float *bias;   // (n): of gate, then of up
    const float *addend; // (m, n): likewise
    size_t addend_stride;
    weft_act act;
    const float *residual; // (m, columns); may be out[0] itself with the same stride
    size_t residual_stride;
} weft_gemm_args;

// Bytes of op->scratch that a run of m rows by `threads` threads needs. The table's level does not matter; a device
// needs as much for one thread, but in the FMA family nothing.
size_t weft_gemm_scratch(const weft_gemm_weight *weight, int64_t m, int threads);

#ifdef __cplusplus
}
#endif
#endif
