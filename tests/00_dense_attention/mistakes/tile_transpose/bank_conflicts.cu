// Wrong: the columns of the tile lie in one bank each.
#include "chapters/00_dense_attention/exercises/tile_transpose.hpp"

#include "common/cuda/launch.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::tile_transpose {

// ---- your code ----

namespace {

constexpr int tile_size = 32;
constexpr int block_rows = 8;

__global__ void transpose_tiles(Inputs in, Options options, Outputs out) {
    __shared__ float tile[tile_size][tile_size];
    const int rows = in.x.extent(1), columns = in.x.extent(2);
    const int tiles_across = (columns + tile_size - 1) / tile_size, tiles_down = (rows + tile_size - 1) / tile_size;
    const int index = static_cast<int>(blockIdx.x);
    const int first_column = index % tiles_across * tile_size;
    const int first_row = index / tiles_across % tiles_down * tile_size;
    const int b = index / tiles_across / tiles_down;
    const int x = static_cast<int>(threadIdx.x);

    for (int y = static_cast<int>(threadIdx.y); y < tile_size; y += block_rows)
        if (first_row + y < rows && first_column + x < columns) tile[y][x] = in.x(b, first_row + y, first_column + x);

    __syncthreads();

    const float scale = static_cast<float>(options.scale);
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
