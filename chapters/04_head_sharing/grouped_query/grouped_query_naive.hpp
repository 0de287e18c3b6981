// Grouped-query attention, naive: one query after the other against the KV cache. Templated on the scalar.
#pragma once

#include <limits>

#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "chapters/04_head_sharing/grouped_query/grouped_query.hpp"
#include "common/tensor/half.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::grouped_query {

// The queries of one step against the cache.
template <class T>
void attend(const Inputs<T>& in, const kv_cache::KvCache<const T>& cache, const Step& step, const Options& options,
            const Outputs<T>& out) {
    using Sum = accumulator_t<T>;
    using std::exp, std::log;
    const Sizes size = in.sizes();
    const Sum scale = static_cast<Sum>(options.scale);
    const Sum minus_infinity = -std::numeric_limits<double>::infinity();
    Tensor<Sum, 1> scores = make_tensor<Sum, 1>({size.Nk});  // of one query: never an n × n matrix
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h) {
            // [19.4.4-1] the key/value head that this query head reads
            const int g = size.kv_head(h);
            for (int i = step.first; i < step.first + step.count; ++i) {
                const auto [begin, end] = step.visible(size, options, i);

                // [19.4.4-2] scores: the query with every key of the cache that it sees
                Sum maximum = minus_infinity;
                for (int j = begin; j < end; ++j) {
                    const T* key = cache.key(b, g, j);
                    Sum dot = 0;
                    for (int d = 0; d < size.D; ++d)
                        dot += static_cast<Sum>(in.q(b, h, i, d)) * static_cast<Sum>(key[d]);
                    scores(j) = scale * dot;
                    if (maximum < scores(j)) maximum = scores(j);
                }

                // [19.4.4-3] weights: their softmax
                Sum sum = 0;
                for (int j = begin; j < end; ++j) {
                    scores(j) = exp(scores(j) - maximum);
                    sum += scores(j);
                }
                for (int j = begin; j < end; ++j) scores(j) = scores(j) / sum;
                out.log_sum_exp(b, h, i) = static_cast<T>(end > begin ? maximum + log(sum) : minus_infinity);

                // [19.4.4-4] output: the weighted mean of the values of the cache
                for (int d = 0; d < size.Dv; ++d) {
                    Sum mean = 0;
                    for (int j = begin; j < end; ++j) mean += scores(j) * static_cast<Sum>(cache.value(b, g, j)[d]);
                    out.out(b, h, i, d) = static_cast<T>(mean);
                }
            }
        }
}

template <class T>
void naive_forward(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
    dense::check_shapes(in);
    const Sizes size = in.sizes();
    if (options.prefill == 0) {
        const std::vector<int> own_pages = kv_cache::own_pages(size.B);  // k and v are a cache
        attend<T>(in, {in.k, in.v, {own_pages.data(), {{size.B, 1}}}}, {0, size.Nq, size.Nk}, options, out);
        return;
    }
    const auto [pages, page] = paging(size, options);
    const std::vector<int> table = kv_cache::page_table(size.B, pages);
    kv_cache::check_table({table.data(), {{size.B, pages}}}, size.B * pages);
    const T unused = static_cast<T>(std::numeric_limits<float>::quiet_NaN());  // nobody may look at it
    auto k = make_tensor<T, 4>({size.B * pages, size.G, page, size.D}, unused);
    auto v = make_tensor<T, 4>({size.B * pages, size.G, page, size.Dv}, unused);
    const kv_cache::KvCache<T> cache{view(k), view(v), {table.data(), {{size.B, pages}}}};
    for_each_step(size, options, [&](const Step& step) {
        kv_cache::check_append(cache.capacity(), step.first, step.count, options.window);
        kv_cache::append(cache, in.k, in.v, step.first, step.count);
        attend<T>(in, cache.read_only(), step, options, out);
    });
}

// The gradients are dense attention's: heads that share a key/value head add up theirs.
template <class T>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out) {
    naive_forward(in, options, out);
    if (in.d_out) dense::naive_backward<T>(in, {options.causal, options.scale}, out);
}

// ---- from multi-head to grouped-query attention
// ----------------------------------------------------------------------

// Turns the H key (or value) heads of a multi-head model into G: each the mean of H/G neighbours (Ainslie et al. 2023,
// section 2.1). The same function only where the heads of a group are equal; else the start of further training. It
// acts on keys [B, H, N, D] as on the projections that make them, since both are linear.
template <class T>
void mean_pool_heads(TensorView<const T, 4> heads, TensorView<T, 4> groups) {
    const int group = heads.extent(1) / groups.extent(1);
    for (int b = 0; b < groups.extent(0); ++b)
        for (int g = 0; g < groups.extent(1); ++g)
            for (int j = 0; j < groups.extent(2); ++j)
                for (int d = 0; d < groups.extent(3); ++d) {
                    T sum = 0;
                    for (int h = g * group; h < (g + 1) * group; ++h) sum += heads(b, h, j, d);
                    groups(b, g, j, d) = sum / static_cast<T>(group);
                }
}

}  // namespace attn::grouped_query
