// Exercise masked_softmax, the interface: the softmax of rows of scores, with a mask and a sink.
#pragma once

#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::masked_softmax {

struct Inputs {
    TensorView<const float, 2> scores;  // [rows, columns]; finite or -inf where the mask is not 0, anything elsewhere
    TensorView<const int, 2> mask;      // [rows, columns]; not 0: the score counts
    TensorView<const float, 1> sink;    // [rows], one more logit for each row; -inf: none

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("scores", scores), visitor("mask", mask), visitor("sink", sink);
    }
};

struct Options {
    template <class Visitor>
    void visit(Visitor&&) {}
};

struct Outputs {
    TensorView<float, 2> weights;  // [rows, columns]; exactly 0 where masked; a row sums to 1 minus the sink's share
    TensorView<float, 1> log_sum_exp;  // [rows], natural, over the scores that count and the sink; -inf without any

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("weights", weights), visitor("log_sum_exp", log_sum_exp);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) { return {{nullptr, in.scores.shape()}, {nullptr, {in.scores.extent(0)}}}; }
};

// The function to write, in masked_softmax.cpp. All tensors are in the host's memory.
void masked_softmax(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace attn::exercises::masked_softmax
