// Performer, the interface: linear attention whose features estimate the softmax's weights. For w from a normal
// distribution, exp(x·y) is the mean of exp(w·x - |x|²/2) · exp(w·y - |y|²/2): with M rows w in W,
//
//     φ(x) = exp(W x - |x|²/2) / √M,    x = q / D^(1/4),  y = k / D^(1/4),     φ(x)·φ(y) ≈ exp(q·k / √D)
//
// and then it is linear attention. Every feature is positive ("FAVOR+"): so is every denominator.
//
// A query's features may all be multiplied by one number, and one feature of all keys by another where the query's is
// divided by it: both cancel. That is how no exponential overflows: each feature of the keys is kept relative to the
// largest so far, each query's relative to its largest. Nothing is added, nothing later is looked at.
//
// Book 19.4, family 2. Choromanski et al. 2021, "Rethinking Attention with Performers" (arXiv 2009.14794), section 2.
#pragma once

#include "common/measure/costs.hpp"
#include "common/tensor/shape_check.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::performer {

struct Options {
    bool causal = false;  // query i sees the keys 0 … i
};

// The letters: B batch, H heads, Nq queries, Nk keys, D head dimension, Dv value dimension, M features.
struct Sizes {
    int B, H, Nq, Nk, D, Dv, M;
};

template <class T>
struct Inputs {
    TensorView<const T, 4> q;         // [B, H, Nq, D]
    TensorView<const T, 4> k;         // [B, H, Nk, D]
    TensorView<const T, 4> v;         // [B, H, Nk, Dv]
    TensorView<const T, 2> features;  // [M, D], W: see random_features.hpp

    ATTN_HOST_DEVICE Sizes sizes() const {
        return {q.extent(0), q.extent(1), q.extent(2), k.extent(2), q.extent(3), v.extent(3), features.extent(0)};
    }
    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("q", q), visitor("k", k), visitor("v", v), visitor("features", features);
    }
};

template <class T>
struct Outputs {
    TensorView<T, 4> out;  // [B, H, Nq, Dv]

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs<T>& in) {
        const Sizes s = in.sizes();
        return {{nullptr, {s.B, s.H, s.Nq, s.Dv}}};
    }
};

// Throws ShapeError where the inputs contradict each other.
template <class T>
void check_shapes(const Inputs<T>& in, const Options& options) {
    const Sizes s = in.sizes();
    expect_shape("k", in.k, {{s.B, s.H, s.Nk, s.D}}, "[B, H, Nk, D] with B, H and D of q");
    expect_shape("v", in.v, {{s.B, s.H, s.Nk, s.Dv}}, "[B, H, Nk, Dv] with B, H and Nk of k");
    expect_shape("features", in.features, {{s.M, s.D}}, "[M, D] with D of q");
    if (options.causal && s.Nq != s.Nk)
        throw ShapeError("q has " + std::to_string(s.Nq) + " positions and k has " + std::to_string(s.Nk) +
                         ", expected as many of both with causal: a query without its own key has no place in time");
}

// What the naive version costs, exactly. Held beside inputs and outputs: the state of one head, a maximum for each
// feature, and the features of one token.
inline Costs forward_cost(const Sizes& s, std::size_t scalar_bytes) {
    const std::int64_t heads = std::int64_t{s.B} * s.H, Nq = s.Nq, Nk = s.Nk, D = s.D, Dv = s.Dv, M = s.M;
    Costs costs;
    costs.multiply_adds = heads * (Nk * (M * D + D + M * Dv) + Nq * (M * D + M * Dv + M));
    costs.multiplications = heads * (Nk * (M + 1 + M * Dv + M) + Nq * M);  // scales; what was summed up shrinks
    costs.additions = heads * (Nk * 4 * M + Nq * 2 * M);
    costs.comparisons = heads * (Nk + Nq) * M;
    costs.exponentials = heads * (Nk * 2 * M + Nq * M);
    costs.divisions = heads * Nq * Dv;
    costs.bytes_held = (M * Dv + 3 * M) * static_cast<std::int64_t>(scalar_bytes);
    return costs;
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::performer
