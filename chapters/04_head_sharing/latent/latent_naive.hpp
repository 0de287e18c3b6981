// Multi-head latent attention, naive: the formulas of latent.hpp, one position after the other, in both forms.
// Templated on the scalar.
#pragma once

#include <cmath>
#include <limits>

#include "chapters/04_head_sharing/latent/latent.hpp"
#include "common/mechanism/watch.hpp"
#include "common/tensor/half.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::latent {

// ---- what both forms are made of ------------------------------------------------------------------------------------

// y = Wᵀ x
template <class T, class Sum>
void multiply_transposed(TensorView<const T, 2> w, TensorView<Sum, 1> x, TensorView<Sum, 1> y) {
    for (int column = 0; column < w.extent(1); ++column) {
        Sum dot = 0;
        for (int row = 0; row < w.extent(0); ++row) dot += static_cast<Sum>(w(row, column)) * x(row);
        y(column) = dot;
    }
}

// RoPE: turns pair i of x by the angle position · θ^(-2i/Dr). Angles in double: in float, their cosines are off by 5e-3
// at position 100 000.
template <class Sum>
void rotate(TensorView<Sum, 1> x, int position, const Options& options) {
    const int Dr = x.extent(0);
    const bool half_split = options.rope_layout == RopeLayout::half_split;
    for (int i = 0; i < Dr / 2; ++i) {
        const double angle = position * std::pow(options.rope_theta, -2.0 * i / Dr);
        const Sum cosine = static_cast<Sum>(std::cos(angle)), sine = static_cast<Sum>(std::sin(angle));
        Sum& a = x(half_split ? i : 2 * i);
        Sum& b = x(half_split ? i + Dr / 2 : 2 * i + 1);
        const Sum turned = a * cosine - b * sine;
        b = a * sine + b * cosine;
        a = turned;
    }
}

// [19.4.4-5] row i of the cache: c = RMSNorm(W_DKV x), and the one rotated key of all heads
template <class T>
void write_cache_row(const Inputs<T>& in, const Options& options, int b, int i, TensorView<T, 3> cache) {
    using Sum = accumulator_t<T>;
    const Sizes size = in.sizes(options);
    Tensor<Sum, 1> row = make_tensor<Sum, 1>({{size.Rkv + size.Dr}});
    multiply(in.w_dkv, in.hidden.slice(b, i), view(row));
    rms_norm(part(view(row), 0, size.Rkv), in.norm_kv, options.norm_epsilon);
    rotate(part(view(row), size.Rkv, size.Dr), i, options);
    for (int d = 0; d < size.Rkv + size.Dr; ++d) cache(b, i, d) = static_cast<T>(row(d));
}

// [19.4.4-6] queries of position i, one for each head: W_UQ RMSNorm(W_DQ x), or W_Q x; their last Dr numbers rotated
template <class T, class Sum>
void make_queries(const Inputs<T>& in, const Options& options, int b, int i, TensorView<Sum, 2> q) {
    const Sizes size = in.sizes(options);
    if (in.w_q) {
        multiply(in.w_q, in.hidden.slice(b, i), flat(q));
    } else {
        Tensor<Sum, 1> compressed = make_tensor<Sum, 1>({{size.Rq}});
        multiply(in.w_dq, in.hidden.slice(b, i), view(compressed));
        rms_norm(view(compressed), in.norm_q, options.norm_epsilon);
        multiply(in.w_uq, view(compressed), flat(q));
    }
    for (int h = 0; h < size.H; ++h) rotate(part(q.slice(h), size.Dn, size.Dr), i, options);
}

// [19.4.4-7] weights of each head: the softmax of its scores
template <class Sum>
void softmax(TensorView<Sum, 2> scores) {
    using std::exp;
    for (int h = 0; h < scores.extent(0); ++h) {
        Sum maximum = -std::numeric_limits<double>::infinity(), sum = 0;
        for (int j = 0; j < scores.extent(1); ++j)
            if (maximum < scores(h, j)) maximum = scores(h, j);
        for (int j = 0; j < scores.extent(1); ++j) {
            scores(h, j) = exp(scores(h, j) - maximum);
            sum += scores(h, j);
        }
        for (int j = 0; j < scores.extent(1); ++j) scores(h, j) = scores(h, j) / sum;
    }
}

