// The memory hooks. Kernels are compiled with -fsanitize=thread, which plants a call before each load and store that
// leaves a function; that sanitizer's runtime is not linked, the functions it would have are defined here.
#include <cxxabi.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <typeinfo>

#include "common/emulator/machine.hpp"

namespace attn::emulator {

constinit thread_local Worker* current = nullptr;

namespace {

const char* verb(Access access) {
    return access == Access::load ? "reads" : access == Access::store ? "writes" : "atomically updates";
}

// The variable that the address stands in, or null.
const Variable* find(const std::vector<Variable>& variables, std::uintptr_t position, std::size_t bytes) {
    auto after = std::upper_bound(variables.begin(), variables.end(), position,
                                  [](std::uintptr_t p, const Variable& variable) { return p < variable.low; });
    if (after == variables.begin()) return nullptr;
    const Variable& candidate = *std::prev(after);
    return position + bytes <= candidate.low + candidate.bytes ? &candidate : nullptr;
}

std::string describe_shared(std::size_t offset) {
    const auto& variables = thread_local_variables();
    auto after = std::upper_bound(variables.begin(), variables.end(), offset,
                                  [](std::uintptr_t p, const Variable& variable) { return p < variable.low; });
    if (after == variables.begin()) return "shared memory";
    const Variable& nearest = *std::prev(after);
    return fmt::format("byte {} of the shared variable {} ({} bytes)", offset - nearest.low, nearest.name,
                       nearest.bytes);
}

[[noreturn]] void fail_elsewhere(Worker& worker, std::uintptr_t address, std::size_t bytes, Access access,
                                 const void* instruction) {
    auto stacks = reinterpret_cast<std::uintptr_t>(worker.stacks);
    if (address < 4096)
        worker.fail(FindingKind::out_of_bounds, cudaErrorIllegalAddress,
                    fmt::format("The kernel {} {} bytes through a null pointer. Was the buffer allocated, and was its "
                                "pointer passed to the kernel?",
                                verb(access), bytes),
                    instruction);
    if (address - stacks < (stack_bytes + guard_bytes) * max_threads_per_block)
        worker.fail(FindingKind::out_of_bounds, cudaErrorIllegalAddress,
                    fmt::format("The kernel {} a local variable of another thread: local memory belongs to one "
                                "thread. Use shared memory or a shuffle to exchange values.",
                                verb(access)),
                    instruction);
    worker.fail(FindingKind::host_memory, cudaErrorIllegalAddress,
                fmt::format("The kernel {} {} bytes of host memory. A kernel can only reach device memory: pass a "
                            "pointer from cudaMalloc, and copy the data there first.",
                            verb(access), bytes),
                instruction);
}

// A load asks for bytes that were written, a store and an atomic operation for bytes that exist.
bool allowed(const std::uint8_t* shadow, std::size_t bytes, Access access) {
    if (access == Access::store)
        return std::all_of(shadow, shadow + bytes, [](std::uint8_t s) { return s == allocated || s == written; });
    return std::all_of(shadow, shadow + bytes, [](std::uint8_t s) { return s == written; });
}

[[noreturn]] void fail_device(Worker& worker, std::uintptr_t address, std::size_t bytes, Access access,
                              const void* instruction) {
    const std::uint8_t* shadow = arena_shadow + (address - arena_low);
    std::string what =
        fmt::format("The kernel {} {} bytes at {}", verb(access), bytes, describe_device_address(address, bytes));
    if (std::find(shadow, shadow + bytes, freed) != shadow + bytes)
        worker.fail(FindingKind::use_after_free, cudaErrorIllegalAddress, what + ", which was freed before the launch.",
                    instruction);
    if (std::find(shadow, shadow + bytes, unallocated) != shadow + bytes)
        worker.fail(FindingKind::out_of_bounds, cudaErrorIllegalAddress,
                    what + ". Does the kernel check that its row and column are inside the tensor?", instruction);
    worker.fail(FindingKind::never_written, cudaErrorLaunchFailure,
                what + ", which nobody has written. Is something missing before this: a copy, a cudaMemset, a kernel?",
                instruction);
}

[[noreturn]] void fail_shared(Worker& worker, std::size_t offset, std::size_t bytes, Access access,
                              const void* instruction) {
    const std::uint8_t* shadow = worker.shared_shadow + offset;
    std::string what = fmt::format("The kernel {} {} bytes at {}", verb(access), bytes, describe_shared(offset));
    if (std::find(shadow, shadow + bytes, unallocated) != shadow + bytes)
        worker.fail(FindingKind::out_of_bounds, cudaErrorIllegalAddress,
                    what + ", outside of it. For `extern __shared__` the size is the launch's third number.",
                    instruction);
    worker.fail(FindingKind::never_written, cudaErrorLaunchFailure,
                what + ", which no thread of this block has written yet: shared memory starts without a value.",
                instruction);
}

void count(Worker& worker, bool shared, std::uintptr_t position, std::size_t bytes, Access access,
           const void* instruction) {
    Counts& counts = worker.counts;
    if (access == Access::atomic) {
        ++counts.atomics;
    } else if (shared) {
        ++(access == Access::load ? counts.shared_loads : counts.shared_stores);
        (access == Access::load ? counts.shared_load_bytes : counts.shared_store_bytes) += bytes;
    } else {
        ++(access == Access::load ? counts.global_loads : counts.global_stores);
        (access == Access::load ? counts.global_load_bytes : counts.global_store_bytes) += bytes;
    }
    if (access != Access::atomic && bytes <= 16)  // larger ones are no single instruction
        worker.log.add(worker.running->index, instruction, static_cast<std::uint32_t>(position),
                       static_cast<unsigned>(bytes), shared, access == Access::store);
}

// The two are one but for names, so that the common way through is short.
template <bool shared>
inline void check_race(Worker& worker, std::uintptr_t position, std::size_t bytes, Access access,
                       const void* instruction) {
    const Fiber& fiber = *worker.running;
    const Races::Place place{instruction, fiber.calls, std::min<int>(fiber.depth, std::size(fiber.calls)), fiber.path};
    const bool is_atomic = access == Access::atomic || worker.volatile_access;  // volatile: relaxed, in PTX's words
    const RaceAccess kind = access == Access::load ? (is_atomic ? RaceAccess::volatile_load : RaceAccess::load)
                                                   : (is_atomic ? RaceAccess::atomic : RaceAccess::store);
    const bool fine = shared ? worker.races.shared_access(fiber.index, position, bytes, kind, place)
                             : worker.races.global_access(fiber.index, position, bytes, kind, place);
    if (!fine)
        fail_of_race(worker, bytes, access != Access::load, is_atomic,
                     shared ? describe_shared(position) : describe_device_address(arena_low + position, bytes),
                     instruction);
}

// Shadow bytes of one access, in one comparison where the access is a power of two: 2, 4, 8 or 16 bytes.
bool all_written(const std::uint8_t* shadow, std::size_t bytes) {
    std::uint64_t value = 0, wanted = 0x0303030303030303u;
    if (bytes == 16) {
        std::uint64_t upper;
        std::memcpy(&value, shadow, 8), std::memcpy(&upper, shadow + 8, 8);
        return value == wanted && upper == wanted;
    }
    if (bytes == 4) {
        std::uint32_t four;
        std::memcpy(&four, shadow, 4);
        return four == 0x03030303u;
    }
    if (bytes == 8) {
        std::memcpy(&value, shadow, 8);
        return value == wanted;
    }
    return allowed(shadow, bytes, Access::load);
}

}  // namespace

void check_access(Worker& worker, std::uintptr_t address, std::size_t bytes, Access access, const void* instruction,
                  bool must_be_aligned) {
    if (address - worker.stack_low < stack_bytes) return;
    const LaunchRequest& request = *worker.launch->request;
    if (address - reinterpret_cast<std::uintptr_t>(request.arguments) < request.argument_bytes) return;
    if (must_be_aligned && std::has_single_bit(bytes) && bytes <= 16 && address % bytes != 0)
        worker.fail(FindingKind::misaligned, cudaErrorMisalignedAddress,
                    fmt::format("The kernel {} {} bytes at an address that is not a multiple of {}. Where does the row "
                                "start, and is its length a multiple of {} bytes?",
                                verb(access), bytes, bytes, bytes),
                    instruction);

    if (address - arena_low < arena_bytes) {
        std::uint8_t* shadow = arena_shadow + (address - arena_low);
        if (!all_written(shadow, bytes)) {
            if (!allowed(shadow, bytes, access)) fail_device(worker, address, bytes, access, instruction);
            std::memset(shadow, written, bytes);
        }
        count(worker, false, address - arena_low, bytes, access, instruction);
        check_race<false>(worker, address - arena_low, bytes, access, instruction);
        return;
    }

    if (std::size_t offset = address - worker.shared_low; offset < worker.shared_bytes) {
        std::uint8_t* shadow = worker.shared_shadow + offset;
        if (!all_written(shadow, bytes)) {
            if (*shadow == internal) return;
            if (!allowed(shadow, bytes, access)) fail_shared(worker, offset, bytes, access, instruction);
            std::memset(shadow, written, bytes);
            worker.shared_dirty_low = std::min(worker.shared_dirty_low, offset);
            worker.shared_dirty_high = std::max(worker.shared_dirty_high, offset + bytes);
        }
        count(worker, true, offset, bytes, access, instruction);
        check_race<true>(worker, offset, bytes, access, instruction);
        return;
    }

    static const Range image = program_image();
    if (image.contains(address)) {  // a __device__ or __constant__ variable, or a constant of the program
        if (access == Access::load || find(global_variables(), address, bytes)) return;
        worker.fail(FindingKind::out_of_bounds, cudaErrorIllegalAddress,
                    fmt::format("The kernel {} {} bytes outside of every __device__ variable.", verb(access), bytes),
                    instruction);
    }
    fail_elsewhere(worker, address, bytes, access, instruction);
}

void before_atomic(const void* address, unsigned bytes) {
    Worker* worker = current;
    if (!worker) return;
    auto position = reinterpret_cast<std::uintptr_t>(address);
    check_access(*worker, position, bytes, Access::atomic, __builtin_return_address(0));
    if (position - worker->shared_low >= worker->shared_bytes) worker->wait_for_lower_blocks();
    worker->races.synchronizes(worker->running->index, position - arena_low < arena_bytes, true, true, false);
}

}  // namespace attn::emulator

