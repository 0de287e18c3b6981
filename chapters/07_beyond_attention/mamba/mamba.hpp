// Mamba, the interface: the layer around the selective scan. It makes Δ, B and C out of the token, and mixes
// neighbouring tokens by a short convolution before.
//
//     [x ; z] = W_in hidden                    Di numbers each: what is scanned, and its gate
//     u = silu(conv(x) + bias)                 causal, each channel for itself, over W tokens
//     [dt ; B ; C] = W_x u                     R, S and S numbers; in Jamba each with an RMSNorm
//     Δ = softplus(W_dt dt + dt_bias)
//     out = W_out scan(u, Δ, A, B, C, D, z)    A = -exp(a_log)
//
// What the layer keeps between tokens is the state of the scan and the last W - 1 inputs of the convolution.
//
// Book 19.4, family 7. Gu and Dao 2023, "Mamba" (arXiv 2312.00752), section 3.4 and figure 3. The norms: Lieber et al.
// 2024, "Jamba" (arXiv 2403.19887), section 6.4.
#pragma once

#include <algorithm>

#include "chapters/07_beyond_attention/selective_scan/selective_scan.hpp"
#include "common/mechanism/layer.hpp"
#include "common/tensor/shape_check.hpp"

namespace attn::mamba {

struct Options {
    double norm_epsilon = 1e-6;  // of the norms, where they are there
    int prefill = 0;             // 0: all positions at once. Else the first that many at once, the others one by one
};

// The letters: Dm model dimension, Di channels, S numbers of state for each, W tokens of the convolution, R numbers out
// of which Δ is made.
struct Sizes {
    int Dm, Di, S, W, R;
};

template <class T>
struct Weights {
    using Sum = accumulator_t<T>;
    TensorView<const T, 2> in_proj;      // [2Di, Dm]     rows: x, then z
    TensorView<const T, 2> conv_weight;  // [Di, W]       the last is the current token's
    TensorView<const T, 1> conv_bias;    // [Di]
    TensorView<const T, 2> x_proj;       // [R+2S, Di]    rows: dt, then B, then C
    TensorView<const T, 2> dt_proj;      // [Di, R]
    TensorView<const Sum, 1> dt_bias;    // [Di]
    TensorView<const Sum, 2> a_log;      // [Di, S]
    TensorView<const Sum, 1> d;          // [Di]          what of u goes past the state
    TensorView<const T, 2> out_proj;     // [Dm, Di]
    TensorView<const T, 1> dt_norm;      // [R]           optional, as the two below
    TensorView<const T, 1> b_norm;       // [S]
    TensorView<const T, 1> c_norm;       // [S]

    Sizes sizes() const {
        return {in_proj.extent(1), out_proj.extent(1), a_log.extent(1), conv_weight.extent(1), dt_proj.extent(1)};
    }
    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("in_proj", in_proj), visitor("conv_weight", conv_weight), visitor("conv_bias", conv_bias);
        visitor("x_proj", x_proj), visitor("dt_proj", dt_proj), visitor("dt_bias", dt_bias);
        visitor("a_log", a_log), visitor("d", d), visitor("out_proj", out_proj);
        visitor("dt_norm", dt_norm, Optional{}), visitor("b_norm", b_norm, Optional{});
        visitor("c_norm", c_norm, Optional{});
    }
    struct Optional {};
};

template <class T>
struct Inputs {
    TensorView<const T, 3> hidden;  // [B, L, Dm]
    Weights<T> weights;

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("hidden", hidden);
        weights.visit(visitor);
    }
};

template <class T>
struct Outputs {
    TensorView<T, 3> out;  // [B, L, Dm]

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs<T>& in) { return {{nullptr, in.hidden.shape()}}; }
};

// What the layer remembers of the tokens so far: as much after the millionth as after the first. Zero before the first.
template <class T>
struct State {
    TensorView<T, 3> window;            // [B, Di, W-1]: the last inputs of the convolution, the newest last
    TensorView<accumulator_t<T>, 3> h;  // [B, Di, S]
};

// Numbers in the state of one sequence.
constexpr std::int64_t state_numbers(const Sizes& s) { return std::int64_t{s.Di} * (s.S + s.W - 1); }

