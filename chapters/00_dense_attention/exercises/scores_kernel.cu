// Exercise scores_kernel: the matrix of scores [B, H, Nq, Nk] of queries q [B, H, Nq, D] and keys k [B, G, Nk, D], with
// a soft cap and a causal mask.
//
//     score(i, j) = cap · tanh(scale · q(i)·k(j) / cap),   or -inf where query i does not see key j
//
// CUDA, about 40 minutes, medium. Builds on: tile_transpose; step [19.3-1] and both stages of this chapter. A soft cap
// keeps one key from taking all the weight (Gemma 2, arXiv 2408.00118, section 2).
//
// What to write: a kernel with a block of 16 × 16 threads for each tile of 16 queries × 16 keys of one head, and its
// launch. Each thread makes one score.
//   1. For 16 depths at a time, each thread loads one element of q and one of k into two tiles in shared memory.
//   2. Each thread adds the products of its row of one tile with its row of the other.
//   3. Scale, cap, mask, store.
//   Each element of q and k is loaded from device memory by a block once, not once for each of the block's scores.
//
// Mind:
//   - Nq, Nk and D are any numbers from 1 on; what lies outside of the matrix must add nothing, and not be read.
//   - A thread whose score lies outside loads elements for others, and waits at the barriers with them.
//   - Neighbouring heads share a key head: head h reads h / (H/G).
//   - The mask is aligned bottom right: the last query sees all keys. With Nq > Nk the first queries see none.
//   - The cap bounds scores, not the mask: what is not seen is -inf, whatever q and k hold.
#include "chapters/00_dense_attention/exercises/scores_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::scores_kernel {

// ---- your code ----

namespace {

constexpr int tile_size = 16;

[[maybe_unused]] __global__ void score_tiles(Inputs, Options, Outputs) {}

}  // namespace

inline namespace ATTN_BUILD {

void scores_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out, (void)tile_size;
    throw NotImplementedYet("scores_kernel");  // TODO: launch(score_tiles, {grid, block}, in, options, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::scores_kernel
