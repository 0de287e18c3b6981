// Tensor<T, N>: owns its elements. An alias of xt::xtensor, with a view on it for the asking. Naive code and tests
// include this; kernels, interfaces and exercises get by with tensor_view.hpp, which is light.
#pragma once

#include "common/tensor/tensor_view.hpp"

#if __has_include(<xtensor/containers/xtensor.hpp>)
#include <xtensor/containers/xtensor.hpp>
#else
#include <xtensor/xtensor.hpp>
#endif

namespace attn {

template <class T, int N>
using Tensor = xt::xtensor<T, N>;

// A tensor of this shape, every element set to `value`.
template <class T, int N>
Tensor<T, N> make_tensor(Shape<N> shape, T value = T{}) {
    typename Tensor<T, N>::shape_type extents;
    for (int dimension = 0; dimension < N; ++dimension) extents[dimension] = static_cast<std::size_t>(shape[dimension]);
    return Tensor<T, N>(extents, value);
}

template <int N, class Container>
Shape<N> shape_of(const Container& tensor) {
    Shape<N> shape;
    for (int dimension = 0; dimension < N; ++dimension) shape[dimension] = static_cast<int>(tensor.shape()[dimension]);
    return shape;
}

template <class T, std::size_t N>
TensorView<T, static_cast<int>(N)> view(xt::xtensor<T, N>& tensor) {
    return {tensor.data(), shape_of<static_cast<int>(N)>(tensor)};
}

template <class T, std::size_t N>
TensorView<const T, static_cast<int>(N)> view(const xt::xtensor<T, N>& tensor) {
    return {tensor.data(), shape_of<static_cast<int>(N)>(tensor)};
}

}  // namespace attn
