// Performer, naive: one token after the other, with a state. Templated on the scalar.
//
// The tags name the steps; README.md and `attn trace performer` use the same.
#pragma once

#include <cmath>
#include <limits>

#include "chapters/02_linear/performer/performer.hpp"
#include "common/mechanism/watch.hpp"
#include "common/tensor/half.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::performer {

// What is left of the keys and values so far, of one head. Row f of the sums and element f of the normalizer are those
// of feature f, divided by exp(maximum(f)).
template <class Sum>
struct State {
    Tensor<Sum, 2> sums;        // S [M, Dv]
    Tensor<Sum, 1> normalizer;  // z [M]; every element is at least 1 once there is a key
    Tensor<Sum, 1> maximum;     // [M]: the largest exponent of a key so far

    State(int M, int Dv)
        : sums(make_tensor<Sum, 2>({M, Dv})),
          normalizer(make_tensor<Sum, 1>({{M}})),
          maximum(make_tensor<Sum, 1>({{M}}, Sum(-std::numeric_limits<double>::infinity()))) {}
};

// exponents(f) = w_f·x, where x is the token / D^(1/4)
template <class T, class Sum>
void project(TensorView<const T, 2> features, TensorView<const T, 1> token, TensorView<Sum, 1> exponents) {
    const Sum scale = static_cast<Sum>(std::pow(token.extent(0), -0.25));
    for (int f = 0; f < features.extent(0); ++f) {
        Sum dot = 0;
        for (int d = 0; d < token.extent(0); ++d) dot += static_cast<Sum>(features(f, d)) * static_cast<Sum>(token(d));
        exponents(f) = scale * dot;
    }
}

template <class T, class Sum, class Watch>
void add_key(const Inputs<T>& in, int b, int h, int j, TensorView<Sum, 1> exponents, State<Sum>& state, Watch watch) {
    using std::exp;
    const Sizes size = in.sizes();
    // [19.4.2-11] exponents of the key: w·y - |y|²/2
    project(in.features, in.k.slice(b, h, j), exponents);
    Sum squares = 0;
    for (int d = 0; d < size.D; ++d) squares += static_cast<Sum>(in.k(b, h, j, d)) * static_cast<Sum>(in.k(b, h, j, d));
    const Sum half_norm = static_cast<Sum>(0.5 / std::sqrt(size.D)) * squares;
    for (int f = 0; f < size.M; ++f) exponents(f) = exponents(f) - half_norm;
    watch("[19.4.2-11] exponents of the key = w·y - |y|²/2", exponents);
    for (int f = 0; f < size.M; ++f) {
        // [19.4.2-12] the largest exponent so far of the feature; what was summed up before shrinks accordingly
        const Sum before = state.maximum(f);
        if (before < exponents(f)) state.maximum(f) = exponents(f);
        const Sum shrink = exp(before - state.maximum(f)), weight = exp(exponents(f) - state.maximum(f));
        // [19.4.2-13] state: the feature of the key times its value
        for (int d = 0; d < size.Dv; ++d) {
            state.sums(f, d) = state.sums(f, d) * shrink;
            state.sums(f, d) += weight * static_cast<Sum>(in.v(b, h, j, d));
        }
        state.normalizer(f) = state.normalizer(f) * shrink;
        state.normalizer(f) += weight;
    }
    watch("[19.4.2-12] largest exponents so far", view(state.maximum));
    watch("[19.4.2-13] state S, a row for each feature", view(state.sums));
    watch("[19.4.2-13] normalizer z", view(state.normalizer));
}

template <class T, class Sum, class Watch>
void answer_query(const Inputs<T>& in, int b, int h, int i, TensorView<Sum, 1> exponents, const State<Sum>& state,
                  const Outputs<T>& out, Watch watch) {
    using std::exp;
    const Sizes size = in.sizes();
    // [19.4.2-14] features of the query: their exponents w·x, to which the state's are added; the largest becomes 1.
    // |x|²/2 and √M would cancel below.
    project(in.features, in.q.slice(b, h, i), exponents);
    Sum largest = -std::numeric_limits<double>::infinity();
    for (int f = 0; f < size.M; ++f) {
        exponents(f) = exponents(f) + state.maximum(f);
        if (largest < exponents(f)) largest = exponents(f);
    }
    for (int f = 0; f < size.M; ++f) exponents(f) = exp(exponents(f) - largest);
    watch("[19.4.2-14] features of the query, the largest is 1", exponents);
    // [19.4.2-15] output
    Sum denominator = 0;
    for (int f = 0; f < size.M; ++f) denominator += exponents(f) * state.normalizer(f);
    for (int d = 0; d < size.Dv; ++d) {
        Sum numerator = 0;
        for (int f = 0; f < size.M; ++f) numerator += exponents(f) * state.sums(f, d);
        out.out(b, h, i, d) = static_cast<T>(numerator / denominator);
    }
    watch("[19.4.2-15] out = φ(q) S / φ(q)·z", out.out.slice(b, h, i));
}

template <class T, class Watch = NobodyWatches>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    using Sum = accumulator_t<T>;
    check_shapes(in, options);
    const Sizes size = in.sizes();
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) {
            State<Sum> state(size.M, size.Dv);
            Tensor<Sum, 1> exponents = make_tensor<Sum, 1>({{size.M}});
            if (options.causal) {
                for (int i = 0; i < size.Nq; ++i) {
                    add_key(in, b, h, i, view(exponents), state, watch);
                    answer_query(in, b, h, i, view(exponents), state, out, watch);
                }
            } else {
                for (int j = 0; j < size.Nk; ++j) add_key(in, b, h, j, view(exponents), state, watch);
                for (int i = 0; i < size.Nq; ++i) answer_query(in, b, h, i, view(exponents), state, out, watch);
            }
        }
}

}  // namespace attn::performer
