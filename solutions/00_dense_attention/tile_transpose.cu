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

__global__ void transpose_tiles(Inputs in, Options options, Outputs out) {
    // One column more than it holds: what stands below each other lies one bank apart, and a column in 32 banks.
    __shared__ float tile[tile_size][tile_size + 1];
    const int rows = in.x.extent(1), columns = in.x.extent(2);
    const int tiles_across = (columns + tile_size - 1) / tile_size, tiles_down = (rows + tile_size - 1) / tile_size;
    const int index = static_cast<int>(blockIdx.x);  // one number for all tiles: gridDim.z would end at 65535
    const int first_column = index % tiles_across * tile_size;
    const int first_row = index / tiles_across % tiles_down * tile_size;
    const int b = index / tiles_across / tiles_down;
    const int x = static_cast<int>(threadIdx.x);

    for (int y = static_cast<int>(threadIdx.y); y < tile_size; y += block_rows)
        if (first_row + y < rows && first_column + x < columns) tile[y][x] = in.x(b, first_row + y, first_column + x);
    __syncthreads();  // what a thread stores, another one has loaded

    const float scale = static_cast<float>(options.scale);
    // y counts columns of x now, and x rows: the bounds change places with them.
    for (int y = static_cast<int>(threadIdx.y); y < tile_size; y += block_rows)
        if (first_column + y < columns && first_row + x < rows)
            out.out(b, first_column + y, first_row + x) = scale * tile[x][y];
}

}  // namespace

inline namespace ATTN_BUILD {

void tile_transpose(const Inputs& in, const Options& options, const Outputs& out) {
    const unsigned tiles = blocks_for(in.x.extent(1), tile_size) * blocks_for(in.x.extent(2), tile_size);
    launch(transpose_tiles, {static_cast<unsigned>(in.x.extent(0)) * tiles, dim3(tile_size, block_rows)}, in, options,
           out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::tile_transpose
