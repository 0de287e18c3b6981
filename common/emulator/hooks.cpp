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

// The last variable that begins at or before the position.
const Variable* nearest(const std::vector<Variable>& variables, std::uintptr_t position) {
    auto after = std::upper_bound(variables.begin(), variables.end(), position,
                                  [](std::uintptr_t p, const Variable& variable) { return p < variable.low; });
    return after == variables.begin() ? nullptr : &*std::prev(after);
}

std::string describe_shared(const Worker& worker, std::size_t offset, std::size_t bytes) {
    const Variable* variable = nearest(thread_local_variables(), offset);
    if (!variable) return "shared memory";
    const std::size_t inside = offset - variable->low;
    if (variable->name == "attn_dynamic_shared") {
        const std::size_t size = worker.launch->request->dynamic_bytes;
        return inside % bytes
                   ? fmt::format("byte {} of the {} bytes of dynamic shared memory", inside, size)
                   : fmt::format("element {} of the dynamic shared memory, which has {} bytes: {} of such elements",
                                 inside / bytes, size, size / bytes);
    }
    const VariablePart part = part_of_variable(*variable, true, inside, bytes);
    return inside + bytes <= variable->bytes
               ? fmt::format("{} in shared memory", part.element)
               : fmt::format("{} in shared memory, declared as {}", part.element, part.declared);
}

// The variable that the access is in, or null.
const Variable* find(const std::vector<Variable>& variables, std::uintptr_t position, std::size_t bytes) {
    const Variable* candidate = nearest(variables, position);
    return candidate && position + bytes <= candidate->low + candidate->bytes ? candidate : nullptr;
}

[[noreturn]] void fail_elsewhere(Worker& worker, std::uintptr_t address, std::size_t bytes, Access access,
                                 const void* instruction) {
    auto stacks = reinterpret_cast<std::uintptr_t>(worker.stacks);
    // An unsigned index below 0 wraps around to 2^32 elements further on.
    const std::uintptr_t unwrapped = address - (std::uintptr_t{bytes} << 32);
    const bool in_arena = unwrapped - arena_low < arena_bytes;
    if (in_arena || unwrapped - worker.shared_low < worker.shared_bytes)
        worker.fail(
            FindingKind::out_of_bounds, cudaErrorIllegalAddress,
            fmt::format("The kernel {} {} bytes at {}: an unsigned index that goes below 0 wraps around to 2^32. "
                        "Is the first thread, or row, a case of its own?",
                        verb(access), bytes,
                        in_arena ? describe_device_address(unwrapped, bytes)
                                 : describe_shared(worker, unwrapped - worker.shared_low, bytes)),
            instruction);
    if (address < 65536)  // nothing of a process is there
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
        worker.fail(FindingKind::use_after_free, cudaErrorIllegalAddress,
                    what + fmt::format(". It was freed {}.", describe_free(address)), instruction);
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
    std::string what =
        fmt::format("The kernel {} {} bytes at {}", verb(access), bytes, describe_shared(worker, offset, bytes));
    if (std::find(shadow, shadow + bytes, unallocated) != shadow + bytes)
        worker.fail(FindingKind::out_of_bounds, cudaErrorIllegalAddress,
                    nearest(thread_local_variables(), offset)->name == "attn_dynamic_shared"
                        ? what + ". The size of an `extern __shared__` array is the launch's third number."
                        : what + ". Which index goes past its end?",
                    instruction);
    worker.fail(FindingKind::never_written, cudaErrorLaunchFailure,
                what + ", which no thread of this block has written yet: shared memory starts without a value.",
                instruction);
}

inline __attribute__((always_inline)) void count(Worker& worker, bool shared, std::uintptr_t position,
                                                 std::size_t bytes, Access access, const void* instruction) {
    Counts& counts = worker.counts;
    if (++worker.running->steps >= worker.step_limit) worker.over_limit(instruction);
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

template <bool shared>
__attribute__((noinline)) void check_race(Worker& worker, std::uintptr_t position, std::size_t bytes, Access access,
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
                     shared ? describe_shared(worker, position, bytes) : describe_global(position, bytes), instruction);
}

// Where __device__ variables stand among the positions in device memory: behind the arena.
constexpr std::uintptr_t position_of_variables = arena_bytes;

template <class Word>
bool is_word_written(const std::uint8_t* shadow) {
    Word word;
    std::memcpy(&word, shadow, sizeof word);
    return word == static_cast<Word>(0x0303030303030303u);
}

// In one comparison where the access is a power of two: most are.
inline bool all_written(const std::uint8_t* shadow, std::size_t bytes) {
    switch (bytes) {
        case 1: return is_word_written<std::uint8_t>(shadow);
        case 2: return is_word_written<std::uint16_t>(shadow);
        case 4: return is_word_written<std::uint32_t>(shadow);
        case 8: return is_word_written<std::uint64_t>(shadow);
        case 16: return is_word_written<std::uint64_t>(shadow) && is_word_written<std::uint64_t>(shadow + 8);
        default: return allowed(shadow, bytes, Access::load);
    }
}

