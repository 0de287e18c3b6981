// Linear attention, naive: the formulas of linear_attention.hpp in their three forms, and the gradients. Templated on
// the scalar. The state is kept in accumulator_t<T>: float where T has 16 bits.
//
// The tags name the steps; README.md and `attn trace linear_attention` use the same.
#pragma once

#include <algorithm>
#include <cmath>

#include "chapters/02_linear/linear_attention/linear_attention.hpp"
#include "common/mechanism/watch.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::linear_attention {

// [19.4.2-1] feature: elu(x) + 1, that is x + 1 above 0 and exp(x) below. As expm1(x) + 1 it would be 0 in float below
// -17, where exp(x) is 4e-8.
template <class Sum>
Sum feature(FeatureMap map, Sum x) {
    using std::exp;
    if (map == FeatureMap::identity) return x;
    const bool below = x < Sum(0);
    return (below ? Sum(0) : x) + exp(below ? x : Sum(0));
}
template <class Sum>
Sum feature_slope(FeatureMap map, Sum x) {
    using std::exp;
    return map == FeatureMap::elu_plus_one && x < Sum(0) ? exp(x) : Sum(1);
}

// features(d) = φ(x(d))
template <class T, class Sum>
void make_features(FeatureMap map, TensorView<const T, 1> x, TensorView<Sum, 1> features) {
    for (int d = 0; d < x.extent(0); ++d) features(d) = feature(map, static_cast<Sum>(x(d)));
}

// What is left of the keys and values so far, of one head: all that is needed to go on.
template <class Sum>
struct State {
    Tensor<Sum, 2> sums;        // S [D, Dv]
    Tensor<Sum, 1> normalizer;  // z [D]

    State(int D, int Dv) : sums(make_tensor<Sum, 2>({D, Dv})), normalizer(make_tensor<Sum, 1>({{D}})) {}

    // [19.4.2-2] state: S += φ(k) vᵀ, z += φ(k)
    template <class T>
    void add(TensorView<const Sum, 1> key_features, TensorView<const T, 1> v) {
        TensorView<Sum, 2> S = view(sums);
        TensorView<Sum, 1> z = view(normalizer);
        for (int m = 0; m < S.extent(0); ++m) {
            for (int d = 0; d < S.extent(1); ++d) S(m, d) += key_features(m) * static_cast<Sum>(v(d));
            z(m) += key_features(m);
        }
    }

    // [19.4.2-3] numerator and denominator, of column d: φ(q)ᵀ S, φ(q)·z
    Sum numerator(TensorView<const Sum, 1> query_features, int d) const {
        TensorView<const Sum, 2> S = view(sums);
        Sum dot = 0;
        for (int m = 0; m < S.extent(0); ++m) dot += query_features(m) * S(m, d);
        return dot;
    }
    Sum denominator(TensorView<const Sum, 1> query_features) const {
        TensorView<const Sum, 1> z = view(normalizer);
        Sum dot = 0;
        for (int m = 0; m < z.extent(0); ++m) dot += query_features(m) * z(m);
        return dot;
    }
};

// The state in which a head begins: of earlier tokens, or of none.
template <class T>
State<accumulator_t<T>> initial_state(const Inputs<T>& in, int b, int h) {
    const Sizes size = in.sizes();
    State<accumulator_t<T>> state(size.D, size.Dv);
    if (in.initial_state)
        for (int m = 0; m < size.D; ++m) {
            for (int d = 0; d < size.Dv; ++d) state.sums(m, d) = in.initial_state(b, h, m, d);
            state.normalizer(m) = in.initial_normalizer(b, h, m);
        }
    return state;
}

// [19.4.2-4] output: the numerator of column d, over the denominator + ε where it is normalised
template <class Sum>
Sum quotient(const Options& options, Sum numerator, Sum denominator) {
    return options.normalize ? numerator / denominator : numerator;
}

// One query against a state: O(D · Dv), whatever came before. After State::add of its own key this is a step of
// generation.
template <class T, class Sum>
void read_state(const Options& options, const State<Sum>& state, TensorView<const Sum, 1> query_features,
                TensorView<T, 1> out) {
    const Sum denominator =
        options.normalize ? state.denominator(query_features) + static_cast<Sum>(options.epsilon) : Sum(1);
    for (int d = 0; d < out.extent(0); ++d)
        out(d) = static_cast<T>(quotient(options, state.numerator(query_features, d), denominator));
}

template <class T, class Sum, class Watch>
void forward_recurrent(const Inputs<T>& in, const Options& options, const Outputs<T>& out, int b, int h,
                       State<Sum>& state, Watch watch) {
    const Sizes size = in.sizes();
    Tensor<Sum, 1> features = make_tensor<Sum, 1>({{size.D}});
    auto learn = [&](int j) {
        make_features(options.feature_map, in.k.slice(b, h, j), view(features));
        watch("[19.4.2-1] features of the key", view(features));
        state.add(view(std::as_const(features)), in.v.slice(b, h, j));
        watch("[19.4.2-2] state S, a row for each feature", view(state.sums));
        watch("[19.4.2-2] normalizer z", view(state.normalizer));
    };
    auto answer = [&](int i) {
        make_features(options.feature_map, in.q.slice(b, h, i), view(features));
        watch("[19.4.2-1] features of the query", view(features));
        read_state(options, state, TensorView<const Sum, 1>(view(features)), out.out.slice(b, h, i));
        watch("[19.4.2-4] out = φ(q) S / φ(q)·z", out.out.slice(b, h, i));
    };
    if (options.causal) {
        for (int i = 0; i < size.Nq; ++i) learn(i), answer(i);
    } else {
        for (int j = 0; j < size.Nk; ++j) learn(j);
        for (int i = 0; i < size.Nq; ++i) answer(i);
    }
}

