// FlashAttention, naive, forward: the online softmax as loops over tiles, in both loop orders, and the merge of partial
// results. Templated on the scalar. Nowhere is there a matrix of queries × keys larger than a tile.
//
// The tags name the steps; README.md and `attn trace flash_attention` use the same.
#pragma once

#include <limits>

#include "chapters/05_flash_attention/flash_attention.hpp"
#include "common/mechanism/watch.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::flash_attention {

// Some positions: first … first + count - 1.
struct Range {
    int first, count;
};

// Calls f with each tile of the positions 0 … n - 1; the last one may be smaller.
template <class Function>
void for_each_tile(int n, int width, Function f) {
    for (int first = 0; first < n; first += width) f(Range{first, std::min(width, n - first)});
}

// Which head of which sequence.
struct Head {
    int b, h;
};

// How many keys of the tile row i sees: the first that many.
inline int seen(const Sizes& size, const Options& options, int i, const Range& keys) {
    return std::clamp(size.visible_keys(i, options.causal) - keys.first, 0, keys.count);
}

// [19.4.5-1] scores of the tile: its queries with those of its keys that they see
template <class T>
void tile_scores(const Inputs<T>& in, const Options& options, Head at, Range rows, Range keys, TensorView<T, 2> s) {
    const Sizes size = in.sizes();
    const T scale = static_cast<T>(options.scale);
    for (int r = 0; r < rows.count; ++r)
        for (int c = 0; c < keys.count; ++c) {
            s(r, c) = -std::numeric_limits<double>::infinity();
            if (c >= seen(size, options, rows.first + r, keys)) continue;
            T dot = 0;
            for (int d = 0; d < size.D; ++d)
                dot += in.q(at.b, at.h, rows.first + r, d) * in.k(at.b, size.kv_head(at.h), keys.first + c, d);
            s(r, c) = scale * dot;
        }
}

// ---- the state of rows, and how it grows ----------------------------------------------------------------------------

// The larger one.
template <class T>
T larger(T a, T b) {
    return a < b ? b : a;
}

// What exponents are taken relative to: the maximum. While that is -inf any other number does, as all weights are
// exp(-inf) = 0; -inf itself would make exp(-inf - -inf), NaN.
template <class T>
T reference_of(T maximum) {
    const T minus_infinity = -std::numeric_limits<double>::infinity();
    return minus_infinity < maximum ? maximum : T(0);
}

// What is known of the rows of a query tile after some of the keys: the largest score m, the sum l of all exp(score -
// m), and the sum O of all exp(score - m) · v. To begin with, nothing: m = -inf, l = 0, O = 0.
template <class T>
struct State {
    Tensor<T, 1> m, l;  // [Br]
    Tensor<T, 2> O;     // [Br, Dv]

    State(int Br, int Dv)
        : m(make_tensor<T, 1>({{Br}})), l(make_tensor<T, 1>({{Br}})), O(make_tensor<T, 2>({{Br, Dv}})) {
        clear();
    }
    void clear() {
        m.fill(-std::numeric_limits<double>::infinity());
        l.fill(0), O.fill(0);
    }
};

// The memory that one head needs: the scores, later the weights, of a tile, and the state of its rows.
template <class T>
struct Workspace {
    Tensor<T, 2> scores;  // [Br, Bc]
    State<T> state;
    Tensor<T, 1> factor;  // [Br]: by what the state shrank

    Workspace(const Sizes& size, const Tiles& tiles)
        : scores(make_tensor<T, 2>({{std::min(tiles.Br, size.Nq), std::min(tiles.Bc, size.Nk)}})),
          state(std::min(tiles.Br, size.Nq), size.Dv),
          factor(make_tensor<T, 1>({{std::min(tiles.Br, size.Nq)}})) {}
};

