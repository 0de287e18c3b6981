// A mixture of experts, naive: one token after the other, expert by expert. Templated on the scalar; sums are kept in
// accumulator_t<T>.
//
// The tags name the steps; README.md and `attn trace mixture_of_experts` use the same.
#pragma once

#include <cmath>
#include <limits>

#include "chapters/07_beyond_attention/mixture_of_experts/mixture_of_experts.hpp"
#include "common/mechanism/layer.hpp"
#include "common/mechanism/watch.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::mixture_of_experts {

// [19.4.7-21] logarithms of the weights: of the softmax over all experts, in place. In float a weight is 0 from e^-104
// on; its logarithm still says which of two is larger. NaN or +∞ among the scores makes all of them NaN.
template <class Sum>
void log_softmax(TensorView<Sum, 1> scores) {
    using std::exp, std::log;
    Sum maximum = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int e = 0; e < scores.extent(0); ++e)
        if (maximum < scores(e)) maximum = scores(e);
    for (int e = 0; e < scores.extent(0); ++e) {
        scores(e) = scores(e) - maximum;
        sum += exp(scores(e));
    }
    const Sum log_sum = log(sum);
    for (int e = 0; e < scores.extent(0); ++e) scores(e) = scores(e) - log_sum;
}

// [19.4.7-22] the experts of the token and their weights, in descending order; of equal ones, and where there is NaN,
// the lower index comes first
template <class Sum>
void choose(TensorView<const Sum, 1> log_weights, const Options& options, TensorView<std::int32_t, 1> experts,
            TensorView<Sum, 1> weights) {
    using std::exp;
    const auto is_chosen = [&](int e, int count) {
        for (int r = 0; r < count; ++r)
            if (experts(r) == e) return true;
        return false;
    };
    Sum sum = 0;
    for (int r = 0; r < options.top_k; ++r) {
        int best = -1;
        for (int e = 0; e < log_weights.extent(0); ++e)
            if (!is_chosen(e, r) && (best < 0 || log_weights(best) < log_weights(e))) best = e;
        experts(r) = best;
        weights(r) = exp(log_weights(best));
        if (options.renormalize) sum += weights(r);
    }
    if (options.renormalize)
        for (int r = 0; r < options.top_k; ++r) weights(r) = weights(r) / sum;
}

// y += weight · W_down (silu(W_gate x) ∘ W_up x): one expert; with weight 1, a dense feed-forward layer. `units` [Df]
// is room for its hidden units.
template <class T, class Sum, class Watch = NobodyWatches>
void add_expert(TensorView<const T, 1> x, TensorView<const T, 2> gate, TensorView<const T, 2> up,
                TensorView<const T, 2> down, Sum weight, TensorView<Sum, 1> units, TensorView<Sum, 1> y,
                Watch watch = {}) {
    for (int f = 0; f < units.extent(0); ++f) {
        // [19.4.7-23] hidden units
        units(f) = silu(dot(gate.slice(f), x)) * dot(up.slice(f), x);
    }
    watch("[19.4.7-23] hidden units of the expert = silu(W_gate x) ∘ W_up x", units);
    // [19.4.7-24] output: the weighted sum over the experts of the token, in their order
    for (int d = 0; d < y.extent(0); ++d) y(d) += weight * dot(down.slice(d), units);
    watch("[19.4.7-24] out so far += weight · W_down units", y);
}

template <class T, class Watch = NobodyWatches>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    using Sum = accumulator_t<T>;
    check_shapes(in, options);
    const Sizes size = in.sizes();
    Tensor<Sum, 1> of_experts = make_tensor<Sum, 1>({{size.E}}), of_chosen = make_tensor<Sum, 1>({{options.top_k}});
    Tensor<Sum, 1> of_units = make_tensor<Sum, 1>({{size.Df}}), of_out = make_tensor<Sum, 1>({{size.Dm}});
    const TensorView<Sum, 1> scores = view(of_experts), weights = view(of_chosen), units = view(of_units);
    const TensorView<Sum, 1> y = view(of_out);
    for (int b = 0; b < size.B; ++b)
        for (int i = 0; i < size.N; ++i) {
            const TensorView<const T, 1> x = in.hidden.slice(b, i);
            const TensorView<std::int32_t, 1> experts = out.experts.slice(b, i);
            // [19.4.7-20] score of each expert: its row of the router
            for (int e = 0; e < size.E; ++e) scores(e) = dot(in.router.slice(e), x);
            watch("[19.4.7-20] scores of the token = W_r x", scores);
            log_softmax(scores);
            watch("[19.4.7-21] logarithms of the weights = scores - log Σ exp(scores)", scores);
            choose<Sum>(scores, options, experts, weights);
            watch("[19.4.7-22] the top k: which experts", experts);
            watch("[19.4.7-22] and their weights", weights);
            for (int d = 0; d < size.Dm; ++d) y(d) = 0;
            for (int r = 0; r < options.top_k; ++r) {
                const int e = experts(r);
                add_expert(x, in.gate.slice(e), in.up.slice(e), in.down.slice(e), weights(r), units, y, watch);
            }
            for (int d = 0; d < size.Dm; ++d) out.out(b, i, d) = static_cast<T>(y(d));
        }
}

}  // namespace attn::mixture_of_experts
