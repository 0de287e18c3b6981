// Wrong: the chapter's kernel, for which all tokens are one document.
#include "chapters/07_beyond_attention/exercises/scan_chunks_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::scan_chunks_kernel {

// ---- your code ----

namespace {

constexpr int warps = 8, block_threads = 32 * warps;

// One step of one number of the state, as a pair: h becomes fades · h + enters. Put together they are again one.
struct Pair {
    float fades = 1, enters = 0;  // the step that changes nothing
};
__device__ inline Pair put_together(Pair first, Pair then) {
    return {then.fades * first.fades, fmaf(then.fades, first.enters, then.enters)};
}

__device__ inline Pair step_of(float delta, float a, float b, float u) { return {expf(delta * a), delta * b * u}; }

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
__global__ void scan_chunks(Inputs in, Outputs out) {
    extern __shared__ float memory[];
    float *fades = memory, *enters = fades + 2 * warps, *states = enters + 2 * warps;
    const int D = in.u.extent(1), L = in.u.extent(2), S = in.a.extent(1);
    const int b = static_cast<int>(blockIdx.x) / D, d = static_cast<int>(blockIdx.x) % D;
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    for (int s = thread; s < S; s += block_threads) states[s] = in.initial ? in.initial(b, d, s) : 0;
    __syncthreads();  // the states are complete

    for (int first = 0; first < L; first += block_threads) {
        const int t = first + thread;
        const bool exists = t < L;
        const float delta = exists ? in.delta(b, d, t) : 0, u = exists ? in.u(b, d, t) : 0;
        float y = 0;
        for (int s = 0; s < S; ++s) {
            // A token behind the end changes nothing.
            const Pair own = exists ? step_of(delta, in.a(d, s), in.b(b, s, t), u) : Pair{};
            Pair pair = scan_warp(own);
            const int side = s % 2 * warps;
            if (lane == 31) fades[side + warp] = pair.fades, enters[side + warp] = pair.enters;
            const float before_chunk = states[s];
            __syncthreads();  // all warps have their pair there, and have read the state
            float before_warp = before_chunk;
            for (int w = 0; w < warp; ++w) before_warp = fmaf(fades[side + w], before_warp, enters[side + w]);
            const float h = fmaf(pair.fades, before_warp, pair.enters);
            if (exists) y = fmaf(in.c(b, s, t), h, y);
            if (thread == block_threads - 1) states[s] = h;
        }
        if (exists) out.out(b, d, t) = fmaf(in.d(d), u, y);
        __syncthreads();  // the states after the chunk are complete
    }
    for (int s = thread; s < S; s += block_threads) out.last(b, d, s) = states[s];
}

}  // namespace

inline namespace ATTN_BUILD {

void scan_chunks_kernel(const Inputs& in, const Options&, const Outputs& out) {
    launch(scan_chunks,
           {static_cast<unsigned>(in.u.extent(0) * in.u.extent(1)), block_threads,
            static_cast<std::size_t>(4 * warps + in.a.extent(1)) * sizeof(float)},
           in, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::scan_chunks_kernel
