// Exercise tile_transpose, the interface: out = scale · xᵀ for each matrix of a batch.
#pragma once

#include "common/cuda/build_name.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::tile_transpose {

struct Inputs {
    TensorView<const float, 3> x;  // [batch, rows, columns]

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("x", x);
    }
};

struct Options {
    double scale = 1;

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("scale", scale);
    }
};

struct Outputs {
    TensorView<float, 3> out;  // [batch, columns, rows]: out(b, column, row) = scale · x(b, row, column), one rounding

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) { return {{nullptr, {in.x.extent(0), in.x.extent(2), in.x.extent(1)}}}; }
};

inline namespace ATTN_BUILD {

// The function to write, in tile_transpose.cu. All tensors are in device memory.
void tile_transpose(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace ATTN_BUILD
}  // namespace attn::exercises::tile_transpose
