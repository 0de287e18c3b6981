// Exercise window_kernel, the interface: attention in which each query head has a window, and a sink.
#pragma once

#include "common/cuda/build_name.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::window_kernel {

// The letters: B sequences, H query heads, G key/value heads (H is a multiple of G), Nq queries, Nk keys, D head
// dimension and Dv value dimension (both at most 64).
struct Inputs {
    TensorView<const float, 4> q;     // [B, H, Nq, D]
    TensorView<const float, 4> k;     // [B, G, Nk, D]; query head h reads key/value head h / (H/G)
    TensorView<const float, 4> v;     // [B, G, Nk, Dv]
    TensorView<const int, 1> window;  // [H], 1 or more: how many of the last keys a query of the head sees, the one at
                                      // its own position counted in; may be more than there are
    TensorView<const float, 1> sink;  // [H], one more score for each row of the head, without a value; -inf: none

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("q", q), visitor("k", k), visitor("v", v), visitor("window", window), visitor("sink", sink);
    }
};

struct Options {
    double scale = 1;  // of the products of queries and keys, not of the sinks; usually 1/sqrt(D)

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("scale", scale);
    }
};

struct Outputs {
    TensorView<float, 4> out;          // [B, H, Nq, Dv]; 0 where the query sees no key
    TensorView<float, 3> log_sum_exp;  // [B, H, Nq], natural, of the scores and the sink; the sink alone where the
                                       // query sees no key

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

// The function to write, in window_kernel.cu. All tensors are in device memory.
void window_kernel(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace ATTN_BUILD
}  // namespace attn::exercises::window_kernel
