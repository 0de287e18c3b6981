// Multi-head latent attention (MLA), the interface: the cache keeps one latent vector for each position, and one
// rotated key, in the place of the keys and values of H heads. Full causal attention, exact.
//
//     c = RMSNorm(W_DKV x)                  the latent [Rkv], and from the last rows of W_DKV a key [Dr], rotated by
//     RoPE [k_h ; v_h] = W_UKV,h c               expanded: the keys and values of head h score_h(i, j) = scale ·
//     (q_h(i) · k_h(j) + q_rope,h(i) · k_rope(j)) out = W_O [o_1 ; … ; o_H]             o_h: the mean of the values,
//     weighted by the softmax of the scores
//
// W_UK can change sides: q_h · (W_UK,h c) = (W_UK,hᵀ q_h) · c. So can W_UV: Σ p W_UV,h c = W_UV,h Σ p c. That is the
// absorbed form, in which the rows of the cache are the only keys and their latents the only values.
//
// Book 19.4, family 4. DeepSeek-AI 2024, "DeepSeek-V2" (arXiv 2405.04434), section 2.1; the norms of the latents are in
// its section 3.1.2. RoPE: Su et al. 2021, "RoFormer" (arXiv 2104.09864).
#pragma once

#include <algorithm>
#include <limits>

#include "chapters/04_head_sharing/kv_cache.hpp"
#include "common/mechanism/layer.hpp"
#include "common/tensor/shape_check.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::latent {

// Which numbers RoPE turns together: 2i and 2i + 1 (DeepSeek), or i and i + Dr/2 (Llama).
enum class RopeLayout { interleaved, half_split };

enum class Form {
    expanded,  // makes the keys and values of all heads out of the latents: many queries at once share them
    absorbed   // attends to the latents themselves: for one token after the other
};

struct Options {
    int heads = 1;      // H
    int nope_dim = 1;   // Dn, of the part of queries and keys that knows no positions
    int rope_dim = 2;   // Dr, of the part that RoPE rotates; even
    int value_dim = 1;  // Dv
    double rope_theta = 10000;
    RopeLayout rope_layout = RopeLayout::interleaved;
    double norm_epsilon = 1e-6;  // of both norms
    double scale = 1;            // usually 1/sqrt(Dn + Dr), in both forms
    Form form = Form::expanded;
    int prefill = 0;  // 0: all positions at once. Else the first that many at once, and the others token by token
};

// The letters: B batch, N positions, Dm model dimension, H heads, Rq and Rkv ranks (the dimensions of the compressed
// query and of the latent), Dn, Dr and Dv as above. Rq is 0 where queries come from hidden directly.
struct Sizes {
    int B, N, Dm, H, Rq, Rkv, Dn, Dr, Dv;
};

template <class T>
struct Inputs {
    TensorView<const T, 3> hidden;   // [B, N, Dm]
    TensorView<const T, 2> w_dq;     // [Rq, Dm]          compresses the query
    TensorView<const T, 1> norm_q;   // [Rq]
    TensorView<const T, 2> w_uq;     // [H(Dn+Dr), Rq]    rows of a head: [nope; rope]
    TensorView<const T, 2> w_q;      // [H(Dn+Dr), Dm]    in the place of these three
    TensorView<const T, 2> w_dkv;    // [Rkv+Dr, Dm]      rows: [latent; rope]
    TensorView<const T, 1> norm_kv;  // [Rkv]
    TensorView<const T, 2> w_ukv;    // [H(Dn+Dv), Rkv]   rows of a head: [key; value]
    TensorView<const T, 2> w_o;      // [Dm, H·Dv]

    ATTN_HOST_DEVICE Sizes sizes(const Options& options) const {
        return {hidden.extent(0),  hidden.extent(1), hidden.extent(2), options.heads,    w_dq ? w_dq.extent(0) : 0,
                norm_kv.extent(0), options.nope_dim, options.rope_dim, options.value_dim};
    }
    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("hidden", hidden);
        visitor("w_dq", w_dq, Optional{}), visitor("norm_q", norm_q, Optional{}), visitor("w_uq", w_uq, Optional{});
        visitor("w_q", w_q, Optional{});
        visitor("w_dkv", w_dkv), visitor("norm_kv", norm_kv), visitor("w_ukv", w_ukv), visitor("w_o", w_o);
    }
    struct Optional {};
};

