// Retention on the GPU, stage 1: the recurrence. A thread has one column of the state of a head, which stands in device
// memory, in the output's place, and takes the tokens one after the other. It asks memory for the state twice at each
// token; whatever the sizes.
#include "chapters/07_beyond_attention/retention/retention.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"

namespace attn::retention {
namespace {

constexpr int block_threads = 128;

// A block: up to block_threads columns of the values of a head.
__global__ void recur(Inputs<float> in, Options options, Outputs<float> out) {
    const Sizes size = in.sizes();
    const int parts = (size.Dv + block_threads - 1) / block_threads, of_head = static_cast<int>(blockIdx.x) / parts;
    const int h = of_head % size.H, b = of_head / size.H;
    const int d = static_cast<int>(blockIdx.x) % parts * block_threads + static_cast<int>(threadIdx.x);
    if (d >= size.Dv) return;
    const float gamma = in.decay(h), scale = static_cast<float>(options.scale);
    for (int m = 0; m < size.D; ++m) out.state(b, h, m, d) = in.initial_state ? in.initial_state(b, h, m, d) : 0;
    for (int n = 0; n < size.N; ++n) {
        const float v = in.v(b, h, n, d);
        float dot = 0;
        for (int m = 0; m < size.D; ++m) {
            // [19.4.7-1] [19.4.7-2]
            const float state = fmaf(in.k(b, h, n, m), v, gamma * out.state(b, h, m, d));
            out.state(b, h, m, d) = state;
            dot = fmaf(in.q(b, h, n, m), state, dot);
        }
        out.out(b, h, n, d) = scale * dot;
    }
}

}  // namespace

inline namespace ATTN_BUILD {

void launch_recurrence(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    const unsigned heads = static_cast<unsigned>(size.B) * static_cast<unsigned>(size.H);
    launch(recur, {heads * blocks_for(size.Dv, block_threads), block_threads}, in, options, out);
}

}  // namespace ATTN_BUILD
}  // namespace attn::retention

ATTN_CUDA_VERSION("retention", "stage1", "the recurrence: a thread for each column, the state in device memory",
                  attn::retention::launch_recurrence, attn::retention::Inputs<float>, attn::retention::Options,
                  attn::retention::Outputs<float>)
