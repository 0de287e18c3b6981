// Exercise row_maximum, the interface: the largest number of each row, and where it first stands.
#pragma once

#include "common/cuda/build_name.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::row_maximum {

struct Inputs {
    TensorView<const float, 2> x;  // [rows, columns]; any values, NaN and the infinities among them

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
    TensorView<float, 1> maximum;  // [rows]; NaN does not count; -inf for a row that holds nothing else
    TensorView<int, 1> index;      // [rows], the first column that holds the maximum; `columns` where all are NaN

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("maximum", maximum), visitor("index", index);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) { return {{nullptr, {in.x.extent(0)}}, {nullptr, {in.x.extent(0)}}}; }
};

inline namespace ATTN_BUILD {

// The function to write, in row_maximum.cu. All tensors are in device memory.
void row_maximum(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace ATTN_BUILD
}  // namespace attn::exercises::row_maximum
