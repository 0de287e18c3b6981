// Longformer's attention, naive: rows of a window and the global tokens, and the global tokens' own rows. Templated on
// the scalar.
//
// The tags name the steps; README.md and `attn trace longformer` use the same.
#pragma once

#include "chapters/01_fixed_sparse/attend_naive.hpp"
#include "chapters/01_fixed_sparse/longformer/longformer.hpp"

namespace attn::longformer {

using fixed_sparse::Row;

inline bool is_global(const Options& options, int i) {
    return std::find(options.global_tokens.begin(), options.global_tokens.end(), i) != options.global_tokens.end();
}

// [19.4.1-1] the keys that query i sees: its window, and the global tokens that are not in it; a global one sees all
template <class T>
void see(Row<T>& row, int n, int i, const Options& options) {
    const int last = options.causal ? i : n - 1;
    const auto add = [&](std::int64_t j) {
        if (0 <= j && j <= last) row.keys.push_back(static_cast<int>(j));
    };
    row.keys.clear();
    if (is_global(options, i)) {
        for (int j = 0; j < n; ++j) add(j);
        return;
    }
    const std::int64_t w = std::min(options.radius, n), step = options.dilation;
    for (std::int64_t t = -w; t <= w; ++t) add(i + t * step);
    for (int g : options.global_tokens)
        if (!row.has(g)) add(g);  // each key once
}

template <class T, class Watch = NobodyWatches>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    check_shapes(in);
    const Sizes size = in.sizes();
    Row<T> row(longest_row(size.N, options));
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) {
            for (int i = 0; i < size.N; ++i) {
                see(row, size.N, i, options);
                if (is_global(options, i)) {
                    // [19.4.1-7] a global token's row: projections of its own, for the query, all keys and all values
                    softmax(row, in.queries_of_global().slice(b, h, i), in.keys_of_global().slice(b, h), options.scale,
                            watch);
                    weighted_mean(row, in.values_of_global().slice(b, h), out.out.slice(b, h, i));
                } else {
                    softmax(row, in.q.slice(b, h, i), in.k.slice(b, h), options.scale, watch);
                    weighted_mean(row, in.v.slice(b, h), out.out.slice(b, h, i));
                }
            }
            watch("[19.4.1-4] out = weighted means of the values, all queries", out.out.slice(b, h));
        }
}

}  // namespace attn::longformer
