// Grouped-query attention (GQA), the interface: H query heads share G key/value heads, H/G neighbours one. G = 1 is
// multi-query attention (MQA), G = H multi-head attention. Full attention, exact; what shrinks is the KV cache.
//
// Book 19.4, family 4. Shazeer 2019, "Fast Transformer Decoding: One Write-Head is All You Need" (arXiv 1911.02150);
// Ainslie et al. 2023, "GQA" (arXiv 2305.13245), section 2.
#pragma once

#include "chapters/00_dense_attention/dense_attention.hpp"
#include "chapters/04_head_sharing/kv_cache.hpp"

namespace attn::grouped_query {

// The tensors, their shapes and the mapping of heads are those of dense attention.
using dense::Inputs;
using dense::Outputs;
using dense::Sizes;

struct Options {
    bool causal = false;
    double scale = 1;  // usually 1/sqrt(D)
    // 0: all queries at once. Else the first `prefill` positions at once, and the others token by token through the KV
    // cache, as in generation; causal, Nq = Nk.
    int prefill = 0;
    int page = 0;  // positions of one page of the cache; 0: one page for each sequence
    int window =
        0;  // how many keys a query sees, its own position's included; 0: all. Causal. The cache is a ring then
};

// The keys that query i sees: positions begin … end - 1.
struct Visible {
    int begin, end;
};

// Queries first … first + count - 1 of q, against a cache that holds `length` positions, or the last of them.
struct Step {
    int first, count, length;

    // Query i is position i + (Nk - Nq).
    ATTN_HOST_DEVICE constexpr Visible visible(const Sizes& size, const Options& options, int i) const {
        const int end = options.causal ? size.visible_keys(i, true) : length;
        return {options.window > 0 && end > options.window ? end - options.window : 0, end};
    }
};

// Calls f with each step that the options ask for, in their order.
template <class Function>
void for_each_step(const Sizes& size, const Options& options, Function f) {
    if (options.prefill == 0) return f(Step{0, size.Nq, size.Nk});
    f(Step{0, options.prefill, options.prefill});
    for (int i = options.prefill; i < size.Nq; ++i) f(Step{i, 1, i + 1});
}

// The pages of a sequence, and how long each is: for all positions, or for those that a window needs.
struct Paging {
    int pages, page;
};
inline Paging paging(const Sizes& size, const Options& options) {
    int positions = size.Nk;
    if (options.prefill > 0 && options.window > 0)
        positions = std::min(positions, options.window + options.prefill - 1);
    if (options.page == 0) return {1, positions};
    return {(positions + options.page - 1) / options.page, options.page};
}

// How many (query, key) pairs one head compares.
inline std::int64_t pairs(const Sizes& s, const Options& options) {
    const std::int64_t all = dense::pairs(s, options.causal);
    if (options.window == 0 || options.window >= s.Nk) return all;
    // The last rows see Nk, Nk - 1, … keys: what is beyond the window is a triangle, cut off above row 0.
    const std::int64_t longest = s.Nk - options.window, rows = std::min<std::int64_t>(s.Nq, longest);
    return all - rows * (2 * longest - rows + 1) / 2;
}

// What the naive version costs, forward, exactly. G is not in it: sharing heads saves no operation. Held beside inputs
// and outputs are the scores of one query and the page table, with `prefill` the cache.
inline Costs forward_cost(const Sizes& s, const Options& options, std::size_t scalar_bytes) {
    const std::int64_t heads = std::int64_t{s.B} * s.H, seen = heads * pairs(s, options);
    const std::int64_t rows = heads * (options.causal ? std::min(s.Nq, s.Nk) : s.Nq);  // that see a key
    Costs costs;
    costs.multiply_adds = seen * (s.D + s.Dv);
    costs.multiplications = costs.comparisons = costs.exponentials = costs.divisions = seen;
    costs.additions = 2 * seen + rows;  // minus the maximum; their sum; maximum + log of the sum
    costs.logarithms = rows;
    const Paging paged = paging(s, options);
    costs.bytes_held = std::int64_t{s.Nk} * static_cast<std::int64_t>(scalar_bytes) +
                       std::int64_t{s.B} * paged.pages * static_cast<std::int64_t>(sizeof(int));
    if (options.prefill > 0)
        costs.bytes_held +=
            kv_cache::bytes(1, s.B, paged.pages * paged.page, s.G, s.D, s.Dv, static_cast<int>(scalar_bytes));
    return costs;
}

using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::grouped_query
