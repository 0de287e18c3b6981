// The tensors that Sparse Transformer, Longformer and BigBird have in common: as many queries as keys, and for each
// query head keys and values of its own. (The sliding window has those of dense attention.)
#pragma once

#include <cmath>

#include "common/measure/costs.hpp"
#include "common/tensor/shape_check.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::fixed_sparse {

// The letters: B batch, H heads, N positions, D head dimension, Dv value dimension.
struct Sizes {
    int B, H, N, D, Dv;
};

template <class T>
struct Inputs {
    TensorView<const T, 4> q, k;  // [B, H, N, D]
    TensorView<const T, 4> v;     // [B, H, N, Dv]

    Sizes sizes() const { return {q.extent(0), q.extent(1), q.extent(2), q.extent(3), v.extent(3)}; }
    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("q", q), visitor("k", k), visitor("v", v);
    }
    struct Optional {};
};

template <class T>
struct Outputs {
    TensorView<T, 4> out;  // [B, H, N, Dv]; 0 for a query that sees no key

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs<T>& in) {
        const Sizes s = in.sizes();
        return {{nullptr, {s.B, s.H, s.N, s.Dv}}};
    }
};

// Throws ShapeError where the inputs contradict each other.
template <class T>
void check_shapes(const Inputs<T>& in) {
    const Sizes s = in.sizes();
    expect_shape("k", in.k, {{s.B, s.H, s.N, s.D}}, "[B, H, N, D], the shape of q");
    expect_shape("v", in.v, {{s.B, s.H, s.N, s.Dv}}, "[B, H, N, Dv] with B, H and N of q");
}

// What the naive versions cost, forward, exactly, for so many pairs of all heads together: dense attention's costs with
// other pairs. Held beside inputs and outputs is one row: the keys that it sees, and their weights.
inline Costs costs_of_pairs(std::int64_t pairs, int D, int Dv, int longest_row, std::size_t scalar_bytes) {
    Costs costs;
    costs.multiply_adds = pairs * (D + Dv);
    costs.multiplications = pairs;  // by the scale
    costs.comparisons = pairs;      // for the maximum
    costs.exponentials = pairs;
    costs.additions = 2 * pairs;  // minus the maximum; their sum
    costs.divisions = pairs;
    costs.bytes_held = std::int64_t{longest_row} * static_cast<std::int64_t>(sizeof(int) + scalar_bytes);
    return costs;
}

}  // namespace attn::fixed_sparse
