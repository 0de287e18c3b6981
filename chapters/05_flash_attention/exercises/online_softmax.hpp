// Exercise online_softmax, the interface: attention in one pass over tiles of keys, in which each head has a sink and
// each query sees a range of the keys.
#pragma once

#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::online_softmax {

// The letters: H heads, Nq queries, Nk keys, D head dimension, Dv value dimension.
struct Inputs {
    TensorView<const float, 3> q;     // [H, Nq, D]
    TensorView<const float, 3> k;     // [H, Nk, D]
    TensorView<const float, 3> v;     // [H, Nk, Dv]
    TensorView<const int, 1> begin;   // [Nq]: query i sees the keys begin(i) <= j < end(i), perhaps none
    TensorView<const int, 1> end;     // [Nq], begin(i) … Nk
    TensorView<const float, 1> sink;  // [H], one more score for each row of the head, without a value; -inf: none

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("q", q), visitor("k", k), visitor("v", v);
        visitor("begin", begin), visitor("end", end), visitor("sink", sink);
    }
};

struct Options {
    double scale = 1;  // of q·k, usually 1/sqrt(D); not of the sink
    int tile = 64;     // how many keys are handed in together, 1 or more; the last tile may be smaller

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("scale", scale), visitor("tile", tile);
    }
};

struct Outputs {
    TensorView<float, 3> out;          // [H, Nq, Dv]; 0 where the query sees no key
    TensorView<float, 2> log_sum_exp;  // [H, Nq], natural, of the scores that are seen and the sink; -inf without any

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("log_sum_exp", log_sum_exp);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) {
        return {{nullptr, {in.q.extent(0), in.q.extent(1), in.v.extent(2)}},
                {nullptr, {in.q.extent(0), in.q.extent(1)}}};
    }
};

// The function to write, in online_softmax.cpp. All tensors are in the host's memory.
void online_softmax(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace attn::exercises::online_softmax
