// The matrix that a scan multiplies u with, for given Δ, B and C; nobody forms it. And what may be said of it.
#pragma once

#include <cmath>

#include "chapters/07_beyond_attention/selective_scan/selective_scan_naive.hpp"

namespace attn::selective_scan {

// Of channel d of sequence 0, [L, L]: column j is the answer to a u that is 1 at token j, and 0 elsewhere. Without
// gate, D and initial state.
inline Tensor<double, 2> matrix_of_channel(const Inputs<double>& in, const Options& options, int d) {
    const Sizes size = in.sizes();
    Tensor<double, 2> matrix = make_tensor<double, 2>({size.L, size.L});
    Tensor<double, 3> u = make_tensor<double, 3>({size.B, size.D, size.L}), out = u;
    Tensor<double, 3> last_state = make_tensor<double, 3>({size.B, size.D, size.S});
    Inputs<double> impulse = in;
    impulse.d = {}, impulse.z = {}, impulse.initial_state = {};
    const Tensor<double, 3>& impulses = u;
    impulse.u = view(impulses);
    for (int j = 0; j < size.L; ++j) {
        u.fill(0), u(0, d, j) = 1;
        naive(impulse, options, Outputs<double>{view(out), view(last_state)});
        for (int i = 0; i < size.L; ++i) matrix(i, j) = out(0, d, i);
    }
    return matrix;
}

// The rank of rows first … and columns 0 … first - 1: of what later tokens read of earlier ones. By elimination; what
// is below 1e-12 of the largest element counts as 0.
inline int rank_below(const Tensor<double, 2>& matrix, int first) {
    const int n = static_cast<int>(matrix.shape()[0]);
    Tensor<double, 2> rest = matrix;
    double largest = 0;
    for (double x : matrix) largest = std::max(largest, std::abs(x));
    int rank = 0;
    for (int step = 0; step < first && first + step < n; ++step) {
        int row = first + rank, column = 0;
        for (int i = first + rank; i < n; ++i)
            for (int j = 0; j < first; ++j)
                if (std::abs(rest(i, j)) > std::abs(rest(row, column))) row = i, column = j;
        if (!(std::abs(rest(row, column)) > 1e-12 * largest)) break;
        for (int j = 0; j < first; ++j) std::swap(rest(row, j), rest(first + rank, j));
        for (int i = first + rank + 1; i < n; ++i) {
            const double factor = rest(i, column) / rest(first + rank, column);
            for (int j = 0; j < first; ++j) rest(i, j) -= factor * rest(first + rank, j);
        }
        ++rank;
    }
    return rank;
}

}  // namespace attn::selective_scan
