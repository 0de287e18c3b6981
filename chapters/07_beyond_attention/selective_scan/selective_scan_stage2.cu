// The selective scan on the GPU, stage 2: a block for each channel, a thread for each token of a chunk. The steps of a
// chunk are put together as pairs in log2 rounds, within warps by shuffles and between them through shared memory; the
// state is carried from chunk to chunk. Neighbouring threads read neighbouring tokens, and no state is in device memory
// before the end.
#include "chapters/07_beyond_attention/selective_scan/selective_scan.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"
#include "common/cuda/warp.hpp"

namespace attn::selective_scan {
namespace {

constexpr int warps = 8, block_threads = 32 * warps;

// The steps up to this lane's own, put together. [19.4.7-11]
__device__ Pair scan_warp(Pair pair) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int distance = 1; distance < 32; distance *= 2) {
        const Pair before{__shfl_up_sync(all_lanes, pair.fades, static_cast<unsigned>(distance)),
                          __shfl_up_sync(all_lanes, pair.enters, static_cast<unsigned>(distance))};
        if (lane >= distance) pair = put_together(before, pair);
    }
    return pair;
}

// A block: a channel of a sequence.
__global__ void __launch_bounds__(block_threads, 3) scan_chunks(Inputs<float> in, Options options, Outputs<float> out) {
    // Of all steps of a warp, two of each so that one barrier for each s is enough; the state before the chunk, [S].
    extern __shared__ float memory[];
    float *fades = memory, *enters = fades + 2 * warps, *states = enters + 2 * warps;
    const Sizes size = in.sizes();
    const int b = static_cast<int>(blockIdx.x) / size.D, d = static_cast<int>(blockIdx.x) % size.D;
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    for (int s = thread; s < size.S; s += block_threads) states[s] = in.initial_state ? in.initial_state(b, d, s) : 0;
    __syncthreads();  // the states are complete

    for (int first = 0; first < size.L; first += block_threads) {
        const int t = first + thread;
        const bool exists = t < size.L;
        const float delta = exists ? step_size(in, options, in.delta(b, d, t), bias_of(in, d)) : 0,
                    u = exists ? in.u(b, d, t) : 0;
        float y = 0;
        for (int s = 0; s < size.S; ++s) {
            // A token behind the end changes nothing.
            const Pair own = exists ? step_of(options, delta, in.a(d, s), in.b(b, s, t), u) : Pair{};
            Pair pair = scan_warp(own);
            const int side = s % 2 * warps;
            if (lane == 31) fades[side + warp] = pair.fades, enters[side + warp] = pair.enters;
            const float before_chunk = states[s];
            __syncthreads();  // all warps have their pair there, and have read the state
            // [19.4.7-12] the warps before this one, and the state before the chunk
            float before_warp = before_chunk;
            for (int w = 0; w < warp; ++w) before_warp = fmaf(fades[side + w], before_warp, enters[side + w]);
            const float h = fmaf(pair.fades, before_warp, pair.enters);
            if (exists) y = fmaf(in.c(b, s, t), h, y);
            if (thread == block_threads - 1) states[s] = h;
        }
        if (exists) out.out(b, d, t) = finished(in, y, skip_of(in, d), u, gate_of(in, b, d, t));
        __syncthreads();  // the states after the chunk are complete
    }
    for (int s = thread; s < size.S; s += block_threads) out.last_state(b, d, s) = states[s];
}

}  // namespace

inline namespace ATTN_BUILD {

void scan_chunks_on_device(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    launch(scan_chunks,
           {static_cast<unsigned>(size.B) * static_cast<unsigned>(size.D), block_threads,
            static_cast<std::size_t>(4 * warps + size.S) * sizeof(float)},
           in, options, out);
}

}  // namespace ATTN_BUILD
}  // namespace attn::selective_scan

ATTN_CUDA_VERSION("selective_scan", "stage2", "a block for each channel: the steps of a chunk put together as pairs",
                  attn::selective_scan::scan_chunks_on_device, attn::selective_scan::Inputs<float>,
                  attn::selective_scan::Options, attn::selective_scan::Outputs<float>)
