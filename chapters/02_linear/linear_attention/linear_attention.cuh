// What both CUDA stages of linear attention use.
#pragma once

#include "chapters/02_linear/chunk_kernel.cuh"
#include "chapters/02_linear/linear_attention/linear_attention.hpp"

namespace attn::linear_attention {
inline namespace ATTN_BUILD {

// [19.4.2-1] in the same form as the naive version
struct Feature {
    FeatureMap map;
    __device__ float operator()(float x) const {
        if (map == FeatureMap::identity) return x;
        const bool below = x < 0;
        return (below ? 0.0f : x) + expf(below ? x : 0.0f);
    }
};

// Stage 1, on device memory, whatever the sizes.
void launch_with_states_in_memory(const Inputs<float>& in, const Options& options, const Outputs<float>& out);

}  // namespace ATTN_BUILD
}  // namespace attn::linear_attention
