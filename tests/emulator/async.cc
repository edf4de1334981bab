// mbarriers, and the copies that go on beside the threads: a copy is done at a point drawn by chance, at the latest
// when all threads wait. Until then its place in shared memory is poison.
#include "kernels/cuda/ptx.cuh"
#include "tests/emulator/run.h"

// An mbarrier's 64 bits: arrivals of a phase, how many are left, the phase's parity, bytes that copies owe, and a mark.
struct emu_mbar {
    unsigned count, left, phase;
    int owed;
};
enum { MARK = 0x2d3, OWED_BIAS = 1 << 20, OWED_MAX = (1 << 20) - 1, COUNT_MAX = (1 << 15) - 1 };

struct emu_tensor {
    uint64_t mark;
    const unsigned char *global;
    uint64_t size[3], stride[2];
    uint32_t box[3], rank;
};
static_assert(sizeof(emu_tensor) <= sizeof(CUtensorMap), "a map holds its tensor");
enum { TENSOR_MARK = 0x77656674 };

struct emu_copy {
    unsigned char *shared;
    uint64_t *bar;
    const char *file;
    int line;
    uint32_t bytes;
    const unsigned char *global; // of a plain one
    emu_tensor tensor;           // rank 0: a plain one
    int64_t at[3];
};
static std::vector<emu_copy> copies;
static std::vector<emu_fiber *> waiters;
static const emu_fiber *unfenced; // who has made an mbarrier and has not yet called wi_mbar_init_done

static uint64_t packed(const emu_mbar *bar)
{
    return (uint64_t)bar->count | (uint64_t)bar->left << 15 | (uint64_t)bar->phase << 30 |
           (uint64_t)(bar->owed + OWED_BIAS) << 31 | (uint64_t)MARK << 54;
}

static bool unpacked(const uint64_t *at, emu_mbar *out)
{
    uint64_t bits = *at;
    *out = {(unsigned)(bits & COUNT_MAX), (unsigned)(bits >> 15 & COUNT_MAX), (unsigned)(bits >> 30 & 1),
            (int)(bits >> 31 & 0x3fffff) - OWED_BIAS};
    return bits >> 54 == MARK && (bits >> 53 & 1) == 0;
}

static void only_hopper(const char *what, const char *file, int line)
{
    if (emu_capability() < 90) emu_die(file, line, "%s: the device's capability is below 9.0", what);
}

static bool in_shared(const void *at, size_t bytes)
{
    size_t offset = (size_t)((const unsigned char *)at - emu_shared_now);
    return offset <= emu_shared_bytes && bytes <= emu_shared_bytes - offset;
}

uint32_t wi_shared_at(const void *shared, const char *file, int line)
{
    if (!in_shared(shared, 0)) emu_die(file, line, "%p is not in the block's dynamic shared memory", shared);
    return (uint32_t)((const unsigned char *)shared - emu_shared_now) + EMU_SHARED_FIRST;
}

std::string emu_mbar_text(const uint64_t *at, int parity)
{
    emu_mbar bar;
    std::string text = "mbarrier";
    if (in_shared(at, 8)) text += " shared+" + std::to_string((const unsigned char *)at - emu_shared_now);
    if (unpacked(at, &bar))
        text += ", parity " + std::to_string(parity) + " (" + std::to_string(bar.left) + " of " +
                std::to_string(bar.count) + " arrivals and " + std::to_string(bar.owed) + " bytes to come)";
    return text;
}

void emu_async_begin(void)
{
    copies.clear();
    waiters.clear();
    unfenced = nullptr;
}

void emu_async_end(void)
{
    if (!copies.empty())
        emu_die(copies[0].file, copies[0].line, "the block has ended before %zu copies that nobody waited for",
                copies.size());
}

// ---- mbarriers ------------------------------------------------------------------------------------------------------

static emu_mbar mbar_of(const uint64_t *at, const char *what, const char *file, int line)
{
    emu_mbar bar;
    only_hopper(what, file, line);
    if ((uintptr_t)at % 8) emu_die(file, line, "%s: an mbarrier is aligned to 8", what);
    if (!unpacked(at, &bar)) emu_die(file, line, "%s: no mbarrier was made here, or it was overwritten", what);
    if (unfenced) emu_die(file, line, "%s: mbarriers are used before wi_mbar_init_done", what);
    return bar;
}