// Of memory that may be accessed.
template <bool shared>
inline void count_and_check_race(Worker& worker, std::uintptr_t position, std::size_t bytes, Access access,
                                 const void* instruction) {
    count(worker, shared, position, bytes, access, instruction);
    const unsigned thread = worker.running->index;
    const bool is_plain_load = access == Access::load && !worker.volatile_access;
    if (is_plain_load && (shared ? worker.races.is_known_shared_load(thread, position, bytes)
                                 : worker.races.is_known_global_load(thread, position, bytes)))
        return;
    check_race<shared>(worker, position, bytes, access, instruction);
}

}  // namespace

std::string describe_global(std::uintptr_t position, std::size_t bytes) {
    if (position < position_of_variables) return describe_device_address(arena_low + position, bytes);
    const std::uintptr_t address = position - position_of_variables + writable_image().low;
    const Variable* variable = nearest(global_variables(), address);
    if (!variable) return "a __device__ variable";
    return fmt::format("{}, a __device__ variable",
                       part_of_variable(*variable, false, address - variable->low, bytes).element);
}

void check_access(Worker& worker, std::uintptr_t address, std::size_t bytes, Access access, const void* instruction,
                  bool must_be_aligned) {
    if (address - worker.stack_low < stack_bytes) return;
    const LaunchRequest& request = *worker.launch->request;
    if (address - reinterpret_cast<std::uintptr_t>(request.arguments) < request.argument_bytes) return;
    constexpr int switch_one_in = 16;
    if (worker.random && !worker.volatile_access && worker.next_random() % switch_one_in == 0) worker.yield();
    if (must_be_aligned && (bytes & (bytes - 1)) == 0 && bytes <= 16 && address % bytes != 0)
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
        count_and_check_race<false>(worker, address - arena_low, bytes, access, instruction);
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
        count_and_check_race<true>(worker, offset, bytes, access, instruction);
        return;
    }

    static const Range image = program_image(), writable = writable_image();
    if (image.contains(address)) {
        const Variable* variable = find(global_variables(), address, bytes);
        if (!variable && (access != Access::load || writable.contains(address))) {
            const Variable* before = nearest(global_variables(), address);
            worker.fail(
                FindingKind::out_of_bounds, cudaErrorIllegalAddress,
                before ? fmt::format("The kernel {} {} bytes outside of every __device__ variable; the nearest is {}.",
                                     verb(access), bytes, part_of_variable(*before, false, 0, before->bytes).declared)
                       : "",
                instruction);
        }
        // Constants of the program, __constant__ ones among them where nobody sets them, cost no global access.
        if (!writable.contains(address)) return;
        const std::uintptr_t position = position_of_variables + (address - writable.low);
        count(worker, false, position, bytes, access, instruction);
        if (position + bytes <= Races::byte_count) check_race<false>(worker, position, bytes, access, instruction);
        return;
    }
    if (is_pinned(address, bytes)) return;
    fail_elsewhere(worker, address, bytes, access, instruction);
}

// The same for the most frequent cases, in the hook itself: `bytes` and `access` are constants there.
inline __attribute__((always_inline)) void check_common_access(Worker& worker, std::uintptr_t address,
                                                               std::size_t bytes, Access access,
                                                               const void* instruction, bool must_be_aligned) {
    if (!must_be_aligned || address % bytes != 0 || worker.random)
        return check_access(worker, address, bytes, access, instruction, must_be_aligned);
    if (const std::size_t offset = address - worker.shared_low; offset < worker.shared_bytes) {
        if (all_written(worker.shared_shadow + offset, bytes))
            return count_and_check_race<true>(worker, offset, bytes, access, instruction);
    } else if (const std::size_t place = address - arena_low; place < arena_bytes) {
        if (all_written(arena_shadow + place, bytes))
            return count_and_check_race<false>(worker, place, bytes, access, instruction);
    }
    check_access(worker, address, bytes, access, instruction, must_be_aligned);
}

void before_atomic(const void* address, unsigned bytes) {
    Worker* worker = current;
    if (!worker) return;
    auto position = reinterpret_cast<std::uintptr_t>(address);
    check_access(*worker, position, bytes, Access::atomic, __builtin_return_address(0));
    if (position - worker->shared_low >= worker->shared_bytes) worker->wait_for_lower_blocks();
    worker->races.synchronizes(worker->running->index, position - arena_low < arena_bytes, true, true, false);
    // It may be waiting for what another thread does.
    constexpr unsigned patience = 64;
    if (++worker->running->atomics % patience == 0) worker->yield();
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
    Worker* worker = current;
    if (!worker) return;
    const auto position = reinterpret_cast<std::uintptr_t>(address);
    if (position - worker->stack_low < attn::emulator::stack_bytes) return;  // a local variable
    attn::emulator::check_common_access(*worker, position, bytes, access, caller, must_be_aligned);
}

inline std::uint64_t part_of_path(const void* call, int depth) {
    return reinterpret_cast<std::uint64_t>(call) * (2 * static_cast<std::uint64_t>(depth) + 3);
}

// A thread that spins on a volatile flag must let the others run.
inline void volatile_hook(void* address, std::size_t bytes, Access access, const void* caller) {
    if (Worker* worker = current) {
        const auto position = reinterpret_cast<std::uintptr_t>(address);
        worker->count_switch(caller);
        worker->yield();
        worker->volatile_access = true;
        check_access(*worker, position, bytes, access, caller);
        worker->volatile_access = false;
        const bool is_load = access == Access::load;
        worker->races.synchronizes(worker->running->index,
                                   position - attn::emulator::arena_low < attn::emulator::arena_bytes, is_load,
                                   !is_load, true);
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
