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

// Every lane gets the sum: with __shfl_down_sync only lane 0 would, and all of them need the mean.
__device__ float sum_of_lanes(float value) {
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}

__global__ void sums_of_rows(Inputs in, Outputs out) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int row = static_cast<int>(blockIdx.x * warps_per_block + threadIdx.x / 32);
    if (row >= in.x.extent(0)) return;  // the whole warp together, so that no shuffle misses a lane
    const int length = in.lengths(row);

    float sum = 0;
    for (int column = lane; column < length; column += 32) sum += in.x(row, column);
    sum = sum_of_lanes(sum);
    const float mean = sum / static_cast<float>(length);  // NaN for length 0, which then uses it nowhere

    float squares = 0;  // a lane without an element adds 0, not mean²
    for (int column = lane; column < length; column += 32) {
        const float deviation = in.x(row, column) - mean;
        squares += deviation * deviation;
    }
    squares = sum_of_lanes(squares);

    if (lane == 0) {
        out.sum(row) = sum;
        out.squared_deviations(row) = squares;
    }
}

}  // namespace

inline namespace ATTN_BUILD {

void warp_reduction(const Inputs& in, const Options&, const Outputs& out) {
    launch(sums_of_rows, {blocks_for(in.x.extent(0), warps_per_block), warps_per_block * 32}, in, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::warp_reduction
