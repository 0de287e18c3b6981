// Linformer, the interface: the N keys and values of a head are mixed down to K of each, its slots, and every query
// attends to those.
//
//     K̃ = E K,   Ṽ = F V                        E and F are [K, N]: they act along the sequence
//     out = softmax(scale · Q K̃ᵀ) Ṽ             N × K weights in the place of N × N
//
// E and F are weights of the model, trained for one length N. They are shared by all heads, or each head has its own.
// There is no causal form: every slot is a mix of all positions, so whoever sees a slot sees the last position.
//
// Book 19.4, family 3. Wang, Li, Khabsa, Fang and Ma 2020, "Linformer: Self-Attention with Linear Complexity" (arXiv
// 2006.04768), equation 7.
#pragma once

#include <cmath>

#include "common/measure/costs.hpp"
#include "common/tensor/shape_check.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::linformer {

struct Options {
    double scale = 1;  // usually 1/sqrt(D)
};

// The letters: B batch, H heads, Nq queries, N keys and values, K slots, D head dimension, Dv value dimension.
struct Sizes {
    int B, H, Nq, N, K, D, Dv;
};

template <class T>
struct Inputs {
    TensorView<const T, 4> q;  // [B, H, Nq, D]
    TensorView<const T, 4> k;  // [B, H, N, D]
    TensorView<const T, 4> v;  // [B, H, N, Dv]
    // E and F: one for all heads, or one for each.
    TensorView<const T, 2> key_projection, value_projection;                    // [K, N]
    TensorView<const T, 3> key_projection_of_heads, value_projection_of_heads;  // [H, K, N]

    bool shared() const { return bool(key_projection); }
    // E and F of head h.
    TensorView<const T, 2> E(int h) const { return shared() ? key_projection : key_projection_of_heads.slice(h); }
    TensorView<const T, 2> F(int h) const { return shared() ? value_projection : value_projection_of_heads.slice(h); }

    Sizes sizes() const {
        const int K = shared() ? key_projection.extent(0) : key_projection_of_heads.extent(1);
        return {q.extent(0), q.extent(1), q.extent(2), k.extent(2), K, q.extent(3), v.extent(3)};
    }
    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("q", q), visitor("k", k), visitor("v", v);
        visitor("key_projection", key_projection, Optional{});
        visitor("key_projection", key_projection_of_heads, Optional{});
        visitor("value_projection", value_projection, Optional{});
        visitor("value_projection", value_projection_of_heads, Optional{});
    }
    struct Optional {};
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
void check_shapes(const Inputs<T>& in) {
    const auto once = [](const char* name, bool for_all, bool for_each) {
        if (for_all == for_each)
            throw ShapeError(std::string(name) + (for_all ? " is given twice" : " is missing") +
                             ", expected [K, N] for all heads or [H, K, N] for each");
    };
    once("key_projection", bool(in.key_projection), bool(in.key_projection_of_heads));
    once("value_projection", bool(in.value_projection), bool(in.value_projection_of_heads));
    if (bool(in.value_projection) != in.shared())
        throw ShapeError(std::string("value_projection is ") + (in.shared() ? "[H, K, N]" : "[K, N]") +
                         " and key_projection " + (in.shared() ? "[K, N]" : "[H, K, N]") +
                         ", expected both for all heads or both for each");
    const Sizes s = in.sizes();
    expect_shape("k", in.k, {{s.B, s.H, s.N, s.D}}, "[B, H, N, D] with B, H and D of q");
    expect_shape("v", in.v, {{s.B, s.H, s.N, s.Dv}}, "[B, H, N, Dv] with B, H and N of k");
    if (in.shared()) {
        expect_shape("key_projection", in.key_projection, {{s.K, s.N}}, "[K, N] with N of k");
        expect_shape("value_projection", in.value_projection, {{s.K, s.N}},
                     "[K, N] with K of key_projection and N of k");
    } else {
        expect_shape("key_projection", in.key_projection_of_heads, {{s.H, s.K, s.N}},
                     "[H, K, N] with H of q and N of k");
        expect_shape("value_projection", in.value_projection_of_heads, {{s.H, s.K, s.N}},
                     "[H, K, N] with H of q, K of key_projection and N of k");
    }
}

// What the naive version costs, exactly. With N = Nq its multiply-adds are 2NK(D + Dv) for each head: fewer than the
// N²(D + Dv) of dense attention where N > 2K. What it holds beside inputs and outputs does not grow with N.
inline Costs forward_cost(const Sizes& s, std::size_t scalar_bytes) {
    const std::int64_t heads = std::int64_t{s.B} * s.H, K = s.K;
    const std::int64_t weights = heads * s.Nq * K;
    Costs costs;
    costs.multiply_adds = heads * s.N * K * (s.D + s.Dv) + weights * (s.D + s.Dv);  // E K and F V; attention
    costs.multiplications = weights;                                                // by the scale
    costs.comparisons = weights;                                                    // for the maximum
    costs.exponentials = weights;
    costs.additions = 2 * weights;  // minus the maximum; their sum
    costs.divisions = weights;
    costs.bytes_held = K * (s.D + s.Dv + 1) * static_cast<std::int64_t>(scalar_bytes);  // K̃ and Ṽ of a head; a row
    return costs;
}

// How many numbers the projections of one head move between the large memory and the multiprocessors, if nothing is
// cached on the way and the products are made in tiles of `tile` × `tile`: E once for each tile of columns of the keys,
// the keys once for each tile of slots; F and the values alike; K̃ and Ṽ are written.
constexpr std::int64_t numbers_moved_by_projections(const Sizes& s, int tile) {
    const auto tiles = [&](int extent) { return std::int64_t{extent / tile + (extent % tile != 0)}; };
    const std::int64_t N = s.N, K = s.K, columns = std::int64_t{s.D} + s.Dv;
    return K * N * (tiles(s.D) + tiles(s.Dv)) + tiles(s.K) * N * columns + K * columns;
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::linformer
