// The largest of many, one after the other, chosen by a warp: always the same ones in the same order.
#pragma once

#include "common/cuda/warp.hpp"

namespace attn {
inline namespace ATTN_BUILD {

// A candidate. A larger value comes first; of equal ones, and where there is NaN, the lower index. That is an order
// where the values are all NaN or none is, as those of one softmax are.
struct Ranked {
    float value = -INFINITY;
    int index = 0x7fffffff;  // nobody's: the last of all

    __device__ bool comes_before(const Ranked& other) const {
        return other.value < value || (!(value < other.value) && index < other.index);
    }
};

// Before all candidates.
__device__ inline Ranked before_all() { return {INFINITY, -1}; }

// The first of the candidates begin … end - 1 that come after `last`, for every lane. value_at(index): its value.
template <class ValueAt>
__device__ Ranked warp_next(const Ranked& last, int begin, int end, ValueAt value_at) {
    Ranked first;
    for (int index = begin + static_cast<int>(threadIdx.x) % 32; index < end; index += 32) {
        const Ranked candidate{value_at(index), index};
        if (last.comes_before(candidate) && candidate.comes_before(first)) first = candidate;
    }
    for (int distance = 16; distance > 0; distance /= 2) {
        const Ranked other{__shfl_xor_sync(all_lanes, first.value, distance),
                           __shfl_xor_sync(all_lanes, first.index, distance)};
        if (other.comes_before(first)) first = other;
    }
    return first;
}

}  // namespace ATTN_BUILD
}  // namespace attn
