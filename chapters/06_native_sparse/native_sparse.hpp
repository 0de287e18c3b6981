// Native sparse attention (NSA), the interface: three branches with keys and values of their own, and a gate for each.
//
//     out_t = g_compress · attend(q_t, compressed keys)     blocks of l keys, one every d, each made into one key
//           + g_select   · attend(q_t, selected keys)       the n blocks of l' keys that matter most
//           + g_window   · attend(q_t, the last W keys)
//
// The importance of a block of l' comes from the weights of the compressed keys that share tokens with it, summed over
// the query heads of a key/value head: these share the selection. Of the n blocks, the first and the two last that the
// query sees are always there. The gates are independent numbers in 0 … 1, not a softmax.
//
// Book 19.4, family 6. Yuan et al. 2025, "Native Sparse Attention" (arXiv 2502.11089), section 3. Read with one
// correction, see README.md: equation 9 counts its indices from 1.
#pragma once

#include <algorithm>
#include <string>

#include "chapters/01_fixed_sparse/pattern.hpp"
#include "common/measure/costs.hpp"
#include "common/tensor/shape_check.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::native_sparse {

// How the l keys of a block become one: their mean; a weighted sum; or down · gelu(up · flatten(block + position)).
enum class Compressor { mean, linear, mlp };

// The letters: B batch, H query heads, G key/value heads, N positions, Dk and Dv numbers of a key and of a value.
struct Sizes {
    int B, H, G, N, Dk, Dv;

    ATTN_HOST_DEVICE int group() const { return H / G; }
};

struct Options {
    int compress_block = 1;   // l
    int compress_stride = 1;  // d; l and l' are multiples of it
    int select_block = 1;     // l', at least l
    int select_count = 3;     // n, the forced ones counted in
    int window = 1;           // W, the own position counted in
    Compressor compressor = Compressor::mean;
    double scale = 1;  // usually 1/sqrt(Dk)
    // 0: all positions at once. Else the first `prefill` at once and the others one by one, as in generation; the
    // compressed keys and values are kept, and grow by a block when its last token has come.
    int prefill = 0;

    // Compressed blocks that lie in the positions 0 … length - 1. Block i covers i d … i d + l - 1.
    ATTN_HOST_DEVICE constexpr int complete(int length) const {
        return length < compress_block ? 0 : (length - compress_block) / compress_stride + 1;
    }
    // The selection block of a position, and how many there are of n positions; the last may be incomplete.
    ATTN_HOST_DEVICE constexpr int block_of(int position) const { return position / select_block; }
    ATTN_HOST_DEVICE constexpr int blocks(int n) const { return (n - 1) / select_block + 1; }
    // How many blocks the query at this position attends to.
    ATTN_HOST_DEVICE constexpr int selected_at(int position) const {
        const int blocks = block_of(position) + 1;
        return blocks < select_count ? blocks : select_count;
    }
    // Of a position t: how many of its keys the selected blocks have. All are whole but its own, which is always there.
    ATTN_HOST_DEVICE constexpr int selected_keys(int position) const {
        return (selected_at(position) - 1) * select_block + position % select_block + 1;
    }
    // How many strides of d tokens compressed block i shares with selection block J. [19.4.6-3]
    ATTN_HOST_DEVICE constexpr int shared_strides(int i, int J) const {
        const int first = i * compress_stride, end = first + compress_block;
        const int begin = J * select_block, stop = begin + select_block;
        const int tokens = (end < stop ? end : stop) - (first > begin ? first : begin);
        return tokens > 0 ? tokens / compress_stride : 0;
    }
};

template <class T>
struct Inputs {
    TensorView<const T, 4> q;                                         // [B, H, N, Dk]
    TensorView<const T, 4> k_compress, v_compress;                    // [B, G, N, Dk], [B, G, N, Dv]
    TensorView<const T, 4> k_select, v_select;                        // the same
    TensorView<const T, 4> k_window, v_window;                        // the same
    TensorView<const T, 4> gates;                                     // [B, H, N, 3]: compress, select, window
    TensorView<const T, 1> compress_k_weight, compress_v_weight;      // linear: [l]
    TensorView<const T, 2> compress_k_position, compress_v_position;  // mlp: [l, Dk], [l, Dv]
    TensorView<const T, 2> compress_k_up, compress_v_up;              // mlp: [Dh, l·Dk], [Dh, l·Dv]
    TensorView<const T, 2> compress_k_down, compress_v_down;          // mlp: [Dk, Dh], [Dv, Dh]
    TensorView<const T, 4> d_out;                                     // optional: gradients are computed

