// Errors and memory of the emulated device. Each allocation ends before a page that nobody can touch, but for bytes
// that are looked at when it is freed.
#include <fcntl.h>
#include <map>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/emulator/run.h"

emu_lock emu_one_lock;

void emu_breathe(void)
{
    const int depth = emu_one_lock.depth;
    for (int i = 0; i < depth; i++) emu_one_lock.unlock();
    usleep(20);
    for (int i = 0; i < depth; i++) emu_one_lock.lock();
}

uint64_t wi_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void wi_word_pause(void)
{
    emu_pause();
    emu_breathe();
}

static thread_local cudaError_t last_error;

cudaError_t emu_told(cudaError_t error)
{
    if (error != cudaSuccess) last_error = error;
    return error;
}

const char *cudaGetErrorString(cudaError_t error)
{
#define TEXT(name, number, text)                                                                                       \
    case name:                                                                                                         \
        return text;
    switch (error) {
        EMU_CUDA_ERROR_LIST(TEXT)
    }
    return "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t error)
{
#define NAME(name, number, text)                                                                                       \
    case name:                                                                                                         \
        return #name;
    switch (error) {
        EMU_CUDA_ERROR_LIST(NAME)
    }
    return "unrecognized error code";
}

cudaError_t cudaPeekAtLastError(void) { return last_error; }

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

int emu_setting(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

// ---- memory ---------------------------------------------------------------------------------------------------------

enum { PAGE = 4096, ALIGN = 256, GUARD_BYTE = 0x5a };
static std::map<const unsigned char *, emu_allocation> allocations;
static const emu_allocation *last_found; // most ask for the same one again
static const unsigned char *last_at;
static size_t held;

// Memory of the device cannot be touched by host code where the processor has protection keys.
static int device_key(void)
{
    static int key = -2;
    if (key == -2) key = emu_setting("WEFT_EMULATOR_KEYS", 1) ? pkey_alloc(0, PKEY_DISABLE_ACCESS) : -1;
    return key;
}

void emu_let_touch(bool may)
{
    if (device_key() >= 0) pkey_set(device_key(), may ? 0 : PKEY_DISABLE_ACCESS);
}

const emu_allocation *emu_allocation_of(const void *at, size_t bytes)
{
    const unsigned char *byte = (const unsigned char *)at;
    if (last_found && byte >= last_at && byte + bytes <= last_at + last_found->bytes) return last_found;
    auto next = allocations.upper_bound(byte);
    if (next == allocations.begin()) return nullptr;
    --next;
    if (byte + bytes > next->first + next->second.bytes) return nullptr;
    last_at = next->first;
    last_found = &next->second;
    return last_found;
}

// Says who touched what, where nobody else looks at such signals.
static void on_fault(int, siginfo_t *info, void *)
{
    const unsigned char *at = (const unsigned char *)info->si_addr;
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    for (const auto &one : allocations) {
        const unsigned char *end = one.first + one.second.bytes;
        if (!one.second.map) continue; // the host's own
        if (at >= one.second.map && at < end)
            emu_die(nullptr, 0, "touched %p, which is the device's: byte %td of %zu", (const void *)at, at - one.first,
                    one.second.bytes);
        if (at >= end && at < one.second.map + one.second.mapped)
            emu_die(nullptr, 0, "touched %p, %td bytes past the end of %zu", (const void *)at, at - end,
                    one.second.bytes);
    }
    emu_die(nullptr, 0, "touched %p, which is nobody's", (const void *)at);
}

void emu_watch_faults(void)
{
    static thread_local bool watched;
    if (watched) return;
    watched = true;
    for (int number : {SIGSEGV, SIGBUS}) {
        struct sigaction action = {};
        sigaction(number, nullptr, &action);
        const bool ours = (action.sa_flags & SA_SIGINFO) && action.sa_sigaction == on_fault;
        if (!ours && ((action.sa_flags & SA_SIGINFO) || action.sa_handler != SIG_DFL)) continue;
        if (number == SIGSEGV) { // for when a thread's own stack is used up
            const stack_t other = {malloc(1 << 17), 0, 1 << 17};
            sigaltstack(&other, nullptr);
        }
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        action.sa_sigaction = on_fault;
        sigaction(number, &action, nullptr);
    }
}

bool emu_device_reaches(const void *at, size_t bytes) { return emu_allocation_of(at, bytes); }

cudaError_t emu_alloc(void **out, size_t bytes, cudaMemoryType type)
{
    EMU_ONE_AT_A_TIME;
    emu_watch_faults();
    *out = nullptr;
    if (bytes == 0) return cudaSuccess;
    if (bytes > (size_t)1 << 40) return emu_told(cudaErrorMemoryAllocation);
    size_t whole = (bytes + ALIGN - 1) / ALIGN * ALIGN, pages = (whole + PAGE - 1) / PAGE * PAGE;
    // What other processes may want to map.
    const int file =
        type == cudaMemoryTypeDevice && bytes % EMU_IPC_BYTES == 0 ? memfd_create("device", MFD_CLOEXEC) : -1;
    if (file >= 0 && ftruncate(file, (off_t)(pages + PAGE)) != 0) return emu_told(cudaErrorMemoryAllocation);
    unsigned char *map =
        (unsigned char *)mmap(nullptr, pages + PAGE, PROT_READ | PROT_WRITE,
                              file >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, file, 0);
    if (map == MAP_FAILED) return emu_told(cudaErrorMemoryAllocation);
    mprotect(map + pages, PAGE, PROT_NONE);
    unsigned char *at = map + pages - whole;
    // What nobody wrote is poison, but not all of what is very large.
    const size_t most = (size_t)64 << 20;
    memset(at, 0xff, bytes < most ? bytes : most);
    memset(at + bytes, GUARD_BYTE, whole - bytes);
    if (type == cudaMemoryTypeDevice && device_key() >= 0)
        pkey_mprotect(map, pages, PROT_READ | PROT_WRITE, device_key());
    allocations[at] = {map, pages + PAGE, bytes, type, file, false};
    held += bytes;
    *out = at;
    return cudaSuccess;
}

cudaError_t emu_release(void *at, bool host)
{
    if (!at) return cudaSuccess;
    auto found = allocations.find((const unsigned char *)at);
    if (found == allocations.end() || !found->second.map || found->second.theirs ||
        (found->second.type == cudaMemoryTypeHost) != host)
        return emu_told(cudaErrorInvalidValue);
    emu_allocation *of = &found->second;
    emu_let_touch(true);
    const unsigned char *end = found->first + of->bytes;
    for (size_t i = 0; end + i < of->map + of->mapped - PAGE; i++)
        if (end[i] != GUARD_BYTE)
            emu_die(nullptr, 0, "memory of %zu bytes that is freed was written %zu bytes past its end", of->bytes, i);
    emu_let_touch(false);
    held -= of->bytes;
    munmap(of->map, of->mapped);
    if (of->file >= 0) close(of->file);
    last_found = nullptr;
    allocations.erase(found);
    return cudaSuccess;
}

// ---- memory of other processes --------------------------------------------------------------------------------------

struct emu_handle {
    uint64_t mark;
    int pid, file;
    size_t mapped, at, bytes;
};
static_assert(sizeof(emu_handle) <= sizeof(cudaIpcMemHandle_t), "a handle");
static const uint64_t HANDLE_MARK = 0x656c646e6168;

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t *out, void *at)
{
    EMU_ONE_AT_A_TIME;
    auto found = allocations.find((const unsigned char *)at);
    if (getenv("EMULATED_IPC")) return emu_told(cudaErrorNotSupported); // off, as in some containers
    if (found == allocations.end() || found->second.file < 0) return emu_told(cudaErrorInvalidValue);
    const emu_allocation *of = &found->second;
    const emu_handle handle = {HANDLE_MARK, getpid(), of->file, of->mapped, (size_t)(found->first - of->map),
                               of->bytes};
    memcpy(out, &handle, sizeof handle);
    return cudaSuccess;
}

cudaError_t cudaIpcOpenMemHandle(void **out, cudaIpcMemHandle_t from, unsigned)
{
    EMU_ONE_AT_A_TIME;
    emu_handle handle;
    memcpy(&handle, &from, sizeof handle);
    if (handle.mark != HANDLE_MARK || handle.pid == getpid()) return emu_told(cudaErrorInvalidResourceHandle);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", handle.pid, handle.file);
    const int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return emu_told(cudaErrorInvalidResourceHandle);
    unsigned char *map = (unsigned char *)mmap(nullptr, handle.mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (map == MAP_FAILED) return emu_told(cudaErrorMemoryAllocation);
    mprotect(map + handle.mapped - PAGE, PAGE, PROT_NONE);
    if (device_key() >= 0) pkey_mprotect(map, handle.mapped - PAGE, PROT_READ | PROT_WRITE, device_key());
    allocations[map + handle.at] = {map, handle.mapped, handle.bytes, cudaMemoryTypeDevice, -1, true};
    *out = map + handle.at;
    emu_work_aside();
    return cudaSuccess;
}

cudaError_t cudaIpcCloseMemHandle(void *at)
{
    EMU_ONE_AT_A_TIME;
    auto found = allocations.find((const unsigned char *)at);
    if (found == allocations.end() || !found->second.theirs) return emu_told(cudaErrorInvalidValue);
    cudaDeviceSynchronize();
    munmap(found->second.map, found->second.mapped);
    last_found = nullptr;
    allocations.erase(found);
    return cudaSuccess;
}

cudaError_t cudaFree(void *at)
{
    EMU_ONE_AT_A_TIME;
    if (at) cudaDeviceSynchronize();
    return emu_release(at, false);
}

cudaError_t cudaFreeHost(void *at)
{
    EMU_ONE_AT_A_TIME;
    if (at) cudaDeviceSynchronize();
    return emu_release(at, true);
}

// The host's own memory, whole pages, that a device reaches from now on.
cudaError_t cudaHostRegister(void *at, size_t bytes, unsigned)
{
    EMU_ONE_AT_A_TIME;
    const unsigned char *byte = (const unsigned char *)at;
    if (!at || bytes == 0 || (uintptr_t)at % PAGE) return emu_told(cudaErrorInvalidValue);
    auto next = allocations.lower_bound(byte);
    if ((next != allocations.end() && next->first < byte + bytes) || emu_allocation_of(at, 1))
        return emu_told(cudaErrorHostMemoryAlreadyRegistered);
    allocations[byte] = {nullptr, 0, bytes, cudaMemoryTypeHost, -1, false};
    return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *at)
{
    EMU_ONE_AT_A_TIME;
    auto found = allocations.find((const unsigned char *)at);
    if (found == allocations.end() || found->second.map) return emu_told(cudaErrorHostMemoryNotRegistered);
    cudaDeviceSynchronize();
    last_found = nullptr;
    allocations.erase(found);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    EMU_ONE_AT_A_TIME;
    *total_bytes = (size_t)16 << 30;
    *free_bytes = *total_bytes > held ? *total_bytes - held : 0;
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *out, const void *at)
{
    EMU_ONE_AT_A_TIME;
    const emu_allocation *of = emu_allocation_of(at, 1);
    void *pointer = const_cast<void *>(at);
    *out = {cudaMemoryTypeUnregistered, -2, nullptr, pointer};
    if (of) *out = {of->type, 0, pointer, of->type == cudaMemoryTypeDevice ? nullptr : pointer};
    return cudaSuccess;
}
