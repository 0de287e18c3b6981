// Products of matrices in device memory, fp32: what a layer's projections are. Each result is summed up in the order of
// the summed dimension, however many rows there are: a row's result has the same bits alone and among others.
#pragma once

#include "common/cuda/launch.hpp"
#include "common/cuda/register_tile.cuh"

namespace attn {
inline namespace ATTN_BUILD {

// Rows of a matrix, or of one for each of several batches and heads, wherever they stand: row r of batch b = r /
// rows_per_batch begins at data + b · batch_stride + (r % rows_per_batch) · row_stride, for head h h · head_stride
// further on.
template <class T>
struct Rows {
    T* data;
    std::int64_t row_stride;
    int rows_per_batch = 1 << 30;
    std::int64_t batch_stride = 0, head_stride = 0;

    // Rows that may be written may be read.
    template <class U, class = std::enable_if_t<std::is_same_v<const T, U> && !std::is_same_v<T, U>>>
    operator Rows<U>() const {
        return {data, row_stride, rows_per_batch, batch_stride, head_stride};
    }
    ATTN_HOST_DEVICE T* at(int row, int head) const {
        return data + row / rows_per_batch * batch_stride + row % rows_per_batch * row_stride + head * head_stride;
    }
    // Whether each row begins at a multiple of 16 bytes.
    bool aligned() const {
        return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && row_stride % 4 == 0 && batch_stride % 4 == 0 &&
               head_stride % 4 == 0;
    }
};

// Positions first … first + count - 1 of each sequence of a tensor [B, N, columns].
template <class T>
Rows<T> position_rows(const TensorView<T, 3>& tensor, int first, int count) {
    const std::int64_t columns = tensor.extent(2);
    return {tensor.data() + first * columns, columns, count, tensor.extent(1) * columns};
}

namespace detail {

// A block: a tile of C. `Transposed`: B is [K, N], else [N, K] as the weights of a layer are. `Turned`: C is [N, M].
template <bool Transposed, bool Turned, bool Aligned>
__global__ void __launch_bounds__(tile_threads)
    matrix_product(Rows<const float> a, Rows<const float> b, Rows<float> c, int M, int N, int K) {
    __shared__ __align__(16) Strip of_a, of_b;
    const int first_row = static_cast<int>(blockIdx.x) * tile, first_column = static_cast<int>(blockIdx.y) * tile;
    const int head = static_cast<int>(blockIdx.z);
    auto all_columns = [&](int) { return K; };
    Sums sums;
    for (int first = 0; first < K; first += strip) {
        load_transposed<Aligned>(
            of_a, first, [&](int row) { return first_row + row < M ? a.at(first_row + row, head) : nullptr; },
            all_columns);
        if constexpr (Transposed)
            load_rows<Aligned>(of_b, first_column, N,
                               [&](int depth) { return first + depth < K ? b.at(first + depth, head) : nullptr; });
        else
            load_transposed<Aligned>(
                of_b, first, [&](int row) { return first_column + row < N ? b.at(first_column + row, head) : nullptr; },
                all_columns);
        __syncthreads();  // the strips are complete
#pragma unroll 8
        for (int depth = 0; depth < strip; ++depth) {
            const int column = Transposed ? own_column() : swizzled(depth, own_column());
            add_outer_product(sums, *reinterpret_cast<const float4*>(&of_a[depth][swizzled(depth, own_row())]),
                              *reinterpret_cast<const float4*>(&of_b[depth][column]));
        }
        __syncthreads();  // nobody reads them any more
    }
#pragma unroll
    for (int r = 0; r < per_thread; ++r) {
        const int row = first_row + own_row() + r, column = first_column + own_column() + r;
        if (Turned && column < N)
            store_four<Aligned>(c.at(column, head), first_row + own_row(), M,
                                make_float4(sums.at[0][r], sums.at[1][r], sums.at[2][r], sums.at[3][r]));
        if (!Turned && row < M)
            store_four<Aligned>(c.at(row, head), first_column + own_column(), N,
                                make_float4(sums.at[r][0], sums.at[r][1], sums.at[r][2], sums.at[r][3]));
    }
}

template <bool Transposed, bool Turned = false>
void product(const Rows<const float>& a, const Rows<const float>& b, const Rows<float>& c, int M, int N, int K,
             int heads) {
    const bool aligned =
        a.aligned() && b.aligned() && c.aligned() && K % 4 == 0 && N % 4 == 0 && (!Turned || M % 4 == 0);
    launch(aligned ? matrix_product<Transposed, Turned, true> : matrix_product<Transposed, Turned, false>,
           {dim3(blocks_for(M, tile), blocks_for(N, tile), static_cast<unsigned>(heads)), tile_threads}, a, b, c, M, N,
           K);
}

}  // namespace detail

// C = A Bᵀ for each head: A [M, K], B [N, K], C [M, N].
inline void multiply(const Rows<const float>& a, const Rows<const float>& b, const Rows<float>& c, int M, int N, int K,
                     int heads = 1) {
    detail::product<false>(a, b, c, M, N, K, heads);
}
// C = A B for each head: A [M, K], B [K, N], C [M, N].
inline void multiply_by_transposed(const Rows<const float>& a, const Rows<const float>& b, const Rows<float>& c, int M,
                                   int N, int K, int heads = 1) {
    detail::product<true>(a, b, c, M, N, K, heads);
}
// The same, stored transposed: C [N, M].
inline void multiply_by_transposed_turned(const Rows<const float>& a, const Rows<const float>& b, const Rows<float>& c,
                                          int M, int N, int K, int heads = 1) {
    detail::product<true, true>(a, b, c, M, N, K, heads);
}

}  // namespace ATTN_BUILD
}  // namespace attn
