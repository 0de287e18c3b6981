// Linear attention, the interface: the weight of a pair is a product of features, φ(q)·φ(k), and not exp(q·k). So the
// sum over the keys can be done once, before any query is known:
//
//     S = Σ φ(k_j) v_jᵀ,   z = Σ φ(k_j),      out_i = φ(q_i)ᵀ S / (φ(q_i)·z + ε)
//
// Causal: S and z of the keys up to i. They are a state of D × Dv + D numbers, however many tokens there were.
//
// Book 19.4, family 2. Katharopoulos et al. 2020, "Transformers are RNNs" (arXiv 2006.16236), sections 3.2 to 3.4.
#pragma once

#include "common/measure/costs.hpp"
#include "common/tensor/half.hpp"
#include "common/tensor/shape_check.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::linear_attention {

enum class FeatureMap {
    elu_plus_one,  // x + 1 where x > 0, else exp(x)
    identity,      // x: what is left is a sum of products without a kernel; RetNet builds on it
};

// Three ways to one result: token by token with a state; chunk by chunk, by pairs within a chunk and through the state
// from before it; by all pairs, which is what the other two must equal. Without the causal mask there is one sum over
// all keys, and the first two are the same.
enum class Form { recurrent, chunked, quadratic };

struct Options {
    FeatureMap feature_map = FeatureMap::elu_plus_one;
    bool causal = false;    // query i sees the keys 0 … i, and the initial state
    bool normalize = true;  // false: without the denominator
    double epsilon = 0;     // added to the denominator
    Form form = Form::recurrent;
    int chunk = 32;
};

// The letters: B batch, H heads, Nq queries, Nk keys, D head dimension, which is that of the features too, Dv value
// dimension.
struct Sizes {
    int B, H, Nq, Nk, D, Dv;
};

template <class T>
struct Inputs {
    using Sum = accumulator_t<T>;
    TensorView<const T, 4> q;                     // [B, H, Nq, D]
    TensorView<const T, 4> k;                     // [B, H, Nk, D]
    TensorView<const T, 4> v;                     // [B, H, Nk, Dv]
    TensorView<const T, 4> d_out;                 // [B, H, Nq, Dv]: asks for a backward pass
    TensorView<const Sum, 4> initial_state;       // [B, H, D, Dv] and
    TensorView<const Sum, 3> initial_normalizer;  // [B, H, D], what earlier tokens have left; causal only, both or none

    ATTN_HOST_DEVICE Sizes sizes() const {
        return {q.extent(0), q.extent(1), q.extent(2), k.extent(2), q.extent(3), v.extent(3)};
    }
    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("q", q), visitor("k", k), visitor("v", v), visitor("d_out", d_out, Optional{});
        visitor("initial_state", initial_state, Optional{});
        visitor("initial_normalizer", initial_normalizer, Optional{});
    }
    struct Optional {};
};

template <class T>
struct Outputs {
    using Sum = accumulator_t<T>;
    TensorView<T, 4> out;            // [B, H, Nq, Dv]
    TensorView<Sum, 4> state;        // [B, H, D, Dv] after the last token; causal only
    TensorView<Sum, 3> normalizer;   // [B, H, D] after the last token; causal only
    TensorView<T, 4> d_q, d_k, d_v;  // the gradients, shaped like q, k and v; absent without d_out

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("state", state), visitor("normalizer", normalizer);
        visitor("d_q", d_q), visitor("d_k", d_k), visitor("d_v", d_v);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs<T>& in, const Options& options) {
        const Sizes s = in.sizes();
        Outputs outputs;
        outputs.out = {nullptr, {s.B, s.H, s.Nq, s.Dv}};
        if (options.causal) {
            outputs.state = {nullptr, {s.B, s.H, s.D, s.Dv}};
            outputs.normalizer = {nullptr, {s.B, s.H, s.D}};
        }
        if (in.d_out) {
            outputs.d_q = {nullptr, in.q.shape()};
            outputs.d_k = {nullptr, in.k.shape()};
            outputs.d_v = {nullptr, in.v.shape()};
        }
        return outputs;
    }
};