static void mbar_changed(uint64_t *at, emu_mbar *bar)
{
    if (bar->left || bar->owed) {
        *at = packed(bar);
        return;
    }
    bar->left = bar->count;
    bar->phase ^= 1;
    *at = packed(bar);
    for (size_t i = 0; i < waiters.size();) {
        emu_fiber *fiber = waiters[i];
        if (fiber->bar == at && (unsigned)fiber->parity != bar->phase) {
            waiters[i] = waiters.back();
            waiters.pop_back();
            emu_wake(fiber);
        } else {
            i++;
        }
    }
}

void wi_mbar_init(uint64_t *at, int count, const char *file, int line)
{
    only_hopper("wi_mbar_init", file, line);
    if ((uintptr_t)at % 8) emu_die(file, line, "wi_mbar_init: an mbarrier is aligned to 8");
    if (count < 1 || count > COUNT_MAX) emu_die(file, line, "wi_mbar_init: %d arrivals", count);
    for (const emu_fiber *fiber : waiters)
        if (fiber->bar == at) emu_die(file, line, "wi_mbar_init: a thread waits for it");
    emu_mbar bar = {(unsigned)count, (unsigned)count, 0, 0};
    *at = packed(&bar);
    unfenced = emu_at_work.at;
}

void wi_mbar_init_done(const char *file, int line)
{
    only_hopper("wi_mbar_init_done", file, line);
    if (unfenced == emu_at_work.at) unfenced = nullptr;
}

static void arrive(uint64_t *at, uint32_t bytes, const char *what, const char *file, int line)
{
    emu_mbar bar = mbar_of(at, what, file, line);
    if (!bar.left) emu_die(file, line, "%s: more arrivals than the mbarrier's %u", what, bar.count);
    bar.owed += (int)bytes;
    if (bytes > OWED_MAX || bar.owed > OWED_MAX)
        emu_die(file, line, "%s: %d bytes are more than it can count", what, bar.owed);
    bar.left--;
    mbar_changed(at, &bar);
    if (emu_chance(4)) emu_async_advance();
}

void wi_mbar_arrive(uint64_t *at, const char *file, int line) { arrive(at, 0, "wi_mbar_arrive", file, line); }

void wi_mbar_expect(uint64_t *at, uint32_t bytes, const char *file, int line)
{
    arrive(at, bytes, "wi_mbar_expect", file, line);
}

void wi_mbar_wait(uint64_t *at, int parity, const char *file, int line)
{
    if (parity != 0 && parity != 1) emu_die(file, line, "wi_mbar_wait: parity %d", parity);
    if (emu_chance(4)) emu_async_advance();
    emu_mbar bar = mbar_of(at, "wi_mbar_wait", file, line);
    if (bar.phase != (unsigned)parity) return;
    emu_fiber *self = emu_at_work.at;
    self->bar = at;
    self->parity = parity;
    waiters.push_back(self);
    emu_wait("wi_mbar_wait", file, line);
    self->bar = nullptr;
}

void wi_proxy_fence(const char *file, int line) { only_hopper("wi_proxy_fence", file, line); }

// ---- bulk copies ----------------------------------------------------------------------------------------------------

// As the swizzle of 128 bytes has it: bits 4-6 of an address are flipped by bits 7-9.
static unsigned char *swizzled(unsigned char *at)
{
    uintptr_t address = (uintptr_t)at;
    return (unsigned char *)(address ^ (address >> 7 & 7) << 4);
}

static void copy_tensor(const emu_copy *copy)
{
    const emu_tensor *tensor = &copy->tensor;
    unsigned char *to = copy->shared;
    for (uint32_t z = 0; z < tensor->box[2]; z++)
        for (uint32_t y = 0; y < tensor->box[1]; y++) {
            int64_t row = copy->at[1] + y, plane = copy->at[2] + z;
            bool there = row >= 0 && (uint64_t)row < tensor->size[1] && plane >= 0 && (uint64_t)plane < tensor->size[2];
            for (uint32_t x = 0; x < tensor->box[0]; x++, to += 2) {
                int64_t column = copy->at[0] + x;
                uint16_t value = 0;
                if (there && column >= 0 && (uint64_t)column < tensor->size[0])
                    memcpy(&value,
                           tensor->global + (uint64_t)plane * tensor->stride[1] + (uint64_t)row * tensor->stride[0] +
                               2 * (uint64_t)column,
                           2);
                memcpy(swizzled(to), &value, 2);
            }
        }
}

