// Exercise row_maximum: the maximum of each row of x [rows, columns], and the first column where it stands.
//
// CUDA warm-up, about 20 minutes, easy. Builds on: blocks, threads, shared memory, __syncthreads(). The softmax of a
// row begins with this number.
//
// What to write: a kernel with one block for each row, and its launch.
//   1. Each thread looks at every 256th column of the row and keeps the best it saw: a value and its column.
//   2. The threads put theirs into shared memory, and a tree halves them until one is left: of 256, thread t < 128
//      takes the better of entries t and t + 128, then t < 64 the better of t and t + 64, and so on.
//   3. One thread writes maximum(row) and index(row).
//
// Mind:
//   - `columns` is any number from 1 on: less than a block has threads, or not a multiple of them.
//   - NaN never wins. A row of NaN alone gives -inf and the index `columns`; a row of -inf alone gives -inf and 0.
//   - Of equal values the first column counts, and a thread with a higher number may hold it.
#include "chapters/00_dense_attention/exercises/row_maximum.hpp"

#include "common/cuda/launch.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::row_maximum {

// ---- your code ----

namespace {

constexpr int block_threads = 256;

[[maybe_unused]] __global__ void best_of_row(Inputs, Outputs) {}

}  // namespace

inline namespace ATTN_BUILD {

void row_maximum(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out, (void)block_threads;
    throw NotImplementedYet("row_maximum");  // TODO: launch(best_of_row, {grid, block}, in, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::row_maximum
