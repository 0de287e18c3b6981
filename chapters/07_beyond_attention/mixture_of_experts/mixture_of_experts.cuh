// A mixture of experts on the device: for other kernels, and what both stages use.
#pragma once

#include "chapters/07_beyond_attention/mixture_of_experts/mixture_of_experts.hpp"
#include "common/cuda/layer.cuh"

namespace attn::mixture_of_experts {
inline namespace ATTN_BUILD {

// The whole layer, as stage 2 does it, all tensors in device memory. A dense feed-forward layer is one expert with a
// router of zeros: its weight is 1, exactly.
void feed_forward(const Inputs<float>& in, const Options& options, const Outputs<float>& out);

// An expert that a token may choose. A larger weight comes first; of equal ones, and where weights are NaN, which they
// are for all experts or for none, the lower index.
struct Candidate {
    float log_weight = -INFINITY;
    int expert = 0x7fffffff;  // nobody's: the last of all

    __device__ bool comes_before(const Candidate& other) const {
        if (other.log_weight < log_weight) return true;
        return !(log_weight < other.log_weight) && expert < other.expert;
    }
};

__device__ inline Candidate warp_first(Candidate own) {
    for (int distance = 16; distance > 0; distance /= 2) {
        const Candidate other{__shfl_xor_sync(all_lanes, own.log_weight, distance),
                              __shfl_xor_sync(all_lanes, own.expert, distance)};
        if (other.comes_before(own)) own = other;
    }
    return own;
}

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
    Candidate last{INFINITY, -1};
    float chosen_sum = 0;
    for (int r = 0; r < options.top_k; ++r) {
        Candidate first;
        for (int e = lane; e < E; e += 32) {
            const Candidate candidate{scores[e] - maximum - log_sum, e};
            if (last.comes_before(candidate) && candidate.comes_before(first)) first = candidate;
        }
        last = warp_first(first);
        chosen_sum += expf(last.log_weight);
        if (lane == 0) experts[r] = last.expert, weights[r] = expf(last.log_weight);
    }
    if (options.renormalize && lane == 0)
        for (int r = 0; r < options.top_k; ++r) weights[r] /= chosen_sum;
}

}  // namespace ATTN_BUILD
}  // namespace attn::mixture_of_experts
