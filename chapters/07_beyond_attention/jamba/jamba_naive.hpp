// Jamba, naive: any number of positions at once, from what the layers have kept of the ones before. Templated on the
// scalar.
#pragma once

#include "chapters/04_head_sharing/grouped_query/grouped_query_naive.hpp"
#include "chapters/07_beyond_attention/jamba/jamba.hpp"
#include "chapters/07_beyond_attention/mamba/mamba_naive.hpp"
#include "chapters/07_beyond_attention/mixture_of_experts/mixture_of_experts_naive.hpp"

namespace attn::jamba {

// What a layer keeps of B sequences of up to L positions: attention a KV cache, Mamba a state.
template <class T>
struct Kept {
    Tensor<T, 4> k, v;  // [B, G, L, Dh]
    Tensor<accumulator_t<T>, 2> decay_rates;
    mamba::OwnedState<T> state;

    Kept(const Layer<T>& layer, const Options& options, int B, int L)
        : state(layer.has_attention ? mamba::Sizes{0, 0, 0, 1, 0} : layer.mamba.sizes(), B) {
        if (layer.has_attention)
            k = make_tensor<T, 4>({B, options.num_key_value_heads, L, head_dim(layer.attention, options)}), v = k;
        else
            decay_rates = mamba::decay_rates(layer.mamba);
    }
};

// [19.4.7-25] RMSNorm of each position: x [count, Dm] to y
template <class T>
void normalise(TensorView<const T, 2> x, TensorView<const T, 1> weight, double epsilon, TensorView<T, 2> y) {
    using Sum = accumulator_t<T>;
    Tensor<Sum, 1> row = make_tensor<Sum, 1>({{x.extent(1)}});
    for (int t = 0; t < x.extent(0); ++t) {
        for (int d = 0; d < x.extent(1); ++d) row(d) = static_cast<Sum>(x(t, d));
        rms_norm(view(row), weight, epsilon);
        for (int d = 0; d < x.extent(1); ++d) y(t, d) = static_cast<T>(row(d));
    }
}

// W x, a row for each head, to row i of each head.
template <class T>
void project_heads(TensorView<const T, 2> w, TensorView<const T, 1> x, TensorView<T, 3> heads, int i) {
    const int Dh = heads.extent(2);
    for (int h = 0; h < heads.extent(0); ++h)
        multiply(TensorView<const T, 2>{&w(h * Dh, 0), {{Dh, w.extent(1)}}}, x, heads.slice(h, i));
}

// [19.4.7-26] causal grouped-query attention of positions first … of sequence b, through the KV cache; nothing tells it
// where a position stands
template <class T>
void attend(const Attention<T>& w, const Options& options, TensorView<const T, 2> x, int b, int first, Kept<T>& kept,
            TensorView<T, 2> out) {
    using Sum = accumulator_t<T>;
    const int count = x.extent(0), H = options.num_attention_heads, G = options.num_key_value_heads;
    const int Dh = head_dim(w, options), n = first + count;
    auto q = make_tensor<T, 4>({1, H, count, Dh}), means = q;
    auto log_sum_exp = make_tensor<T, 3>({1, H, count});
    for (int t = 0; t < count; ++t) {
        project_heads(w.w_q, x.slice(t), view(q).slice(0), t);
        project_heads(w.w_k, x.slice(t), view(kept.k).slice(b), first + t);
        project_heads(w.w_v, x.slice(t), view(kept.v).slice(b), first + t);
    }
    const int page = b;  // the cache of the sequence is one page
    const kv_cache::KvCache<const T> cache{view(kept.k), view(kept.v), {&page, {{1, 1}}}};
    const Shape<4> keys{{1, G, n, Dh}};  // of which it has the first n positions
    grouped_query::attend<T>({view(q), {kept.k.data(), keys}, {kept.v.data(), keys}, {}}, cache, {0, count, n},
                             {.causal = true, .scale = 1 / std::sqrt(Dh)},
                             {view(means), view(log_sum_exp), {}, {}, {}});
    Tensor<Sum, 1> heads = make_tensor<Sum, 1>({{H * Dh}});
    for (int t = 0; t < count; ++t) {
        for (int h = 0; h < H; ++h)
            for (int d = 0; d < Dh; ++d) heads(h * Dh + d) = static_cast<Sum>(means(0, h, t, d));
        multiply(w.w_o, view(heads), out.slice(t));
    }
}

// [19.4.7-27] feed-forward: the experts that each token chooses, or one network for all
template <class T>
void feed_forward(const Layer<T>& layer, const Options& options, TensorView<const T, 2> x, TensorView<T, 2> out) {
    using Sum = accumulator_t<T>;
    const Shape<3> one_sequence{{1, x.extent(0), x.extent(1)}};
    if (layer.has_experts) {
        const auto& [router, gate, up, down] = layer.experts;
        auto chosen = make_tensor<std::int32_t, 3>({1, x.extent(0), options.num_experts_per_tok});
        mixture_of_experts::naive<T>({{x.data(), one_sequence}, router, gate, up, down},
                                     {options.num_experts_per_tok, false}, {{out.data(), one_sequence}, view(chosen)});
        return;
    }
    const auto& [gate, up, down] = layer.feed_forward;
    Tensor<Sum, 1> units = make_tensor<Sum, 1>({{gate.extent(0)}}), y = make_tensor<Sum, 1>({{x.extent(1)}});
    for (int t = 0; t < x.extent(0); ++t) {
        for (Sum& number : y) number = 0;
        mixture_of_experts::add_expert(x.slice(t), gate, up, down, Sum(1), view(units), view(y));
        for (int d = 0; d < x.extent(1); ++d) out(t, d) = static_cast<T>(y(d));
    }
}

// x += y
template <class T>
void add(TensorView<T, 2> x, TensorView<const T, 2> y) {
    using Sum = accumulator_t<T>;
    for (int t = 0; t < x.extent(0); ++t)
        for (int d = 0; d < x.extent(1); ++d)
            x(t, d) = static_cast<T>(static_cast<Sum>(x(t, d)) + static_cast<Sum>(y(t, d)));
}

// The next positions of sequence b. What the layers have kept moves on with them.
template <class T, class Watch = NobodyWatches>
void advance(const Inputs<T>& in, const Options& options, int b, const Step& step, std::vector<Kept<T>>& kept,
             const Outputs<T>& out, Watch watch = {}) {
    const int Dm = in.hidden.extent(2);
    auto x = make_tensor<T, 2>({step.count, Dm}), normed = x, added = x;
    const TensorView<T, 2> result = positions(out.out, b, step);
    for (int t = 0; t < step.count; ++t)
        for (int d = 0; d < Dm; ++d) x(t, d) = in.hidden(b, step.first + t, d);
    for (std::size_t i = 0; i < in.layers.size(); ++i) {
        const Layer<T>& layer = in.layers[i];
        const TensorView<const T, 2> y = view(normed);
        normalise<T>(view(x), layer.input_norm, options.rms_norm_eps, view(normed));
        watch("[19.4.7-25] RMSNorm, before the mixer", view(normed));
        if (layer.has_attention)
            attend(layer.attention, options, y, b, step.first, kept[i], view(added));
        else
            mamba::advance<T>(layer.mamba, options.rms_norm_eps, view(kept[i].decay_rates), y, b, kept[i].state.view(),
                              view(added));
        add<T>(view(x), view(added));
        watch(layer.has_attention ? "[19.4.7-26] hidden += attention" : "[19.4.7-18] hidden += Mamba", view(x));
        normalise<T>(view(x), layer.feed_forward_norm, options.rms_norm_eps, view(normed));
        feed_forward(layer, options, y, view(added));
        add<T>(view(x), view(added));
        watch(layer.has_experts ? "[19.4.7-27] hidden += experts" : "[19.4.7-27] hidden += feed-forward", view(x));
    }
    if (in.final_norm) return normalise<T>(view(x), in.final_norm, options.rms_norm_eps, result);
    for (int t = 0; t < step.count; ++t)
        for (int d = 0; d < Dm; ++d) result(t, d) = x(t, d);
}

template <class T, class Watch = NobodyWatches>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    check_shapes(in, options);
    const int B = in.hidden.extent(0), L = in.hidden.extent(1);
    std::vector<Kept<T>> kept;
    kept.reserve(in.layers.size());
    for (const Layer<T>& layer : in.layers) kept.emplace_back(layer, options, B, L);
    for_each_step(L, options.prefill, [&](const Step& step) {
        for (int b = 0; b < B; ++b) advance(in, options, b, step, kept, out, watch);
    });
}

}  // namespace attn::jamba
