// The selective scan on the GPU, stage 1: a thread for each channel, which takes the tokens one after the other. Its
// state is the output's last_state, in device memory. Neighbouring threads read tokens of neighbouring channels, L
// numbers apart: hardly any of a sector is used.
#include "chapters/07_beyond_attention/selective_scan/selective_scan.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"

namespace attn::selective_scan {
namespace {

constexpr int block_threads = 64;

__global__ void scan_channels(Inputs<float> in, Options options, Outputs<float> out) {
    const Sizes size = in.sizes();
    const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (row >= std::int64_t{size.B} * size.D) return;
    const int b = static_cast<int>(row / size.D), d = static_cast<int>(row % size.D);
    for (int s = 0; s < size.S; ++s) out.last_state(b, d, s) = in.initial_state ? in.initial_state(b, d, s) : 0;
    for (int t = 0; t < size.L; ++t) {
        const float delta = step_size(in, options, in.delta(b, d, t), bias_of(in, d)), u = in.u(b, d, t);
        float y = 0;
        for (int s = 0; s < size.S; ++s) {
            const Pair step = step_of(options, delta, in.a(d, s), in.b(b, s, t), u);
            // [19.4.7-8] [19.4.7-9]
            const float h = fmaf(step.fades, out.last_state(b, d, s), step.enters);
            out.last_state(b, d, s) = h;
            y = fmaf(in.c(b, s, t), h, y);
        }
        out.out(b, d, t) = finished(in, y, skip_of(in, d), u, gate_of(in, b, d, t));
    }
}

void launch_stage1(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    launch(scan_channels, {blocks_for(std::int64_t{size.B} * size.D, block_threads), block_threads}, in, options, out);
}

}  // namespace
}  // namespace attn::selective_scan

ATTN_CUDA_VERSION("selective_scan", "stage1", "a thread for each channel, token by token",
                  attn::selective_scan::launch_stage1, attn::selective_scan::Inputs<float>,
                  attn::selective_scan::Options, attn::selective_scan::Outputs<float>)
