// Wrong: each warp goes on from the state before the chunk.
#include "chapters/07_beyond_attention/exercises/scan_chunks_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::scan_chunks_kernel {

// ---- your code ----

namespace {

constexpr int warps = 4, block_threads = 32 * warps;  // a thread for each token of a chunk
constexpr int most_states = 16;

// A block: a channel of a sequence.
__global__ void scan_chunks(Inputs in, Outputs out) {
    __shared__ float rates[most_states], states[most_states];  // A; the state before the chunk
    const int D = in.u.extent(1), L = in.u.extent(2), S = in.a.extent(1);
    const int b = static_cast<int>(blockIdx.x) / D, d = static_cast<int>(blockIdx.x) % D;
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
    const float skip = in.d(d);
    if (thread < S) {
        rates[thread] = in.a(d, thread);
        states[thread] = in.initial ? in.initial(b, d, thread) : 0;
    }
    __syncthreads();  // the state is complete

    for (int first = 0; first < L; first += block_threads) {
        const int t = first + thread;
        const bool exists = t < L;
        const float delta = exists ? in.delta(b, d, t) : 0, u = exists ? in.u(b, d, t) : 0;
        const unsigned borders = __ballot_sync(all_lanes, exists && in.position(b, t) == 0);
        const int from = 31 - __clz(static_cast<int>(borders & ((2u << lane) - 1)));
        float y = skip * u;

        for (int s = 0; s < S; ++s) {
            float fade = exists ? expf(delta * rates[s]) : 1;  // a token behind the end does nothing
            float enter = exists ? delta * in.b(b, s, t) * u : 0;
            for (int distance = 1; distance < 32; distance *= 2) {
                const float fade_before = __shfl_up_sync(all_lanes, fade, static_cast<unsigned>(distance));
                const float enter_before = __shfl_up_sync(all_lanes, enter, static_cast<unsigned>(distance));
                if (lane - distance < 0 || lane - distance < from) continue;  // another document's, or no lane's
                enter = fmaf(fade, enter_before, enter);
                fade *= fade_before;
            }
            const float before = states[s];
            __syncthreads();  // all warps have read the state
            const float h = from < 0 ? fmaf(fade, before, enter) : enter;
            if (exists) y = fmaf(in.c(b, s, t), h, y);
            if (thread == block_threads - 1) states[s] = h;
        }
        if (exists) out.out(b, d, t) = y;
        __syncthreads();  // nobody reads the chunk's borders and steps any more
    }
    if (thread < S) out.last(b, d, thread) = states[thread];
}

}  // namespace

inline namespace ATTN_BUILD {

void scan_chunks_kernel(const Inputs& in, const Options&, const Outputs& out) {
    const unsigned channels = static_cast<unsigned>(in.u.extent(0) * in.u.extent(1));
    launch(scan_chunks, {channels, block_threads}, in, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::scan_chunks_kernel
