// Attention of one query to a list of keys, naive: what the four mechanisms do once they know which keys a query sees.
// Templated on the scalar; sums are kept in accumulator_t<T>.
//
// The tags name the steps; README.md and the traces use the same.
#pragma once

#include <limits>
#include <vector>

#include "common/mechanism/layer.hpp"
#include "common/mechanism/watch.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::fixed_sparse {

// The memory for one row: the keys that the query sees, and their weights.
template <class T>
struct Row {
    using Sum = accumulator_t<T>;

    std::vector<int> keys;
    Tensor<Sum, 1> weights;

    explicit Row(int longest) : weights(make_tensor<Sum, 1>({{longest}})) {
        keys.reserve(static_cast<std::size_t>(longest));
    }
    int count() const { return static_cast<int>(keys.size()); }
    bool has(int key) const { return std::find(keys.begin(), keys.end(), key) != keys.end(); }
    TensorView<const Sum, 1> seen() const { return {weights.data(), {{count()}}}; }
};

// What the softmax of a row knows beside the weights: the largest score, and the sum of exp(score - maximum).
template <class Sum>
struct Normalizer {
    Sum maximum, sum;
};

// The weights of the keys of `row`, for the query [D] against keys [Nk, D].
template <class T, class Watch = NobodyWatches>
Normalizer<accumulator_t<T>> softmax(Row<T>& row, TensorView<const T, 1> query, TensorView<const T, 2> keys,
                                     double scale, Watch watch = {}) {
    using Sum = accumulator_t<T>;
    using std::exp;
    // [19.4.1-2] scores: the query with every key that it sees
    Sum maximum = -std::numeric_limits<double>::infinity();
    for (int s = 0; s < row.count(); ++s) {
        row.weights(s) = static_cast<Sum>(scale) * dot(query, keys.slice(row.keys[static_cast<std::size_t>(s)]));
        if (maximum < row.weights(s)) maximum = row.weights(s);
    }
    watch("[19.4.1-2] scores of the keys that it sees", row.seen());

    // [19.4.1-3] weights: the softmax over these keys alone
    Sum sum = 0;
    for (int s = 0; s < row.count(); ++s) {
        row.weights(s) = exp(row.weights(s) - maximum);
        sum += row.weights(s);
    }
    for (int s = 0; s < row.count(); ++s) row.weights(s) = row.weights(s) / sum;
    watch("[19.4.1-3] their weights", row.seen());
    return {maximum, sum};
}

// [19.4.1-4] output: the weighted mean of the values [Nk, Dv] of these keys, 0 of none
template <class T>
void weighted_mean(const Row<T>& row, TensorView<const T, 2> values, TensorView<T, 1> out) {
    using Sum = accumulator_t<T>;
    for (int d = 0; d < out.extent(0); ++d) {
        Sum mean = 0;
        for (int s = 0; s < row.count(); ++s)
            mean += row.weights(s) * static_cast<Sum>(values(row.keys[static_cast<std::size_t>(s)], d));
        out(d) = static_cast<T>(mean);
    }
}

}  // namespace attn::fixed_sparse
