// Exercise flash_kernel: FlashAttention, forward, with a soft cap on the scores.
//
//     score(i, j) = cap · tanh(scale · q(i)·k(j) / cap) where query i sees key j, -inf elsewhere
//     out(i) = Σ softmax(score(i))(j) · v(j)            log_sum_exp(i) = log Σ exp(score(i, j))
//
// CUDA, about 75 minutes, hard. Builds on: online_softmax; scores_kernel of chapter 00, which has the cap and writes
// all scores to memory; steps [19.4.5-1] to [19.4.5-6] of the chapter's stages, which have no cap. Gemma 2 caps its
// scores at 50 (arXiv 2408.00118).
//
// What to write: a kernel with one block for each 16 queries of a head, and its launch. For example, with four queries
// for each of four warps:
//   1. The block loads its queries into shared memory, once.
//   2. It loads a tile of 32 keys and their values into shared memory.
//   3. Lane x of a warp multiplies key x of the tile with the warp's queries; scale, cap, mask: its scores.
//   4. For each query the warp takes the maximum of its scores and of those before, and shrinks what it has summed up.
//   5. It adds the weights, and the values times these: lane x has the columns x and x + 32.
//   After the last tile: divide, and store. More queries in a block, or a thread for each, are as good.
//   In device memory there is nothing beside the inputs and outputs: no scores, and no weights. Each block loads a key
//   and a value once, and only those that one of its queries sees.
//
// Mind:
//   - The cap bounds scores, not the mask: what is not seen has no weight at all.
//   - The cap may be larger than any exponent that exp can take, and scores before the cap may be in the thousands.
//   - The mask is aligned bottom right: the last query sees all keys. With Nq > Nk the first queries see none, and get
//     0, and -inf as their log_sum_exp.
//   - What is not seen may be NaN, and 0 · NaN is NaN.
//   - Nq, Nk, D and Dv are no multiples of anything. A thread without a query loads for the others, and waits at the
//     barriers with them.
#include "chapters/05_flash_attention/exercises/flash_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::flash_kernel {

// ---- your code ----

namespace {

constexpr int warps = 4, block_threads = 32 * warps;

[[maybe_unused]] __global__ void attend_to_tiles(Inputs, Options, Outputs) {}

}  // namespace

inline namespace ATTN_BUILD {

void flash_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out, (void)block_threads;
    throw NotImplementedYet("flash_kernel");  // TODO: launch(attend_to_tiles, {grid, block}, in, options, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::flash_kernel
