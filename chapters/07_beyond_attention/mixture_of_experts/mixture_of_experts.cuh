// A mixture of experts on the device: for other kernels, and what both stages use.
#pragma once

#include "chapters/07_beyond_attention/mixture_of_experts/mixture_of_experts.hpp"
#include "common/cuda/layer.cuh"
#include "common/cuda/ranking.cuh"

namespace attn::mixture_of_experts {
inline namespace ATTN_BUILD {

// The whole layer, as stage 2 does it, all tensors in device memory. A dense feed-forward layer is one expert with a
// router of zeros: its weight is 1, exactly.
void feed_forward(const Inputs<float>& in, const Options& options, const Outputs<float>& out);

// A warp: the experts of one token and their weights, from its E scores.
__device__ inline void choose(const float* scores, int E, const Options& options, std::int32_t* experts,
                              float* weights) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    // [19.4.7-21] logarithms of the weights: score - maximum - log_sum
    float maximum = -INFINITY, sum = 0;
    for (int e = lane; e < E; e += 32) maximum = fmaxf(maximum, scores[e]);
    maximum = warp_max(maximum);
    for (int e = lane; e < E; e += 32) sum += expf(scores[e] - maximum);
    const float log_sum = logf(warp_sum(sum));

    // [19.4.7-22] one choice after the other: the first of those that come after the one before
    Ranked last = before_all();
    float chosen_sum = 0;
    for (int r = 0; r < options.top_k; ++r) {
        last = warp_next(last, 0, E, [&](int e) { return scores[e] - maximum - log_sum; });
        chosen_sum += expf(last.value);
        if (lane == 0) experts[r] = last.index, weights[r] = expf(last.value);
    }
    if (options.renormalize && lane == 0)
        for (int r = 0; r < options.top_k; ++r) weights[r] /= chosen_sum;
}

}  // namespace ATTN_BUILD
}  // namespace attn::mixture_of_experts
