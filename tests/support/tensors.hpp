// Two tensors of a test, held against each other.
#pragma once

#include <cstring>

#include "common/tensor/tensor.hpp"
#include "tests/support/property.hpp"

namespace attn::testing {

// relative_error of tensors that own their elements.
template <class T, class U, std::size_t N>
double error(const xt::xtensor<T, N>& a, const xt::xtensor<U, N>& b) {
    return relative_error(view(a), view(b));
}

template <class T, std::size_t N>
bool same_bits(const xt::xtensor<T, N>& a, const xt::xtensor<T, N>& b) {
    return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

}  // namespace attn::testing
