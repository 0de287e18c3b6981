// RWKV's weighted mean, naive: one channel at a time, as a recurrence, and as a scan, which can work on all tokens at
// the same time. Templated on the scalar; the state is kept in accumulator_t<T>.
//
// The tags name the steps; README.md and `attn trace rwkv` use the same.
#pragma once

#include <algorithm>
#include <cmath>

#include "chapters/07_beyond_attention/rwkv/rwkv.hpp"
#include "common/mechanism/watch.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::rwkv {

// What some tokens in a row leave: how many they are, and their numerator and denominator, both divided by
// exp(exponent). Of one token: (1, v, 1, k).
template <class Sum>
struct Element {
    Sum tokens, numerator, denominator, exponent;
};
template <class Sum>
Element<Sum> nothing() {
    return {Sum(0), Sum(0), Sum(0), Sum(no_exponent)};
}

// [19.4.7-13] output: the past and the token itself, with its bonus, relative to the larger exponent
template <class Sum>
Sum output(Sum numerator, Sum denominator, Sum exponent, Sum own, Sum v) {
    using std::exp;
    const Sum larger = exponent < own ? own : exponent;
    const Sum past = exp(exponent - larger), present = exp(own - larger);
    Sum sum = past * numerator, weights = past * denominator;
    sum += present * v;
    weights += present;
    return sum / weights;
}

template <class T, class Sum, class Watch>
void mean_sequential(const Inputs<T>& in, const Outputs<T>& out, int b, int d, TensorView<Sum, 1> state, Watch watch) {
    using std::exp;
    Sum &numerator = state(0), &denominator = state(1), &exponent = state(2);
    for (int t = 0; t < in.sizes().L; ++t) {
        const Sum k = static_cast<Sum>(in.key(b, t, d)), v = static_cast<Sum>(in.value(b, t, d));
        out.out(b, t, d) = static_cast<T>(output<Sum>(numerator, denominator, exponent, in.time_first(d) + k, v));
        // [19.4.7-14] state: the past fades by w, the token is added without the bonus
        const Sum faded = exponent - in.time_decay(d);
        const Sum next = faded < k ? k : faded;
        const Sum shrink = exp(faded - next), weight = exp(k - next);
        numerator = shrink * numerator;
        numerator += weight * v;
        denominator = shrink * denominator;
        denominator += weight;
        exponent = next;
        watch("[19.4.7-14] numerator, denominator and exponent of the channel", state);
    }
}

// [19.4.7-29] merge: what is on the left fades by w with each token on the right. In any grouping the same, though not
// in any order.
template <class Sum>
Element<Sum> merge(const Element<Sum>& left, const Element<Sum>& right, Sum w) {
    using std::exp;
    const Sum faded = left.exponent - right.tokens * w;
    const Sum next = faded < right.exponent ? right.exponent : faded;
    const Sum shrink = exp(faded - next), weight = exp(right.exponent - next);
    Sum numerator = shrink * left.numerator, denominator = shrink * left.denominator;
    numerator += weight * right.numerator;
    denominator += weight * right.denominator;
    return {left.tokens + right.tokens, numerator, denominator, next};
}

template <class Sum>
Element<Sum> element(TensorView<Sum, 2> rows, int t) {
    return {rows(t, 0), rows(t, 1), rows(t, 2), rows(t, 3)};
}
template <class Sum>
void store(TensorView<Sum, 2> rows, int t, const Element<Sum>& e) {
    rows(t, 0) = e.tokens, rows(t, 1) = e.numerator, rows(t, 2) = e.denominator, rows(t, 3) = e.exponent;
}

// All prefixes of the elements, in place, by doubling: log2(n) rounds, in each of which all could be merged at the same
// time.
template <class Sum, class Watch>
void scan(TensorView<Sum, 2> elements, int n, Sum w, Watch watch) {
    for (int distance = 1; distance < n; distance *= 2) {
        for (int t = n - 1; t >= distance; --t)  // from the end: what is read has not been written yet
            store(elements, t, merge(element(elements, t - distance), element(elements, t), w));
        watch("[19.4.7-29] a row for each token: tokens, numerator, denominator, exponent", elements);
    }
}

template <class T, class Sum, class Watch>
void mean_chunked(const Inputs<T>& in, int C, const Outputs<T>& out, int b, int d, TensorView<Sum, 1> state,
                  Watch watch) {
    const int L = in.sizes().L;
    const Sum w = in.time_decay(d), u = in.time_first(d);
    Tensor<Sum, 2> of_chunk = make_tensor<Sum, 2>({C, 4});
    const TensorView<Sum, 2> elements = view(of_chunk);
    Element<Sum> before_chunk = nothing<Sum>();
    for (int first = 0; first < L; first += C) {
        const int count = std::min(C, L - first);
        for (int i = 0; i < count; ++i) {
            const Sum k = static_cast<Sum>(in.key(b, first + i, d)), v = static_cast<Sum>(in.value(b, first + i, d));
            const bool counts_not = k < Sum(no_exponent);  // a key of -∞, which cannot be subtracted from another
            const Sum one = counts_not ? Sum(0) : Sum(1);
            store(elements, i, {Sum(1), one * v, one, counts_not ? Sum(no_exponent) : k});
        }
        scan(elements, count, w, watch);
        Element<Sum> before = before_chunk;  // the token
        for (int i = 0; i < count; ++i) {
            const Sum k = static_cast<Sum>(in.key(b, first + i, d)), v = static_cast<Sum>(in.value(b, first + i, d));
            out.out(b, first + i, d) =
                static_cast<T>(output<Sum>(before.numerator, before.denominator, before.exponent, u + k, v));
            before = merge(before_chunk, element(elements, i), w);
        }
        before_chunk = before;
    }
    state(0) = before_chunk.numerator, state(1) = before_chunk.denominator, state(2) = before_chunk.exponent;
}

template <class T, class Watch = NobodyWatches>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    using Sum = accumulator_t<T>;
    check_shapes(in);
    const Sizes size = in.sizes();
    Tensor<Sum, 1> of_channel = make_tensor<Sum, 1>({{3}});
    const TensorView<Sum, 1> state = view(of_channel);
    for (int b = 0; b < size.B; ++b)
        for (int d = 0; d < size.D; ++d) {
            state(0) = 0, state(1) = 0, state(2) = no_exponent;
            if (options.form == Form::sequential)
                mean_sequential(in, out, b, d, state, watch);
            else
                mean_chunked(in, options.form == Form::parallel ? size.L : std::min(options.chunk, size.L), out, b, d,
                             state, watch);
            for (int i = 0; i < 3; ++i) out.state(b, i, d) = state(i);
        }
    watch("[19.4.7-13] out, a row for each position", out.out.slice(0));
}

}  // namespace attn::rwkv
