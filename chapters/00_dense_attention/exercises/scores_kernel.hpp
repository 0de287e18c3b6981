// Exercise scores_kernel, the interface: soft-capped scores of grouped queries, with a causal mask.
#pragma once

#include "common/cuda/build_name.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::scores_kernel {

// The letters: B batch, H query heads, G key heads (H is a multiple of G), Nq queries, Nk keys, D head dimension.
struct Inputs {
    TensorView<const float, 4> q;  // [B, H, Nq, D]
    TensorView<const float, 4> k;  // [B, G, Nk, D]; query head h reads key head h / (H/G)

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("q", q), visitor("k", k);
    }
};

struct Options {
    bool causal = false;  // query i sees keys j <= i + (Nk - Nq): the mask is aligned bottom right
    double scale = 1;     // usually 1/sqrt(D)
    double cap = 50;      // > 0: scores stay between -cap and cap

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("causal", causal), visitor("scale", scale), visitor("cap", cap);
    }
};

struct Outputs {
    TensorView<float, 4> scores;  // [B, H, Nq, Nk]: cap · tanh(scale · q·k / cap); -inf for a key that i does not see

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("scores", scores);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) {
        return {{nullptr, {in.q.extent(0), in.q.extent(1), in.q.extent(2), in.k.extent(2)}}};
    }
};

inline namespace ATTN_BUILD {

// The function to write, in scores_kernel.cu. All tensors are in device memory.
void scores_kernel(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace ATTN_BUILD
}  // namespace attn::exercises::scores_kernel
