// Exercise grouped_window_decode: one new query for each sequence and query head against the KV cache, of which each
// key/value head shows its last `window` positions.
//
//     score(j) = scale · q(b, h)·k(b, g, j)      out(b, h) = Σ softmax(score)(j) · v(b, g, j)      g = h / (H/G)
//     over the positions j that are seen:  length(b) - window(g) <= j < length(b), 0 <= j;  all with window(g) = 0
//
// CUDA, about 60 minutes, medium to hard. Builds on: warp_reduction and scores_kernel of chapter 00; steps [19.4.4-1]
// to [19.4.4-4], where all heads have one window and all sequences one length. A step of generation does little with
// each number that it reads, so that reading is what takes time: to read a key or value once for all query heads that
// share it is the point of grouped-query attention.
//
// What to write: a kernel with one block for each sequence and key/value head, and its launch. For example, with a warp
// for each of the up to 8 query heads of the group:
//   1. The block loads a tile of 32 keys and their 32 values from device memory into shared memory.
//   2. Lane x of a warp multiplies its warp's query with key x of the tile; that is its score.
//   3. The warp takes the maximum of its scores and of those before, and shrinks what it has summed up by
//      exp(old maximum - new maximum): the sum of the exponentials, and the weighted sum of the values.
//   4. It adds the exponentials, and the values times these: lane x has the columns x, x + 32, x + 64 and x + 96.
//   After the last tile: divide, and store. Two passes, with all scores in shared memory, are another way.
//   Each number of k and v that is seen is loaded from device memory once by its block, neighbouring threads taking
//   neighbouring numbers; none of the others is loaded.
//
// Mind:
//   - What is not seen may be NaN, and 0 · NaN is NaN.
//   - Lengths, D and Dv are no multiples of anything. A sequence of length 0 gets 0, and -inf as its log_sum_exp.
//   - A warp without a query head loads for the others, and waits at the barriers with them.
//   - Scores may be in the thousands.
#include "chapters/04_head_sharing/exercises/grouped_window_decode.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::grouped_window_decode {

// ---- your code ----

namespace {

constexpr int warps = 8, block_threads = 32 * warps;

[[maybe_unused]] __global__ void attend_group(Inputs, Options, Outputs) {}

}  // namespace

inline namespace ATTN_BUILD {

void grouped_window_decode(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out, (void)block_threads;
    throw NotImplementedYet("grouped_window_decode");  // TODO: launch(attend_group, {grid, block}, in, options, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::grouped_window_decode
