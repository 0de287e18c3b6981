// Prints the steps of a naive version: what `attn trace` shows.
#pragma once

#include <fmt/format.h>

#include <cmath>

#include "common/tensor/tensor_view.hpp"

namespace attn {

// Handed to a naive version as the one who watches (watch.hpp).
struct TracePrinter {
    void operator()(const char* title, TensorView<const double, 1> row) const {
        fmt::print("{}\n", title);
        print_row(row);
        fmt::print("\n");
    }
    void operator()(const char* title, TensorView<const double, 2> matrix) const {
        fmt::print("{}\n", title);
        for (int i = 0; i < matrix.extent(0); ++i) print_row(matrix.slice(i));
        fmt::print("\n");
    }

  private:
    static void print_row(TensorView<const double, 1> row) {
        for (int j = 0; j < row.extent(0); ++j)
            if (std::isinf(row(j)))
                fmt::print("{:>8}", "·");  // a key that the query does not see, or a maximum of nothing
            else
                fmt::print("{:8.3f}", std::abs(row(j)) < 0.0005 ? 0.0 : row(j));  // no -0.000
        fmt::print("\n");
    }
};

}  // namespace attn
