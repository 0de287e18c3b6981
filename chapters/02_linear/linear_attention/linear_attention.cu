// Linear attention on the GPU, stage 2: one kernel (chunk_kernel.cuh). A block goes through the chunks of a head in
// their order and keeps the state in shared memory: q, k and v are read once, out is written once, and no state goes
// through device memory. The price is that the chunks of a head come one after the other: with few heads most of the
// GPU is idle, and stage 1, whose chunks stand side by side, can be the faster one.
#include "chapters/02_linear/linear_attention/linear_attention.cuh"
#include "common/cuda/on_device.hpp"

namespace attn::linear_attention {
namespace {

struct LinearRule {
    Feature feature;
    bool causal, normalize;
    float epsilon;
    static constexpr bool has_normalizer = true, decays = false;
    static constexpr float scale = 1;
};

// A state whose features alone do not fit into shared memory stays in device memory.
void launch_on_chip(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const ChunkTensors tensors{in.q,    in.k,      in.v,          in.initial_state, in.initial_normalizer,
                               out.out, out.state, out.normalizer};
    const LinearRule rule{
        {options.feature_map}, options.causal, options.normalize, static_cast<float>(options.epsilon)};
    if (!launch_chunks(tensors, rule)) launch_with_states_in_memory(in, options, out);
}

}  // namespace
}  // namespace attn::linear_attention

ATTN_CUDA_VERSION("linear_attention", "stage2", "one kernel: the state stays on chip, everything else is moved once",
                  attn::linear_attention::launch_on_chip, attn::linear_attention::Inputs<float>,
                  attn::linear_attention::Options, attn::linear_attention::Outputs<float>)
