// Exercise window_kernel: attention in which each query head has a window of its own, and a sink: one more score, which
// takes its share of the weight and gives it to no value. A block visits the tiles that its queries see, and no others.
//
//     query i stands at position p = i + Nk - Nq and sees the keys  p - window(h) < j <= p,  0 <= j
//     L(i) = log(exp(sink(h)) + Σ exp(score(i, j)))      score(i, j) = scale · q(i)·k(j)
//     out(i) = Σ exp(score(i, j) - L(i)) · v(j)          log_sum_exp(i) = L(i)
//
// CUDA, about 75 minutes, hard. Builds on: tile_kinds; online_softmax and flash_kernel of chapter 05, which have a sink
// and tiles and no window; steps [19.4.1-8] and [19.4.1-10], where all heads have one window and none has a sink.
// OpenAI's gpt-oss has such sinks, and windows of 128 keys in every other layer. (The sinks of tile_kinds are keys that
// all see; this one is a number that is learned.)
//
// What to write: a kernel with one block for each 16 queries of a head, and its launch. For example, with four queries
// for each of four warps, and tiles of 32 keys that begin at multiples of 32:
//   1. From the positions of its first and its last query the block knows which keys they see, and so at which tile it
//      begins and where it ends.
//   2. It loads a tile's keys and values into shared memory.
//   3. Lane x of a warp multiplies key x of the tile with the warp's queries. A tile that all queries of the block see
//      in whole needs no mask; only the tiles at the two edges do.
//   4. For each query the online softmax: maximum, shrink, weights, and the values times these.
//   After the last tile: divide, and store. More queries in a block, or a thread for each, are as good.
//   Each block loads a key and a value once, and of the tiles only those that one of its queries sees. The judge counts
//   what is loaded; it does not see which tiles you mask.
//
// Mind:
//   - The first tile may hold keys that no query of the block sees, and keys that only some do; the last the latter.
//   - A query may see nothing of its block's first tile. Without a sink its maximum is still -inf then, and
//     -inf - (-inf) is NaN.
//   - With Nq > Nk the first queries see no key at all.
//   - What is not seen may be NaN, and 0 · NaN is NaN.
//   - Scores and sinks may be in the thousands, either the larger.
//   - A thread without a query loads for the others, and waits at the barriers with them.
#include "chapters/01_fixed_sparse/exercises/window_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::window_kernel {

// ---- your code ----

namespace {

constexpr int warps = 4, block_threads = 32 * warps;

[[maybe_unused]] __global__ void attend_to_windows(Inputs, Options, Outputs) {}

}  // namespace

inline namespace ATTN_BUILD {

void window_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out, (void)block_threads;
    throw NotImplementedYet("window_kernel");  // TODO: launch(attend_to_windows, {grid, block}, in, options, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::window_kernel
