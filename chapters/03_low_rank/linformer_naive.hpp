// Linformer, naive: the formula, one head at a time, and of its weights one row at a time. Templated on the scalar.
// With 16-bit inputs K̃ and Ṽ are float, as all sums.
//
// The tags name the steps; README.md and `attn trace linformer` use the same.
#pragma once

#include <limits>

#include "chapters/03_low_rank/linformer.hpp"
#include "common/mechanism/watch.hpp"
#include "common/tensor/half.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::linformer {

// Each slot: the sum of all positions, weighted by its row of the projection.
template <class T, class Sum>
void project(TensorView<const T, 2> projection, TensorView<const T, 2> positions, TensorView<Sum, 2> slots) {
    for (int s = 0; s < slots.extent(0); ++s)
        for (int d = 0; d < slots.extent(1); ++d) {
            Sum sum = 0;
            for (int j = 0; j < positions.extent(0); ++j)
                sum += static_cast<Sum>(projection(s, j)) * static_cast<Sum>(positions(j, d));
            slots(s, d) = sum;
        }
}

template <class T, class Watch = NobodyWatches>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    using Sum = accumulator_t<T>;
    using std::exp;
    check_shapes(in);
    const Sizes size = in.sizes();
    const Sum scale = static_cast<Sum>(options.scale);

    auto keys = make_tensor<Sum, 2>({size.K, size.D});     // K̃ of one head
    auto values = make_tensor<Sum, 2>({size.K, size.Dv});  // Ṽ
    auto weights = make_tensor<Sum, 1>({{size.K}});        // of one query
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) {
            // [19.4.3-1] projected keys: N become K
            project(in.E(h), in.k.slice(b, h), view(keys));
            watch("[19.4.3-1] projected keys = E k", view(keys));

            // [19.4.3-2] projected values
            project(in.F(h), in.v.slice(b, h), view(values));
            watch("[19.4.3-2] projected values = F v", view(values));

            for (int i = 0; i < size.Nq; ++i) {
                // [19.4.3-3] scores: the query with every slot
                Sum maximum = -std::numeric_limits<double>::infinity();
                for (int s = 0; s < size.K; ++s) {
                    Sum dot = 0;
                    for (int d = 0; d < size.D; ++d) dot += static_cast<Sum>(in.q(b, h, i, d)) * keys(s, d);
                    weights(s) = scale * dot;
                    if (maximum < weights(s)) maximum = weights(s);
                }
                watch("[19.4.3-3] scores of a query = scale · q (E k)ᵀ", view(weights));

                // [19.4.3-4] weights: the softmax over the slots; the maximum keeps exponentials from overflowing
                Sum sum = 0;
                for (int s = 0; s < size.K; ++s) {
                    weights(s) = exp(weights(s) - maximum);
                    sum += weights(s);
                }
                for (int s = 0; s < size.K; ++s) weights(s) = weights(s) / sum;
                watch("[19.4.3-4] its weights = softmax over the slots", view(weights));

                // [19.4.3-5] output: the weighted mean of the projected values
                for (int d = 0; d < size.Dv; ++d) {
                    Sum mean = 0;
                    for (int s = 0; s < size.K; ++s) mean += weights(s) * values(s, d);
                    out.out(b, h, i, d) = static_cast<T>(mean);
                }
            }
            watch("[19.4.3-5] out = weights · (F v), of all queries", out.out.slice(b, h));
        }
}

}  // namespace attn::linformer
