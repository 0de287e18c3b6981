// The selective scan, the interface: the recurrence inside Mamba. Each channel has S numbers of state, which fade and
// are written to as the token itself decides: Δ, B and C are made from it.
//
//     h_t = exp(Δ_t A) h_{t-1} + Δ_t B_t u_t          S numbers for each channel
//     y_t = C_t·h_t + D u_t,   out_t = y_t · silu(z_t)
//
// Book 19.4, family 7. Gu and Dao 2023, "Mamba" (arXiv 2312.00752), section 3 and algorithm 2.
#pragma once

#include "chapters/07_beyond_attention/doubling.hpp"
#include "common/mechanism/layer.hpp"
#include "common/tensor/shape_check.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::selective_scan {

// What a token is multiplied by before it enters the state. The paper's formula is the zero-order hold,
// (exp(Δ A) - 1)/(Δ A) · Δ B; the released code takes its limit for small Δ A, which is Euler's step.
enum class Discretization { euler, zoh };

// Token by token; or in chunks, in which the steps are put together as pairs (a, b): first (a₀, b₀), then (a₁, b₁) is
// (a₁ a₀, a₁ b₀ + b₁). Parallel: one chunk of all tokens.
enum class Form { sequential, parallel, chunked };

struct Options {
    bool delta_softplus = false;  // Δ = softplus(delta + delta_bias)
    Discretization discretization = Discretization::euler;
    Form form = Form::sequential;
    int chunk = 32;
};

// The letters: B batch, D channels, L positions, S numbers of state for each channel.
struct Sizes {
    int B, D, L, S;
};

template <class T>
struct Inputs {
    using Sum = accumulator_t<T>;
    TensorView<const T, 3> u;                // [B, D, L]
    TensorView<const T, 3> delta;            // [B, D, L]
    TensorView<const Sum, 2> a;              // [D, S], negative in a model
    TensorView<const T, 3> b;                // [B, S, L]
    TensorView<const T, 3> c;                // [B, S, L]
    TensorView<const Sum, 1> d;              // [D]: what of u goes past the state; optional
    TensorView<const T, 3> z;                // [B, D, L]: the gate; optional
    TensorView<const Sum, 1> delta_bias;     // [D]; optional
    TensorView<const Sum, 3> initial_state;  // [B, D, S], after the token before the first; optional
    TensorView<const T, 3> d_out = {};       // [B, D, L]: the gradient of the loss; asks for a backward pass

    ATTN_HOST_DEVICE Sizes sizes() const { return {u.extent(0), u.extent(1), u.extent(2), a.extent(1)}; }
    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("u", u), visitor("delta", delta), visitor("a", a), visitor("b", b), visitor("c", c);
        visitor("d", d, Optional{}), visitor("z", z, Optional{}), visitor("delta_bias", delta_bias, Optional{});
        visitor("initial_state", initial_state, Optional{}), visitor("d_out", d_out, Optional{});
    }
    struct Optional {};
};

template <class T>
struct Outputs {
    using Sum = accumulator_t<T>;
    TensorView<T, 3> out;           // [B, D, L]
    TensorView<Sum, 3> last_state;  // [B, D, S], after the last token
    // The gradients, shaped like the inputs; absent without d_out, and of inputs that are absent.
    TensorView<T, 3> d_u = {}, d_delta = {}, d_b = {}, d_c = {}, d_z = {};
    TensorView<Sum, 2> d_a = {};
    TensorView<Sum, 1> d_d = {}, d_delta_bias = {};
    TensorView<Sum, 3> d_initial_state = {};

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("last_state", last_state), visitor("d_u", d_u), visitor("d_delta", d_delta);
        visitor("d_a", d_a), visitor("d_b", d_b), visitor("d_c", d_c), visitor("d_d", d_d), visitor("d_z", d_z);
        visitor("d_delta_bias", d_delta_bias), visitor("d_initial_state", d_initial_state);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs<T>& in) {
        const Sizes s = in.sizes();
        Outputs outputs;
        outputs.out = {nullptr, {s.B, s.D, s.L}}, outputs.last_state = {nullptr, {s.B, s.D, s.S}};
        if (!in.d_out) return outputs;
        const auto like = [](const auto& input, auto& gradient) { gradient = {nullptr, input.shape()}; };
        like(in.u, outputs.d_u), like(in.delta, outputs.d_delta), like(in.a, outputs.d_a);
        like(in.b, outputs.d_b), like(in.c, outputs.d_c);
        if (in.d) like(in.d, outputs.d_d);
        if (in.z) like(in.z, outputs.d_z);
        if (in.delta_bias) like(in.delta_bias, outputs.d_delta_bias);
        if (in.initial_state) like(in.initial_state, outputs.d_initial_state);
        return outputs;
    }
};

