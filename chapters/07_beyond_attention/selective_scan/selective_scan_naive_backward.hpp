// The selective scan, naive, backward: the same recurrence from the last token to the first. What a later token gives a
// state in gradient fades into the one before by the same exp(Δ A).
#pragma once

#include "chapters/07_beyond_attention/selective_scan/selective_scan_naive.hpp"

namespace attn::selective_scan {

// The factor by which u's part is scaled, and its derivative: 1 and 0 for Euler's step; for the zero-order hold
// (e^x - 1)/x, whose derivative (e^x - factor)/x is a difference of near equals where x is small.
template <class Sum>
struct Factor {
    Sum value, derivative;
};
template <class Sum>
Factor<Sum> factor_of(Discretization rule, Sum x) {
    using std::exp, std::expm1;
    if (rule == Discretization::euler) return {1, 0};
    if (std::abs(static_cast<double>(x)) < 0.01) {  // Σ x^k/(k+1)!, and term by term Σ (k+1) x^k/(k+2)!
        const Sum value = 1 + x * (Sum(1) / 2 + x * (Sum(1) / 6 + x * (Sum(1) / 24 + x * (Sum(1) / 120 + x / 720))));
        return {value,
                Sum(1) / 2 + x * (Sum(1) / 3 + x * (Sum(1) / 8 + x * (Sum(1) / 30 + x * (Sum(1) / 144 + x / 840))))};
    }
    const Sum value = expm1(x) / x;
    return {value, (exp(x) - value) / x};
}

template <class Sum>
Sum sigmoid(Sum x) {
    using std::exp;
    return Sum(1) / (Sum(1) + exp(Sum(0) - x));
}

// The gradients of channel d of sequence b. d_b and d_c [S, L] are sums over the channels, as d_a, d_d and d_delta_bias
// are over the sequences: they are added to.
template <class T, class Sum>
void scan_backward(const Inputs<T>& in, const Options& options, const Outputs<T>& out, int b, int d,
                   TensorView<Sum, 2> d_b, TensorView<Sum, 2> d_c) {
    using std::exp;
    const Sizes size = in.sizes();
    const auto number = [](T x) { return static_cast<Sum>(x); };
    // The states once more; h(t) is the one before token t.
    Tensor<Sum, 2> states = make_tensor<Sum, 2>({size.L + 1, size.S});
    const TensorView<Sum, 2> h = view(states);
    for (int s = 0; s < size.S; ++s) h(0, s) = in.initial_state ? in.initial_state(b, d, s) : Sum(0);
    for (int t = 0; t < size.L; ++t) {
        const Sum delta = step_size(in, options, b, d, t);
        for (int s = 0; s < size.S; ++s) {
            const Step<Sum> step = discretize(in, options, delta, b, d, s, t);
            h(t + 1, s) = step.fades * h(t, s) + step.enters * number(in.u(b, d, t));
        }
    }

    Tensor<Sum, 1> gradients = make_tensor<Sum, 1>({{size.S}}, Sum(0));  // of the state behind token t
    const TensorView<Sum, 1> d_h = view(gradients);
    for (int t = size.L - 1; t >= 0; --t) {
        const Sum u = number(in.u(b, d, t)), delta = step_size(in, options, b, d, t);
        // [19.4.7-30] backward through the gate and past the state
        Sum d_y = number(in.d_out(b, d, t)), d_u = 0, d_delta = 0;
        if (in.z) {
            Sum y = in.d ? in.d(d) * u : Sum(0);
            for (int s = 0; s < size.S; ++s) y += number(in.c(b, s, t)) * h(t + 1, s);
            const Sum z = number(in.z(b, d, t)), open = sigmoid(z);
            out.d_z(b, d, t) = static_cast<T>(d_y * y * open * (Sum(1) + z * (Sum(1) - open)));
            d_y = d_y * z * open;
        }
        if (in.d) d_u += d_y * in.d(d), out.d_d(d) += d_y * u;
        for (int s = 0; s < size.S; ++s) {
            // [19.4.7-31] backward through the state: into what entered it, into how it faded, into the state before
            const Sum B = number(in.b(b, s, t)), A = in.a(d, s), x = delta * A, fades = exp(x);
            const Factor<Sum> factor = factor_of(options.discretization, x);
            d_c(s, t) += d_y * h(t + 1, s);
            d_h(s) += d_y * number(in.c(b, s, t));
            d_b(s, t) += d_h(s) * factor.value * delta * u;
            d_u += d_h(s) * factor.value * delta * B;
            const Sum d_x = d_h(s) * (h(t, s) * fades + factor.derivative * delta * B * u);
            d_delta += d_h(s) * factor.value * B * u + d_x * A;
            out.d_a(d, s) += d_x * delta;
            d_h(s) = d_h(s) * fades;
        }
        if (options.delta_softplus) {  // whose derivative is the sigmoid
            Sum before = number(in.delta(b, d, t));
            if (in.delta_bias) before = before + in.delta_bias(d);
            d_delta = d_delta * sigmoid(before);
        }
        out.d_u(b, d, t) = static_cast<T>(d_u);
        out.d_delta(b, d, t) = static_cast<T>(d_delta);
        if (in.delta_bias) out.d_delta_bias(d) += d_delta;
    }
    if (in.initial_state)
        for (int s = 0; s < size.S; ++s) out.d_initial_state(b, d, s) = d_h(s);
}

// Every gradient, from in.d_out.
template <class T>
void naive_backward(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
    using Sum = accumulator_t<T>;
    check_shapes(in);
    const Sizes size = in.sizes();
    for (int d = 0; d < size.D; ++d) {
        for (int s = 0; s < size.S; ++s) out.d_a(d, s) = 0;
        if (in.d) out.d_d(d) = 0;
        if (in.delta_bias) out.d_delta_bias(d) = 0;
    }
    for (int b = 0; b < size.B; ++b) {
        Tensor<Sum, 2> of_b = make_tensor<Sum, 2>({size.S, size.L}, Sum(0)), of_c = of_b;
        for (int d = 0; d < size.D; ++d) scan_backward(in, options, out, b, d, view(of_b), view(of_c));
        for (int s = 0; s < size.S; ++s)
            for (int t = 0; t < size.L; ++t) {
                out.d_b(b, s, t) = static_cast<T>(of_b(s, t));
                out.d_c(b, s, t) = static_cast<T>(of_c(s, t));
            }
    }
}

}  // namespace attn::selective_scan
