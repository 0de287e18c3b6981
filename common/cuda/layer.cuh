// What the layers of several chapters are made of beside their products: RMSNorm, sums and copies of rows in device
// memory.
#pragma once

#include "common/cuda/matrix_product.cuh"
#include "common/cuda/warp.hpp"

namespace attn {
inline namespace ATTN_BUILD {

__device__ inline float silu(float x) { return x / (1 + expf(-x)); }

namespace detail {

constexpr int row_threads = 256;

// A warp for each row.
template <class = void>
__global__ void normalise_rows(Rows<const float> from, Rows<float> to, int rows, int length, const float* weight,
                               float epsilon) {
    const int row = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;  // the whole warp together
    const float* x = from.at(row, 0);
    float* y = to.at(row, 0);
    float squares = 0;
    for (int d = lane; d < length; d += 32) squares = fmaf(x[d], x[d], squares);
    const float root = sqrtf(warp_sum(squares) / static_cast<float>(length) + epsilon);
    for (int d = lane; d < length; d += 32) y[d] = x[d] / root * weight[d];
}

// A thread for each number. `Adds`: to what is there.
template <bool Adds>
__global__ void copy_numbers(Rows<const float> from, Rows<float> to, int rows, int heads, int count) {
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index >= std::int64_t{rows} * heads * count) return;
    const int d = static_cast<int>(index % count), head = static_cast<int>(index / count % heads);
    const int row = static_cast<int>(index / count / heads);
    float& number = to.at(row, head)[d];
    number = Adds ? number + from.at(row, head)[d] : from.at(row, head)[d];
}

template <bool Adds>
void launch_copy(const Rows<const float>& from, const Rows<float>& to, int rows, int heads, int count) {
    launch(copy_numbers<Adds>, {blocks_for(std::int64_t{rows} * heads * count, row_threads), row_threads}, from, to,
           rows, heads, count);
}

}  // namespace detail

// RMSNorm of the first `length` numbers of each row; `to` may be `from`.
inline void rms_norm(const Rows<const float>& from, const Rows<float>& to, int rows, int length, const float* weight,
                     double epsilon) {
    launch(detail::normalise_rows<>, {blocks_for(std::int64_t{rows} * 32, detail::row_threads), detail::row_threads},
           from, to, rows, length, weight, static_cast<float>(epsilon));
}

// to(row, head)[0 … count - 1] = from(row, head)[0 … count - 1], or +=.
inline void copy_rows(const Rows<const float>& from, const Rows<float>& to, int rows, int heads, int count) {
    detail::launch_copy<false>(from, to, rows, heads, count);
}
inline void add_rows(const Rows<const float>& from, const Rows<float>& to, int rows, int count) {
    detail::launch_copy<true>(from, to, rows, 1, count);
}

}  // namespace ATTN_BUILD
}  // namespace attn
