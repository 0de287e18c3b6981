// Matrix products from registers: a block of 256 threads makes a tile of 64 × 64 results, four by four in the registers
// of each thread, from strips of 32 that all of its threads share. A number that is loaded is used 64 times.
#pragma once

#include "common/cuda/build.hpp"
#include "common/cuda/vector_access.hpp"

namespace attn {
inline namespace ATTN_BUILD {

constexpr int tile = 64;       // rows and columns of results of one block
constexpr int strip = 32;      // of the summed dimension, in shared memory at one time
constexpr int per_thread = 4;  // rows and columns of results of one thread
constexpr int tile_threads = (tile / per_thread) * (tile / per_thread);

// A strip of one operand: [strip, tile], so that a thread reads the four rows (or columns) it needs at one depth with
// one 16-byte access.
using Strip = float[strip][tile];

// Where row `row` stands at depth `depth`. The rows move in groups of four by the depth (an XOR swizzle): without it
// the eight lanes that store the same row at eight depths would all meet in one of the 32 banks.
__device__ inline int swizzled(int depth, int row) { return row ^ (depth / 4 % 8 * 4); }

// Four elements of a row, 0 from `end` on, where `end` need not be a multiple of 4.
template <bool Aligned>
__device__ float4 load_four_before(const float* row, int column, int end) {
    return column + 4 <= end ? load_four<Aligned>(row, column, end) : load_four<false>(row, column, end);
}

// Loads columns first_column … first_column + 31 of 64 rows and stores them transposed and swizzled. Eight neighbouring
// lanes read 128 neighbouring bytes. row_at(row): where row 0 … 63 begins, null where there is none; 0 stands there
// then, and from column limit(row) on: what lies there need not have been written.
template <bool Aligned, class RowAt, class Limit>
__device__ void load_transposed(Strip& to, int first_column, RowAt row_at, Limit limit) {
    constexpr int parts = tile * strip / 4 / tile_threads;
    float4 four[parts];
#pragma unroll
    for (int part = 0; part < parts; ++part) {  // all loads before the first store, so that they wait together
        const int position = static_cast<int>(threadIdx.x) + part * tile_threads;
        const int row = position / (strip / 4), depth = position % (strip / 4) * 4;
        const float* from = row_at(row);
        four[part] = make_float4(0, 0, 0, 0);
        if (from) four[part] = load_four_before<Aligned>(from, first_column + depth, limit(row));
    }
#pragma unroll
    for (int part = 0; part < parts; ++part) {
        const int position = static_cast<int>(threadIdx.x) + part * tile_threads;
        const int row = position / (strip / 4), depth = position % (strip / 4) * 4;
        const int place = swizzled(depth, row);
        to[depth + 0][place] = four[part].x;
        to[depth + 1][place] = four[part].y;
        to[depth + 2][place] = four[part].z;
        to[depth + 3][place] = four[part].w;
    }
}

// Loads columns first_column … first_column + 63 of 32 rows as they stand; 0 where row_at(depth) is null, and from
// column `columns` on.
template <bool Aligned, class RowAt>
__device__ void load_rows(Strip& to, int first_column, int columns, RowAt row_at) {
    for (int part = 0; part < tile * strip / 4 / tile_threads; ++part) {
        const int position = static_cast<int>(threadIdx.x) + part * tile_threads;
        const int depth = position / (tile / 4), place = position % (tile / 4) * 4;
        const float* from = row_at(depth);
        float4 four = make_float4(0, 0, 0, 0);
        if (from) four = load_four<Aligned>(from, first_column + place, columns);
        *reinterpret_cast<float4*>(&to[depth][place]) = four;
    }
}

// The results of one thread: rows own_row() … + 3 and columns own_column() … + 3 of the tile.
struct Sums {
    float at[per_thread][per_thread] = {};
};
__device__ inline int own_row() { return static_cast<int>(threadIdx.x) / (tile / per_thread) * per_thread; }
__device__ inline int own_column() { return static_cast<int>(threadIdx.x) % (tile / per_thread) * per_thread; }

// sums(r, c) += a(r) · b(c): what one depth adds.
__device__ inline void add_outer_product(Sums& sums, float4 a, float4 b) {
    const float rows[per_thread] = {a.x, a.y, a.z, a.w}, columns[per_thread] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int r = 0; r < per_thread; ++r)
#pragma unroll
        for (int c = 0; c < per_thread; ++c) sums.at[r][c] += rows[r] * columns[c];
}

// sums += A Bᵀ, of strips that load_transposed has stored.
__device__ inline void add_products(Sums& sums, const Strip& a, const Strip& b) {
#pragma unroll 8
    for (int depth = 0; depth < strip; ++depth)
        add_outer_product(sums, *reinterpret_cast<const float4*>(&a[depth][swizzled(depth, own_row())]),
                          *reinterpret_cast<const float4*>(&b[depth][swizzled(depth, own_column())]));
}

}  // namespace ATTN_BUILD
}  // namespace attn
