// Device memory: one region of address space, with a byte of shadow for each byte.
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "common/emulator/machine.hpp"

namespace attn::emulator {

std::uintptr_t arena_low = 0;
std::uint8_t* arena_shadow = nullptr;

const void* instruction_of([[maybe_unused]] void* signal_context) {
#if defined(__x86_64__)
    return reinterpret_cast<const void*>(static_cast<const ucontext_t*>(signal_context)->uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
    return reinterpret_cast<const void*>(static_cast<const ucontext_t*>(signal_context)->uc_mcontext.pc);
#else
    return nullptr;
#endif
}

namespace {

constexpr std::size_t alignment = 256;  // what cudaMalloc promises
constexpr std::size_t red_zone = 256;   // between two allocations

struct Allocation {
    std::size_t bytes = 0;
    bool live = false;
    HostPlace allocated_at, freed_at;
    const char* name = nullptr;  // of the tensor that it holds
    bool is_known_leak = false;
};

std::map<std::uintptr_t, Allocation> allocations;  // by address, freed ones too until their place is needed
std::map<std::uintptr_t, std::size_t> pinned;      // bytes by address
std::uintptr_t next_address = 0;
std::int64_t bytes_held = 0, most_bytes_held = 0;
bool arena_open = false;

// A memory fault ends the program: say before why, where it is our business.
void report_fault(int, siginfo_t* info, void* context) {
    ::signal(SIGSEGV, SIG_DFL);  // returning from here runs the access again
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    if (const Worker* worker = current; worker && worker->is_guard(address)) {
        fmt::print(stderr,
                   "\nemulator: the local variables of thread ({},{},{}) of kernel {} need more than the {} KiB that a "
                   "thread has here: an array too large, or a recursion without end?\n",
                   worker->running->thread_index.x, worker->running->thread_index.y, worker->running->thread_index.z,
                   function_name(worker->launch->request->kernel), stack_bytes >> 10);
    } else if (arena_low && address - arena_low < arena_bytes && !arena_open) {
        print_finding(finding_at(
            source_line(host_place(instruction_of(context), 1)), FindingKind::host_access,
            fmt::format("Host code touches device memory, at {}: a pointer from cudaMalloc() can only be followed in a "
                        "kernel. Copy with cudaMemcpy() first.",
                        describe_device_address(address, 1))));
    }
}

void reserve_arena() {
    void* arena = ::mmap(nullptr, arena_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void* shadow =
        ::mmap(nullptr, arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED || shadow == MAP_FAILED) {
        std::fprintf(stderr, "emulator: cannot reserve %zu MiB of address space for device memory\n",
                     2 * (arena_bytes >> 20));
        std::abort();
    }
    arena_low = next_address = reinterpret_cast<std::uintptr_t>(arena);
    arena_shadow = static_cast<std::uint8_t*>(shadow);
    std::atexit(find_leaks);
    struct sigaction action {
    }, old{};
    ::sigaction(SIGSEGV, nullptr, &old);
    if (old.sa_handler == SIG_DFL) {
        action.sa_sigaction = report_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        ::sigaction(SIGSEGV, &action, nullptr);
    }
}

std::uint8_t* shadow_of(std::uintptr_t address) { return arena_shadow + (address - arena_low); }

// First fit between the live allocations, once the end of the region is reached. Until then nothing is used twice, so
// that a freed buffer stays recognisable.
std::uintptr_t find_place(std::size_t bytes) {
    std::size_t needed = (bytes + alignment - 1) / alignment * alignment + red_zone;
    if (next_address + needed <= arena_low + arena_bytes) {
        std::uintptr_t place = next_address;
        next_address += needed;
        return place;
    }
    std::uintptr_t place = arena_low;
    for (auto entry = allocations.begin(); entry != allocations.end();) {
        if (!entry->second.live) {
            entry = allocations.erase(entry);
            continue;
        }
        if (place + needed <= entry->first) return place;
        place = (entry->first + entry->second.bytes + alignment - 1) / alignment * alignment + red_zone;
        ++entry;
    }
    if (place + needed > arena_low + arena_bytes) return 0;
    next_address = std::max(next_address, place + needed);
    return place;
}

// The live allocation that holds all of the bytes.
bool inside_allocation(const void* pointer, std::size_t bytes) {
    auto address = reinterpret_cast<std::uintptr_t>(pointer);
    auto after = allocations.upper_bound(address);
    if (after == allocations.begin()) return false;
    const auto& [low, allocation] = *std::prev(after);
    return allocation.live && address - low <= allocation.bytes && bytes <= allocation.bytes - (address - low);
}

bool in_arena(const void* pointer) {
    return arena_low && reinterpret_cast<std::uintptr_t>(pointer) - arena_low < arena_bytes;
}

cudaError_t allocate(void** pointer, std::size_t bytes, const void* caller) {
    std::lock_guard lock(device_mutex);
    if (!pointer) return cudaErrorInvalidValue;
    if (!arena_low) reserve_arena();
    if (bytes == 0) {
        *pointer = nullptr;
        return cudaSuccess;
    }
    if (bytes > arena_bytes) return cudaErrorMemoryAllocation;
    std::uintptr_t place = find_place(bytes);
    if (!place) return cudaErrorMemoryAllocation;
    allocations[place] = {bytes, true, host_place(caller), {}, nullptr, false};
    std::memset(shadow_of(place), allocated, bytes);
    // What stood here before is forgotten: beyond the end is out of bounds, not freed.
    std::memset(shadow_of(place) + bytes, unallocated, (alignment - bytes % alignment) % alignment + red_zone);
    bytes_held += static_cast<std::int64_t>(bytes);
    most_bytes_held = std::max(most_bytes_held, bytes_held);
    *pointer = reinterpret_cast<void*>(place);
    return cudaSuccess;
}

}  // namespace

void open_arena() {
    if (arena_low && !arena_open)
        ::mprotect(reinterpret_cast<void*>(arena_low), next_address - arena_low, PROT_READ | PROT_WRITE);
    arena_open = true;
}

void close_arena() {
    if (arena_low && arena_open) ::mprotect(reinterpret_cast<void*>(arena_low), next_address - arena_low, PROT_NONE);
    arena_open = false;
}

std::int64_t peak_device_bytes() { return most_bytes_held; }
void restart_peak_device_bytes() { most_bytes_held = bytes_held; }

namespace {

std::string describe(const Allocation& allocation, std::int64_t offset, std::size_t access_bytes) {
    const auto size = static_cast<std::int64_t>(access_bytes);
    const std::string whose =
        allocation.name ? allocation.name
                        : fmt::format("the memory allocated at {}", text(source_line(allocation.allocated_at)));
    // What a kernel reads at once is an element, as far as one can see from here.
    if (std::has_single_bit(access_bytes) && access_bytes > 1 && access_bytes <= 16 && offset % size == 0 &&
        allocation.bytes % access_bytes == 0)
        return fmt::format("element {} (of 0 … {}) of {}", offset / size, allocation.bytes / access_bytes - 1, whose);
    return fmt::format("byte {} (of 0 … {}) of {}", offset, allocation.bytes - 1, whose);
}

using Entry = std::map<std::uintptr_t, Allocation>::const_iterator;

// The allocation that the address is in, or is nearest to.
Entry nearest(std::uintptr_t address) {
    Entry after = allocations.upper_bound(address);
    if (after == allocations.begin()) return after;
    const Entry before = std::prev(after);
    const std::uintptr_t end = before->first + before->second.bytes;
    return address < end || after == allocations.end() || address - end <= after->first - address ? before : after;
}

}  // namespace

std::string describe_device_address(std::uintptr_t address, std::size_t access_bytes) {
    const Entry entry = nearest(address);
    if (entry == allocations.end()) return "an address where nothing is allocated";
    return describe(entry->second, static_cast<std::int64_t>(address - entry->first), access_bytes);
}

bool is_pinned(std::uintptr_t address, std::size_t bytes) {
    auto after = pinned.upper_bound(address);
    return after != pinned.begin() && address + bytes <= std::prev(after)->first + std::prev(after)->second;
}

std::string describe_free(std::uintptr_t address) {
    const Entry entry = nearest(address);
    if (entry == allocations.end() || !entry->second.freed_at.caller) return "by cudaDeviceReset()";
    return "at " + text(source_line(entry->second.freed_at));
}

void name_allocation(const void* pointer, const char* name) {
    std::lock_guard lock(device_mutex);
    auto entry = allocations.find(reinterpret_cast<std::uintptr_t>(pointer));
    if (entry != allocations.end()) entry->second.name = name;
}

void find_leaks() {
    std::lock_guard lock(device_mutex);
    if (!findings().empty() || sticky(cudaPeekAtLastError())) return;
    std::map<std::pair<std::string, int>, std::pair<std::size_t, std::size_t>> by_line;  // allocations, bytes
    for (auto& [address, allocation] : allocations) {
        if (!allocation.live || allocation.is_known_leak) continue;
        allocation.is_known_leak = true;
        const SourceLine line = source_line(allocation.allocated_at);
        auto& [count, bytes] = by_line[{line.file, line.line}];
        ++count, bytes += allocation.bytes;
    }
    for (const auto& [line, sum] : by_line)
        add_finding(finding_at(
            {line.first, line.second}, FindingKind::leak,
            fmt::format("{} bytes of device memory, from {} cudaMalloc, were never freed. Each needs its cudaFree, on "
                        "every way out; or an owner that frees it when it goes out of scope.",
                        sum.second, sum.first == 1 ? "one call of" : fmt::format("{} calls of", sum.first))));
}

cudaError_t copy_to_symbol(void* symbol, std::size_t symbol_bytes, const void* from, std::size_t bytes,
                           std::size_t offset) {
    if (offset > symbol_bytes || bytes > symbol_bytes - offset || !from) return set_error(cudaErrorInvalidValue);
    std::memcpy(static_cast<char*>(symbol) + offset, from, bytes);
    return cudaSuccess;
}

cudaError_t copy_from_symbol(void* to, const void* symbol, std::size_t symbol_bytes, std::size_t bytes,
                             std::size_t offset) {
    if (offset > symbol_bytes || bytes > symbol_bytes - offset || !to) return set_error(cudaErrorInvalidValue);
    std::memcpy(to, static_cast<const char*>(symbol) + offset, bytes);
    return cudaSuccess;
}

void free_all_device_memory() {
    find_leaks();
    std::lock_guard lock(device_mutex);
    for (auto& [address, allocation] : allocations)
        if (allocation.live) std::memset(shadow_of(address), freed, allocation.bytes), allocation.live = false;
    bytes_held = 0;
}

}  // namespace attn::emulator

using namespace attn::emulator;

namespace {

void report_invalid_free(const void* pointer, const HostPlace& place) {
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    std::string message;
    if (!in_arena(pointer)) {
        message = "cudaFree() of host memory. What new or malloc gave is for delete or free.";
    } else if (const Entry entry = nearest(address); entry != allocations.end() && entry->first == address) {
        message = fmt::format(
            "cudaFree() of memory that was freed before, {}. Who owns this buffer? Free it once, or let an owner do "
            "it.",
            describe_free(address));
    } else {
        message = fmt::format("cudaFree() of {}: only the pointer that cudaMalloc() gave can be freed.",
                              describe_device_address(address, 1));
    }
    add_finding(finding_at(source_line(place), FindingKind::invalid_free, std::move(message)));
}

}  // namespace

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
    if (cudaError_t error = cudaPeekAtLastError(); sticky(error)) return error;
    cudaError_t error = allocate(pointer, bytes, __builtin_return_address(0));
    return error == cudaSuccess ? error : set_error(error);
}

cudaError_t cudaFree(void* pointer) {
    if (!pointer) return cudaSuccess;
    const HostPlace place = host_place(__builtin_return_address(0));
    std::lock_guard lock(device_mutex);
    auto entry = allocations.find(reinterpret_cast<std::uintptr_t>(pointer));
    if (entry == allocations.end() || !entry->second.live) {
        report_invalid_free(pointer, place);
        return set_error(cudaErrorInvalidValue);
    }
    entry->second.live = false;
    entry->second.freed_at = place;
    std::memset(shadow_of(entry->first), freed, entry->second.bytes);
    bytes_held -= static_cast<std::int64_t>(entry->second.bytes);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
    *pointer = std::malloc(bytes);
    std::lock_guard lock(device_mutex);
    if (*pointer) pinned[reinterpret_cast<std::uintptr_t>(*pointer)] = bytes;
    return *pointer || bytes == 0 ? cudaSuccess : set_error(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void* pointer) {
    std::lock_guard lock(device_mutex);
    pinned.erase(reinterpret_cast<std::uintptr_t>(pointer));
    std::free(pointer);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    if (cudaError_t error = cudaPeekAtLastError(); sticky(error)) return error;
    if (bytes == 0) return cudaSuccess;
    std::lock_guard lock(device_mutex);
    if (kind == cudaMemcpyDefault) {
        kind = in_arena(to) ? (in_arena(from) ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice)
                            : (in_arena(from) ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost);
    }
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    bool right_side = in_arena(to) == to_device && in_arena(from) == from_device && to && from;
    if (!right_side || (to_device && !inside_allocation(to, bytes)) || (from_device && !inside_allocation(from, bytes)))
        return set_error(cudaErrorInvalidValue);
    open_arena();
    std::memmove(to, from, bytes);
    close_arena();
    auto target = reinterpret_cast<std::uintptr_t>(to), source = reinterpret_cast<std::uintptr_t>(from);
    if (kind == cudaMemcpyHostToDevice) std::memset(shadow_of(target), written, bytes);
    if (kind == cudaMemcpyDeviceToDevice) std::memmove(shadow_of(target), shadow_of(source), bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
    return cudaMemcpy(to, from, bytes, kind);
}

cudaError_t cudaMemset(void* pointer, int value, std::size_t bytes) {
    if (cudaError_t error = cudaPeekAtLastError(); sticky(error)) return error;
    if (bytes == 0) return cudaSuccess;
    std::lock_guard lock(device_mutex);
    if (!inside_allocation(pointer, bytes)) return set_error(cudaErrorInvalidValue);
    open_arena();
    std::memset(pointer, value, bytes);
    close_arena();
    std::memset(shadow_of(reinterpret_cast<std::uintptr_t>(pointer)), written, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* pointer, int value, std::size_t bytes, cudaStream_t) {
    return cudaMemset(pointer, value, bytes);
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
    std::lock_guard lock(device_mutex);
    *total = arena_bytes;
    *free = arena_bytes - static_cast<std::size_t>(bytes_held);
    return cudaSuccess;
}
