// Dense attention with a mask, a second time: whole n × n matrices of one head as xtensor expressions, in double, over
// an explicit set of visible pairs.
#pragma once

#include <functional>

#include "common/tensor/tensor.hpp"
#include "tests/01_fixed_sparse/visible_sets.hpp"
#include "tests/support/xtensor.hpp"

namespace attn::fixed_sparse {

using Matrix = xt::xtensor<double, 2>;

// a bᵀ
inline Matrix times_transposed(const Matrix& a, const Matrix& b) {
    return xt::sum(xt::view(a, xt::all(), xt::newaxis(), xt::all()) * xt::view(b, xt::newaxis(), xt::all(), xt::all()),
                   2);
}
// aᵀ b
inline Matrix transposed_times(const Matrix& a, const Matrix& b) {
    return xt::sum(xt::view(a, xt::all(), xt::all(), xt::newaxis()) * xt::view(b, xt::all(), xt::newaxis(), xt::all()),
                   0);
}

// 1 where query i sees key j, else 0.
inline Matrix mask_of(int queries, int keys, const std::function<Set(int i)>& set) {
    Matrix mask = xt::zeros<double>({queries, keys});
    for (int i = 0; i < queries; ++i)
        for (int j : set(i)) mask(i, j) = 1;
    return mask;
}

// The weights of one head, 0 where the mask is; rows that see nothing are 0.
inline Matrix masked_weights(const Matrix& q, const Matrix& k, double scale, const Matrix& mask) {
    const Matrix scores = scale * times_transposed(q, k);
    const Matrix hidden = xt::where(mask > 0, scores, xt::zeros_like(scores) - 1e300);
    const xt::xtensor<double, 1> most = xt::amax(hidden, {1});
    const Matrix e = mask * xt::exp(xt::minimum(scores - xt::view(most, xt::all(), xt::newaxis()), 0.0));
    const xt::xtensor<double, 1> sums = xt::sum(e, {1});
    return e / xt::view(xt::maximum(sums, 1e-300), xt::all(), xt::newaxis());
}

// weights · v
inline Matrix masked_dense(const Matrix& q, const Matrix& k, const Matrix& v, double scale, const Matrix& mask) {
    return times_transposed(masked_weights(q, k, scale, mask), xt::transpose(v));
}

}  // namespace attn::fixed_sparse