template <class T>
struct Outputs {
    TensorView<T, 3> out;  // [B, N, Dm]
    TensorView<T, 3>
        cache;  // [B, N, Rkv+Dr], a row: [normalised latent; rotated key]. Written, then read: it is the cache

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("cache", cache);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs<T>& in) {
        return {{nullptr, in.hidden.shape()},
                {nullptr, {{in.hidden.extent(0), in.hidden.extent(1), in.w_dkv.extent(0)}}}};
    }
};

namespace detail {

inline void refuse(const char* tensor, const std::string& what) { throw ShapeError(std::string(tensor) + " " + what); }

// Queries come from w_dq, norm_q and w_uq, or from w_q.
template <class T>
void check_query_weights(const Inputs<T>& in) {
    const std::string expected = ", expected w_q alone, or w_dq, norm_q and w_uq";
    const bool present[] = {bool(in.w_dq), bool(in.norm_q), bool(in.w_uq)};
    const char* names[] = {"w_dq", "norm_q", "w_uq"};
    const char* found = nullptr;
    for (int i = 0; i < 3; ++i)
        if (present[i]) found = names[i];
    if (in.w_q && found) refuse("w_q", std::string("stands beside ") + found + expected);
    if (!in.w_q && !found) refuse("w_q", "is missing" + expected);
    for (int i = 0; i < 3; ++i)
        if (!in.w_q && !present[i]) refuse(names[i], std::string("is missing beside ") + found + expected);
}

// `heads` times `each` rows; as many as an int can hold where there would be more, which no tensor has.
inline int rows(std::int64_t heads, std::int64_t each) {
    return static_cast<int>(std::min<std::int64_t>(heads * each, std::numeric_limits<int>::max()));
}

}  // namespace detail

// Throws ShapeError where the inputs contradict each other or the options.
template <class T>
void check_shapes(const Inputs<T>& in, const Options& options) {
    detail::check_query_weights(in);
    const auto [B, N, Dm, H, Rq, Rkv, Dn, Dr, Dv] = in.sizes(options);
    if (Dr < 2 || Dr % 2 != 0)
        detail::refuse("w_dkv", "has " + std::to_string(Dr) +
                                    " rows for the rotated key (rope_dim), expected an even number, at least 2: RoPE "
                                    "turns pairs");
    const std::int64_t query_dim = std::int64_t{Dn} + Dr, key_value_dim = std::int64_t{Dn} + Dv;
    if (in.w_q) {
        expect_shape("w_q", in.w_q, {{detail::rows(H, query_dim), Dm}}, "[H(Dn+Dr), Dm] with Dm of hidden");
    } else {
        expect_shape("w_dq", in.w_dq, {{Rq, Dm}}, "[Rq, Dm] with Dm of hidden");
        expect_shape("norm_q", in.norm_q, {{Rq}}, "[Rq] with Rq of w_dq");
        expect_shape("w_uq", in.w_uq, {{detail::rows(H, query_dim), Rq}}, "[H(Dn+Dr), Rq] with Rq of w_dq");
    }
    expect_shape("w_dkv", in.w_dkv, {{detail::rows(1, std::int64_t{Rkv} + Dr), Dm}},
                 "[Rkv+Dr, Dm] with Rkv of norm_kv and Dm of hidden");
    expect_shape("w_ukv", in.w_ukv, {{detail::rows(H, key_value_dim), Rkv}}, "[H(Dn+Dv), Rkv] with Rkv of norm_kv");
    expect_shape("w_o", in.w_o, {{Dm, detail::rows(H, Dv)}}, "[Dm, H·Dv] with Dm of hidden");
    if (options.prefill < 0 || options.prefill > N)
        detail::refuse("hidden", "has " + std::to_string(N) + " positions, expected at least the " +
                                     std::to_string(options.prefill) + " of prefill");
}

// ---- what a token costs ---------------------------------------------------------------------------------------------
// One layer, one sequence, one generated token that sees n positions, its own included. Of multi-head and grouped-query
// attention the cache is kv_cache::bytes_per_position(G, D, Dv, …).

// Bytes that one position takes in the cache. H is not in it.
constexpr std::int64_t bytes_per_position(const Sizes& s, int number_bytes) {
    return (std::int64_t{s.Rkv} + s.Dr) * number_bytes;
}

