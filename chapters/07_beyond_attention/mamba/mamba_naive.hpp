// Mamba, naive: any number of positions at once, from the state on that the ones before have left. Templated on the
// scalar.
#pragma once

#include "chapters/07_beyond_attention/mamba/mamba.hpp"
#include "chapters/07_beyond_attention/selective_scan/selective_scan_naive.hpp"

namespace attn::mamba {

// A = -exp(a_log) [Di, S]
template <class T>
Tensor<accumulator_t<T>, 2> decay_rates(const Weights<T>& w) {
    using Sum = accumulator_t<T>;
    using std::exp;
    const Sizes size = w.sizes();
    Tensor<Sum, 2> a = make_tensor<Sum, 2>({size.Di, size.S});
    for (int d = 0; d < size.Di; ++d)
        for (int s = 0; s < size.S; ++s) a(d, s) = Sum(0) - exp(w.a_log(d, s));
    return a;
}

// The state before the first token, of B sequences.
template <class T>
struct OwnedState {
    Tensor<T, 3> window;
    Tensor<accumulator_t<T>, 3> h;

    OwnedState(const Sizes& s, int B)
        : window(make_tensor<T, 3>({B, s.Di, s.W - 1})), h(make_tensor<accumulator_t<T>, 3>({B, s.Di, s.S})) {}
    State<T> view() { return {attn::view(window), attn::view(h)}; }
};

// Column t of a matrix as a vector.
template <class T, class U>
void copy_column(TensorView<T, 2> from, int t, TensorView<U, 1> to) {
    for (int d = 0; d < to.extent(0); ++d) to(d) = static_cast<U>(from(d, t));
}

// The next positions of sequence b, hidden [count, Dm] to out [count, Dm]. The state moves on with them.
template <class T, class Watch = NobodyWatches>
void advance(const Weights<T>& w, double norm_epsilon, TensorView<const accumulator_t<T>, 2> a,
             TensorView<const T, 2> hidden, int b, const State<T>& state, TensorView<T, 2> out, Watch watch = {}) {
    using Sum = accumulator_t<T>;
    const Sizes size = w.sizes();
    const int Di = size.Di, S = size.S, R = size.R, before = size.W - 1, count = hidden.extent(0);
    auto x = make_tensor<T, 2>({Di, before + count});  // behind the inputs that the convolution still looks at
    auto u = make_tensor<T, 3>({1, Di, count}), z = u, delta = u, y = u;
    auto B = make_tensor<T, 3>({1, S, count}), C = B;

    // [19.4.7-15] x, and the gate z: W_in hidden
    {
        Tensor<Sum, 1> both = make_tensor<Sum, 1>({{2 * Di}});
        for (int t = 0; t < count; ++t) {
            multiply(w.in_proj, hidden.slice(t), view(both));
            for (int d = 0; d < Di; ++d) x(d, before + t) = static_cast<T>(both(d));
            for (int d = 0; d < Di; ++d) z(0, d, t) = static_cast<T>(both(Di + d));
        }
    }

    // [19.4.7-16] causal convolution, channel by channel, and SiLU
    for (int d = 0; d < Di; ++d) {
        for (int j = 0; j < before; ++j) x(d, j) = state.window(b, d, j);
        for (int t = 0; t < count; ++t) {
            Sum sum = static_cast<Sum>(w.conv_bias(d));
            for (int j = 0; j < size.W; ++j)
                sum += static_cast<Sum>(w.conv_weight(d, j)) * static_cast<Sum>(x(d, t + j));
            u(0, d, t) = static_cast<T>(silu(sum));
        }
        for (int j = 0; j < before; ++j) state.window(b, d, j) = x(d, count + j);
    }
    watch("[19.4.7-15] x, a row for each channel, behind what came before", view(x));
    watch("[19.4.7-16] u = silu(conv(x) + bias)", view(u).slice(0));

    // [19.4.7-17] Δ, B and C of each token, made out of u
    {
        Tensor<Sum, 1> channels = make_tensor<Sum, 1>({{Di}}), made = make_tensor<Sum, 1>({{R + 2 * S}});
        const TensorView<Sum, 1> dt = part(view(made), 0, R), b_row = part(view(made), R, S),
                                 c_row = part(view(made), R + S, S);
        for (int t = 0; t < count; ++t) {
            copy_column(view(u).slice(0), t, view(channels));
            multiply(w.x_proj, view(channels), view(made));
            if (w.dt_norm) rms_norm(dt, w.dt_norm, norm_epsilon);
            if (w.b_norm) rms_norm(b_row, w.b_norm, norm_epsilon);
            if (w.c_norm) rms_norm(c_row, w.c_norm, norm_epsilon);
            multiply(w.dt_proj, dt, view(channels));
            for (int d = 0; d < Di; ++d) delta(0, d, t) = static_cast<T>(channels(d));
            for (int s = 0; s < S; ++s) B(0, s, t) = static_cast<T>(b_row(s)), C(0, s, t) = static_cast<T>(c_row(s));
        }
    }
    watch("[19.4.7-17] Δ before softplus(Δ + dt_bias), a row for each channel", view(delta).slice(0));
    watch("[19.4.7-17] B, a row for each number of the state", view(B).slice(0));
    watch("[19.4.7-17] C", view(C).slice(0));

    // [19.4.7-18] the selective scan, from the state on, and gated
    const TensorView<Sum, 3> h{state.h.slice(b).data(), {{1, Di, S}}};
    selective_scan::Inputs<T> scan{view(u), view(delta), a, view(B), view(C), w.d, view(z), w.dt_bias, h};
    selective_scan::naive(scan, scan_options(), selective_scan::Outputs<T>{view(y), h});
    watch("[19.4.7-18] state h, a row for each channel", state.h.slice(b));
    watch("[19.4.7-18] y, gated, a row for each channel", view(y).slice(0));

    // [19.4.7-19] output: W_out y
    Tensor<Sum, 1> channels = make_tensor<Sum, 1>({{Di}});
    for (int t = 0; t < count; ++t) {
        copy_column(view(y).slice(0), t, view(channels));
        multiply(w.out_proj, view(channels), out.slice(t));
    }
    watch("[19.4.7-19] out = W_out y, a row for each position", out);
}

template <class T, class Watch = NobodyWatches>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    const int B = in.hidden.extent(0);
    check_weights(in.weights, in.hidden.extent(2));
    const Tensor<accumulator_t<T>, 2> a = decay_rates(in.weights);
    OwnedState<T> state(in.weights.sizes(), B);
    for_each_step(in.hidden.extent(1), options.prefill, [&](const Step& step) {
        for (int b = 0; b < B; ++b)
            advance<T>(in.weights, options.norm_epsilon, view(a), positions(in.hidden, b, step), b, state.view(),
                       positions(out.out, b, step), watch);
    });
}

}  // namespace attn::mamba
