// Longformer's attention, the interface: a window to both sides of each position, and a few global tokens that see
// everything and are seen by everything.
//
//     visible(i) = { j : |i - j| = t · dilation, 0 <= t <= w }  ∪  global,     all j where i is global
//
// A radius w excludes the query itself: a window of 2w + 1 keys. A global token has projections of its own: its query
// against the global keys and values of all positions. The other queries see a global token as any other key, through
// the ordinary keys and values; so the pattern is symmetric, and the scores are not.
//
// Book 19.4, family 1. Beltagy, Peters and Cohan 2020, "Longformer: The Long-Document Transformer" (arXiv 2004.05150),
// section 3.1.
#pragma once

#include "chapters/01_fixed_sparse/pattern.hpp"
#include "chapters/01_fixed_sparse/self_attention.hpp"

namespace attn::longformer {

using fixed_sparse::Outputs;
using fixed_sparse::Sizes;

struct Options {
    int radius = 0;                  // w, one-sided: |i - j| <= w · dilation
    int dilation = 1;                // distance of two neighbours in the window
    std::vector<int> global_tokens;  // positions, each once
    bool causal = false;             // nobody sees a later position, a global token neither
    double scale = 1;                // usually 1/sqrt(D)
};

template <class T>
struct Inputs : fixed_sparse::Inputs<T> {
    // Of the global tokens' rows; each is that without "global" if it is absent.
    TensorView<const T, 4> q_global, k_global, v_global;  // shaped as q, k and v

    TensorView<const T, 4> queries_of_global() const { return q_global ? q_global : this->q; }
    TensorView<const T, 4> keys_of_global() const { return k_global ? k_global : this->k; }
    TensorView<const T, 4> values_of_global() const { return v_global ? v_global : this->v; }

    template <class Visitor>
    void visit(Visitor&& visitor) {
        using Optional = typename fixed_sparse::Inputs<T>::Optional;
        fixed_sparse::Inputs<T>::visit(visitor);
        visitor("q_global", q_global, Optional{}), visitor("k_global", k_global, Optional{});
        visitor("v_global", v_global, Optional{});
    }
};

// Throws ShapeError where the inputs contradict each other.
template <class T>
void check_shapes(const Inputs<T>& in) {
    fixed_sparse::check_shapes(in);
    if (in.q_global) expect_shape("q_global", in.q_global, in.q.shape(), "[B, H, N, D], the shape of q");
    if (in.k_global) expect_shape("k_global", in.k_global, in.k.shape(), "[B, H, N, D], the shape of k");
    if (in.v_global) expect_shape("v_global", in.v_global, in.v.shape(), "[B, H, N, Dv], the shape of v");
}

inline fixed_sparse::LongformerPattern pattern(int n, const Options& options,
                                               const fixed_sparse::GlobalTokens& global) {
    return {n, options.radius, options.dilation, options.causal, global};
}

// At least as many keys as the longest row has: a global token's has all.
inline int longest_row(int n, const Options& options) {
    const int steps = std::min(options.radius, (n - 1) / options.dilation);
    return options.global_tokens.empty() ? std::min(n, (options.causal ? 1 : 2) * steps + 1) : n;
}

// What the naive version costs, forward, exactly.
inline Costs forward_cost(const Sizes& s, const Options& options, std::size_t scalar_bytes) {
    const fixed_sparse::GlobalTokens global(options.global_tokens, s.N);
    const fixed_sparse::LongformerPattern seen = pattern(s.N, options, global);
    return fixed_sparse::costs_of_pairs(std::int64_t{s.B} * s.H * seen.pairs(), s.D, s.Dv, longest_row(s.N, options),
                                        scalar_bytes);
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::longformer