    ATTN_HOST_DEVICE Sizes sizes() const {
        return {q.extent(0), q.extent(1), k_compress.extent(1), q.extent(2), q.extent(3), v_compress.extent(3)};
    }
    template <class Visitor>
    void visit(Visitor&& visitor) {
        struct Optional {};
        visitor("q", q), visitor("k_compress", k_compress), visitor("v_compress", v_compress);
        visitor("k_select", k_select), visitor("v_select", v_select);
        visitor("k_window", k_window), visitor("v_window", v_window), visitor("gates", gates);
        visitor("compress_k_weight", compress_k_weight, Optional{});
        visitor("compress_v_weight", compress_v_weight, Optional{});
        visitor("compress_k_position", compress_k_position, Optional{});
        visitor("compress_v_position", compress_v_position, Optional{});
        visitor("compress_k_up", compress_k_up, Optional{}), visitor("compress_v_up", compress_v_up, Optional{});
        visitor("compress_k_down", compress_k_down, Optional{});
        visitor("compress_v_down", compress_v_down, Optional{});
        visitor("d_out", d_out, Optional{});
    }
};

template <class T>
struct Outputs {
    TensorView<T, 4> out;                                   // [B, H, N, Dv]
    TensorView<T, 4> out_compress, out_select, out_window;  // [B, H, N, Dv]: before the gates
    TensorView<std::int32_t, 4> selected;                   // [B, G, N, n]: ascending, then -1
    // With d_out.
    TensorView<T, 4> d_q, d_k_compress, d_v_compress, d_k_select, d_v_select, d_k_window, d_v_window, d_gates;
    TensorView<T, 1> d_compress_k_weight, d_compress_v_weight;  // of the compressor that there is
    TensorView<T, 2> d_compress_k_position, d_compress_v_position, d_compress_k_up, d_compress_v_up, d_compress_k_down,
        d_compress_v_down;

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("out_compress", out_compress), visitor("out_select", out_select);
        visitor("out_window", out_window), visitor("selected", selected);
        visitor("d_q", d_q), visitor("d_k_compress", d_k_compress), visitor("d_v_compress", d_v_compress);
        visitor("d_k_select", d_k_select), visitor("d_v_select", d_v_select);
        visitor("d_k_window", d_k_window), visitor("d_v_window", d_v_window), visitor("d_gates", d_gates);
        visitor("d_compress_k_weight", d_compress_k_weight), visitor("d_compress_v_weight", d_compress_v_weight);
        visitor("d_compress_k_position", d_compress_k_position);
        visitor("d_compress_v_position", d_compress_v_position);
        visitor("d_compress_k_up", d_compress_k_up), visitor("d_compress_v_up", d_compress_v_up);
        visitor("d_compress_k_down", d_compress_k_down), visitor("d_compress_v_down", d_compress_v_down);
    }

    // The shapes that belong to the inputs and options, without data.
    static Outputs shaped(const Inputs<T>& in, const Options& options) {
        const auto [B, H, G, N, Dk, Dv] = in.sizes();
        Outputs shaped;
        const TensorView<T, 4> of_values(nullptr, {{B, H, N, Dv}});
        shaped.out = shaped.out_compress = shaped.out_select = shaped.out_window = of_values;
        shaped.selected = {nullptr, {{B, G, N, options.select_count}}};
        if (!in.d_out) return shaped;
        shaped.d_q = {nullptr, in.q.shape()}, shaped.d_gates = {nullptr, in.gates.shape()};
        shaped.d_k_compress = shaped.d_k_select = shaped.d_k_window = {nullptr, in.k_compress.shape()};
        shaped.d_v_compress = shaped.d_v_select = shaped.d_v_window = {nullptr, in.v_compress.shape()};
        shaped.d_compress_k_weight = {nullptr, in.compress_k_weight.shape()};
        shaped.d_compress_v_weight = {nullptr, in.compress_v_weight.shape()};
        shaped.d_compress_k_position = {nullptr, in.compress_k_position.shape()};
        shaped.d_compress_v_position = {nullptr, in.compress_v_position.shape()};
        shaped.d_compress_k_up = {nullptr, in.compress_k_up.shape()};
        shaped.d_compress_v_up = {nullptr, in.compress_v_up.shape()};
        shaped.d_compress_k_down = {nullptr, in.compress_k_down.shape()};
        shaped.d_compress_v_down = {nullptr, in.compress_v_down.shape()};
        return shaped;
    }
};

