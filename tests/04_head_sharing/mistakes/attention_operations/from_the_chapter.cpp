// Wrong: the pairs of the chapter (dense_attention.hpp, grouped_query.hpp), where all heads have one window.
#include "chapters/04_head_sharing/exercises/attention_operations.hpp"

#include <algorithm>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::attention_operations {

// ---- your code ----

namespace {

struct Sizes {
    int B, H, G, Nq, Nk, D, Dv;
};

// How many (query, key) pairs one head compares, causal.
std::int64_t pairs(const Sizes& s, int window) {
    const std::int64_t all = std::int64_t{s.Nq} * (s.Nk - s.Nq) + std::int64_t{s.Nq} * (s.Nq + 1) / 2;
    if (window == 0 || window >= s.Nk) return all;
    // The last rows see Nk, Nk - 1, … keys: what is beyond the window is a triangle, cut off above row 0.
    const std::int64_t longest = s.Nk - window, rows = std::min<std::int64_t>(s.Nq, longest);
    return all - rows * (2 * longest - rows + 1) / 2;
}

std::int64_t multiply_adds(const Sizes& s, int window) {
    const std::int64_t heads = std::int64_t{s.B} * s.H, seen = heads * pairs(s, window);
    return seen * (s.D + s.Dv);
}

}  // namespace

void attention_operations(const Inputs& in, const Options& options, const Outputs& out) {
    const int G = in.window.extent(1), n = options.positions, D = options.head_dim, Dv = options.value_dim;
    for (int layer = 0; layer < in.window.extent(0); ++layer) {
        const int window = in.window(layer, 0);
        out.prefill(layer) = multiply_adds({options.batch, options.query_heads, G, n, n, D, Dv}, window);
        out.step(layer) = multiply_adds({options.batch, options.query_heads, G, 1, n + 1, D, Dv}, window);
    }
}

// ---- end of your code ----

}  // namespace attn::exercises::attention_operations
