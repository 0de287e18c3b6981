// Exercise flash_kernel, the interface: attention tile by tile, with a soft cap on the scores.
#pragma once

#include "common/cuda/build_name.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::flash_kernel {

// The letters: B sequences, H query heads, G key/value heads (H is a multiple of G), Nq queries, Nk keys, D head
// dimension and Dv value dimension (both at most 64).
struct Inputs {
    TensorView<const float, 4> q;  // [B, H, Nq, D]
    TensorView<const float, 4> k;  // [B, G, Nk, D]; query head h reads key/value head h / (H/G)
    TensorView<const float, 4> v;  // [B, G, Nk, Dv]

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("q", q), visitor("k", k), visitor("v", v);
    }
};

struct Options {
    bool causal = false;  // query i sees keys j <= i + (Nk - Nq)
    double scale = 1;     // usually 1/sqrt(D)
    double cap = 50;      // above 0: no score that is seen is larger, or smaller than -cap

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("causal", causal), visitor("scale", scale), visitor("cap", cap);
    }
};

struct Outputs {
    TensorView<float, 4> out;          // [B, H, Nq, Dv]; 0 where the query sees no key
    TensorView<float, 3> log_sum_exp;  // [B, H, Nq], natural, of the capped scores; -inf where the query sees no key

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("log_sum_exp", log_sum_exp);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) {
        return {{nullptr, {in.q.extent(0), in.q.extent(1), in.q.extent(2), in.v.extent(3)}},
                {nullptr, {in.q.extent(0), in.q.extent(1), in.q.extent(2)}}};
    }
};

inline namespace ATTN_BUILD {

// The function to write, in flash_kernel.cu. All tensors are in device memory.
void flash_kernel(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace ATTN_BUILD
}  // namespace attn::exercises::flash_kernel