// The weights of one compressor, that of the keys or that of the values.
template <class T>
struct Weights {
    TensorView<const T, 1> weight;
    TensorView<const T, 2> position, up, down;
};
template <class T>
Weights<T> key_weights(const Inputs<T>& in) {
    return {in.compress_k_weight, in.compress_k_position, in.compress_k_up, in.compress_k_down};
}
template <class T>
Weights<T> value_weights(const Inputs<T>& in) {
    return {in.compress_v_weight, in.compress_v_position, in.compress_v_up, in.compress_v_down};
}

namespace detail {

// `kind` is 'k' or 'v', D numbers of a token.
template <class T>
void check_weights(const Weights<T>& w, char kind, int D, const Options& options) {
    const std::string prefix = std::string("compress_") + kind + "_";
    const auto expect = [&](const char* name, const auto& tensor, Compressor needs) {
        if (static_cast<bool>(tensor) == (options.compressor == needs)) return;
        throw ShapeError(prefix + name + (tensor ? " is there, expected none" : " is not there, expected it") +
                         " with this compressor");
    };
    expect("weight", w.weight, Compressor::linear), expect("position", w.position, Compressor::mlp);
    expect("up", w.up, Compressor::mlp), expect("down", w.down, Compressor::mlp);
    const int l = options.compress_block;
    if (w.weight) expect_shape((prefix + "weight").c_str(), w.weight, {{l}}, "[compress_block]");
    if (!w.up) return;
    expect_shape((prefix + "position").c_str(), w.position, {{l, D}}, "[compress_block, numbers of a token]");
    expect_shape((prefix + "up").c_str(), w.up, {{w.up.extent(0), l * D}}, "[Dh, compress_block · numbers of a token]");
    expect_shape((prefix + "down").c_str(), w.down, {{D, w.up.extent(0)}}, "[numbers of a token, Dh of up]");
}

}  // namespace detail

// Throws ShapeError where the inputs contradict each other or the options.
template <class T>
void check_shapes(const Inputs<T>& in, const Options& options) {
    const Sizes s = in.sizes();
    const Shape<4> keys{{s.B, s.G, s.N, s.Dk}}, values{{s.B, s.G, s.N, s.Dv}};
    if (s.H % s.G != 0)
        throw ShapeError("k_compress has " + std::to_string(s.G) + " heads, expected a divisor of the " +
                         std::to_string(s.H) + " of q");
    const char* of_keys = "[B, G, N, Dk] with B, N and Dk of q and G of k_compress";
    const char* of_values = "[B, G, N, Dv] with B and N of q, G of k_compress and Dv of v_compress";
    expect_shape("k_compress", in.k_compress, keys, of_keys), expect_shape("k_select", in.k_select, keys, of_keys);
    expect_shape("k_window", in.k_window, keys, of_keys);
    expect_shape("v_compress", in.v_compress, values, of_values),
        expect_shape("v_select", in.v_select, values, of_values);
    expect_shape("v_window", in.v_window, values, of_values);
    expect_shape("gates", in.gates, {{s.B, s.H, s.N, 3}}, "[B, H, N, 3] with B, H and N of q");
    detail::check_weights(key_weights(in), 'k', s.Dk, options);
    detail::check_weights(value_weights(in), 'v', s.Dv, options);
    if (in.d_out) expect_shape("d_out", in.d_out, {{s.B, s.H, s.N, s.Dv}}, "[B, H, N, Dv], the shape of out");
}

// ---- what it costs --------------------------------------------------------------------------------------------------

// (query, key) pairs of one query head, in closed form.
struct Pairs {
    std::int64_t compress, select, window;

    std::int64_t all() const { return compress + select + window; }
};
inline Pairs pairs(std::int64_t n, const Options& o) {
    const std::int64_t l = o.compress_block, d = o.compress_stride, block = o.select_block;
    // Compressed block i is seen by the queries from its last token on.
    const std::int64_t blocks = o.complete(static_cast<int>(n));
    const std::int64_t compress = blocks * (n - l + 1) - d * (blocks * (blocks - 1) / 2);
    // Whole blocks of queries: the J-th sees min(J, n - 1) whole blocks of keys, and its own as a triangle.
    const std::int64_t whole = n / block, rest = n % block, most = o.select_count - 1;
    const std::int64_t up_to = std::min(whole, most);
    const std::int64_t others = up_to * (up_to - 1) / 2 + (whole - up_to) * most;  // Σ over whole blocks of min(J, n-1)
    const std::int64_t select = block * block * others + whole * (block * (block + 1) / 2) +
                                rest * std::min(whole, most) * block + rest * (rest + 1) / 2;
    return {compress, select, fixed_sparse::window_pairs(n, o.window)};
}