// Throws ShapeError where the weights contradict each other, or do not belong to hidden vectors of Dm numbers.
// `prefix`: what the tensors' names begin with.
template <class T>
void check_weights(const Weights<T>& w, int Dm, const std::string& prefix = "") {
    const auto expect = [&](const char* name, const auto& tensor, auto shape, const char* text) {
        expect_shape((prefix + name).c_str(), tensor, shape, text);
    };
    const auto [weights_Dm, Di, S, W, R] = w.sizes();
    expect("out_proj", w.out_proj, Shape<2>{{Dm, Di}}, "[Dm, Di] with Dm of hidden");
    expect("in_proj", w.in_proj, Shape<2>{{2 * Di, Dm}}, "[2Di, Dm] with Di of out_proj, Dm of hidden");
    expect("conv_weight", w.conv_weight, Shape<2>{{Di, W}}, "[Di, W] with Di of out_proj");
    expect("conv_bias", w.conv_bias, Shape<1>{{Di}}, "[Di] with Di of out_proj");
    expect("dt_proj", w.dt_proj, Shape<2>{{Di, R}}, "[Di, R] with Di of out_proj");
    expect("dt_bias", w.dt_bias, Shape<1>{{Di}}, "[Di] with Di of out_proj");
    expect("a_log", w.a_log, Shape<2>{{Di, S}}, "[Di, S] with Di of out_proj");
    expect("d", w.d, Shape<1>{{Di}}, "[Di] with Di of out_proj");
    expect("x_proj", w.x_proj, Shape<2>{{R + 2 * S, Di}}, "[R+2S, Di] with R of dt_proj, S of a_log, Di of out_proj");
    if (w.dt_norm) expect("dt_norm", w.dt_norm, Shape<1>{{R}}, "[R] with R of dt_proj");
    if (w.b_norm) expect("b_norm", w.b_norm, Shape<1>{{S}}, "[S] with S of a_log");
    if (w.c_norm) expect("c_norm", w.c_norm, Shape<1>{{S}}, "[S] with S of a_log");
}

// The scan is given Δ before the softplus, and bias, gate and D apart.
inline selective_scan::Options scan_options() { return {.delta_softplus = true}; }

// What `count` positions of one sequence cost in the naive version, exactly; bytes_held without what advance() is
// given.
template <class T>
Costs advance_cost(const Weights<T>& w, int count, std::size_t scalar_bytes) {
    const Sizes s = w.sizes();
    const std::int64_t Di = s.Di, tokens = count * Di, made = s.R + 2 * s.S;
    Costs costs = selective_scan::forward_cost({1, s.Di, count, s.S}, {true, true, true}, scan_options(), scalar_bytes);
    costs.multiply_adds += tokens * (3 * s.Dm + s.W + made + s.R);
    add_silu(costs, tokens);
    if (w.dt_norm) add_rms_norm(costs, count, s.R);
    if (w.b_norm) add_rms_norm(costs, count, s.S);
    if (w.c_norm) add_rms_norm(costs, count, s.S);
    // Rows of x, u, z, Δ and y, of B and C; and one token's numbers: [x ; z], or u and [dt ; B ; C]; or what the scan
    // holds.
    const std::int64_t rows = Di * (s.W - 1) + 5 * tokens + 2 * std::int64_t{count} * s.S;
    const std::int64_t one_token = std::max({2 * Di, Di + made, std::int64_t{s.S}});
    costs.bytes_held = (rows + one_token) * static_cast<std::int64_t>(scalar_bytes);
    return costs;
}

// The naive version as a whole.
template <class T>
Costs forward_cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
    const Sizes s = in.weights.sizes();
    const std::int64_t decays = std::int64_t{s.Di} * s.S, B = in.hidden.extent(0);
    Costs costs;
    costs.exponentials = costs.additions = decays;  // A
    std::int64_t held = 0;
    for_each_step(in.hidden.extent(1), options.prefill, [&](const Step& step) {
        const Costs part = advance_cost(in.weights, step.count, scalar_bytes);
        costs.add_operations(part, B);
        held = std::max(held, part.bytes_held);
    });
    costs.bytes_held = held + (decays + B * state_numbers(s)) * static_cast<std::int64_t>(scalar_bytes);
    return costs;
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::mamba
