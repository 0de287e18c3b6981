// Sliding-window attention, naive: forward, backward, and forward through a rolling cache. Templated on the scalar.
//
// The tags name the steps; README.md and `attn trace sliding_window` use the same.
#pragma once

#include <stdexcept>

#include "chapters/01_fixed_sparse/attend_naive.hpp"
#include "chapters/01_fixed_sparse/sliding_window/sliding_window.hpp"

namespace attn::sliding_window {

using fixed_sparse::Row;

// [19.4.1-1] the keys that a query at this position sees: the first s, and the last W, each once
template <class T>
void see(Row<T>& row, int position, const Options& options) {
    row.keys.clear();
    if (position < 0) return;
    for (int j = 0; j < std::min(options.sinks, position + 1); ++j) row.keys.push_back(j);
    for (int j = std::max(options.sinks, position - options.window + 1); j <= position; ++j) row.keys.push_back(j);
}

template <class T, class Watch = NobodyWatches>
void naive_forward(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    using Sum = accumulator_t<T>;
    using std::log;
    check_shapes(in);
    const Sizes size = in.sizes();
    const Sum minus_infinity = -std::numeric_limits<double>::infinity();
    Row<T> row(pattern(size, options).longest_row());
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) {
            const int g = size.kv_head(h);
            for (int i = 0; i < size.Nq; ++i) {
                see(row, i + (size.Nk - size.Nq), options);
                const auto [maximum, sum] = softmax(row, in.q.slice(b, h, i), in.k.slice(b, g), options.scale, watch);
                weighted_mean(row, in.v.slice(b, g), out.out.slice(b, h, i));
                out.log_sum_exp(b, h, i) = static_cast<T>(row.keys.empty() ? minus_infinity : maximum + log(sum));
            }
            watch("[19.4.1-4] out = weighted means of the values, all queries", out.out.slice(b, h));
        }
}

// [19.4.1-5] backward: dense attention's, over the visible pairs only. The weights P of a row are computed anew:
//     dV += P dO,   dS = P ∘ (dP - Σ P ∘ dP) with dP = dO Vᵀ,   dQ = scale · dS K,   dK += scale · dS Q
template <class T>
void naive_backward(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
    using Sum = accumulator_t<T>;
    const Sizes size = in.sizes();
    const Sum scale = static_cast<Sum>(options.scale);
    Row<T> row(pattern(size, options).longest_row());
    auto d_weights = row.weights;
    auto d_q = make_tensor<Sum, 1>({{size.D}});
    auto d_k = make_tensor<Sum, 4>(in.k.shape());  // [B, G, Nk, D]: what the heads of a group add up
    auto d_v = make_tensor<Sum, 4>(in.v.shape());  // [B, G, Nk, Dv]
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) {
            const int g = size.kv_head(h);
            for (int i = 0; i < size.Nq; ++i) {
                see(row, i + (size.Nk - size.Nq), options);
                softmax(row, in.q.slice(b, h, i), in.k.slice(b, g), options.scale);
                Sum correction = 0;
                for (int s = 0; s < row.count(); ++s) {
                    const int j = row.keys[static_cast<std::size_t>(s)];
                    d_weights(s) = 0;
                    for (int d = 0; d < size.Dv; ++d) {
                        const Sum d_out = static_cast<Sum>(in.d_out(b, h, i, d));
                        d_weights(s) += d_out * static_cast<Sum>(in.v(b, g, j, d));
                        d_v(b, g, j, d) += row.weights(s) * d_out;
                    }
                    correction += row.weights(s) * d_weights(s);
                }
                d_q.fill(0);
                for (int s = 0; s < row.count(); ++s) {
                    const int j = row.keys[static_cast<std::size_t>(s)];
                    const Sum d_score = row.weights(s) * (d_weights(s) - correction), d_dot = scale * d_score;
                    for (int d = 0; d < size.D; ++d) {
                        d_q(d) += d_dot * static_cast<Sum>(in.k(b, g, j, d));
                        d_k(b, g, j, d) += d_dot * static_cast<Sum>(in.q(b, h, i, d));
                    }
                }
                for (int d = 0; d < size.D; ++d) out.d_q(b, h, i, d) = static_cast<T>(d_q(d));
            }
        }
    const auto round = [](const auto& sums, auto to) {
        std::transform(sums.begin(), sums.end(), to.data(), [](Sum sum) { return static_cast<T>(sum); });
    };
    round(d_k, out.d_k), round(d_v, out.d_v);
}

