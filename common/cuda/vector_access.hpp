// Four floats with one 16-byte access where the rows allow it.
#pragma once

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

}  // namespace ATTN_BUILD
}  // namespace attn
