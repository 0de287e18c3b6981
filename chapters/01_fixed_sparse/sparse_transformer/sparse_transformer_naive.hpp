// The Sparse Transformer's attention, naive: the sets as the paper names them. Templated on the scalar.
//
// The tags name the steps; README.md and `attn trace sparse_transformer` use the same.
#pragma once

#include "chapters/01_fixed_sparse/attend_naive.hpp"
#include "chapters/01_fixed_sparse/sparse_transformer/sparse_transformer.hpp"

namespace attn::sparse_transformer {

using fixed_sparse::Row;

// [19.4.1-1] the keys that query i sees: the first part, the second, or both, each key once
template <class T>
void see(Row<T>& row, int i, const Options& options) {
    const int l = options.stride, c = options.summary;
    const bool strided = options.kind == Kind::strided;
    row.keys.clear();
    // Second part, as far as the first does not have it: every l-th position, or the summaries of the blocks before.
    if (options.part != Part::first) {
        const int blocks = i / l;  // before the own one
        for (int block = 0; block < blocks; ++block)
            if (strided)
                row.keys.push_back(i - (blocks - block) * l);
            else
                for (int j = (block + 1) * l - c; j < (block + 1) * l; ++j) row.keys.push_back(j);
    }
    // First part: the last l positions, or the own block. If only the second is asked for, what both have.
    const int begin = strided ? std::max(0, i - l + 1) : i / l * l;
    for (int j = begin; j <= i; ++j)
        if (options.part != Part::second || (strided ? j == i : j % l >= l - c)) row.keys.push_back(j);
}

template <class T, class Watch = NobodyWatches>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    check_shapes(in);
    const Sizes size = in.sizes();
    Row<T> row(pattern(size.N, options).longest_row());
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) {
            for (int i = 0; i < size.N; ++i) {
                see(row, i, options);
                softmax(row, in.q.slice(b, h, i), in.k.slice(b, h), options.scale, watch);
                weighted_mean(row, in.v.slice(b, h), out.out.slice(b, h, i));
            }
            watch("[19.4.1-4] out = weighted means of the values, all queries", out.out.slice(b, h));
        }
}

}  // namespace attn::sparse_transformer