template <class T>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
    naive_forward(in, options, out);
    if (in.d_out) naive_backward(in, options, out);
}

// ---- the rolling cache ----------------------------------------------------------------------------------------------

// Keys and values of one head of one sequence, W + s slots: the first s positions stay, the others share W slots, where
// a new position takes the place of the oldest.
template <class T>
struct RollingCache {
    Tensor<T, 2> keys, values;  // [W + s, D], [W + s, Dv]
    int window, sinks, length = 0;

    RollingCache(const Options& options, int D, int Dv)
        : keys(make_tensor<T, 2>({{options.window + options.sinks, D}})),
          values(make_tensor<T, 2>({{options.window + options.sinks, Dv}})),
          window(options.window),
          sinks(options.sinks) {}

    // [19.4.1-6] rolling cache: the slot of position j
    int slot(int j) const { return j < sinks ? j : sinks + (j - sinks) % window; }

    // Positions that are still there.
    int oldest() const { return std::max(sinks, length - window); }
    bool holds(int j) const { return j < length && (j < sinks || j >= oldest()); }

    void append(TensorView<const T, 1> key, TensorView<const T, 1> value) {
        const int at = slot(length++);
        for (int d = 0; d < key.extent(0); ++d) keys(at, d) = key(d);
        for (int d = 0; d < value.extent(0); ++d) values(at, d) = value(d);
    }
};

// The same function as naive_forward where Nq = Nk, through the cache, `chunk` positions at a time: a prompt comes in
// chunks, generation in chunks of 1. The queries of a chunk see the cache and the chunk; only then is it written into
// the cache, as its first queries still need what its last keys overwrite. Sequence b, head h.
template <class T>
void naive_through_cache(const Inputs<T>& in, const Options& options, int chunk, int b, int h, TensorView<T, 2> out) {
    const Sizes size = in.sizes();
    const int g = size.kv_head(h);
    RollingCache<T> cache(options, size.D, size.Dv);
    // What the chunk's queries can see: the slots of the cache, then the chunk.
    const int slots = options.window + options.sinks;
    auto keys = make_tensor<T, 2>({{slots + chunk, size.D}}), values = make_tensor<T, 2>({{slots + chunk, size.Dv}});
    Row<T> row(slots + chunk);
    for (int first = 0; first < size.Nk; first += chunk) {
        const int end = std::min(first + chunk, size.Nk);
        std::copy(cache.keys.begin(), cache.keys.end(), keys.begin());
        std::copy(cache.values.begin(), cache.values.end(), values.begin());
        for (int j = first; j < end; ++j) {
            for (int d = 0; d < size.D; ++d) keys(slots + j - first, d) = in.k(b, g, j, d);
            for (int d = 0; d < size.Dv; ++d) values(slots + j - first, d) = in.v(b, g, j, d);
        }
        for (int i = first; i < end; ++i) {
            see(row, i, options);
            for (int& key : row.keys) {  // from position to place
                if (key < first && !cache.holds(key))
                    throw std::logic_error("the cache has lost a key that is still seen");
                key = key < first ? cache.slot(key) : slots + key - first;
            }
            softmax(row, in.q.slice(b, h, i), TensorView<const T, 2>(view(keys)), options.scale);
            weighted_mean(row, TensorView<const T, 2>(view(values)), out.slice(i));
        }
        for (int j = first; j < end; ++j) cache.append(in.k.slice(b, g, j), in.v.slice(b, g, j));
    }
}

}  // namespace attn::sliding_window
