// Reductions over the lanes of a warp and over the threads of a block.
#pragma once

#include "common/cuda/build.hpp"

namespace attn {
inline namespace ATTN_BUILD {

constexpr unsigned all_lanes = 0xffffffffu;

// Every lane gets the sum. In each of five steps a lane adds the value of the lane whose index differs in one bit.
__device__ inline float warp_sum(float value) {
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(all_lanes, value, distance);
    return value;
}

// Every lane gets the maximum; NaN is dropped, as fmaxf does.
__device__ inline float warp_max(float value) {
    for (int distance = 16; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(all_lanes, value, distance));
    return value;
}

}  // namespace ATTN_BUILD
}  // namespace attn
