// What the layers of several chapters are made of, naive: a weight times a vector, RMSNorm, and positions that are
// computed at once or one after the other.
#pragma once

#include <cmath>

#include "common/measure/costs.hpp"
#include "common/tensor/half.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn {

// Elements first … first + count - 1 of a vector.
template <class T>
TensorView<T, 1> part(TensorView<T, 1> x, int first, int count) {
    return {x.data() + first, {{count}}};
}

// A tensor as one long vector.
template <class T, int N>
TensorView<T, 1> flat(TensorView<T, N> x) {
    return {x.data(), {{static_cast<int>(x.count())}}};
}

// a · b
template <class A, class B>
accumulator_t<A> dot(TensorView<A, 1> a, TensorView<B, 1> b) {
    using Sum = accumulator_t<A>;
    Sum sum = 0;
    for (int d = 0; d < a.extent(0); ++d) sum += static_cast<Sum>(a(d)) * static_cast<Sum>(b(d));
    return sum;
}

// y = W x
template <class T, class X, class Y>
void multiply(TensorView<const T, 2> w, TensorView<X, 1> x, TensorView<Y, 1> y) {
    for (int row = 0; row < w.extent(0); ++row) y(row) = static_cast<Y>(dot(w.slice(row), x));
}

// RMSNorm: x ← x / √(mean of x² + ε) ∘ weight (Zhang and Sennrich 2019, arXiv 1910.07467)
template <class T, class Sum>
void rms_norm(TensorView<Sum, 1> x, TensorView<const T, 1> weight, double epsilon) {
    using std::sqrt;
    Sum squares = 0;
    for (int d = 0; d < x.extent(0); ++d) squares += x(d) * x(d);
    const Sum root = sqrt(squares / static_cast<Sum>(x.extent(0)) + static_cast<Sum>(epsilon));
    for (int d = 0; d < x.extent(0); ++d) x(d) = x(d) / root * static_cast<Sum>(weight(d));
}

// What rms_norm costs for so many vectors of this length.
inline void add_rms_norm(Costs& costs, std::int64_t vectors, int length) {
    costs.multiply_adds += vectors * length;
    costs.divisions += vectors * (1 + length);
    costs.additions += vectors;
    costs.square_roots += vectors;
    costs.multiplications += vectors * length;
}

// SiLU: x · sigmoid(x)
template <class Sum>
Sum silu(Sum x) {
    using std::exp;
    return x / (Sum(1) + exp(Sum(0) - x));
}

// What silu costs, so many times.
inline void add_silu(Costs& costs, std::int64_t count) {
    costs.additions += 2 * count, costs.exponentials += count, costs.divisions += count;
}

// Positions first … first + count - 1, which are computed at once.
struct Step {
    int first, count;
};

// Calls f with each step, in their order: all N positions at once where `prefill` is 0, else the first `prefill` at
// once and the others one by one, as in generation.
template <class Function>
void for_each_step(int N, int prefill, Function f) {
    if (prefill == 0) return f(Step{0, N});
    f(Step{0, prefill});
    for (int i = prefill; i < N; ++i) f(Step{i, 1});
}

// The positions of a step of sequence b, [count, columns], of a tensor [B, N, columns].
template <class T>
TensorView<T, 2> positions(TensorView<T, 3> tensor, int b, const Step& step) {
    return {&tensor(b, step.first, 0), {{step.count, tensor.extent(2)}}};
}

}  // namespace attn
