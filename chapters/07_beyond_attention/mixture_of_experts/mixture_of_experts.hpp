// A mixture of experts, the interface: a feed-forward layer of E networks, of which each token goes through the k that
// its router weighs most.
//
//     p = softmax(W_r x)                                    over all E experts
//     y = Σ_{e in top k of p} p_e · W_down,e (silu(W_gate,e x) ∘ W_up,e x)
//
// It has E times the weights of a dense layer and k times its work. Jamba's code takes p as it is. Mixtral takes the
// softmax of the k largest scores only, which is p divided by its sum over them: `renormalize`.
//
// Book 19.4, family 7 (Jamba). Shazeer et al. 2017, "Outrageously Large Neural Networks" (arXiv 1701.06538), section 2;
// Jiang et al. 2024, "Mixtral of Experts" (arXiv 2401.04088), section 2.1; Lieber et al. 2024, "Jamba" (arXiv
// 2403.19887), section 2.
#pragma once

#include <string>

#include "common/mechanism/layer.hpp"
#include "common/tensor/shape_check.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::mixture_of_experts {

struct Options {
    int top_k = 1;             // experts of each token
    bool renormalize = false;  // weights divided by the sum over the chosen experts
};

// The letters: B batch, N positions, Dm model dimension, E experts, Df hidden units of each.
struct Sizes {
    int B, N, Dm, E, Df;

    ATTN_HOST_DEVICE int tokens() const { return B * N; }
};

template <class T>
struct Inputs {
    TensorView<const T, 3> hidden;  // [B, N, Dm]
    TensorView<const T, 2> router;  // [E, Dm]
    TensorView<const T, 3> gate;    // [E, Df, Dm]
    TensorView<const T, 3> up;      // [E, Df, Dm]
    TensorView<const T, 3> down;    // [E, Dm, Df]

    ATTN_HOST_DEVICE Sizes sizes() const {
        return {hidden.extent(0), hidden.extent(1), hidden.extent(2), router.extent(0), gate.extent(1)};
    }
    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("hidden", hidden), visitor("router", router);
        visitor("gate", gate), visitor("up", up), visitor("down", down);
    }
};

template <class T>
struct Outputs {
    TensorView<T, 3> out;                 // [B, N, Dm]
    TensorView<std::int32_t, 3> experts;  // [B, N, k]: of each token, the largest weight first

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("experts", experts);
    }

    // The shapes that belong to the inputs and options, without data.
    static Outputs shaped(const Inputs<T>& in, const Options& options) {
        return {{nullptr, in.hidden.shape()}, {nullptr, {{in.hidden.extent(0), in.hidden.extent(1), options.top_k}}}};
    }
};

// Throws ShapeError where the inputs contradict each other or the options.
template <class T>
void check_shapes(const Inputs<T>& in, const Options& options) {
    const auto [B, N, Dm, E, Df] = in.sizes();
    expect_shape("router", in.router, {{E, Dm}}, "[E, Dm] with Dm of hidden");
    expect_shape("gate", in.gate, {{E, Df, Dm}}, "[E, Df, Dm] with E of router and Dm of hidden");
    expect_shape("up", in.up, {{E, Df, Dm}}, "[E, Df, Dm], the shape of gate");
    expect_shape("down", in.down, {{E, Dm, Df}}, "[E, Dm, Df] with E of router, Dm of hidden, Df of gate");
    if (options.top_k < 1 || options.top_k > E)
        throw ShapeError("router has " + std::to_string(E) + " experts, expected a top_k of 1 to that many, not " +
                         std::to_string(options.top_k));
}

// Multiply-adds of the k experts of one token; of a dense layer, with k = 1.
constexpr std::int64_t expert_multiply_adds_per_token(const Sizes& s, int k) {
    return std::int64_t{k} * 3 * s.Df * s.Dm;
}

// What the naive version costs, exactly. E is in the router's part only. Held beside inputs and outputs are, of one
// token, the score of each expert, the weights of its own, the hidden units of one, and the sum of the outputs.
inline Costs forward_cost(const Sizes& s, const Options& options, std::size_t scalar_bytes) {
    const std::int64_t tokens = std::int64_t{s.B} * s.N, E = s.E, k = options.top_k;
    Costs costs;
    // [19.4.7-20]
    costs.multiply_adds = tokens * E * s.Dm;
    // [19.4.7-21]: the maximum, what is left above it, and the logarithm of the sum of its exponentials
    costs.comparisons = tokens * E;
    costs.exponentials = tokens * E;
    costs.logarithms = tokens;
    costs.additions = 3 * tokens * E;
    // [19.4.7-22]: each choice compares those that are left
    costs.comparisons += tokens * (k * (E - 1) - k * (k - 1) / 2);
    costs.exponentials += tokens * k;
    if (options.renormalize) costs.additions += tokens * k, costs.divisions += tokens * k;
    // [19.4.7-23]
    costs.multiply_adds += tokens * k * 2 * s.Df * s.Dm;
    add_silu(costs, tokens * k * s.Df);
    costs.multiplications += tokens * k * s.Df;
    // [19.4.7-24]: W_down, and its weighted sum
    costs.multiply_adds += tokens * k * (std::int64_t{s.Dm} * s.Df + s.Dm);
    costs.bytes_held = (E + k + s.Df + s.Dm) * static_cast<std::int64_t>(scalar_bytes);
    return costs;
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::mixture_of_experts