// ---- the functions that the compiler calls -------------------------------------------------------------------------

using attn::emulator::Access;
using attn::emulator::check_access;
using attn::emulator::current;
using attn::emulator::Worker;

namespace {

inline __attribute__((always_inline)) void hook(void* address, std::size_t bytes, Access access, const void* caller,
                                                bool must_be_aligned = true) {
    if (Worker* worker = current) {
        const auto position = reinterpret_cast<std::uintptr_t>(address);
        // Local variables: asked here, too, as it is the most frequent answer and the call costs more than the
        // question.
        if (position - worker->stack_low < attn::emulator::stack_bytes) return;
        check_access(*worker, position, bytes, access, caller, must_be_aligned);
    }
}

inline std::uint64_t part_of_path(const void* call, int depth) {
    return reinterpret_cast<std::uint64_t>(call) * (2 * static_cast<std::uint64_t>(depth) + 3);
}

// A thread that spins on a volatile flag must let the others run.
inline void volatile_hook(void* address, std::size_t bytes, Access access, const void* caller) {
    if (Worker* worker = current) {
        const auto position = reinterpret_cast<std::uintptr_t>(address);
        worker->volatile_access = true;
        check_access(*worker, position, bytes, access, caller);
        worker->volatile_access = false;
        const bool is_load = access == Access::load;
        worker->races.synchronizes(worker->running->index,
                                   position - attn::emulator::arena_low < attn::emulator::arena_bytes, is_load,
                                   !is_load, true);
        worker->mark_ready(worker->running->index);
        worker->switch_away();
    }
}

}  // namespace