// ---- the two forms --------------------------------------------------------------------------------------------------
// Both attend with the queries q [H, Dn+Dr] of one position to the first n rows of the cache of its sequence, and leave
// the results [H, Dv] of the heads.

// [19.4.4-8] keys and values of all heads, made out of the latents of the first n rows: [k_h ; v_h] = W_UKV,h c
template <class T, class Sum>
void expand(const Inputs<T>& in, TensorView<const T, 2> cache, TensorView<Sum, 3> keys_values) {
    const int Rkv = in.norm_kv.extent(0);
    for (int j = 0; j < keys_values.extent(0); ++j)
        multiply(in.w_ukv, part(cache.slice(j), 0, Rkv), flat(keys_values.slice(j)));
}

template <class T, class Sum, class Watch>
void attend_expanded(const Sizes& size, Sum scale, TensorView<const T, 2> cache, TensorView<Sum, 3> keys_values,
                     TensorView<Sum, 2> q, int n, TensorView<Sum, 2> results, Watch watch) {
    Tensor<Sum, 2> weights = make_tensor<Sum, 2>({{size.H, n}});
    TensorView<Sum, 2> s = view(weights);
    for (int h = 0; h < size.H; ++h)
        for (int j = 0; j < n; ++j) {
            // [19.4.4-9] score: the query with the key of its head, and its rotated part with the one rotated key
            Sum dot = 0;
            for (int d = 0; d < size.Dn; ++d) dot += q(h, d) * keys_values(j, h, d);
            for (int d = 0; d < size.Dr; ++d) dot += q(h, size.Dn + d) * static_cast<Sum>(cache(j, size.Rkv + d));
            s(h, j) = scale * dot;
        }
    watch("[19.4.4-9] scores of each head = scale · (q · k + q_rope · k_rope)", s);
    softmax(s);
    watch("[19.4.4-7] weights = softmax of each row", s);
    for (int h = 0; h < size.H; ++h)
        for (int d = 0; d < size.Dv; ++d) {
            // [19.4.4-10] result of the head: the weighted mean of its values
            Sum mean = 0;
            for (int j = 0; j < n; ++j) mean += s(h, j) * keys_values(j, h, size.Dn + d);
            results(h, d) = mean;
        }
    watch("[19.4.4-10] results of each head = weights · v", results);
}

// W_UK and W_UV of one head.
template <class T>
TensorView<const T, 2> key_rows(TensorView<const T, 2> w_ukv, const Sizes& size, int h) {
    return {&w_ukv(h * (size.Dn + size.Dv), 0), {{size.Dn, size.Rkv}}};
}
template <class T>
TensorView<const T, 2> value_rows(TensorView<const T, 2> w_ukv, const Sizes& size, int h) {
    return {&w_ukv(h * (size.Dn + size.Dv) + size.Dn, 0), {{size.Dv, size.Rkv}}};
}

