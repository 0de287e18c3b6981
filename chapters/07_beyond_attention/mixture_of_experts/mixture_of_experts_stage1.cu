// A mixture of experts on the GPU, stage 1: a block for each token. It scores the experts, chooses, and computes those
// that it has chosen, a warp for each row of their matrices. All matrices of an expert are read for every token that it
// has.
#include "chapters/07_beyond_attention/mixture_of_experts/mixture_of_experts.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"

namespace attn::mixture_of_experts {
namespace {

constexpr int warps = 8, block_threads = 32 * warps;

// A warp: every lane gets the product of two vectors.
__device__ float dot(const float* a, const float* b, int length) {
    float sum = 0;
    for (int d = static_cast<int>(threadIdx.x) % 32; d < length; d += 32) sum = fmaf(a[d], b[d], sum);
    return warp_sum(sum);
}

__global__ void __launch_bounds__(block_threads) compute_tokens(Inputs<float> in, Options options, Outputs<float> out) {
    extern __shared__ float memory[];
    const auto [B, N, Dm, E, Df] = in.sizes();
    float* x = memory;            // [Dm]
    float* y = x + Dm;            // [Dm]
    float* units = y + Dm;        // [Df], of one expert
    float* scores = units + Df;   // [E]
    float* weights = scores + E;  // [k]
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const int b = static_cast<int>(blockIdx.x) / N, i = static_cast<int>(blockIdx.x) % N;
    for (int d = thread; d < Dm; d += block_threads) x[d] = in.hidden(b, i, d), y[d] = 0;
    __syncthreads();  // the token is complete

    for (int e = warp; e < E; e += warps) {
        const float score = dot(&in.router(e, 0), x, Dm);  // [19.4.7-20]
        if (lane == 0) scores[e] = score;
    }
    __syncthreads();  // so are its scores
    if (warp == 0) choose(scores, E, options, &out.experts(b, i, 0), weights);
    __syncthreads();  // and its experts

    for (int r = 0; r < options.top_k; ++r) {
        const int e = out.experts(b, i, r);
        for (int f = warp; f < Df; f += warps) {
            const float gate = dot(&in.gate(e, f, 0), x, Dm), up = dot(&in.up(e, f, 0), x, Dm);  // [19.4.7-23]
            if (lane == 0) units[f] = silu(gate) * up;
        }
        __syncthreads();  // the units are complete
        for (int d = warp; d < Dm; d += warps) {
            const float result = dot(&in.down(e, d, 0), units, Df);  // [19.4.7-24]
            if (lane == 0) y[d] = fmaf(weights[r], result, y[d]);
        }
        __syncthreads();  // nobody reads them any more
    }
    for (int d = thread; d < Dm; d += block_threads) out.out(b, i, d) = y[d];
}

void launch_stage1(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes s = in.sizes();
    const std::size_t numbers = 2 * static_cast<std::size_t>(s.Dm) + static_cast<std::size_t>(s.Df) +
                                static_cast<std::size_t>(s.E) + static_cast<std::size_t>(options.top_k);
    launch(compute_tokens, {static_cast<unsigned>(s.tokens()), block_threads, numbers * sizeof(float)}, in, options,
           out);
}

}  // namespace
}  // namespace attn::mixture_of_experts

ATTN_CUDA_VERSION("mixture_of_experts", "stage1",
                  "a block for each token, which reads all weights of its experts for itself",
                  attn::mixture_of_experts::launch_stage1, attn::mixture_of_experts::Inputs<float>,
                  attn::mixture_of_experts::Options, attn::mixture_of_experts::Outputs<float>)