// Bytes of the cache that are read for a token, in both forms.
constexpr std::int64_t bytes_read_per_token(const Sizes& s, int n, int number_bytes) {
    return n * bytes_per_position(s, number_bytes);
}

// Multiply-adds of the scores and of the weighted means of multi-head and grouped-query attention. G is not in it.
constexpr std::int64_t grouped_multiply_adds_per_token(int H, int D, int Dv, int n) {
    return std::int64_t{n} * H * (D + Dv);
}

// The same of latent attention: expanded, it is multi-head attention. Absorbed, all heads have keys of Rkv + Dr and
// values of Rkv numbers.
constexpr std::int64_t multiply_adds_per_token(const Sizes& s, Form form, int n) {
    if (form == Form::expanded) return grouped_multiply_adds_per_token(s.H, s.Dn + s.Dr, s.Dv, n);
    return grouped_multiply_adds_per_token(s.H, s.Rkv + s.Dr, s.Rkv, n);
}

// What turns latents into keys and values, or queries and means into latents and back: the expanded form does it for
// each position of the cache, the absorbed form once.
constexpr std::int64_t expansion_multiply_adds_per_token(const Sizes& s, Form form, int n) {
    return (form == Form::expanded ? n : std::int64_t{1}) * s.H * s.Rkv * (s.Dn + s.Dv);
}

// ---- what the naive version costs, exactly --------------------------------------------------------------------------

namespace detail {

// RoPE of a vector: a pair takes 4 products and 2 sums. The angles are a table.
inline void add_rotation(Costs& costs, std::int64_t vectors, int length) {
    costs.multiplications += vectors * 2 * length;
    costs.additions += vectors * length;
}

// Positions whose keys and values the expanded form makes: in each step all that the cache holds.
inline std::int64_t expansions(int N, int prefill) {
    std::int64_t total = 0;
    for_each_step(N, prefill, [&](const Step& step) { total += step.first + step.count; });
    return total;
}

}  // namespace detail

// Held beside inputs and outputs are, of one position, the queries, the scores and the results of all heads; expanded,
// also the keys and values of all positions and heads, which the cache does not keep.
inline Costs forward_cost(const Sizes& s, const Options& options, std::size_t scalar_bytes) {
    const bool expanded = options.form == Form::expanded;
    const std::int64_t B = s.B, N = s.N, H = s.H, positions = B * N;
    const std::int64_t pairs = B * H * N * (N + 1) / 2;  // of a query and a key that it sees
    Costs costs;

    // The cache
    costs.multiply_adds += positions * (s.Rkv + s.Dr) * s.Dm;
    add_rms_norm(costs, positions, s.Rkv);
    detail::add_rotation(costs, positions, s.Dr);

    // The queries
    if (s.Rq > 0) {
        costs.multiply_adds += positions * s.Rq * s.Dm;
        add_rms_norm(costs, positions, s.Rq);
    }
    costs.multiply_adds += positions * H * (s.Dn + s.Dr) * (s.Rq > 0 ? s.Rq : s.Dm);
    detail::add_rotation(costs, positions * H, s.Dr);

    // Attention: its products; and of each score the scale, the maximum, the exponential, its sum and the division by
    // it
    for (int n = 1; n <= s.N; ++n) costs.multiply_adds += B * multiply_adds_per_token(s, options.form, n);
    costs.multiply_adds += B * (expanded ? detail::expansions(s.N, options.prefill) : N) *
                           expansion_multiply_adds_per_token(s, options.form, 1);
    costs.multiplications += pairs;
    costs.comparisons += pairs;
    costs.exponentials += pairs;
    costs.additions += 2 * pairs;
    costs.divisions += pairs;

    // The output
    costs.multiply_adds += positions * s.Dm * H * s.Dv;

    // Most is held at the last position. There one thing follows the other: the compressed query, then the heads.
    const std::int64_t queries = H * (s.Dn + s.Dr), scores = H * N, results = H * s.Dv;
    const std::int64_t in_latents = expanded ? 0 : H * (s.Rkv + s.Dr) + H * s.Rkv;
    const std::int64_t keys_and_values = expanded ? N * H * (s.Dn + s.Dv) : 0;
    const std::int64_t held = keys_and_values + queries + results + std::max<std::int64_t>(s.Rq, scores + in_latents);
    costs.bytes_held = std::max<std::int64_t>(s.Rkv + s.Dr, held) * static_cast<std::int64_t>(scalar_bytes);
    return costs;
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::latent
