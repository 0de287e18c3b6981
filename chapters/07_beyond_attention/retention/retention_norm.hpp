// What a RetNet layer does to retention's output before the gate: a norm of each head's numbers, token by token. It is
// no part of retention, whose forms are one function; behind a norm with an ε they need not be.
//
// Sun et al. 2023, "Retentive Network" (arXiv 2307.08621), section 2.2, equation (8), has a group norm, of which each
// head is a group; torchscale, the authors' code, an RMSNorm without weights and with ε = 1e-6.
#pragma once

#include <cmath>

#include "chapters/07_beyond_attention/retention/retention.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::retention {

enum class Norm {
    group,  // (x - mean) / √(variance + ε)
    rms,    // x / √(mean of x² + ε): the mean stays
};

// `heads` [B, H, N, Dv] in place; each token's Dv numbers of a head by themselves.
template <class T>
void normalise_heads(TensorView<T, 4> heads, Norm norm, double epsilon) {
    using Sum = accumulator_t<T>;
    using std::sqrt;
    const Sum Dv = static_cast<Sum>(heads.extent(3));
    for (int b = 0; b < heads.extent(0); ++b)
        for (int h = 0; h < heads.extent(1); ++h)
            for (int n = 0; n < heads.extent(2); ++n) {
                const TensorView<T, 1> x = heads.slice(b, h, n);
                Sum sum = 0, squares = 0;
                if (norm == Norm::group)
                    for (int d = 0; d < x.extent(0); ++d) sum += static_cast<Sum>(x(d));
                const Sum mean = sum / Dv;
                for (int d = 0; d < x.extent(0); ++d) {
                    const Sum from_mean = static_cast<Sum>(x(d)) - mean;
                    squares += from_mean * from_mean;
                }
                const Sum root = sqrt(squares / Dv + static_cast<Sum>(epsilon));
                for (int d = 0; d < x.extent(0); ++d) x(d) = static_cast<T>((static_cast<Sum>(x(d)) - mean) / root);
            }
}

// The paper's parallel form keeps its sums small: a pair's γ^(n-m) is divided by the square root of the row's sum of
// these, and then the row by the sum of its weights, where that is more than 1 ("retention score normalization",
// section 2.2). Each row of `heads`, retention's output for `in`, is multiplied by that factor; the norm is to take it
// out again.
template <class T>
void normalise_scores(const Inputs<T>& in, double scale, TensorView<T, 4> heads) {
    using Sum = accumulator_t<T>;
    using std::sqrt;
    const Sizes size = in.sizes();
    Tensor<Sum, 1> of_keys = make_tensor<Sum, 1>({{size.D}});
    const TensorView<Sum, 1> keys = view(of_keys);  // Σ_m γ^(n-m) k_m
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) {
            Sum powers = 0;  // Σ_m γ^(n-m)
            for (int m = 0; m < size.D; ++m) keys(m) = 0;
            for (int n = 0; n < size.N; ++n) {
                powers = in.decay(h) * powers + Sum(1);
                Sum weights = 0;  // of row n
                for (int m = 0; m < size.D; ++m) {
                    keys(m) = in.decay(h) * keys(m) + static_cast<Sum>(in.k(b, h, n, m));
                    weights += static_cast<Sum>(in.q(b, h, n, m)) * keys(m);
                }
                const Sum root = sqrt(powers), divided = static_cast<Sum>(scale) * weights / root;
                const Sum size_of_row = divided < Sum(0) ? Sum(0) - divided : divided;
                const Sum factor = Sum(1) / (root * (Sum(1) < size_of_row ? size_of_row : Sum(1)));
                for (int d = 0; d < size.Dv; ++d)
                    heads(b, h, n, d) = static_cast<T>(factor * static_cast<Sum>(heads(b, h, n, d)));
            }
        }
}

}  // namespace attn::retention
