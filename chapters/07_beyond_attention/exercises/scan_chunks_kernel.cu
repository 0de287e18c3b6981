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

[[maybe_unused]] __global__ void scan_chunks(Inputs, Outputs) {}

}  // namespace

inline namespace ATTN_BUILD {

void scan_chunks_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out, (void)block_threads;
    throw NotImplementedYet("scan_chunks_kernel");  // TODO: launch(scan_chunks, {grid, block}, in, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::scan_chunks_kernel