bool emu_async_advance(void)
{
    if (copies.empty()) return false;
    size_t which = emu_random_below((uint32_t)copies.size());
    emu_copy copy = copies[which];
    copies[which] = copies.back();
    copies.pop_back();
    if (copy.tensor.rank)
        copy_tensor(&copy);
    else
        memcpy(copy.shared, copy.global, copy.bytes);
    emu_mbar bar;
    if (!unpacked(copy.bar, &bar)) emu_die(copy.file, copy.line, "the copy's mbarrier was overwritten");
    bar.owed -= (int)copy.bytes;
    if (bar.owed < -OWED_MAX) emu_die(copy.file, copy.line, "more bytes came than the mbarrier can count");
    mbar_changed(copy.bar, &bar);
    return true;
}

static void begin_copy(emu_copy *copy, const char *what)
{
    mbar_of(copy->bar, what, copy->file, copy->line);
    if (!in_shared(copy->shared, copy->bytes))
        emu_die(copy->file, copy->line, "%s: %u bytes that are not all in the block's dynamic shared memory", what,
                copy->bytes);
    emu_poison(copy->shared, copy->bytes);
    copies.push_back(*copy);
    if (emu_chance(8)) emu_async_advance();
}

void wi_bulk(void *shared, const void *global, uint32_t bytes, uint64_t *bar, const char *file, int line)
{
    if (((uintptr_t)shared | (uintptr_t)global | bytes) % 16)
        emu_die(file, line, "wi_bulk: addresses and size are multiples of 16");
    if (!emu_device_reaches(global, bytes)) emu_die(file, line, "wi_bulk: %p is not the device's memory", global);
    emu_copy copy = {};
    copy.shared = (unsigned char *)shared, copy.bar = bar, copy.file = file, copy.line = line, copy.bytes = bytes;
    copy.global = (const unsigned char *)global;
    if (bytes) begin_copy(&copy, "wi_bulk");
}

static void tensor_copy(void *shared, const CUtensorMap *map, uint32_t rank, int x, int y, int z, uint64_t *bar,
                        const char *file, int line)
{
    const char *what = rank == 2 ? "wi_tensor2" : "wi_tensor3";
    emu_copy copy = {};
    memcpy(&copy.tensor, map, sizeof copy.tensor);
    if (copy.tensor.mark != TENSOR_MARK || copy.tensor.rank != rank)
        emu_die(file, line, "%s: this is no map of a tensor with %u dimensions", what, rank);
    if ((uintptr_t)shared % 128) emu_die(file, line, "%s: shared memory is aligned to 128", what);
    copy.shared = (unsigned char *)shared, copy.bar = bar, copy.file = file, copy.line = line;
    copy.bytes = 2 * copy.tensor.box[0] * copy.tensor.box[1] * copy.tensor.box[2];
    copy.at[0] = x, copy.at[1] = y, copy.at[2] = z;
    begin_copy(&copy, what);
}

void wi_tensor2(void *shared, const CUtensorMap *map, int x, int y, uint64_t *bar, const char *file, int line)
{
    tensor_copy(shared, map, 2, x, y, 0, bar, file, line);
}

void wi_tensor3(void *shared, const CUtensorMap *map, int x, int y, int z, uint64_t *bar, const char *file, int line)
{
    tensor_copy(shared, map, 3, x, y, z, bar, file, line);
}

void wi_tensor_prefetch(const CUtensorMap *map, const char *file, int line)
{
    emu_tensor tensor;
    only_hopper("wi_tensor_prefetch", file, line);
    memcpy(&tensor, map, sizeof tensor);
    if (tensor.mark != TENSOR_MARK) emu_die(file, line, "wi_tensor_prefetch: this is no map of a tensor");
}

// ---- maps: what cuTensorMapEncodeTiled refuses is refused -----------------------------------------------------------

