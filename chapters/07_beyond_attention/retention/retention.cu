// Retention on the GPU, stage 2: in chunks, with the state in shared memory. It is linear attention's kernel
// (chapters/02_linear/chunk_kernel.cuh), without features and denominator, and with a state that decays.
#include "chapters/02_linear/chunk_kernel.cuh"
#include "chapters/07_beyond_attention/retention/retention.cuh"
#include "common/cuda/on_device.hpp"

namespace attn::retention {
namespace {

// [19.4.7-3] to [19.4.7-5]
struct RetentionRule {
    TensorView<const float, 1> decay;  // [H]
    float scale;
    static constexpr Unchanged feature{};
    static constexpr bool causal = true, has_normalizer = false, normalize = false, decays = true;
    static constexpr float epsilon = 0;

    __device__ float gamma(int h) const { return decay(h); }
};

void launch_in_chunks(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const RetentionRule rule{in.decay, static_cast<float>(options.scale)};
    if (!linear_attention::launch_chunks({in.q, in.k, in.v, in.initial_state, {}, out.out, out.state, {}}, rule))
        launch_recurrence(in, options, out);
}

}  // namespace
}  // namespace attn::retention

ATTN_CUDA_VERSION("retention", "stage2", "in chunks of 32 tokens, the state on chip: linear attention's kernel",
                  attn::retention::launch_in_chunks, attn::retention::Inputs<float>, attn::retention::Options,
                  attn::retention::Outputs<float>)