// The causal form in chunks. A chunk's pairs are a small matrix product each, which is why GPUs do it so.
template <class T, class Sum>
void forward_chunked(const Inputs<T>& in, const Options& options, const Outputs<T>& out, int b, int h,
                     State<Sum>& state) {
    const Sizes size = in.sizes();
    const int C = std::min(options.chunk, size.Nk);
    Tensor<Sum, 2> of_queries = make_tensor<Sum, 2>({C, size.D}), of_keys = of_queries;
    Tensor<Sum, 2> matrix = make_tensor<Sum, 2>({C, C});
    TensorView<Sum, 2> phi_q = view(of_queries), phi_k = view(of_keys), weights = view(matrix);
    for (int first = 0; first < size.Nk; first += C) {
        const int count = std::min(C, size.Nk - first);
        for (int i = 0; i < count; ++i) {
            make_features(options.feature_map, in.q.slice(b, h, first + i), phi_q.slice(i));
            make_features(options.feature_map, in.k.slice(b, h, first + i), phi_k.slice(i));
        }
        // [19.4.2-5] pairs of the chunk: weights(i, j) = φ(q_i)·φ(k_j), j ≤ i
        for (int i = 0; i < count; ++i)
            for (int j = 0; j <= i; ++j) {
                Sum dot = 0;
                for (int m = 0; m < size.D; ++m) dot += phi_q(i, m) * phi_k(j, m);
                weights(i, j) = dot;
            }
        // [19.4.2-6] output: what came before the chunk through the state, the chunk itself by its pairs
        for (int i = 0; i < count; ++i) {
            const TensorView<const Sum, 1> query = phi_q.slice(i);
            Sum denominator = 1;
            if (options.normalize) {
                denominator = state.denominator(query);
                for (int j = 0; j <= i; ++j) denominator += weights(i, j);
                denominator = denominator + static_cast<Sum>(options.epsilon);
            }
            for (int d = 0; d < size.Dv; ++d) {
                Sum numerator = state.numerator(query, d);
                for (int j = 0; j <= i; ++j) numerator += weights(i, j) * static_cast<Sum>(in.v(b, h, first + j, d));
                out.out(b, h, first + i, d) = static_cast<T>(quotient(options, numerator, denominator));
            }
        }
        // [19.4.2-7] state after the chunk
        for (int j = 0; j < count; ++j)
            state.add(TensorView<const Sum, 1>(phi_k.slice(j)), in.v.slice(b, h, first + j));
    }
}

// All pairs, in an n × n matrix: what linear attention is, without what makes it linear.
template <class T, class Sum>
void forward_quadratic(const Inputs<T>& in, const Options& options, const Outputs<T>& out, int b, int h,
                       State<Sum>& state) {
    const Sizes size = in.sizes();
    Tensor<Sum, 2> of_queries = make_tensor<Sum, 2>({size.Nq, size.D}),
                   of_keys = make_tensor<Sum, 2>({size.Nk, size.D});
    Tensor<Sum, 2> matrix = make_tensor<Sum, 2>({size.Nq, size.Nk});
    TensorView<Sum, 2> phi_q = view(of_queries), phi_k = view(of_keys), weights = view(matrix);
    for (int i = 0; i < size.Nq; ++i) make_features(options.feature_map, in.q.slice(b, h, i), phi_q.slice(i));
    for (int j = 0; j < size.Nk; ++j) make_features(options.feature_map, in.k.slice(b, h, j), phi_k.slice(j));
    auto seen = [&](int i) { return options.causal ? i + 1 : size.Nk; };
    for (int i = 0; i < size.Nq; ++i)
        for (int j = 0; j < seen(i); ++j)
            for (int m = 0; m < size.D; ++m) weights(i, j) += phi_q(i, m) * phi_k(j, m);
    for (int i = 0; i < size.Nq; ++i) {
        Sum denominator = 1;
        if (options.normalize) {
            denominator = 0;
            for (int j = 0; j < seen(i); ++j) denominator += weights(i, j);
            denominator = denominator + static_cast<Sum>(options.epsilon);
        }
        for (int d = 0; d < size.Dv; ++d) {
            Sum numerator = 0;
            for (int j = 0; j < seen(i); ++j) numerator += weights(i, j) * static_cast<Sum>(in.v(b, h, j, d));
            out.out(b, h, i, d) = static_cast<T>(quotient(options, numerator, denominator));
        }
    }
    if (options.causal)
        for (int j = 0; j < size.Nk; ++j) state.add(TensorView<const Sum, 1>(phi_k.slice(j)), in.v.slice(b, h, j));
}

