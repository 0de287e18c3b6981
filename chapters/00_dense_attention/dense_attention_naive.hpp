// Dense attention, naive: the formula, one matrix of one head at a time. Templated on the scalar: double is the
// reference of all tests, float the thing itself, Counted measures what it costs.
//
// The tags name the steps; README.md and `attn trace dense` use the same.
#pragma once

#include <limits>

#include "chapters/00_dense_attention/dense_attention.hpp"
#include "common/mechanism/watch.hpp"
#include "common/tensor/half.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::dense {

template <class T, class Watch = NobodyWatches>
void naive_forward(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    using Sum = accumulator_t<T>;
    using std::exp, std::log;
    check_shapes(in);
    const auto& [q, k, v, d_out] = in;
    const Sizes size = in.sizes();
    const Sum scale = static_cast<Sum>(options.scale);
    const Sum minus_infinity = -std::numeric_limits<double>::infinity();

    Tensor<Sum, 2> matrix =
        make_tensor<Sum, 2>({size.Nq, size.Nk}, minus_infinity);  // [Nq, Nk]: n × n, the book's O(n²)
    TensorView<Sum, 2> s = view(matrix);
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) {
            const int g = size.kv_head(h);

            // [19.3-1] scores: every query with every key that it sees
            for (int i = 0; i < size.Nq; ++i)
                for (int j = 0; j < size.visible_keys(i, options.causal); ++j) {
                    Sum dot = 0;
                    for (int d = 0; d < size.D; ++d)
                        dot += static_cast<Sum>(q(b, h, i, d)) * static_cast<Sum>(k(b, g, j, d));
                    s(i, j) = scale * dot;
                }
            watch("[19.3-1] scores = scale · q kᵀ", s);

            for (int i = 0; i < size.Nq; ++i) {
                const int visible = size.visible_keys(i, options.causal);

                // [19.3-2] row maximum: subtracted below, so that no exponential overflows
                Sum maximum = minus_infinity;
                for (int j = 0; j < visible; ++j)
                    if (maximum < s(i, j)) maximum = s(i, j);

                // [19.3-3] exponentials and their sum
                Sum sum = 0;
                for (int j = 0; j < visible; ++j) {
                    s(i, j) = exp(s(i, j) - maximum);
                    sum += s(i, j);
                }

                // [19.3-4] weights: the softmax of the row, they sum to 1
                for (int j = 0; j < visible; ++j) s(i, j) = s(i, j) / sum;
                out.log_sum_exp(b, h, i) = static_cast<T>(visible > 0 ? maximum + log(sum) : minus_infinity);
            }
            watch("[19.3-4] weights = softmax of each row", s);

            // [19.3-5] output: the weighted mean of the values
            for (int i = 0; i < size.Nq; ++i)
                for (int d = 0; d < size.Dv; ++d) {
                    Sum mean = 0;
                    for (int j = 0; j < size.visible_keys(i, options.causal); ++j)
                        mean += s(i, j) * static_cast<Sum>(v(b, g, j, d));
                    out.out(b, h, i, d) = static_cast<T>(mean);
                }
            watch("[19.3-5] out = weights · v", out.out.slice(b, h));
        }
}

// The gradients, from the weights P computed anew as exp(score - log_sum_exp):
//     dV = Pᵀ dO,   dP = dO Vᵀ,   dS = P ∘ (dP - rowsum(dO ∘ O)),   dQ = scale · dS K,   dK = scale · dSᵀ Q
// Heads that share a key/value head add up their dK and dV.
template <class T>
void naive_backward(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
    using Sum = accumulator_t<T>;
    using std::exp;
    const auto& [q, k, v, d_out] = in;
    const Sizes size = in.sizes();
    const Sum scale = static_cast<Sum>(options.scale);
    auto d_q = make_tensor<Sum, 4>(q.shape());  // [B, H, Nq, D]
    auto d_k = make_tensor<Sum, 4>(k.shape());  // [B, G, Nk, D]
    auto d_v = make_tensor<Sum, 4>(v.shape());  // [B, G, Nk, Dv]

    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) {
            const int g = size.kv_head(h);
            for (int i = 0; i < size.Nq; ++i) {
                // [19.3-6] dO · O of the row: what the normalisation takes back
                Sum correction = 0;
                for (int d = 0; d < size.Dv; ++d)
                    correction += static_cast<Sum>(d_out(b, h, i, d)) * static_cast<Sum>(out.out(b, h, i, d));
                for (int j = 0; j < size.visible_keys(i, options.causal); ++j) {
                    Sum dot = 0, d_weight = 0;
                    for (int d = 0; d < size.D; ++d)
                        dot += static_cast<Sum>(q(b, h, i, d)) * static_cast<Sum>(k(b, g, j, d));
                    for (int d = 0; d < size.Dv; ++d)
                        d_weight += static_cast<Sum>(d_out(b, h, i, d)) * static_cast<Sum>(v(b, g, j, d));
                    // [19.3-7] gradient of the score, and through the scale that of the product q·k
                    const Sum weight = exp(scale * dot - static_cast<Sum>(out.log_sum_exp(b, h, i)));
                    const Sum d_score = weight * (d_weight - correction);
                    const Sum d_dot = scale * d_score;
                    for (int d = 0; d < size.D; ++d) {
                        d_q(b, h, i, d) += d_dot * static_cast<Sum>(k(b, g, j, d));
                        d_k(b, g, j, d) += d_dot * static_cast<Sum>(q(b, h, i, d));
                    }
                    for (int d = 0; d < size.Dv; ++d) d_v(b, g, j, d) += weight * static_cast<Sum>(d_out(b, h, i, d));
                }
            }
        }
    for (std::int64_t index = 0; index < out.d_q.count(); ++index)
        out.d_q.data()[index] = static_cast<T>(d_q.data()[index]);
    for (std::int64_t index = 0; index < out.d_k.count(); ++index)
        out.d_k.data()[index] = static_cast<T>(d_k.data()[index]);
    for (std::int64_t index = 0; index < out.d_v.count(); ++index)
        out.d_v.data()[index] = static_cast<T>(d_v.data()[index]);
}

template <class T>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
    naive_forward(in, options, out);
    if (in.d_out) naive_backward(in, options, out);
}

}  // namespace attn::dense