// The online softmax: what one more tile of keys adds to the state.
template <class T, class Watch>
void add_tile(const Inputs<T>& in, const Options& options, Head at, Range rows, Range keys, Workspace<T>& work,
              Watch watch) {
    using std::exp;
    const Sizes size = in.sizes();
    auto& [scores, state, factor] = work;
    auto& [m, l, O] = state;
    tile_scores(in, options, at, rows, keys, view(scores));
    watch("[19.4.5-1] scores of the tile = scale · q kᵀ", view(scores));

    for (int r = 0; r < rows.count; ++r) {
        const int n = seen(size, options, rows.first + r, keys);
        if (n == 0) continue;  // the row sees nothing of this tile: its state stays

        // [19.4.5-2] running maximum: the largest score so far
        T maximum = m(r);
        for (int c = 0; c < n; ++c) maximum = larger(maximum, scores(r, c));
        const T reference = reference_of(maximum);

        // [19.4.5-3] rescaling: what was summed up relative to the old maximum shrinks
        factor(r) = exp(m(r) - reference);
        m(r) = maximum;
        l(r) = factor(r) * l(r);
        for (int d = 0; d < size.Dv; ++d) O(r, d) = factor(r) * O(r, d);

        // [19.4.5-4] weights of the tile, not normalised, and the running sum
        for (int c = 0; c < n; ++c) {
            scores(r, c) = exp(scores(r, c) - reference);
            l(r) += scores(r, c);
        }

        // [19.4.5-5] weighted values are added
        for (int d = 0; d < size.Dv; ++d)
            for (int c = 0; c < n; ++c) O(r, d) += scores(r, c) * in.v(at.b, size.kv_head(at.h), keys.first + c, d);
    }
    watch("[19.4.5-2] running maximum m of each row", view(m));
    watch("[19.4.5-3] factor exp(old m - m) by which l and O shrank", view(factor));
    watch("[19.4.5-4] weights of the tile = exp(scores - m)", view(scores));
    watch("[19.4.5-4] running sum l of the weights", view(l));
    watch("[19.4.5-5] O = factor · O + weights · v", view(O));
}

// [19.4.5-6] division, once, after the last tile; and log_sum_exp, all that the backward pass needs of the weights
template <class T>
void finish(const Inputs<T>& in, const Options& options, Head at, Range rows, const State<T>& state,
            const Outputs<T>& out) {
    using std::log;
    const Sizes size = in.sizes();
    const T minus_infinity = -std::numeric_limits<double>::infinity();
    for (int r = 0; r < rows.count; ++r) {
        const int i = rows.first + r;
        const bool blind = size.visible_keys(i, options.causal) == 0;
        for (int d = 0; d < size.Dv; ++d) out.out(at.b, at.h, i, d) = blind ? T(0) : state.O(r, d) / state.l(r);
        out.log_sum_exp(at.b, at.h, i) = blind ? minus_infinity : state.m(r) + log(state.l(r));
    }
}

template <class Function>
void for_each_head(const Sizes& size, Function f) {
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) f(Head{b, h});
}

// ---- FlashAttention-2: query tiles outside --------------------------------------------------------------------------

// The state of a query tile stays where it is while all the keys pass by that its last row sees.
template <class T, class Watch = NobodyWatches>
void naive_forward(const Inputs<T>& in, const Options& options, const Outputs<T>& out, const Tiles& tiles = {},
                   Watch watch = {}) {
    check_shapes(in), check_tiles(tiles);
    const Sizes size = in.sizes();
    Workspace<T> work(size, tiles);
    for_each_head(size, [&](Head at) {
        for_each_tile(size.Nq, tiles.Br, [&](Range rows) {
            work.state.clear();
            const int keys_seen = size.visible_keys(rows.first + rows.count - 1, options.causal);
            for_each_tile(keys_seen, tiles.Bc, [&](Range keys) { add_tile(in, options, at, rows, keys, work, watch); });
            finish(in, options, at, rows, work.state, out);
            watch("[19.4.5-6] out = O / l", out.out.slice(at.b, at.h));
        });
    });
}

// ---- partial results ------------------------------------------------------------------------------------------------

// What the sums of two parts of the keys are multiplied by, so that both are relative to the same maximum.
template <class T>
struct Joint {
    T maximum, first_factor, second_factor;
};
template <class T>
Joint<T> joint(T first_maximum, T second_maximum) {
    using std::exp;
    const T maximum = larger(first_maximum, second_maximum), reference = reference_of(maximum);
    return {maximum, exp(first_maximum - reference), exp(second_maximum - reference)};
}