template <class T, class Watch = NobodyWatches>
void naive_forward(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    check_shapes(in, options);
    const Sizes size = in.sizes();
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) {
            State<accumulator_t<T>> state = initial_state(in, b, h);
            if (options.form == Form::quadratic)
                forward_quadratic(in, options, out, b, h, state);
            else if (options.form == Form::chunked && options.causal)
                forward_chunked(in, options, out, b, h, state);
            else
                forward_recurrent(in, options, out, b, h, state, watch);
            if (!options.causal) continue;
            for (int m = 0; m < size.D; ++m) {
                for (int d = 0; d < size.Dv; ++d) out.state(b, h, m, d) = state.sums(m, d);
                out.normalizer(b, h, m) = state.normalizer(m);
            }
        }
}

// The gradients, in two passes, each with a state of its own. With N = φ(q)ᵀS the numerator and D the denominator:
//     dN = dO / D,   dD = -(dO · out) / D                           without the denominator: dN = dO, dD = 0
//     dφ(q_i) = S_i dN_i + z_i dD_i                                 forward in time, S and z as in the forward pass
//     R_j = Σ φ(q_i) dN_iᵀ,   u_j = Σ φ(q_i) dD_i,  i ≥ j           backward in time
//     dφ(k_j) = R_j v_j + u_j,   dv_j = R_jᵀ φ(k_j)
// The states are computed anew, and not recovered by subtracting φ(k) vᵀ, which would lose digits at each step.
template <class T>
void naive_backward(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
    using Sum = accumulator_t<T>;
    const Sizes size = in.sizes();
    auto d_numerators = make_tensor<Sum, 2>({size.Nq, size.Dv});
    auto d_denominators = make_tensor<Sum, 1>({{size.Nq}});
    auto features = make_tensor<Sum, 1>({{size.D}});
    const TensorView<const Sum, 1> phi = view(std::as_const(features));
    const FeatureMap map = options.feature_map;
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) {
            State<Sum> state = initial_state(in, b, h);
            auto learn = [&](int j) {
                make_features(map, in.k.slice(b, h, j), view(features));
                state.add(phi, in.v.slice(b, h, j));
            };
            if (!options.causal)
                for (int j = 0; j < size.Nk; ++j) learn(j);
            for (int i = 0; i < size.Nq; ++i) {
                if (options.causal) learn(i);
                make_features(map, in.q.slice(b, h, i), view(features));
                // [19.4.2-8] gradients of numerator and denominator
                const Sum denominator =
                    options.normalize ? state.denominator(phi) + static_cast<Sum>(options.epsilon) : Sum(1);
                Sum d_denominator = 0;
                for (int d = 0; d < size.Dv; ++d) {
                    const Sum d_out = static_cast<Sum>(in.d_out(b, h, i, d));
                    d_numerators(i, d) = d_out / denominator;
                    d_denominator += d_out * (state.numerator(phi, d) / denominator);
                }
                d_denominators(i) = options.normalize ? -d_denominator / denominator : Sum(0);
                // [19.4.2-9] gradient of the query, through its features
                for (int m = 0; m < size.D; ++m) {
                    Sum sum = state.normalizer(m) * d_denominators(i);
                    for (int d = 0; d < size.Dv; ++d) sum += state.sums(m, d) * d_numerators(i, d);
                    const Sum slope = feature_slope(map, static_cast<Sum>(in.q(b, h, i, m)));
                    out.d_q(b, h, i, m) = static_cast<T>(sum * slope);
                }
            }
            // [19.4.2-10] gradients of key and value: from the queries that see them, summed up from the end
            State<Sum> later(size.D, size.Dv);  // R and u
            auto collect = [&](int i) {
                make_features(map, in.q.slice(b, h, i), view(features));
                for (int m = 0; m < size.D; ++m) {
                    for (int d = 0; d < size.Dv; ++d) later.sums(m, d) += phi(m) * d_numerators(i, d);
                    later.normalizer(m) += phi(m) * d_denominators(i);
                }
            };
            if (!options.causal)
                for (int i = 0; i < size.Nq; ++i) collect(i);
            for (int j = size.Nk - 1; j >= 0; --j) {
                if (options.causal) collect(j);
                make_features(map, in.k.slice(b, h, j), view(features));
                for (int m = 0; m < size.D; ++m) {
                    Sum sum = later.normalizer(m);
                    for (int d = 0; d < size.Dv; ++d) sum += later.sums(m, d) * static_cast<Sum>(in.v(b, h, j, d));
                    const Sum slope = feature_slope(map, static_cast<Sum>(in.k(b, h, j, m)));
                    out.d_k(b, h, j, m) = static_cast<T>(sum * slope);
                }
                for (int d = 0; d < size.Dv; ++d) out.d_v(b, h, j, d) = static_cast<T>(later.numerator(phi, d));
            }
        }
}

template <class T>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
    naive_forward(in, options, out);
    if (in.d_out) naive_backward(in, options, out);
}

}  // namespace attn::linear_attention
