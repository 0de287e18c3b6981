// The one door between the warp intrinsics, which are compiled with the kernels, and the emulator.
#pragma once

#include <cstdint>

namespace attn::emulator {

enum class WarpOperation : std::uint8_t {
    synchronize,
    shuffle,  // the value of lane `source`, own value where that is out of the segment
    ballot,
    any,
    all,
    match_any,
    match_all,
    add_unsigned,
    add_signed,
    min_unsigned,
    min_signed,
    max_unsigned,
    max_signed,
    bit_and,
    bit_or,
    bit_xor,
};

struct WarpRequest {
    WarpOperation operation;
    std::uint32_t mask;
    int source;              // shuffle: the lane to read, already reduced to this lane's segment
    std::uint64_t value[2];  // up to 16 bytes
};

// Waits until every lane of the mask has come, then returns this lane's result.
// `result` has room for 16 bytes; match_all also sets result[1] to the predicate.
void warp_collective(const WarpRequest& request, std::uint64_t* result);

enum class BarrierOperation : std::uint8_t { plain, count, all, any };
int block_barrier(BarrierOperation operation, int predicate);

// Before an atomic operation: checks the address, counts, and where the order of blocks would show in the result
// (floating-point sums, values returned) waits for the blocks with lower indices, so that results are repeatable.
void before_atomic(const void* address, unsigned bytes);

}  // namespace attn::emulator
