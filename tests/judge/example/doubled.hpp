// An exercise for the tests of the judge: twice each number.
#pragma once

#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::doubled {

struct Inputs {
    TensorView<const float, 1> x;  // [n]

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("x", x);
    }
};

struct Options {
    template <class Visitor>
    void visit(Visitor&&) {}
};

struct Outputs {
    TensorView<float, 1> y;  // [n]

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("y", y);
    }

    static Outputs shaped(const Inputs& in) { return {{nullptr, in.x.shape()}}; }
};

void doubled(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace attn::exercises::doubled
