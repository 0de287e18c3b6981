// Exercise warp_reduction, the interface: the sum of each row, and the sum of its squared deviations from its mean.
#pragma once

#include "common/cuda/build_name.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::warp_reduction {

struct Inputs {
    TensorView<const float, 2> x;      // [rows, columns]
    TensorView<const int, 1> lengths;  // [rows], each 0 … columns: only that many of the row count

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("x", x), visitor("lengths", lengths);
    }
};

struct Options {
    template <class Visitor>
    void visit(Visitor&&) {}
};

struct Outputs {
    TensorView<float, 1> sum;                 // [rows]; 0 for a row of length 0
    TensorView<float, 1> squared_deviations;  // [rows], the sum of (x - mean)²; 0 for a row of length 0

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("sum", sum), visitor("squared_deviations", squared_deviations);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) { return {{nullptr, {in.x.extent(0)}}, {nullptr, {in.x.extent(0)}}}; }
};

inline namespace ATTN_BUILD {

// The function to write, in warp_reduction.cu. All tensors are in device memory.
void warp_reduction(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace ATTN_BUILD
}  // namespace attn::exercises::warp_reduction
