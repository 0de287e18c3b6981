// Retention, the interface: linear attention without features and without a denominator, whose state fades by γ at each
// token. Each head has its own γ, and with it its own memory of about 1/(1 - γ) tokens.
//
//     recurrent   S_n = γ S_{n-1} + k_nᵀ v_n,   out_n = scale · q_n S_n
//     parallel    out = scale · (Q Kᵀ ∘ D) V,   D_nm = γ^(n-m) for n ≥ m, else 0
//     chunked     by pairs within a chunk, through the state from before it
//
// Before any norm: the layer around it divides each head by its own size. Rotated positions, where a model has them,
// are in q and k already.
//
// Book 19.4, family 7. Sun et al. 2023, "Retentive Network" (arXiv 2307.08621), section 2.1, equations (5) to (7).
#pragma once

#include "common/measure/costs.hpp"
#include "common/tensor/half.hpp"
#include "common/tensor/shape_check.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::retention {

enum class Form { parallel, recurrent, chunked };

struct Options {
    double scale = 1;  // of out, not of the state
    Form form = Form::parallel;
    int chunk = 32;
};

// The letters: B batch, H heads, N positions, D head dimension, Dv value dimension.
struct Sizes {
    int B, H, N, D, Dv;
};

template <class T>
struct Inputs {
    using Sum = accumulator_t<T>;
    TensorView<const T, 4> q;                // [B, H, N, D]
    TensorView<const T, 4> k;                // [B, H, N, D]
    TensorView<const T, 4> v;                // [B, H, N, Dv]
    TensorView<const Sum, 1> decay;          // [H], γ, above 0 and at most 1
    TensorView<const Sum, 4> initial_state;  // [B, H, D, Dv], after the token before the first

    ATTN_HOST_DEVICE Sizes sizes() const { return {q.extent(0), q.extent(1), q.extent(2), q.extent(3), v.extent(3)}; }
    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("q", q), visitor("k", k), visitor("v", v), visitor("decay", decay);
        visitor("initial_state", initial_state, Optional{});
    }
    struct Optional {};
};

template <class T>
struct Outputs {
    using Sum = accumulator_t<T>;
    TensorView<T, 4> out;      // [B, H, N, Dv]
    TensorView<Sum, 4> state;  // [B, H, D, Dv], after the last token

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("state", state);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs<T>& in) {
        const Sizes s = in.sizes();
        return {{nullptr, {s.B, s.H, s.N, s.Dv}}, {nullptr, {s.B, s.H, s.D, s.Dv}}};
    }
};

// Throws ShapeError where the inputs contradict each other, or a decay is none.
template <class T>
void check_inputs(const Inputs<T>& in) {
    const Sizes s = in.sizes();
    expect_shape("k", in.k, {{s.B, s.H, s.N, s.D}}, "[B, H, N, D], the shape of q");
    expect_shape("v", in.v, {{s.B, s.H, s.N, s.Dv}}, "[B, H, N, Dv] with B, H and N of q");
    expect_shape("decay", in.decay, {{s.H}}, "[H] with H of q");
    if (in.initial_state)
        expect_shape("initial_state", in.initial_state, {{s.B, s.H, s.D, s.Dv}}, "[B, H, D, Dv] with D of q, Dv of v");
    for (int h = 0; h < s.H; ++h) {
        const double gamma = static_cast<double>(in.decay(h));
        if (!(gamma > 0 && gamma <= 1))
            throw ShapeError("decay has " + std::to_string(gamma) + " for head " + std::to_string(h) +
                             ", expected a number above 0 and at most 1");
    }
}

// The decays of the paper: 1 - 2^(-5-h), which remember for 32, 64, 128, … tokens.
constexpr double paper_decay(int h) {
    double gone = 1.0 / 32;
    for (int i = 0; i < h; ++i) gone /= 2;
    return 1 - gone;
}

// What the naive version costs, exactly. Held beside inputs and outputs: the state of one head; in parallel the weights
// of all pairs, in chunks those of a chunk; the powers of γ.
inline Costs forward_cost(const Sizes& s, const Options& options, std::size_t scalar_bytes, bool has_initial_state) {
    const std::int64_t heads = std::int64_t{s.B} * s.H, N = s.N, D = s.D, Dv = s.Dv;
    Costs costs;
    std::int64_t held = D * Dv;
    if (options.form == Form::recurrent) {
        costs.multiplications = N * D * Dv + N * Dv;
        costs.multiply_adds = 2 * N * D * Dv;
    } else {
        const std::int64_t C = options.form == Form::parallel ? N : std::min<std::int64_t>(options.chunk, N);
        const std::int64_t full = N / C, rest = N % C;
        const std::int64_t pairs = full * (C * (C + 1) / 2) + rest * (rest + 1) / 2;
        // The first chunk reads no state where there is none.
        const std::int64_t through_state = has_initial_state ? N : N - C;
        const std::int64_t chunks = full + (rest > 0);
        costs.multiply_adds = pairs * (D + Dv) + through_state * D * Dv + N * D * Dv;
        costs.multiplications = C                     // powers
                                + pairs               // the decay of a pair
                                + through_state * Dv  // of what the state gives
                                + N * Dv              // by the scale
                                + N * D               // of the keys, when they go into the state
                                + chunks * D * Dv;    // of the state
        costs.additions = through_state * Dv;
        held += C * C + C + 1 + D;
    }
    costs.multiply_adds *= heads, costs.multiplications *= heads, costs.additions *= heads;
    costs.bytes_held = held * static_cast<std::int64_t>(scalar_bytes);
    return costs;
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::retention
