// BigBird's attention, naive: a set of blocks for each row of blocks, and all their positions. Templated on the scalar.
//
// The tags name the steps; README.md and `attn trace bigbird` use the same.
#pragma once

#include "chapters/01_fixed_sparse/attend_naive.hpp"
#include "chapters/01_fixed_sparse/bigbird/bigbird.hpp"

namespace attn::bigbird {

using fixed_sparse::Row;

// [19.4.1-1] the keys that the queries of block I see in head h: all positions of a set of blocks
template <class T>
void see(Row<T>& row, const Inputs<T>& in, const Options& options, int h, int I) {
    const int blocks = in.sizes().N / options.block, last = blocks - 1;
    const auto sees = [&](int J) {
        const bool is_global = I == 0 || I == last || J == 0 || J == last;
        const bool in_window = I - 1 <= J && J <= I + 1;
        bool is_random = false;
        for (int t = 0; t < in.random_blocks.extent(2); ++t) is_random = is_random || in.random_blocks(h, I, t) == J;
        return is_global || in_window || is_random;
    };
    row.keys.clear();
    for (int J = 0; J < blocks; ++J)
        for (int j = J * options.block; j < (J + 1) * options.block && sees(J); ++j) row.keys.push_back(j);
}

template <class T, class Watch = NobodyWatches>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    check_inputs(in, options);
    const Sizes size = in.sizes();
    Row<T> row(pattern(in, options).longest_row());
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) {
            for (int i = 0; i < size.N; ++i) {
                if (i % options.block == 0) see(row, in, options, h, i / options.block);  // the whole block's
                softmax(row, in.q.slice(b, h, i), in.k.slice(b, h), options.scale, watch);
                weighted_mean(row, in.v.slice(b, h), out.out.slice(b, h, i));
            }
            watch("[19.4.1-4] out = weighted means of the values, all queries", out.out.slice(b, h));
        }
}

}  // namespace attn::bigbird
