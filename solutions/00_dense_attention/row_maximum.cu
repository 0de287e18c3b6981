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

struct Best {
    float value;
    int column;
};

// The larger value; of equal ones the first. Which thread held it must not matter: a tree does not keep the order.
__device__ Best better(Best a, Best b) {
    if (a.value != b.value) return a.value > b.value ? a : b;
    return a.column < b.column ? a : b;
}

__global__ void best_of_row(Inputs in, Outputs out) {
    __shared__ Best best[block_threads];
    const int row = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
    const int columns = in.x.extent(1);

    // Nothing seen yet. The column after the last loses against every real -inf.
    Best mine{-INFINITY, columns};
    for (int column = thread; column < columns; column += block_threads) {
        const float value = in.x(row, column);
        if (value == value) mine = better(mine, {value, column});  // NaN alone differs from itself
    }
    best[thread] = mine;  // also of a thread without a column: the tree reads all of them

    for (int half = block_threads / 2; half > 0; half /= 2) {
        __syncthreads();  // the entries that the step before has written are there
        if (thread < half) best[thread] = better(best[thread], best[thread + half]);
    }
    if (thread == 0) {  // the last step was its own: no barrier
        out.maximum(row) = best[0].value;
        out.index(row) = best[0].column;
    }
}

}  // namespace

inline namespace ATTN_BUILD {

void row_maximum(const Inputs& in, const Options&, const Outputs& out) {
    launch(best_of_row, {static_cast<unsigned>(in.x.extent(0)), block_threads}, in, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::row_maximum
