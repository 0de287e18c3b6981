// Built-in variables, barriers and warp intrinsics: CUDA C++ Programming Guide, "C++ Language Extensions".
#pragma once

#include <chrono>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "host_defines.h"
#include "vector_types.h"
#include "warp_collectives.h"

// Constant as far as a kernel can see: so that reading them is no access to memory that a check would look at.
extern constinit const thread_local uint3 threadIdx;
extern constinit const thread_local uint3 blockIdx;
extern constinit const thread_local uint3 blockDim;  // converts to CUDA's dim3
extern constinit const thread_local uint3 gridDim;
inline constexpr int warpSize = 32;

// ---- barriers ------------------------------------------------------------------------------------------------------

__forceinline__ void __syncthreads() { attn::emulator::block_barrier(attn::emulator::BarrierOperation::plain, 0); }
__forceinline__ int __syncthreads_count(int predicate) {
    return attn::emulator::block_barrier(attn::emulator::BarrierOperation::count, predicate);
}
__forceinline__ int __syncthreads_and(int predicate) {
    return attn::emulator::block_barrier(attn::emulator::BarrierOperation::all, predicate);
}
__forceinline__ int __syncthreads_or(int predicate) {
    return attn::emulator::block_barrier(attn::emulator::BarrierOperation::any, predicate);
}
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_system() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// ---- warp intrinsics -----------------------------------------------------------------------------------------------

namespace attn::emulator {

inline int lane() {
    return static_cast<int>((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32);
}

template <class T>
__forceinline__ T collective(WarpOperation operation, unsigned mask, T value, int source = 0,
                             int* predicate = nullptr) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 16, "shuffles move 1 to 16 plain bytes");
    WarpRequest request{operation, mask, source, {}};
    std::uint64_t result[2] = {};
    __builtin_memcpy(request.value, &value, sizeof value);
    warp_collective(request, result);
    if (predicate) *predicate = static_cast<int>(result[1]);
    T answer;
    __builtin_memcpy(&answer, result, sizeof answer);
    return answer;
}

}  // namespace attn::emulator

__forceinline__ void __syncwarp(unsigned mask = 0xffffffffu) {
    attn::emulator::collective(attn::emulator::WarpOperation::synchronize, mask, 0);
}

// A lane reads from the segment of `width` lanes that it stands in; from outside the segment it gets its own value
// (down, up, xor) or wraps around (the indexed form).
template <class T>
__forceinline__ T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    int lane = attn::emulator::lane();
    return attn::emulator::collective(attn::emulator::WarpOperation::shuffle, mask, value,
                                      (lane & ~(width - 1)) | (source & (width - 1)));
}
template <class T>
__forceinline__ T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    int lane = attn::emulator::lane(), source = lane - static_cast<int>(delta);
    return attn::emulator::collective(attn::emulator::WarpOperation::shuffle, mask, value,
                                      source >= (lane & ~(width - 1)) ? source : lane);
}
template <class T>
__forceinline__ T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    int lane = attn::emulator::lane(), source = lane + static_cast<int>(delta);
    return attn::emulator::collective(attn::emulator::WarpOperation::shuffle, mask, value,
                                      source <= (lane | (width - 1)) ? source : lane);
}
template <class T>
__forceinline__ T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
    int lane = attn::emulator::lane(), source = lane ^ lane_mask;
    return attn::emulator::collective(attn::emulator::WarpOperation::shuffle, mask, value,
                                      source <= (lane | (width - 1)) ? source : lane);
}

__forceinline__ unsigned __ballot_sync(unsigned mask, int predicate) {
    return attn::emulator::collective(attn::emulator::WarpOperation::ballot, mask, unsigned(predicate != 0));
}
__forceinline__ int __any_sync(unsigned mask, int predicate) {
    return attn::emulator::collective(attn::emulator::WarpOperation::any, mask, int(predicate != 0));
}
__forceinline__ int __all_sync(unsigned mask, int predicate) {
    return attn::emulator::collective(attn::emulator::WarpOperation::all, mask, int(predicate != 0));
}
// Lanes that run at this moment. Lanes run one after the other here: the caller's own is what can be said, which is
// one of the answers that CUDA allows.
inline unsigned __activemask() { return 1u << attn::emulator::lane(); }

template <class T>
__forceinline__ unsigned __match_any_sync(unsigned mask, T value) {
    std::uint64_t bits = 0;
    __builtin_memcpy(&bits, &value, sizeof value);
    return static_cast<unsigned>(attn::emulator::collective(attn::emulator::WarpOperation::match_any, mask, bits));
}
template <class T>
__forceinline__ unsigned __match_all_sync(unsigned mask, T value, int* predicate) {
    std::uint64_t bits = 0;
    __builtin_memcpy(&bits, &value, sizeof value);
    return static_cast<unsigned>(
        attn::emulator::collective(attn::emulator::WarpOperation::match_all, mask, bits, 0, predicate));
}

#define ATTN_REDUCE(name, type, operation)                                                        \
    __forceinline__ type name(unsigned mask, type value) {                                        \
        return attn::emulator::collective(attn::emulator::WarpOperation::operation, mask, value); \
    }
ATTN_REDUCE(__reduce_add_sync, unsigned, add_unsigned)
ATTN_REDUCE(__reduce_min_sync, unsigned, min_unsigned)
ATTN_REDUCE(__reduce_max_sync, unsigned, max_unsigned)
ATTN_REDUCE(__reduce_add_sync, int, add_signed)
ATTN_REDUCE(__reduce_min_sync, int, min_signed)
ATTN_REDUCE(__reduce_max_sync, int, max_signed)
ATTN_REDUCE(__reduce_and_sync, unsigned, bit_and)
ATTN_REDUCE(__reduce_or_sync, unsigned, bit_or)
ATTN_REDUCE(__reduce_xor_sync, unsigned, bit_xor)
#undef ATTN_REDUCE

// ---- the rest ------------------------------------------------------------------------------------------------------

template <class T>
inline T __ldg(const T* pointer) {
    return *pointer;
}
template <class T>
inline T __ldcs(const T* pointer) {
    return *pointer;
}
template <class T>
inline void __stcs(T* pointer, T value) {
    *pointer = value;
}
// Nanoseconds here: good for an order of events, not for their cost on a GPU.
inline long long clock64() { return std::chrono::steady_clock::now().time_since_epoch().count(); }
inline std::size_t __cvta_generic_to_shared(const void* pointer) { return reinterpret_cast<std::size_t>(pointer); }
extern "C" [[noreturn]] void attn_emulated_trap();
[[noreturn]] __forceinline__ void __trap() { attn_emulated_trap(); }
