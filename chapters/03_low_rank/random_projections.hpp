// How far random projections carry: the argument of Linformer's paper for its rank K, and what it does not cover.
//
// R is [K, N], its numbers independent with variance 1/K, so that RᵀR is the unit matrix on average. (Johnson and
// Lindenstrauss 1984: R nearly keeps lengths, and so inner products.)
//     after the softmax    P RᵀR V with P = softmax(scale · Q Kᵀ)       what theorem 1 of the paper is about
//     as built             softmax(scale · Q (R K)ᵀ) R V                Linformer with E = F = R
// Both are run by the naive versions: the first one is dense attention with the values RᵀR V.
#pragma once

#include <numeric>

#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "chapters/03_low_rank/linformer_naive.hpp"
#include "common/tensor/random.hpp"

namespace attn::linformer {

// Frobenius norms of matrices, of one head.
struct RandomProjections {
    double exact = 0;          // ‖P V‖: dense attention
    double lengths = 0;        // ‖P‖ ‖V‖: the products of the lengths of its rows and columns
    double after_softmax = 0;  // ‖P RᵀR V - P V‖, root mean square over the draws of R
    double as_built = 0;       // ‖softmax(…) R V - P V‖, alike
    double output = 0;         // ‖softmax(…) R V‖, alike
};

inline double squared_norm(const Tensor<double, 4>& a) {
    return std::inner_product(a.begin(), a.end(), a.begin(), 0.0);
}

// N queries, keys and values of D normal numbers, from the seed; `draws` projections.
inline RandomProjections measure_random_projections(int N, int D, int K, int draws, std::uint64_t seed) {
    const auto normal = [](auto tensor, std::uint64_t from, double factor) {
        fill_normal(view(tensor), from, factor);
        return tensor;
    };
    const Tensor<double, 4> zeros = make_tensor<double, 4>({1, 1, N, D});
    const Tensor<double, 4> q = normal(zeros, seed, 1), k = normal(zeros, seed + 1, 1), v = normal(zeros, seed + 2, 1);
    const double scale = 1 / std::sqrt(D);
    const auto dense_attention = [&](const Tensor<double, 4>& values) {
        auto out = make_tensor<double, 4>({1, 1, N, static_cast<int>(values.shape()[3])});
        auto log_sum_exp = make_tensor<double, 3>({1, 1, N});
        dense::naive_forward<double>({view(q), view(k), view(values), {}}, {false, scale},
                                     {view(out), view(log_sum_exp), {}, {}, {}});
        return out;
    };
    const Tensor<double, 4> exact = dense_attention(v);
    auto unit_matrix = make_tensor<double, 4>({1, 1, N, N});  // the values that make the output P
    for (int i = 0; i < N; ++i) unit_matrix(0, 0, i, i) = 1;

    RandomProjections sums;
    auto of_values = make_tensor<double, 2>({K, D});
    for (int draw = 0; draw < draws; ++draw) {
        const Tensor<double, 2> R =
            normal(make_tensor<double, 2>({K, N}), seed + 3 + static_cast<std::uint64_t>(draw), 1 / std::sqrt(K));
        project(view(R), view(v).slice(0, 0), view(of_values));
        Tensor<double, 4> back = zeros;  // RᵀR V
        for (int s = 0; s < K; ++s)
            for (int j = 0; j < N; ++j)
                for (int d = 0; d < D; ++d) back(0, 0, j, d) += R(s, j) * of_values(s, d);
        sums.after_softmax += squared_norm(dense_attention(back) - exact);

        Tensor<double, 4> out = zeros;
        naive<double>({view(q), view(k), view(v), view(R), view(R), {}, {}}, {scale}, {view(out)});
        sums.as_built += squared_norm(out - exact);
        sums.output += squared_norm(out);
    }
    return {std::sqrt(squared_norm(exact)), std::sqrt(squared_norm(dense_attention(unit_matrix)) * squared_norm(v)),
            std::sqrt(sums.after_softmax / draws), std::sqrt(sums.as_built / draws), std::sqrt(sums.output / draws)};
}

}  // namespace attn::linformer
