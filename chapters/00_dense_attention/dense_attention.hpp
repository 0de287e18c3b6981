// Dense attention, the interface: every query is compared with every key it may see.
//
//     out = softmax(scale · Q Kᵀ + mask) V
//
// Book 19.2 and 19.3; Vaswani et al. 2017, "Attention Is All You Need", section 3.2.1 (arXiv 1706.03762).
#pragma once

#include <algorithm>
#include <cmath>

#include "common/measure/costs.hpp"
#include "common/tensor/shape_check.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::dense {

struct Options {
    bool causal = false;  // query i sees keys j <= i + (Nk - Nq): the mask is aligned bottom right
    double scale = 1;     // usually 1/sqrt(D)
};

// The letters: B batch, H query heads, G key/value heads, Nq queries, Nk keys, D head dimension, Dv value dimension.
struct Sizes {
    int B, H, G, Nq, Nk, D, Dv;

    // Query head h reads key/value head h / (H/G): neighbours share.
    ATTN_HOST_DEVICE constexpr int kv_head(int h) const { return h / (H / G); }

    // How many keys query i sees, the first that many: all, or up to its own position counted from the end.
    ATTN_HOST_DEVICE constexpr int visible_keys(int i, bool causal) const {
        if (!causal) return Nk;
        int count = i + 1 + (Nk - Nq);
        return count < 0 ? 0 : count < Nk ? count : Nk;
    }
    // The first query that sees key j; Nq where none does.
    ATTN_HOST_DEVICE constexpr int first_query(int j, bool causal) const {
        if (!causal) return 0;
        int first = j - (Nk - Nq);
        return first < 0 ? 0 : first < Nq ? first : Nq;
    }
};

template <class T>
struct Inputs {
    TensorView<const T, 4> q;  // [B, H, Nq, D]
    TensorView<const T, 4> k;  // [B, G, Nk, D]
    TensorView<const T, 4> v;  // [B, G, Nk, Dv]
    TensorView<const T, 4>
        d_out;  // [B, H, Nq, Dv]: the gradient of the loss with respect to out; asks for a backward pass

    ATTN_HOST_DEVICE Sizes sizes() const {
        return {q.extent(0), q.extent(1), k.extent(1), q.extent(2), k.extent(2), q.extent(3), v.extent(3)};
    }
    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("q", q), visitor("k", k), visitor("v", v), visitor("d_out", d_out, Optional{});
    }
    struct Optional {};
};

template <class T>
struct Outputs {
    TensorView<T, 4> out;            // [B, H, Nq, Dv]; 0 for a query that sees no key
    TensorView<T, 3> log_sum_exp;    // [B, H, Nq], natural; -inf for a query that sees no key
    TensorView<T, 4> d_q, d_k, d_v;  // the gradients, shaped like q, k and v; absent without d_out

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("log_sum_exp", log_sum_exp);
        visitor("d_q", d_q), visitor("d_k", d_k), visitor("d_v", d_v);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs<T>& in) {
        Sizes s = in.sizes();
        Outputs outputs;
        outputs.out = {nullptr, {s.B, s.H, s.Nq, s.Dv}};
        outputs.log_sum_exp = {nullptr, {s.B, s.H, s.Nq}};
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
void check_shapes(const Inputs<T>& in) {
    Sizes s = in.sizes();
    if (s.G < 1 || s.H % s.G != 0)
        throw ShapeError("q has " + std::to_string(s.H) + " heads and k has " + std::to_string(s.G) +
                         ", expected a number of query heads that is a multiple of the key heads");
    expect_shape("k", in.k, {{s.B, s.G, s.Nk, s.D}}, "[B, G, Nk, D] with B and D of q");
    expect_shape("v", in.v, {{s.B, s.G, s.Nk, s.Dv}}, "[B, G, Nk, Dv] with B, G and Nk of k");
    if (in.d_out) expect_shape("d_out", in.d_out, {{s.B, s.H, s.Nq, s.Dv}}, "[B, H, Nq, Dv], the shape of out");
}

// How many (query, key) pairs one head compares.
inline std::int64_t pairs(const Sizes& s, bool causal) {
    if (!causal) return std::int64_t{s.Nq} * s.Nk;
    // Row i sees i + 1 + (Nk - Nq) keys: a triangle in the last rows, the rows above it see nothing.
    std::int64_t rows = std::min(s.Nq, s.Nk), first = s.Nk - rows + 1;
    return rows * (first + s.Nk) / 2;
}

// What the naive version costs, forward, exactly. Held beside inputs and outputs is the matrix of one head: the n × n
// matrix of the book.
inline Costs forward_cost(const Sizes& s, bool causal, std::size_t scalar_bytes) {
    std::int64_t heads = std::int64_t{s.B} * s.H;
    std::int64_t seen = pairs(s, causal);
    std::int64_t rows = causal ? std::min(s.Nq, s.Nk) : s.Nq;  // that see a key
    Costs costs;
    costs.multiply_adds = heads * seen * (s.D + s.Dv);
    costs.multiplications = heads * seen;  // by the scale
    costs.comparisons = heads * seen;      // for the maximum
    costs.exponentials = heads * seen;
    costs.additions = heads * (2 * seen + rows);  // minus the maximum; their sum; maximum + log of the sum
    costs.divisions = heads * seen;
    costs.logarithms = heads * rows;
    costs.bytes_held = std::int64_t{s.Nq} * s.Nk * static_cast<std::int64_t>(scalar_bytes);
    return costs;
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::dense
