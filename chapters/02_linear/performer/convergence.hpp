// How far Performer is from the attention that its features estimate.
#pragma once

#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "chapters/02_linear/performer/performer_naive.hpp"
#include "chapters/02_linear/performer/random_features.hpp"

namespace attn::performer {

struct Distance {
    double performer = 0;  // ‖out - dense‖ / ‖dense‖
    double mean = 0;       // the same of an out that is the mean of all values, whatever the query
};

// The mean over draws of q and k, whose elements are normal times `factor`, of values and of features; n tokens without
// a mask, one head of 64 numbers.
inline Distance distance_from_dense(int M, double factor, int draws, int n = 48) {
    constexpr int D = 64, Dv = 8;
    Distance result;
    for (int draw = 1; draw <= draws; ++draw) {
        const auto seed = static_cast<std::uint64_t>(100 * draw);
        auto q = make_tensor<double, 4>({1, 1, n, D}), k = q, v = make_tensor<double, 4>({1, 1, n, Dv}), out = v,
             exact = v;
        auto log_sum_exp = make_tensor<double, 3>({1, 1, n});
        fill_normal(view(q), seed, factor), fill_normal(view(k), seed + 1, factor), fill_normal(view(v), seed + 2);
        const Tensor<double, 2> w = orthogonal_features(M, D, seed + 3);
        const TensorView<const double, 4> queries = view(q), keys = view(k), values = view(v);
        naive(Inputs<double>{queries, keys, values, view(w)}, Options{}, Outputs<double>{view(out)});
        dense::naive_forward(dense::Inputs<double>{queries, keys, values, {}}, {false, 1 / std::sqrt(D)},
                             dense::Outputs<double>{view(exact), view(log_sum_exp), {}, {}, {}});
        double off = 0, of_mean = 0, length = 0;
        for (int d = 0; d < Dv; ++d) {
            double mean = 0;
            for (int j = 0; j < n; ++j) mean += v(0, 0, j, d) / n;
            for (int i = 0; i < n; ++i) {
                const double x = exact(0, 0, i, d), difference = out(0, 0, i, d) - x;
                off += difference * difference, of_mean += (mean - x) * (mean - x), length += x * x;
            }
        }
        result.performer += std::sqrt(off / length) / draws, result.mean += std::sqrt(of_mean / length) / draws;
    }
    return result;
}

}  // namespace attn::performer
