// Four floats with one 16-byte access where the rows allow it; rows into shared memory.
#pragma once

#include <type_traits>

#include "common/cuda/build.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn {
inline namespace ATTN_BUILD {

// How far apart rows of `columns` floats stand in shared memory: an odd number of 16 bytes, so that they are aligned
// and begin in different banks.
ATTN_HOST_DEVICE constexpr int row_stride(int columns) { return ((columns + 3) / 4 | 1) * 4; }

// Elements column … column + 3 of a row of `columns`, 0 beyond its end. `Aligned`: the row starts at a multiple of 16
// bytes and `columns` is a multiple of 4, so that it is one load.
template <bool Aligned>
__device__ inline float4 load_four(const float* row, int column, int columns) {
    if constexpr (Aligned) {
        return column < columns ? *reinterpret_cast<const float4*>(row + column) : make_float4(0, 0, 0, 0);
    } else {
        return make_float4(column + 0 < columns ? row[column + 0] : 0, column + 1 < columns ? row[column + 1] : 0,
                           column + 2 < columns ? row[column + 2] : 0, column + 3 < columns ? row[column + 3] : 0);
    }
}

// The counterpart of load_four: writes what lies inside the row.
template <bool Aligned>
__device__ inline void store_four(float* row, int column, int columns, float4 value) {
    if constexpr (Aligned) {
        if (column < columns) *reinterpret_cast<float4*>(row + column) = value;
    } else {
        if (column + 0 < columns) row[column + 0] = value.x;
        if (column + 1 < columns) row[column + 1] = value.y;
        if (column + 2 < columns) row[column + 2] = value.z;
        if (column + 3 < columns) row[column + 3] = value.w;
    }
}

// What load_rows_shared does with each number: nothing.
struct Unchanged {};

// All `Threads` threads of a block: columns first … first + width - 1 of `rows` rows into shared memory, `stride`
// floats from row to row, each number through `function`. row_at(row) is where the row begins, null where there is
// none. There, and beyond its `columns`, stands 0, whatever function(0) is. Writes whole groups of four.
template <bool Aligned, int Threads, class RowAt, class Function = Unchanged>
__device__ inline void load_rows_shared(float* to, int stride, int rows, int first, int width, int columns,
                                        RowAt row_at, [[maybe_unused]] Function function = {}) {
    const int fours = (width + 3) / 4;
    for (int place = static_cast<int>(threadIdx.x); place < rows * fours; place += Threads) {
        const int row = place / fours, column = place % fours * 4;
        const float* from = row_at(row);
        float4 four = from ? load_four<Aligned>(from, first + column, columns) : make_float4(0, 0, 0, 0);
        if constexpr (!std::is_same_v<Function, Unchanged>) {
            four.x = from && first + column + 0 < columns ? function(four.x) : 0;
            four.y = from && first + column + 1 < columns ? function(four.y) : 0;
            four.z = from && first + column + 2 < columns ? function(four.z) : 0;
            four.w = from && first + column + 3 < columns ? function(four.w) : 0;
        }
        *reinterpret_cast<float4*>(&to[row * stride + column]) = four;
    }
}

}  // namespace ATTN_BUILD
}  // namespace attn
