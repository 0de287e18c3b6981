// Exercise selection_kernel: attention to the blocks that were selected, where several documents are packed into one
// sequence and each head has a sink: one more score, which takes its share of the weight and gives it to no value.
//
//     query t sees key j  where  its block j / l' is in selected(b, g, t), and  begin(t) <= j <= t
//     L(t) = log(exp(sink(h)) + Σ exp(score(t, j)))      score(t, j) = scale · q(t)·k(j)
//     out(t) = Σ exp(score(t, j) - L(t)) · v(j)          log_sum_exp(t) = L(t)
//
// CUDA, about 75 minutes, hard. Builds on: top_blocks, which makes such a list; online_softmax of chapter 05; step
// [19.4.6-5], whose positions are one document, and whose heads have no sink.
//
// What to write: a kernel with one block of threads for each query position and key/value head, and its launch. All
// H/G query heads of the group read the same blocks: a key that is loaded serves them all. For example, with four
// warps and up to four query heads for each:
//   1. The queries of the group's heads go to shared memory.
//   2. For each selected block, up to 32 of its keys and values at a time do so too. Of the own block, those up to t;
//      of the block in which the document begins, those from there on.
//   3. Lane x of a warp multiplies key x with the queries of the warp's heads.
//   4. For each head the online softmax: maximum, shrink, weights, and the values times these.
//   After the last block: divide, and store. Two groups in a block, or a thread for each head, are as good.
//   The keys and values of a selected block are loaded once for all heads of the group, and those of no other block.
//   The judge counts what is loaded.
//
// Mind:
//   - -1 is no block. It is the same for all threads: nobody may wait at a barrier that the others do not come to.
//   - What is not seen may be NaN, and 0 · NaN is NaN.
//   - Scores and sinks may be in the thousands, either the larger.
//   - A group has any number of heads up to 16. A warp without a head loads for the others, and waits with them.
//   - l' may be more than 32, or 1.
#include "chapters/06_native_sparse/exercises/selection_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::selection_kernel {

// ---- your code ----

namespace {

constexpr int warps = 4, block_threads = 32 * warps;

[[maybe_unused]] __global__ void attend_to_selected(Inputs, Options, Outputs) {}

}  // namespace

inline namespace ATTN_BUILD {

void selection_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out, (void)block_threads;
    throw NotImplementedYet("selection_kernel");  // TODO: launch(attend_to_selected, {grid, block}, in, options, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::selection_kernel
