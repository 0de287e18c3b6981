// Wrong: load_transposed of stage 2; its tile is then read as if its rows lay in order.
#include "chapters/00_dense_attention/exercises/tile_transpose.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/vector_access.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::tile_transpose {

// ---- your code ----

namespace {

constexpr int tile = 64;   // rows of one block
constexpr int strip = 32;  // columns
constexpr int block_threads = 256;

// A strip of one operand: [strip, tile].
using Strip = float[strip][tile];

// Where row `row` stands at depth `depth`. The rows move in groups of four by the depth (an XOR swizzle): without it
// the eight lanes that store the same row at eight depths would all meet in one of the 32 banks.
__device__ int swizzled(int depth, int row) { return row ^ (depth / 4 % 8 * 4); }

// Four elements of a row, 0 from `end` on, where `end` need not be a multiple of 4.
template <bool Aligned>
__device__ float4 load_four_before(const float* row, int column, int end) {
    return column + 4 <= end ? load_four<Aligned>(row, column, end) : load_four<false>(row, column, end);
}

// Loads rows first_row … first_row + 63 of a [rows, columns] matrix, columns first_column … first_column + 31, and
// stores them transposed. Eight neighbouring lanes read 128 neighbouring bytes. 0 outside of the matrix and from column
// `limit(row)` on: what lies there need not have been written.
template <bool Aligned, class Limit>
__device__ void load_transposed(Strip& to, const float* matrix, int rows, int columns, int first_row, int first_column,
                                Limit limit) {
    constexpr int parts = tile * strip / 4 / block_threads;
    float4 four[parts];
#pragma unroll
    for (int part = 0; part < parts; ++part) {  // all loads before the first store, so that they wait together
        const int position = static_cast<int>(threadIdx.x) + part * block_threads;
        const int row = first_row + position / (strip / 4), depth = position % (strip / 4) * 4;
        four[part] = make_float4(0, 0, 0, 0);
        if (row < rows)
            four[part] =
                load_four_before<Aligned>(matrix + std::int64_t{row} * columns, first_column + depth, limit(row));
    }
#pragma unroll
    for (int part = 0; part < parts; ++part) {
        const int position = static_cast<int>(threadIdx.x) + part * block_threads;
        const int row = position / (strip / 4), depth = position % (strip / 4) * 4;
        const int place = swizzled(depth, row);
        to[depth + 0][place] = four[part].x;
        to[depth + 1][place] = four[part].y;
        to[depth + 2][place] = four[part].z;
        to[depth + 3][place] = four[part].w;
    }
}

__global__ void transpose_tiles(Inputs in, Options options, Outputs out) {
    __shared__ __align__(16) Strip loaded;
    const int rows = in.x.extent(1), columns = in.x.extent(2);
    const int tiles_across = (columns + strip - 1) / strip, tiles_down = (rows + tile - 1) / tile;
    const int index = static_cast<int>(blockIdx.x);
    const int first_column = index % tiles_across * strip;
    const int first_row = index / tiles_across % tiles_down * tile;
    const int b = index / tiles_across / tiles_down;

    auto whole_row = [&](int) { return columns; };
    load_transposed<false>(loaded, in.x.slice(b).data(), rows, columns, first_row, first_column, whole_row);
    __syncthreads();

    const float scale = static_cast<float>(options.scale);
    const int row = static_cast<int>(threadIdx.x) % tile;
    for (int depth = static_cast<int>(threadIdx.x) / tile; depth < strip; depth += block_threads / tile)
        if (first_column + depth < columns && first_row + row < rows)
            out.out(b, first_column + depth, first_row + row) = scale * loaded[depth][row];
}

}  // namespace

inline namespace ATTN_BUILD {

void tile_transpose(const Inputs& in, const Options& options, const Outputs& out) {
    const unsigned tiles = blocks_for(in.x.extent(1), tile) * blocks_for(in.x.extent(2), strip);
    launch(transpose_tiles, {static_cast<unsigned>(in.x.extent(0)) * tiles, block_threads}, in, options, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::tile_transpose
