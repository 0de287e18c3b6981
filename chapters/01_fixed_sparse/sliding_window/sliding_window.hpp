// Sliding-window attention, the interface: a query sees the last W keys, its own included. With sinks it also sees the
// first s keys of the sequence.
//
//     visible(i) = { j : i - W < j <= i }  ∪  { j : j < s, j <= i }
//     out_i      = Σ softmax over visible(i) of (scale · q_i·k_j) v_j
//
// Through L layers a position hears of L (W - 1) + 1 others, itself counted in. A cache of W positions is enough.
//
// Book 19.4, family 1. Jiang et al. 2023, "Mistral 7B" (arXiv 2310.06825), section 2; sinks: Xiao et al. 2023,
// "Efficient Streaming Language Models with Attention Sinks" (arXiv 2309.17453), section 3. (Streaming LLM numbers the
// positions anew inside its cache; here they stay what they are.)
#pragma once

#include "chapters/00_dense_attention/dense_attention.hpp"
#include "chapters/01_fixed_sparse/pattern.hpp"
#include "chapters/01_fixed_sparse/self_attention.hpp"

namespace attn::sliding_window {

// The tensors, their shapes and the mapping of heads are those of dense attention. Query i is position i + (Nk - Nq).
using dense::check_shapes;
using dense::Inputs;
using dense::Outputs;
using dense::Sizes;

struct Options {
    int window = 1;    // W: how many keys a query sees, its own included
    int sinks = 0;     // s: how many of the first keys it sees besides
    double scale = 1;  // usually 1/sqrt(D)
};

inline fixed_sparse::WindowPattern pattern(const Sizes& s, const Options& options) {
    return {{}, s.Nq, s.Nk, options.window, options.sinks};
}

// What the naive version costs, forward, exactly. Held is one row of at most W + s keys, whatever n is.
inline Costs forward_cost(const Sizes& s, const Options& options, std::size_t scalar_bytes) {
    const fixed_sparse::WindowPattern seen = pattern(s, options);
    const std::int64_t heads = std::int64_t{s.B} * s.H;
    Costs costs = fixed_sparse::costs_of_pairs(heads * seen.pairs(), s.D, s.Dv, seen.longest_row(), scalar_bytes);
    costs.logarithms = heads * std::min(s.Nq, s.Nk);  // log_sum_exp of the rows that see a key
    costs.additions += costs.logarithms;
    return costs;
}

// How far back a position's output reaches through a stack of layers: its own position and that many - 1 before it.
constexpr std::int64_t receptive_field(int layers, int window) { return std::int64_t{layers} * (window - 1) + 1; }

// Bytes of the rolling cache of one layer and sequence after n positions: G key/value heads.
constexpr std::int64_t cache_bytes(int n, int window, int sinks, int G, int D, int Dv, int number_bytes) {
    const std::int64_t most = std::int64_t{window} + sinks;
    return std::min<std::int64_t>(n, most) * G * (D + Dv) * number_bytes;
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::sliding_window