template <class T, class Sum, class Watch>
void attend_absorbed(const Sizes& size, Sum scale, TensorView<const T, 2> cache, TensorView<const T, 2> w_ukv,
                     TensorView<Sum, 2> q, int n, TensorView<Sum, 2> results, Watch watch) {
    Tensor<Sum, 2> latent_queries = make_tensor<Sum, 2>({{size.H, size.Rkv + size.Dr}});
    Tensor<Sum, 2> weights = make_tensor<Sum, 2>({{size.H, n}});
    Tensor<Sum, 2> mean_latents = make_tensor<Sum, 2>({{size.H, size.Rkv}});
    TensorView<Sum, 2> q_latent = view(latent_queries), s = view(weights), means = view(mean_latents);
    for (int h = 0; h < size.H; ++h) {
        // [19.4.4-11] query against latents: W_UKᵀ q, then the rotated part as it is. W_UQ and W_UK are applied one
        // after the other: their product would be a larger matrix than the two.
        multiply_transposed(key_rows(w_ukv, size, h), part(q.slice(h), 0, size.Dn),
                            part(q_latent.slice(h), 0, size.Rkv));
        for (int d = 0; d < size.Dr; ++d) q_latent(h, size.Rkv + d) = q(h, size.Dn + d);
    }
    watch("[19.4.4-11] queries against the cache = [W_UKᵀ q ; q_rope]", q_latent);
    for (int h = 0; h < size.H; ++h)
        for (int j = 0; j < n; ++j) {
            // [19.4.4-12] score: with the row of the cache, the one key of all heads
            Sum dot = 0;
            for (int d = 0; d < size.Rkv + size.Dr; ++d) dot += q_latent(h, d) * static_cast<Sum>(cache(j, d));
            s(h, j) = scale * dot;
        }
    watch("[19.4.4-12] scores of each head = scale · query · row of the cache", s);
    softmax(s);
    watch("[19.4.4-7] weights = softmax of each row", s);
    for (int h = 0; h < size.H; ++h) {
        // [19.4.4-13] mean of the latents: the first Rkv numbers of the same rows are the values
        for (int d = 0; d < size.Rkv; ++d) {
            Sum mean = 0;
            for (int j = 0; j < n; ++j) mean += s(h, j) * static_cast<Sum>(cache(j, d));
            means(h, d) = mean;
        }
        // [19.4.4-14] result of the head: W_UV times that mean
        multiply(value_rows(w_ukv, size, h), means.slice(h), results.slice(h));
    }
    watch("[19.4.4-13] mean latents of each head = weights · c", means);
    watch("[19.4.4-14] results of each head = W_UV · mean latent", results);
}

// Positions first … first + count - 1 of sequence b: into the cache, then out of it.
template <class T, class Watch>
void naive_step(const Inputs<T>& in, const Options& options, int b, const Step& step, const Outputs<T>& out,
                Watch watch) {
    using Sum = accumulator_t<T>;
    const Sizes size = in.sizes(options);
    const Sum scale = static_cast<Sum>(options.scale);
    const bool expanded = options.form == Form::expanded;
    const int length = step.first + step.count;  // of the cache

    for (int i = step.first; i < length; ++i) write_cache_row(in, options, b, i, out.cache);
    const TensorView<const T, 2> cache = out.cache.slice(b);
    watch("[19.4.4-5] cache, a row for each position = [c ; k_rope]",
          TensorView<const T, 2>{cache.data(), {{length, size.Rkv + size.Dr}}});

    Tensor<Sum, 3> keys_values = make_tensor<Sum, 3>({{expanded ? length : 0, size.H, size.Dn + size.Dv}});
    if (expanded) {
        expand(in, cache, view(keys_values));
        watch("[19.4.4-8] keys and values, a row for each position and head = W_UKV c",
              TensorView<Sum, 2>{keys_values.data(), {{length * size.H, size.Dn + size.Dv}}});
    }
    Tensor<Sum, 2> queries = make_tensor<Sum, 2>({{size.H, size.Dn + size.Dr}});
    Tensor<Sum, 2> results = make_tensor<Sum, 2>({{size.H, size.Dv}});
    for (int i = step.first; i < length; ++i) {
        make_queries(in, options, b, i, view(queries));
        watch("[19.4.4-6] queries of the position, a row for each head = [q ; q_rope]", view(queries));
        if (expanded)
            attend_expanded(size, scale, cache, view(keys_values), view(queries), i + 1, view(results), watch);
        else
            attend_absorbed(size, scale, cache, in.w_ukv, view(queries), i + 1, view(results), watch);

        // [19.4.4-15] output: W_O times the results of all heads
        multiply(in.w_o, flat(view(results)), out.out.slice(b, i));
        watch("[19.4.4-15] out of the position = W_O · results", out.out.slice(b, i));
    }
}

template <class T, class Watch = NobodyWatches>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out, Watch watch = {}) {
    check_shapes(in, options);
    for (int b = 0; b < in.hidden.extent(0); ++b)
        for_each_step(in.hidden.extent(1), options.prefill,
                      [&](const Step& step) { naive_step(in, options, b, step, out, watch); });
}

}  // namespace attn::latent
