// Exercise tile_transpose: out [batch, columns, rows] = scale · xᵀ of each matrix of x [batch, rows, columns].
//
// CUDA warm-up, about 25 minutes, easy to medium. Builds on: row_maximum. Stage 2 of this chapter transposes the tiles
// that it loads; here the transposed tile leaves the block again.
//
// Whoever transposes without a tile reads rows and writes columns: one of the two touches a 32-byte sector for each 4
// bytes. With a tile in shared memory both are done along rows, and only the tile is read crosswise.
//
// What to write: a kernel with a block of 32 × 8 threads for each tile of 32 × 32 elements, and its launch.
//   1. Load the tile: threads with neighbouring threadIdx.x read neighbouring columns of x.
//   2. Store it: threads with neighbouring threadIdx.x write neighbouring columns of out, which are rows of x.
//   Each element is loaded once, stored once, and passes through shared memory once.
//
// Mind:
//   - Rows and columns are any numbers from 1 on; the tiles at the edges are not full, and batch is one more dimension.
//   - Shared memory has 32 banks, 4 bytes wide. Of a tile [32][32] a whole column lies in one bank, and 32 lanes that
//     read it wait for each other: 32 wavefronts in the place of one. The judge counts them.
#include "chapters/00_dense_attention/exercises/tile_transpose.hpp"

#include "common/cuda/launch.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::tile_transpose {

// ---- your code ----

namespace {

constexpr int tile_size = 32;
constexpr int block_rows = 8;

[[maybe_unused]] __global__ void transpose_tiles(Inputs, Options, Outputs) {}

}  // namespace

inline namespace ATTN_BUILD {

void tile_transpose(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out, (void)tile_size, (void)block_rows;
    throw NotImplementedYet("tile_transpose");  // TODO: launch(transpose_tiles, {grid, block}, in, options, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::tile_transpose
