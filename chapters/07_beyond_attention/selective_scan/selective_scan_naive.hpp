// The selective scan, naive: one channel at a time. Templated on the scalar; the state is kept in accumulator_t<T>.
//
// The tags name the steps; README.md and `attn trace selective_scan` use the same.
#pragma once

#include <algorithm>
#include <cmath>

#include "chapters/07_beyond_attention/selective_scan/selective_scan.hpp"
#include "common/mechanism/watch.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::selective_scan {

// log(1 + exp(x)) without overflow, and without losing small values.
template <class Sum>
Sum softplus(Sum x) {
    using std::exp, std::log1p;
    const bool above = Sum(0) < x;
    const Sum towards = above ? Sum(0) - x : x - Sum(0);
    return (above ? x : Sum(0)) + log1p(exp(towards));
}

// [19.4.7-6] step size Δ of a token in a channel
template <class T>
accumulator_t<T> step_size(const Inputs<T>& in, const Options& options, int b, int d, int t) {
    using Sum = accumulator_t<T>;
    Sum delta = static_cast<Sum>(in.delta(b, d, t));
    if (in.delta_bias) delta = delta + in.delta_bias(d);
    return options.delta_softplus ? softplus(delta) : delta;
}

// [19.4.7-7] discretization: by what the state fades, exp(Δ A), and what u is multiplied by, Δ B
template <class Sum>
struct Step {
    Sum fades, enters;
};
template <class T>
Step<accumulator_t<T>> discretize(const Inputs<T>& in, const Options& options, accumulator_t<T> delta, int b, int d,
                                  int s, int t) {
    using Sum = accumulator_t<T>;
    using std::exp, std::expm1;
    const Sum x = delta * in.a(d, s);
    Step<Sum> step{exp(x), delta * static_cast<Sum>(in.b(b, s, t))};
    if (options.discretization == Discretization::zoh) {
        const bool is_zero = static_cast<double>(x) == 0;  // the limit there is 1
        const Sum factor = expm1(x) / (is_zero ? Sum(1) : x);
        step.enters = (is_zero ? Sum(1) : factor) * step.enters;
    }
    return step;
}

// [19.4.7-10] output of a token: what goes past the state, and the gate
template <class T, class Sum>
void finish(const Inputs<T>& in, const Outputs<T>& out, int b, int d, int t, Sum y) {
    if (in.d) y += in.d(d) * static_cast<Sum>(in.u(b, d, t));
    if (in.z) y = y * silu(static_cast<Sum>(in.z(b, d, t)));
    out.out(b, d, t) = static_cast<T>(y);
}

template <class T, class Sum, class Watch>
void scan_sequential(const Inputs<T>& in, const Options& options, const Outputs<T>& out, int b, int d,
                     TensorView<Sum, 1> h, Watch watch) {
    const Sizes size = in.sizes();
    for (int t = 0; t < size.L; ++t) {
        const Sum delta = step_size(in, options, b, d, t);
        Sum y = 0;
        for (int s = 0; s < size.S; ++s) {
            const Step<Sum> step = discretize(in, options, delta, b, d, s, t);
            // [19.4.7-8] state: what was there fades, the token enters
            h(s) = step.fades * h(s);
            h(s) += step.enters * static_cast<Sum>(in.u(b, d, t));
            // [19.4.7-9] read by C
            y += static_cast<Sum>(in.c(b, s, t)) * h(s);
        }
        watch("[19.4.7-8] state h of the channel", h);
        finish(in, out, b, d, t, y);
        watch("[19.4.7-10] out of the channel so far", out.out.slice(b, d));
    }
}

// [19.4.7-11] all prefixes of the pairs (a, b), in place, by doubling: log2(n) rounds, in each of which all pairs could
// be put together at the same time
template <class Sum>
void scan_pairs(TensorView<Sum, 1> a, TensorView<Sum, 1> b, int n) {
    for (int distance = 1; distance < n; distance *= 2)
        for (int t = n - 1; t >= distance; --t) {  // from the end: what is read has not been written yet
            b(t) += a(t) * b(t - distance);
            a(t) = a(t) * a(t - distance);
        }
}

template <class T, class Sum, class Watch>
void scan_chunked(const Inputs<T>& in, const Options& options, int C, const Outputs<T>& out, int b, int d,
                  TensorView<Sum, 1> h, Watch watch) {
    const Sizes size = in.sizes();
    Tensor<Sum, 1> factors = make_tensor<Sum, 1>({{C}}), terms = factors, steps = factors, outputs = factors;
    TensorView<Sum, 1> fades = view(factors), enters = view(terms), delta = view(steps), y = view(outputs);
    for (int first = 0; first < size.L; first += C) {
        const int count = std::min(C, size.L - first);
        for (int i = 0; i < count; ++i) delta(i) = step_size(in, options, b, d, first + i), y(i) = 0;
        for (int s = 0; s < size.S; ++s) {
            for (int i = 0; i < count; ++i) {
                const Step<Sum> step = discretize(in, options, delta(i), b, d, s, first + i);
                fades(i) = step.fades;
                enters(i) = step.enters * static_cast<Sum>(in.u(b, d, first + i));
            }
            scan_pairs(fades, enters, count);
            watch("[19.4.7-11] b of the scanned pairs of one number of the state", enters);
            // [19.4.7-12] the state before the chunk fades into each token's
            for (int i = 0; i < count; ++i) {
                enters(i) += fades(i) * h(s);
                y(i) += static_cast<Sum>(in.c(b, s, first + i)) * enters(i);
            }
            h(s) = enters(count - 1);
        }
        for (int i = 0; i < count; ++i) finish(in, out, b, d, first + i, y(i));
    }
}

template <class T, class Watch = NobodyWatches>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    using Sum = accumulator_t<T>;
    check_shapes(in);
    const Sizes size = in.sizes();
    Tensor<Sum, 1> state = make_tensor<Sum, 1>({{size.S}});
    const TensorView<Sum, 1> h = view(state);
    for (int b = 0; b < size.B; ++b)
        for (int d = 0; d < size.D; ++d) {
            for (int s = 0; s < size.S; ++s) h(s) = in.initial_state ? in.initial_state(b, d, s) : Sum(0);
            if (options.form == Form::sequential)
                scan_sequential(in, options, out, b, d, h, watch);
            else
                scan_chunked(in, options, options.form == Form::parallel ? size.L : std::min(options.chunk, size.L),
                             out, b, d, h, watch);
            for (int s = 0; s < size.S; ++s) out.last_state(b, d, s) = h(s);
        }
}

}  // namespace attn::selective_scan