// [19.4.5-7] merge: the state of two parts of the keys together, out of the states of both; `a` becomes it. The state
// of no key, which State begins with, changes nothing. The order of two does not matter to the last bit; of three, only
// in real arithmetic.
template <class T>
void merge(State<T>& a, const State<T>& b) {
    for (int r = 0; r < static_cast<int>(a.m.size()); ++r) {
        const auto [maximum, a_factor, b_factor] = joint(a.m(r), b.m(r));
        a.m(r) = maximum;
        a.l(r) = a_factor * a.l(r) + b_factor * b.l(r);
        for (int d = 0; d < static_cast<int>(a.O.shape()[1]); ++d)
            a.O(r, d) = a_factor * a.O(r, d) + b_factor * b.O(r, d);
    }
}

// Split-K, for few queries and many keys: parts of `part_keys` keys each, which could be computed at the same time, and
// then merged from left to right. The length of a part is fixed, not their number: so a row's bits do not depend on how
// many keys there are behind those that it sees.
template <class T>
void naive_forward_split(const Inputs<T>& in, const Options& options, const Outputs<T>& out, int part_keys,
                         const Tiles& tiles = {}) {
    check_shapes(in), check_tiles(tiles), check_tiles({1, part_keys});
    const Sizes size = in.sizes();
    Workspace<T> work(size, tiles);
    State<T> total = work.state;
    for_each_head(size, [&](Head at) {
        for_each_tile(size.Nq, tiles.Br, [&](Range rows) {
            total.clear();
            for_each_tile(size.Nk, part_keys, [&](Range part) {
                work.state.clear();
                for_each_tile(part.count, tiles.Bc, [&](Range keys) {
                    add_tile(in, options, at, rows, {part.first + keys.first, keys.count}, work, NobodyWatches{});
                });
                merge(total, work.state);
            });
            finish(in, options, at, rows, total, out);
        });
    });
}

// ---- FlashAttention-1: key tiles outside ----------------------------------------------------------------------------

// Each tile of keys and values is loaded once. For it all queries pass by, and with them out, l and m, which are read
// from memory and written back; out is normalised at each step. Nothing of a row is final before the last key tile.
// (Where a row sees scores of -inf only, out stays 0 here; O / l above is 0 / 0, as in dense attention.)
template <class T>
void naive_forward_flash1(const Inputs<T>& in, const Options& options, const Outputs<T>& out, const Tiles& tiles = {}) {
    using std::log;
    check_shapes(in), check_tiles(tiles);
    const Sizes size = in.sizes();
    const T minus_infinity = -std::numeric_limits<double>::infinity();
    Workspace<T> work(size, tiles);
    auto m = make_tensor<T, 1>({{size.Nq}}), l = make_tensor<T, 1>({{size.Nq}});  // of all rows of a head
    for_each_head(size, [&](Head at) {
        TensorView<T, 2> O = out.out.slice(at.b, at.h);  // [Nq, Dv]
        m.fill(minus_infinity), l.fill(0);
        for (std::int64_t index = 0; index < O.count(); ++index) O.data()[index] = 0;

        for_each_tile(size.Nk, tiles.Bc, [&](Range keys) {
            for_each_tile(size.Nq, tiles.Br, [&](Range rows) {
                if (seen(size, options, rows.first + rows.count - 1, keys) == 0) return;
                work.state.clear();
                add_tile(in, options, at, rows, keys, work, NobodyWatches{});  // of this tile alone
                for (int r = 0; r < rows.count; ++r) {
                    const int i = rows.first + r;
                    if (seen(size, options, i, keys) == 0) continue;

                    // [19.4.5-8] a step of FlashAttention-1: l · out is what O was; joined to the tile's, and
                    // normalised again
                    const auto [maximum, factor, tile_factor] = joint(m(i), work.state.m(r));
                    const T l_before = factor * l(i);
                    m(i) = maximum;
                    l(i) = l_before;
                    l(i) += tile_factor * work.state.l(r);
                    const T divisor = minus_infinity < maximum ? l(i) : T(1);  // not 0 / 0: more may come
                    for (int d = 0; d < size.Dv; ++d) {
                        T sum = l_before * O(i, d);
                        sum += tile_factor * work.state.O(r, d);
                        O(i, d) = sum / divisor;
                    }
                }
            });
        });
        for (int i = 0; i < size.Nq; ++i)
            out.log_sum_exp(at.b, at.h, i) =
                size.visible_keys(i, options.causal) > 0 ? m(i) + log(l(i)) : minus_infinity;
    });
}

}  // namespace attn::flash_attention
