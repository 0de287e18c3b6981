// RWKV on the GPU, stage 2: eight warps share the tokens of 32 channels. Each takes 16 tokens of a chunk of 128, and
// first finds out what these alone leave; then the states of the warps before it are put together, and it answers its
// tokens. Eight times as many threads as stage 1 has, and each number is still read once.
#include "chapters/07_beyond_attention/rwkv/rwkv.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"

namespace attn::rwkv {
namespace {

constexpr int warps = 8, block_threads = 32 * warps, warp_tokens = 16, chunk_tokens = warps * warp_tokens;

// A block: 32 channels of a sequence.
__global__ void __launch_bounds__(block_threads) average_segments(Inputs<float> in, Outputs<float> out) {
    __shared__ float numerators[warps][32], denominators[warps][32], exponents[warps][32];
    const Sizes size = in.sizes();
    const int parts = (size.D + 31) / 32, b = static_cast<int>(blockIdx.x) / parts;
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const int d = static_cast<int>(blockIdx.x) % parts * 32 + lane;
    const bool has_channel = d < size.D;
    const float decay = has_channel ? in.time_decay(d) : 0, bonus = has_channel ? in.time_first(d) : 0;
    State before_chunk = empty_state();
    for (int first = 0; first < size.L; first += chunk_tokens) {
        const int own = first + warp * warp_tokens, count = max(0, min(warp_tokens, size.L - own));
        float keys[warp_tokens], values[warp_tokens];
        State segment = empty_state();
#pragma unroll
        for (int i = 0; i < warp_tokens; ++i) {
            if (i >= count || !has_channel) continue;
            keys[i] = in.key(b, own + i, d), values[i] = in.value(b, own + i, d);
            segment = after_token(segment, decay, keys[i], values[i]);
        }
        numerators[warp][lane] = segment.numerator, denominators[warp][lane] = segment.denominator;
        exponents[warp][lane] = segment.exponent;
        __syncthreads();  // what each warp's tokens leave stands there
        // [19.4.7-14] the state before each warp's tokens, and after the chunk
        for (int w = 0; w < warps; ++w) {
            const int tokens = max(0, min(warp_tokens, size.L - first - w * warp_tokens));
            if (w == warp) {
                State running = before_chunk;
#pragma unroll
                for (int i = 0; i < warp_tokens; ++i) {
                    if (i >= count || !has_channel) continue;
                    out.out(b, own + i, d) = output(running, bonus, keys[i], values[i]);
                    running = after_token(running, decay, keys[i], values[i]);
                }
            }
            if (tokens > 0)
                before_chunk = put_together(before_chunk, decay * static_cast<float>(tokens),
                                            {numerators[w][lane], denominators[w][lane], exponents[w][lane]});
        }
        __syncthreads();  // nobody reads these states any more
    }
    if (!has_channel || warp != 0) return;
    out.state(b, 0, d) = before_chunk.numerator, out.state(b, 1, d) = before_chunk.denominator;
    out.state(b, 2, d) = before_chunk.exponent;
}

void launch_stage2(const Inputs<float>& in, const Options&, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    launch(average_segments, {static_cast<unsigned>(size.B) * blocks_for(size.D, 32), block_threads}, in, out);
}

}  // namespace
}  // namespace attn::rwkv

ATTN_CUDA_VERSION("rwkv", "stage2", "eight warps share the tokens of 32 channels", attn::rwkv::launch_stage2,
                  attn::rwkv::Inputs<float>, attn::rwkv::Options, attn::rwkv::Outputs<float>)