// The most keys that a query sees in one branch.
inline int longest_row(int n, const Options& o) {
    const std::int64_t selected = std::int64_t{o.select_count} * o.select_block;
    return static_cast<int>(
        std::min<std::int64_t>(n, std::max<std::int64_t>(selected, std::max(o.complete(n), o.window))));
}

// Keys, or values, that one step of generation reads for a key/value head at length n: what its three branches see.
inline std::int64_t decode_positions(std::int64_t n, const Options& o) {
    const int t = static_cast<int>(n - 1);
    return o.complete(static_cast<int>(n)) + o.selected_keys(t) + std::min<std::int64_t>(n, o.window);
}

// Positions that the cache of a key/value head holds at length n: all for the selection, those of the window, and the
// compressed ones. Not fewer than dense attention's n.
inline std::int64_t cache_positions(std::int64_t n, const Options& o) {
    return n + std::min<std::int64_t>(n, o.window) + o.complete(static_cast<int>(n));
}

namespace detail {

// Makes `count` blocks of l tokens of D numbers into one each.
inline void add_compression(Costs& costs, std::int64_t count, std::int64_t D, std::int64_t hidden, const Options& o) {
    const std::int64_t l = o.compress_block;
    switch (o.compressor) {
        case Compressor::mean: costs.additions += count * l * D, costs.divisions += count * D; break;
        case Compressor::linear: costs.multiply_adds += count * l * D; break;
        case Compressor::mlp:
            costs.additions += count * (l * D + hidden);  // of the position; 1 + erf
            costs.multiply_adds += count * (hidden * l * D + D * hidden);
            costs.divisions += count * hidden, costs.exponentials += count * hidden;  // erf counts as one
            costs.multiplications += count * 2 * hidden;
    }
}

}  // namespace detail

// What the naive version costs, forward, exactly. Held beside inputs and outputs are the compressed keys and values of
// one head, one row (keys and weights), and the importance of each block to one query.
template <class T>
Costs forward_cost(const Inputs<T>& in, const Options& o, std::size_t scalar_bytes) {
    const auto [B, H, G, N, Dk, Dv] = in.sizes();
    const std::int64_t heads = std::int64_t{B} * H, kv_heads = std::int64_t{B} * G, seen = heads * pairs(N, o).all();
    const int blocks = o.complete(N);
    Costs costs;
    const int k_hidden = in.compress_k_up.extent(0), v_hidden = in.compress_v_up.extent(0);
    detail::add_compression(costs, kv_heads * blocks, Dk, k_hidden, o);
    detail::add_compression(costs, kv_heads * blocks, Dv, v_hidden, o);
    costs.multiply_adds += seen * (Dk + Dv) + heads * N * 3 * Dv;  // scores, weighted means; gated sum
    costs.multiplications += seen, costs.comparisons += seen, costs.exponentials += seen;
    costs.additions += 2 * seen, costs.divisions += seen;
    for (int i = 0; i < blocks; ++i) {  // importance: each compressed block, for the queries from its last token on
        const int first = i * o.compress_stride, last = first + o.compress_block - 1;
        costs.multiply_adds += heads * (N - last) * (o.block_of(last) - o.block_of(first) + 1);
    }
    for (int t = 0; t < N; ++t)  // of the blocks that are left, each choice compares all
        for (int r = std::min(3, o.block_of(t) + 1); r < o.selected_at(t); ++r)
            costs.comparisons += kv_heads * (o.block_of(t) - r);
    const std::int64_t longest = longest_row(N, o);
    const std::int64_t scratch = o.compressor == Compressor::mlp
                                     ? std::int64_t{o.compress_block} * std::max(Dk, Dv) + std::max(k_hidden, v_hidden)
                                     : 0;
    costs.bytes_held =
        (std::int64_t{blocks} * (Dk + Dv) + longest + o.blocks(N) + scratch) * static_cast<std::int64_t>(scalar_bytes) +
        longest * static_cast<std::int64_t>(sizeof(int));
    return costs;
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::native_sparse
