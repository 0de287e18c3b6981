// RWKV on the GPU, stage 1: a thread for each channel, token by token. Neighbouring threads read neighbouring channels.
// With a small batch there are few threads, and all of them wait for each other's tokens.
#include "chapters/07_beyond_attention/rwkv/rwkv.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"

namespace attn::rwkv {
namespace {

constexpr int block_threads = 64;

__global__ void average_channels(Inputs<float> in, Outputs<float> out) {
    const Sizes size = in.sizes();
    const int parts = (size.D + block_threads - 1) / block_threads, b = static_cast<int>(blockIdx.x) / parts;
    const int d = static_cast<int>(blockIdx.x) % parts * block_threads + static_cast<int>(threadIdx.x);
    if (d >= size.D) return;
    const float decay = in.time_decay(d), bonus = in.time_first(d);
    State state = empty_state();
    for (int t = 0; t < size.L; ++t) {
        const float k = in.key(b, t, d), v = in.value(b, t, d);
        out.out(b, t, d) = output(state, bonus, k, v);
        state = after_token(state, decay, k, v);
    }
    out.state(b, 0, d) = state.numerator, out.state(b, 1, d) = state.denominator, out.state(b, 2, d) = state.exponent;
}

void launch_stage1(const Inputs<float>& in, const Options&, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    launch(average_channels, {static_cast<unsigned>(size.B) * blocks_for(size.D, block_threads), block_threads}, in,
           out);
}

}  // namespace
}  // namespace attn::rwkv

ATTN_CUDA_VERSION("rwkv", "stage1", "a thread for each channel, token by token", attn::rwkv::launch_stage1,
                  attn::rwkv::Inputs<float>, attn::rwkv::Options, attn::rwkv::Outputs<float>)
