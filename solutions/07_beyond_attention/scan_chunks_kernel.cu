// Exercise scan_chunks_kernel: the selective scan of packed documents on a GPU, the tokens of a chunk at the same time.
//
//     h(t) = exp(Δ(t) A) h(t-1) + Δ(t) B(t) u(t)      S numbers for each channel; h(t-1) is 0 where a document begins
//     out(t) = C(t) · h(t) + D u(t)
//
// CUDA, about 75 minutes, hard. Builds on: scan_with_resets, which computes the same on the CPU; scan_combine, whose
// Steps are put together here; warp_reduction of chapter 00. A token waits for all tokens before it only if its state
// is taken from the last one; put together in pairs it takes log2 rounds.
//
// What to write: a kernel with one block for each sequence and channel, and its launch. The block goes through the
// sequence in chunks, a thread for each token. For example, with chunks of 128 tokens, 32 of them for each of four
// warps, and for each s:
//   1. Each thread makes the step of its token: what fades, and what enters.
//   2. Five rounds of __shfl_up_sync, at distance 1, 2, 4, 8, 16, put together the steps of a warp up to each lane's.
//   3. The last lane of each warp leaves what its 32 steps do together in shared memory, for the warps behind it.
//   4. The state before the chunk, then the warps before this one, then the lane's own steps: that is h(t). C reads it.
//   5. The state after the chunk's last token is the one before the next chunk.
//   After the last chunk the state is stored. 256 tokens in a chunk, or two for each thread, are as good.
//   Each number of u and delta is loaded from device memory once, and of b and c once for each channel, neighbouring
//   threads taking neighbouring numbers. Only the outputs are written there: no state of any token but the last.
//
// Mind:
//   - Documents begin anywhere: several in one warp, at its first lane, or last in a warp before this one.
//   - What came before a document may be NaN, in an earlier lane, warp or chunk, or in `initial`: 0 · NaN is NaN. Where
//     a document begins in a warp, __ballot_sync tells every lane.
//   - exp(Δ A) may be 1e-30: nothing can be divided by a product of such numbers.
//   - L is no multiple of anything. A token that does not exist must do nothing, or the last state is not the last.
//   - All 32 lanes take part in a shuffle, and all threads in a barrier.
//   - One barrier in a chunk is not enough: what is overwritten with the next s, or chunk, that others still read?
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
    __shared__ float fades[2][warps], enters[2][warps];  // of a warp's steps; two of each, for s and for the next one
    __shared__ bool begins[warps];                       // whether a document begins in the warp
    const int D = in.u.extent(1), L = in.u.extent(2), S = in.a.extent(1);
    const int b = static_cast<int>(blockIdx.x) / D, d = static_cast<int>(blockIdx.x) % D;
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
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
        const int from = 31 - __clz(static_cast<int>(borders & ((2u << lane) - 1)));  // where the lane's document
        if (lane == 0) begins[warp] = borders != 0;                                   // begins; -1: before the warp
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
            const int side = s % 2;
            if (lane == 31) fades[side][warp] = fade, enters[side][warp] = enter;
            float before = states[s];
            __syncthreads();  // all warps have left their steps, and read the state
            for (int w = 0; w < warp; ++w)
                before = begins[w] ? enters[side][w] : fmaf(fades[side][w], before, enters[side][w]);
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
