// What both CUDA stages of linear attention use: the features, and the rows of a chunk.
#pragma once

#include "chapters/02_linear/chunk.cuh"
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

// Where row first + row of a head begins, null behind the last.
struct RowsOfHead {
    TensorView<const float, 2> matrix;  // [N, D]
    int first;
    __device__ const float* operator()(int row) const {
        return first + row < matrix.extent(0) ? &matrix(first + row, 0) : nullptr;
    }
};

// Stores two rows of the output, four columns each, divided by their denominators, [19.4.2-4].
template <bool Aligned>
__device__ inline void store_output(const TensorView<float, 2>& out, int row, int column, const OutputTile& tile,
                                    const float* denominators) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        if (row + r >= out.extent(0)) continue;
        const float4 sums = tile.at[r];
        const float d = denominators[r];
        store_four<Aligned>(&out(row + r, 0), column, out.extent(1),
                            make_float4(sums.x / d, sums.y / d, sums.z / d, sums.w / d));
    }
}

// Stage 1, on device memory, whatever the sizes.
void launch_with_states_in_memory(const Inputs<float>& in, const Options& options, const Outputs<float>& out);

}  // namespace ATTN_BUILD
}  // namespace attn::linear_attention