// Throws ShapeError where the inputs contradict each other.
template <class T>
void check_shapes(const Inputs<T>& in) {
    const Sizes s = in.sizes();
    expect_shape("delta", in.delta, {{s.B, s.D, s.L}}, "[B, D, L], the shape of u");
    expect_shape("a", in.a, {{s.D, s.S}}, "[D, S] with D of u");
    expect_shape("b", in.b, {{s.B, s.S, s.L}}, "[B, S, L] with B and L of u, S of a");
    expect_shape("c", in.c, {{s.B, s.S, s.L}}, "[B, S, L], the shape of b");
    if (in.d) expect_shape("d", in.d, {{s.D}}, "[D] with D of u");
    if (in.z) expect_shape("z", in.z, {{s.B, s.D, s.L}}, "[B, D, L], the shape of u");
    if (in.delta_bias) expect_shape("delta_bias", in.delta_bias, {{s.D}}, "[D] with D of u");
    if (in.initial_state)
        expect_shape("initial_state", in.initial_state, {{s.B, s.D, s.S}}, "[B, D, S] with B and D of u, S of a");
    if (in.d_out) expect_shape("d_out", in.d_out, {{s.B, s.D, s.L}}, "[B, D, L], the shape of out");
}

// Which of the optional inputs are there that cost something.
struct Given {
    bool delta_bias, d, z;
};

// What the naive version costs, exactly. Held beside inputs and outputs: the state of one channel; in chunks the pairs
// of a chunk, its steps and its outputs. Nothing is n × n in any form.
inline Costs forward_cost(const Sizes& s, const Given& given, const Options& options, std::size_t scalar_bytes) {
    const std::int64_t rows = std::int64_t{s.B} * s.D, tokens = rows * s.L, states = tokens * s.S;
    Costs costs;
    // [19.4.7-6]
    if (given.delta_bias) costs.additions += tokens;
    if (options.delta_softplus)
        costs.comparisons += tokens, costs.additions += 2 * tokens, costs.exponentials += tokens,
            costs.logarithms += tokens;
    // [19.4.7-7]
    costs.multiplications += 2 * states;
    costs.exponentials += states;
    if (options.discretization == Discretization::zoh)
        costs.exponentials += states, costs.divisions += states, costs.multiplications += states;
    // [19.4.7-8] [19.4.7-9]
    costs.multiply_adds += states;
    std::int64_t held = s.S;
    if (options.form == Form::sequential) {
        costs.multiplications += states, costs.multiply_adds += states;
    } else {
        const std::int64_t C = options.form == Form::parallel ? s.L : std::min(options.chunk, s.L);
        const std::int64_t full = s.L / C, rest = s.L % C;
        const std::int64_t together = rows * s.S * (full * doubling_combinations(C) + doubling_combinations(rest));
        costs.multiplications += states + together;  // Δ B u; the factors
        costs.multiply_adds += states + together;    // of the state before the chunk
        held += 4 * C;
    }
    // [19.4.7-10]
    if (given.d) costs.multiply_adds += tokens;
    if (given.z) add_silu(costs, tokens), costs.multiplications += tokens;
    costs.bytes_held = held * static_cast<std::int64_t>(scalar_bytes);
    return costs;
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::selective_scan
