// Exercise selection_kernel, the interface: attention to selected blocks of packed documents, with a sink for each
// head.
#pragma once

#include "common/cuda/build_name.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::selection_kernel {

// The letters: B sequences, H query heads, G key/value heads (H is a multiple of G, H/G at most 16), N positions, D
// head dimension and Dv value dimension (both at most 64), n places for blocks.
struct Inputs {
    TensorView<const float, 4> q;       // [B, H, N, D]
    TensorView<const float, 4> k;       // [B, G, N, D]; query head h reads key/value head h / (H/G)
    TensorView<const float, 4> v;       // [B, G, N, Dv]
    TensorView<const int, 4> selected;  // [B, G, N, n], blocks, ascending, then -1; the query's own is always there.
                                        // Each has positions of the query's document up to the query
    TensorView<const int, 1> begin;     // [N], the position at which the document of each position begins
    TensorView<const float, 1> sink;    // [H], one more score for each row of the head, without a value; -inf: none

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("q", q), visitor("k", k), visitor("v", v), visitor("selected", selected);
        visitor("begin", begin), visitor("sink", sink);
    }
};

struct Options {
    int select_block = 1;  // l': block J has the positions J l' … J l' + l' - 1; the last one may be incomplete
    double scale = 1;      // of the products of queries and keys, not of the sinks; usually 1/sqrt(D)

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("select_block", select_block), visitor("scale", scale);
    }
};

struct Outputs {
    TensorView<float, 4> out;          // [B, H, N, Dv]
    TensorView<float, 3> log_sum_exp;  // [B, H, N], natural, of the scores and the sink

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("log_sum_exp", log_sum_exp);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) {
        const int B = in.q.extent(0), H = in.q.extent(1), N = in.q.extent(2);
        return {{nullptr, {B, H, N, in.v.extent(3)}}, {nullptr, {B, H, N}}};
    }
};

inline namespace ATTN_BUILD {

// The function to write, in selection_kernel.cu. All tensors are in device memory.
void selection_kernel(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace ATTN_BUILD
}  // namespace attn::exercises::selection_kernel