// Throws ShapeError where the inputs contradict each other.
template <class T>
void check_shapes(const Inputs<T>& in, const Options& options) {
    const Sizes s = in.sizes();
    expect_shape("k", in.k, {{s.B, s.H, s.Nk, s.D}}, "[B, H, Nk, D] with B, H and D of q");
    expect_shape("v", in.v, {{s.B, s.H, s.Nk, s.Dv}}, "[B, H, Nk, Dv] with B, H and Nk of k");
    if (in.d_out) expect_shape("d_out", in.d_out, {{s.B, s.H, s.Nq, s.Dv}}, "[B, H, Nq, Dv], the shape of out");
    if (options.causal && s.Nq != s.Nk)
        throw ShapeError("q has " + std::to_string(s.Nq) + " positions and k has " + std::to_string(s.Nk) +
                         ", expected as many of both with causal: a query without its own key has no place in time");
    if (in.initial_state) {
        if (!options.causal)
            throw ShapeError("initial_state without causal, expected causal: true: what is seen by all has no before");
        if (options.form == Form::quadratic)
            throw ShapeError("initial_state with form quadratic, expected recurrent or chunked: pairs have no state");
        expect_shape("initial_state", in.initial_state, {{s.B, s.H, s.D, s.Dv}}, "[B, H, D, Dv]");
        if (!in.initial_normalizer) throw ShapeError("initial_normalizer is missing, expected it beside initial_state");
    }
    if (in.initial_normalizer) {
        expect_shape("initial_normalizer", in.initial_normalizer, {{s.B, s.H, s.D}}, "[B, H, D]");
        if (!in.initial_state) throw ShapeError("initial_state is missing, expected it beside initial_normalizer");
    }
}

// How many pairs of a query and a key of its chunk, up to itself, there are.
inline std::int64_t pairs_in_chunks(int N, int chunk) {
    const std::int64_t full = N / chunk, rest = N % chunk, C = chunk;
    return full * (C * (C + 1) / 2) + rest * (rest + 1) / 2;
}

// What the naive version costs, forward, exactly. Held beside inputs and outputs: the state of one head, and features.
inline Costs forward_cost(const Sizes& s, const Options& options, std::size_t scalar_bytes) {
    const std::int64_t heads = std::int64_t{s.B} * s.H, Nq = s.Nq, Nk = s.Nk, M = s.D, Dv = s.Dv;
    const bool quadratic = options.form == Form::quadratic;
    const bool chunks = options.causal && options.form == Form::chunked;
    const std::int64_t pairs = quadratic ? (options.causal ? Nk * (Nk + 1) / 2 : Nq * Nk)
                               : chunks  ? pairs_in_chunks(s.Nk, options.chunk)
                                         : 0;
    Costs costs;
    costs.multiply_adds = pairs * (M + Dv);  // the weight of a pair, and its value
    if (options.normalize) costs.additions += pairs;
    if (!quadratic || options.causal) {  // φ(k) vᵀ and φ(k) into the state: causal, it is an output
        costs.multiply_adds += Nk * M * Dv;
        costs.additions += Nk * M;
    }
    const bool reads_state = !quadratic;
    if (reads_state) costs.multiply_adds += Nq * M * (Dv + (options.normalize ? 1 : 0));
    if (options.normalize) {
        costs.additions += Nq;  // ε
        costs.divisions = Nq * Dv;
    }
    if (options.feature_map == FeatureMap::elu_plus_one) {
        const std::int64_t features = (Nq + Nk) * M;
        costs.comparisons = features, costs.exponentials = features;
        costs.additions += features;
    }
    for (std::int64_t* count :
         {&costs.multiply_adds, &costs.additions, &costs.divisions, &costs.comparisons, &costs.exponentials})
        *count *= heads;
    const std::int64_t C = std::min(options.chunk, s.Nk);
    const std::int64_t held = M * Dv + M +  // the state
                              (quadratic ? Nq * Nk + (Nq + Nk) * M
                               : chunks  ? 2 * C * M + C * C
                                         : M);
    costs.bytes_held = held * static_cast<std::int64_t>(scalar_bytes);
    return costs;
}

// What each number of the inputs and outputs costs, if it is moved once: the least that any kernel can do. For one
// head, causal.
constexpr std::int64_t compulsory_numbers(const Sizes& s) {
    const std::int64_t Nq = s.Nq, Nk = s.Nk, D = s.D, Dv = s.Dv;
    return Nq * (D + Dv) + Nk * (D + Dv) + D * Dv + D;
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::linear_attention