#define ATTN_HOOK(name, bytes, access) \
    void name(void* address) { hook(address, bytes, access, __builtin_return_address(0)); }
// For types whose alignment is smaller than their size, such as a struct of two pointers: more than one access on a
// GPU.
#define ATTN_UNALIGNED_HOOK(name, bytes, access) \
    void name(void* address) { hook(address, bytes, access, __builtin_return_address(0), false); }
#define ATTN_VOLATILE_HOOK(name, bytes, access) \
    void name(void* address) { volatile_hook(address, bytes, access, __builtin_return_address(0)); }
#define ATTN_HOOKS(bytes)                                                          \
    ATTN_HOOK(__tsan_read##bytes, bytes, Access::load)                             \
    ATTN_HOOK(__tsan_write##bytes, bytes, Access::store)                           \
    ATTN_UNALIGNED_HOOK(__tsan_unaligned_read##bytes, bytes, Access::load)         \
    ATTN_UNALIGNED_HOOK(__tsan_unaligned_write##bytes, bytes, Access::store)       \
    ATTN_VOLATILE_HOOK(__tsan_volatile_read##bytes, bytes, Access::load)           \
    ATTN_VOLATILE_HOOK(__tsan_volatile_write##bytes, bytes, Access::store)         \
    ATTN_VOLATILE_HOOK(__tsan_unaligned_volatile_read##bytes, bytes, Access::load) \
    ATTN_VOLATILE_HOOK(__tsan_unaligned_volatile_write##bytes, bytes, Access::store)

extern "C" {

ATTN_HOOKS(1)
ATTN_HOOKS(2)
ATTN_HOOKS(4)
ATTN_HOOKS(8)
ATTN_HOOKS(16)

void __tsan_init() {}
void __tsan_read_range(void* address, std::size_t bytes) {
    hook(address, bytes, Access::load, __builtin_return_address(0), false);
}
void __tsan_write_range(void* address, std::size_t bytes) {
    hook(address, bytes, Access::store, __builtin_return_address(0), false);
}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

void __tsan_func_entry(void* call) {
    if (Worker* worker = current) {
        auto* fiber = worker->running;
        if (fiber->depth < static_cast<int>(std::size(fiber->calls))) {
            fiber->calls[fiber->depth] = call;
            fiber->path += part_of_path(call, fiber->depth);
        }
        ++fiber->depth;
    }
}
void __tsan_func_exit() {
    if (Worker* worker = current) {
        auto* fiber = worker->running;
        --fiber->depth;
        if (fiber->depth < static_cast<int>(std::size(fiber->calls)))
            fiber->path -= part_of_path(fiber->calls[fiber->depth], fiber->depth);
    }
}

// Atomic operations: checked before (before_atomic), so only done here.
#define ATTN_ATOMIC(bits, type)                                                                                       \
    type __tsan_atomic##bits##_load(const type* a, int) { return __atomic_load_n(a, __ATOMIC_SEQ_CST); }              \
    void __tsan_atomic##bits##_store(type* a, type v, int) { __atomic_store_n(a, v, __ATOMIC_SEQ_CST); }              \
    type __tsan_atomic##bits##_exchange(type* a, type v, int) { return __atomic_exchange_n(a, v, __ATOMIC_SEQ_CST); } \
    type __tsan_atomic##bits##_fetch_add(type* a, type v, int) { return __atomic_fetch_add(a, v, __ATOMIC_SEQ_CST); } \
    type __tsan_atomic##bits##_fetch_sub(type* a, type v, int) { return __atomic_fetch_sub(a, v, __ATOMIC_SEQ_CST); } \
    int __tsan_atomic##bits##_compare_exchange_strong(type* a, type* e, type v, int, int) {                           \
        return __atomic_compare_exchange_n(a, e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                       \
    }                                                                                                                 \
    int __tsan_atomic##bits##_compare_exchange_weak(type* a, type* e, type v, int, int) {                             \
        return __atomic_compare_exchange_n(a, e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                       \
    }
ATTN_ATOMIC(8, std::uint8_t)
ATTN_ATOMIC(16, std::uint16_t)
ATTN_ATOMIC(32, std::uint32_t)
ATTN_ATOMIC(64, std::uint64_t)
void __tsan_atomic_thread_fence(int) {
    if (Worker* worker = current) worker->races.fence(worker->running->index);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void __tsan_atomic_signal_fence(int) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

// The library functions that kernels may call: the build redirects calls from kernel objects to these
// (cmake/emulated_compile). Larger copies of plain memory reach no other hook.
void* attn_emulated_memcpy(void* to, const void* from, std::size_t bytes) {
    hook(const_cast<void*>(from), bytes, Access::load, __builtin_return_address(0), false);
    hook(to, bytes, Access::store, __builtin_return_address(0), false);
    return std::memcpy(to, from, bytes);
}
void* attn_emulated_memmove(void* to, const void* from, std::size_t bytes) {
    hook(const_cast<void*>(from), bytes, Access::load, __builtin_return_address(0), false);
    hook(to, bytes, Access::store, __builtin_return_address(0), false);
    return std::memmove(to, from, bytes);
}
void* attn_emulated_memset(void* to, int value, std::size_t bytes) {
    hook(to, bytes, Access::store, __builtin_return_address(0), false);
    return std::memset(to, value, bytes);
}
[[noreturn]] void attn_emulated_trap() {
    if (Worker* worker = current)
        worker->fail(attn::emulator::FindingKind::assertion, cudaErrorLaunchFailure, "The kernel called __trap().",
                     __builtin_return_address(0));
    std::abort();
}
[[noreturn]] void attn_emulated_throw(void* exception, void* type, void (*destroy)(void*)) {
    if (Worker* worker = current) {
        worker->running->thrown_at = __builtin_return_address(0);
        worker->running->thrown_depth = worker->running->depth;
    }
    abi::__cxa_throw(exception, static_cast<std::type_info*>(type), destroy);
}
void attn_emulated_assert_fail(const char* assertion, const char* file, unsigned line, const char* function) {
    if (Worker* worker = current)
        worker->fail(attn::emulator::FindingKind::assertion, cudaErrorAssert,
                     fmt::format("The assertion `{}` does not hold.", assertion), __builtin_return_address(0));
    fmt::print(stderr, "{}:{}: {}: assertion `{}` does not hold.\n", file, line, function, assertion);
    std::abort();
}

}  // extern "C"
