// Exercise warp_reduction: for each row of x [rows, columns] the sum of its first lengths(row) elements, and the sum of
// their squared deviations from their mean (what a layer norm needs).
//
// CUDA warm-up, about 20 minutes, easy. Builds on: row_maximum; warps and lanes. Stage 2 of this chapter has a warp for
// each row of its softmax.
//
// What to write: a kernel with one warp for each row and four warps in a block, and its launch (not with warp_sum). No
// shared memory: the lanes of a warp read each other's registers with __shfl_xor_sync or __shfl_down_sync.
//   1. Each lane adds up every 32nd element, from its own number on.
//   2. Five shuffles add the sums of the 32 lanes: at distance 16, 8, 4, 2, 1.
//   3. Every lane needs the mean; then a second time over the row, for the squares, and five more shuffles.
//
// Mind:
//   - All 32 lanes must take part in a shuffle, also those that have no element.
//   - Rows are not always a multiple of the warps in a block, nor lengths of the lanes in a warp. A length may be 0.
//   - What stands behind the length is not yours: it may be NaN.
//   - Σx² - (Σx)²/n is shorter and wrong: in float nothing is left of it when the mean is large.
#include "chapters/00_dense_attention/exercises/warp_reduction.hpp"

#include "common/cuda/launch.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::warp_reduction {

// ---- your code ----

namespace {

constexpr int warps_per_block = 4;

[[maybe_unused]] __global__ void sums_of_rows(Inputs, Outputs) {}

}  // namespace

inline namespace ATTN_BUILD {

void warp_reduction(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out, (void)warps_per_block;
    throw NotImplementedYet("warp_reduction");  // TODO: launch(sums_of_rows, {grid, block}, in, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::warp_reduction