static cudaError_t tensor_map(CUtensorMap *out, const emu_tensor *tensor)
{
    if (emu_capability() < 90) return cudaErrorNotSupported;
    if ((uintptr_t)tensor->global % 16 || !tensor->global) return cudaErrorInvalidValue;
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (!tensor->size[i] || tensor->size[i] > 1ull << 32 || !tensor->box[i] || tensor->box[i] > 256)
            return cudaErrorInvalidValue;
    for (uint32_t i = 0; i + 1 < tensor->rank; i++)
        if (tensor->stride[i] % 16 || !tensor->stride[i] || tensor->stride[i] >= 1ull << 40)
            return cudaErrorInvalidValue;
    // A narrower box is allowed, but how its rows lie is not what descriptors expect.
    if (tensor->box[0] != 64) return cudaErrorInvalidValue;
    uint64_t bytes =
        2 * tensor->size[0] + (tensor->size[1] - 1) * tensor->stride[0] + (tensor->size[2] - 1) * tensor->stride[1];
    if (!emu_device_reaches(tensor->global, bytes)) return cudaErrorInvalidValue;
    memset(out, 0, sizeof *out);
    memcpy((void *)out, tensor, sizeof *tensor);
    return cudaSuccess;
}

cudaError_t wi_tensor_map2(CUtensorMap *out, const void *global, uint64_t width, uint64_t rows, uint64_t row_bytes,
                           uint32_t box_width, uint32_t box_rows)
{
    emu_tensor tensor = {TENSOR_MARK,    (const unsigned char *)global, {width, rows, 1},
                         {row_bytes, 0}, {box_width, box_rows, 1},      2};
    return tensor_map(out, &tensor);
}

cudaError_t wi_tensor_map3(CUtensorMap *out, const void *global, uint64_t width, uint64_t rows, uint64_t row_bytes,
                           uint64_t planes, uint64_t plane_bytes, uint32_t box_width, uint32_t box_rows,
                           uint32_t box_planes)
{
    emu_tensor tensor = {TENSOR_MARK,
                         (const unsigned char *)global,
                         {width, rows, planes},
                         {row_bytes, plane_bytes},
                         {box_width, box_rows, box_planes},
                         3};
    return tensor_map(out, &tensor);
}

// ---- cp.async and loads ---------------------------------------------------------------------------------------------

void wi_copy16(void *shared, const void *global, bool there, const char *file, int line)
{
    if (((uintptr_t)shared | (uintptr_t)global) % 16) emu_die(file, line, "wi_copy16: addresses are multiples of 16");
    if (!in_shared(shared, 16)) emu_die(file, line, "wi_copy16: not in the block's dynamic shared memory");
    if (there && !emu_device_reaches(global, 16))
        emu_die(file, line, "wi_copy16: %p is not the device's memory", global);
    memset(shared, 0xff, 16);
    emu_at_work.at->copies.push_back({(unsigned char *)shared, there ? (const unsigned char *)global : nullptr});
}

void wi_copy_commit(const char *, int) { emu_at_work.at->groups.push_back(emu_at_work.at->copies.size()); }

void emu_copy_wait(int but, const char *, int)
{
    emu_fiber *self = emu_at_work.at;
    if (self->groups.size() <= (size_t)but) return;
    size_t groups = self->groups.size() - (size_t)but, done = self->groups[groups - 1];
    for (size_t i = 0; i < done; i++) {
        if (self->copies[i].from)
            memcpy(self->copies[i].to, self->copies[i].from, 16);
        else
            memset(self->copies[i].to, 0, 16);
    }
    self->copies.erase(self->copies.begin(), self->copies.begin() + (ptrdiff_t)done);
    self->groups.erase(self->groups.begin(), self->groups.begin() + (ptrdiff_t)groups);
    for (size_t &end : self->groups) end -= done;
}

uint4 wi_load_once(const void *global, const char *file, int line)
{
    uint4 got;
    if ((uintptr_t)global % 16) emu_die(file, line, "wi_load_once: addresses are multiples of 16");
    if (!emu_device_reaches(global, 16)) emu_die(file, line, "wi_load_once: %p is not the device's memory", global);
    memcpy(&got, global, 16);
    return got;
}
