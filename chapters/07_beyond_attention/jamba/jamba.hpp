// Jamba, the interface: a stack of layers, a few of attention among many of Mamba, and behind each a feed-forward
// network, of which every second is a mixture of experts.
//
//     hidden += mixer(RMSNorm(hidden))             attention where i % period = offset, else Mamba
//     hidden += feed_forward(RMSNorm(hidden))      experts where i % their period = their offset, else one dense
//     network
//
// Attention is grouped-query attention without any positions: what order the tokens have, Mamba tells it. Only its
// layers have a KV cache that grows.
//
// Book 19.4, family 7. Lieber et al. 2024, "Jamba" (arXiv 2403.19887), section 2.
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "chapters/04_head_sharing/grouped_query/grouped_query.hpp"
#include "chapters/07_beyond_attention/mamba/mamba.hpp"
#include "chapters/07_beyond_attention/mixture_of_experts/mixture_of_experts.hpp"

namespace attn::jamba {

// Named as in the models' configuration files.
struct Options {
    int num_hidden_layers = 1;
    int attn_layer_period = 8, attn_layer_offset = 4;
    int expert_layer_period = 2, expert_layer_offset = 1;
    int num_attention_heads = 1, num_key_value_heads = 1;  // H, G
    int num_experts = 1, num_experts_per_tok = 1;          // E, k
    double rms_norm_eps = 1e-6;                            // of all norms
    int prefill = 0;  // 0: all positions at once. Else the first that many at once, the others one by one

    bool has_attention(int layer) const { return layer % attn_layer_period == attn_layer_offset; }
    bool has_experts(int layer) const { return layer % expert_layer_period == expert_layer_offset; }
    int attention_layers() const {
        int count = 0;
        for (int layer = 0; layer < num_hidden_layers; ++layer) count += has_attention(layer);
        return count;
    }
};

template <class T>
struct Attention {
    TensorView<const T, 2> w_q;  // [H·Dh, Dm]
    TensorView<const T, 2> w_k;  // [G·Dh, Dm]
    TensorView<const T, 2> w_v;  // [G·Dh, Dm]
    TensorView<const T, 2> w_o;  // [Dm, H·Dh]

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("w_q", w_q), visitor("w_k", w_k), visitor("w_v", w_v), visitor("w_o", w_o);
    }
};

// One network: silu(W_gate x) ∘ W_up x, projected back.
template <class T>
struct FeedForward {
    TensorView<const T, 2> gate;  // [Df, Dm]
    TensorView<const T, 2> up;    // [Df, Dm]
    TensorView<const T, 2> down;  // [Dm, Df]

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("gate", gate), visitor("up", up), visitor("down", down);
    }
};

template <class T>
struct Experts {
    TensorView<const T, 2> router;  // [E, Dm]
    TensorView<const T, 3> gate;    // [E, Df, Dm]
    TensorView<const T, 3> up;      // [E, Df, Dm]
    TensorView<const T, 3> down;    // [E, Dm, Df]

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("router", router), visitor("gate", gate), visitor("up", up), visitor("down", down);
    }
};

template <class T>
struct Layer {
    bool has_attention, has_experts;
    TensorView<const T, 1> input_norm;         // [Dm]
    TensorView<const T, 1> feed_forward_norm;  // [Dm]
    Attention<T> attention;                    // this, or
    mamba::Weights<T> mamba;                   // this
    Experts<T> experts;                        // this, or
    FeedForward<T> feed_forward;               // this

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("input_norm", input_norm), visitor("feed_forward_norm", feed_forward_norm);
        has_attention ? attention.visit(visitor) : mamba.visit(visitor);
        has_experts ? experts.visit(visitor) : feed_forward.visit(visitor);
    }
};

// "layers.3.w_q". Lives as long as the program: what goes wrong on the device is told by such names.
inline const char* name_in_layer(std::size_t layer, const char* name) {
    static std::set<std::string> names;
    return names.insert("layers." + std::to_string(layer) + "." + name).first->c_str();
}

template <class T>
struct Inputs {
    TensorView<const T, 3> hidden;      // [B, L, Dm]
    TensorView<const T, 1> final_norm;  // [Dm]; optional
    std::vector<Layer<T>> layers;       // as many and of the kinds that set_layers() was told

    void set_layers(const Options& options) {
        layers.resize(static_cast<std::size_t>(options.num_hidden_layers));
        for (int i = 0; i < options.num_hidden_layers; ++i) {
            Layer<T>& layer = layers[static_cast<std::size_t>(i)];
            layer.has_attention = options.has_attention(i), layer.has_experts = options.has_experts(i);
        }
    }
    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("hidden", hidden), visitor("final_norm", final_norm, Optional{});
        for (std::size_t i = 0; i < layers.size(); ++i)
            layers[i].visit([&](const char* name, auto& tensor, auto... optional) {
                visitor(name_in_layer(i, name), tensor, optional...);
            });
    }
    struct Optional {};
};

template <class T>
struct Outputs {
    TensorView<T, 3> out;  // [B, L, Dm]

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs<T>& in) { return {{nullptr, in.hidden.shape()}}; }
};

// Of an attention layer: what one head of a query, key or value has.
template <class T>
int head_dim(const Attention<T>& attention, const Options& options) {
    return attention.w_q.extent(0) / options.num_attention_heads;
}

namespace detail {

template <class T>
void check_layer(const Layer<T>& layer, std::size_t index, int Dm, const Options& options) {
    const auto expect = [&](const char* name, const auto& tensor, auto shape, const char* text) {
        expect_shape(name_in_layer(index, name), tensor, shape, text);
    };
    expect("input_norm", layer.input_norm, Shape<1>{{Dm}}, "[Dm] with Dm of hidden");
    expect("feed_forward_norm", layer.feed_forward_norm, Shape<1>{{Dm}}, "[Dm] with Dm of hidden");
    if (layer.has_attention) {
        const int H = options.num_attention_heads, G = options.num_key_value_heads;
        const auto& [w_q, w_k, w_v, w_o] = layer.attention;
        if (H % G != 0)
            throw ShapeError(std::string(name_in_layer(index, "w_k")) + " is for the " + std::to_string(G) +
                             " heads of num_key_value_heads, expected a divisor of the " + std::to_string(H) +
                             " of num_attention_heads");
        if (w_q.extent(0) % H != 0)
            throw ShapeError(std::string(name_in_layer(index, "w_q")) + " has " + std::to_string(w_q.extent(0)) +
                             " rows, expected a multiple of the " + std::to_string(H) + " of num_attention_heads");
        const int Dh = head_dim(layer.attention, options);
        expect("w_q", w_q, Shape<2>{{H * Dh, Dm}}, "[H·Dh, Dm] with Dm of hidden");
        expect("w_k", w_k, Shape<2>{{G * Dh, Dm}}, "[G·Dh, Dm] with G of num_key_value_heads, Dh of w_q");
        expect("w_v", w_v, Shape<2>{{G * Dh, Dm}}, "[G·Dh, Dm] with G of num_key_value_heads, Dh of w_q");
        expect("w_o", w_o, Shape<2>{{Dm, H * Dh}}, "[Dm, H·Dh] with the rows of w_q");
    } else {
        mamba::check_weights(layer.mamba, Dm, name_in_layer(index, ""));
    }
    if (layer.has_experts) {
        const auto& [router, gate, up, down] = layer.experts;
        const int E = options.num_experts, Df = gate.extent(1);
        expect("router", router, Shape<2>{{E, Dm}}, "[E, Dm] with E of num_experts, Dm of hidden");
        expect("gate", gate, Shape<3>{{E, Df, Dm}}, "[E, Df, Dm] with E of num_experts, Dm of hidden");
        expect("up", up, Shape<3>{{E, Df, Dm}}, "[E, Df, Dm], the shape of gate");
        expect("down", down, Shape<3>{{E, Dm, Df}}, "[E, Dm, Df] with Df of gate");
    } else {
        const auto& [gate, up, down] = layer.feed_forward;
        const int Df = gate.extent(0);
        expect("gate", gate, Shape<2>{{Df, Dm}}, "[Df, Dm] with Dm of hidden");
        expect("up", up, Shape<2>{{Df, Dm}}, "[Df, Dm], the shape of gate");
        expect("down", down, Shape<2>{{Dm, Df}}, "[Dm, Df] with Df of gate");
    }
}

}  // namespace detail

// Throws ShapeError where the inputs contradict each other or the options.
template <class T>
void check_shapes(const Inputs<T>& in, const Options& options) {
    const int Dm = in.hidden.extent(2);
    if (in.final_norm) expect_shape("final_norm", in.final_norm, {{Dm}}, "[Dm] with Dm of hidden");
    for (std::size_t i = 0; i < in.layers.size(); ++i) detail::check_layer(in.layers[i], i, Dm, options);
}

// ---- what is kept between tokens ------------------------------------------------------------------------------------

// Bytes of the KV cache of one sequence of n positions: of the layers of attention.
inline std::int64_t kv_cache_bytes(const Options& options, int Dh, int n, int number_bytes) {
    return kv_cache::bytes(options.attention_layers(), 1, n, options.num_key_value_heads, Dh, Dh, number_bytes);
}

// Bytes of the states of one sequence of any length: of the other layers.
inline std::int64_t state_bytes(const Options& options, const mamba::Sizes& s, int number_bytes) {
    return std::int64_t{options.num_hidden_layers - options.attention_layers()} * mamba::state_numbers(s) *
           number_bytes;
}

// ---- what the naive version costs, exactly --------------------------------------------------------------------------

namespace detail {

// `count` positions of one sequence, `first` of them before. bytes_held: beside hidden and what is kept between tokens.
template <class T>
Costs attention_cost(const Attention<T>& attention, const Options& options, int first, int count,
                     std::size_t scalar_bytes) {
    const int H = options.num_attention_heads, G = options.num_key_value_heads, Dh = head_dim(attention, options);
    const int Dm = attention.w_q.extent(1);
    Costs costs = grouped_query::forward_cost({1, H, G, count, first + count, Dh, Dh}, {.causal = true}, scalar_bytes);
    costs.multiply_adds += std::int64_t{count} * Dm * Dh * (2 * H + 2 * G);
    // Queries and results of all heads, log_sum_exp; and the scores of one query, or what one token's product makes.
    const std::int64_t heads = std::int64_t{count} * H * Dh;
    const std::int64_t more = std::max(first + count, H * Dh);
    costs.bytes_held = (2 * heads + std::int64_t{count} * H + more) * static_cast<std::int64_t>(scalar_bytes);
    return costs;
}

template <class T>
Costs feed_forward_cost(const Layer<T>& layer, const Options& options, int count, std::size_t scalar_bytes) {
    if (layer.has_experts) {
        const auto& gate = layer.experts.gate;
        Costs costs = mixture_of_experts::forward_cost({1, count, gate.extent(2), gate.extent(0), gate.extent(1)},
                                                       {options.num_experts_per_tok, false}, scalar_bytes);
        costs.bytes_held +=
            std::int64_t{count} * options.num_experts_per_tok * static_cast<std::int64_t>(sizeof(std::int32_t));
        return costs;
    }
    const std::int64_t Df = layer.feed_forward.gate.extent(0), Dm = layer.feed_forward.gate.extent(1);
    Costs costs;
    costs.multiply_adds = count * (3 * Df * Dm + Dm);  // as one expert of weight 1
    add_silu(costs, count * Df);
    costs.multiplications += count * Df;
    costs.bytes_held = (Df + Dm) * static_cast<std::int64_t>(scalar_bytes);
    return costs;
}

}  // namespace detail

template <class T>
Costs forward_cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
    const std::int64_t B = in.hidden.extent(0);
    const int Dm = in.hidden.extent(2), L = in.hidden.extent(1);
    const std::int64_t number = static_cast<std::int64_t>(scalar_bytes);
    Costs costs;
    std::int64_t kept = 0, held = 0;
    for (const Layer<T>& layer : in.layers) {
        if (layer.has_attention) {
            kept += kv_cache::bytes(1, static_cast<int>(B), L, options.num_key_value_heads,
                                    head_dim(layer.attention, options), head_dim(layer.attention, options),
                                    static_cast<int>(number));
        } else {
            const mamba::Sizes s = layer.mamba.sizes();
            const std::int64_t decays = std::int64_t{s.Di} * s.S;
            costs.exponentials += decays, costs.additions += decays;
            kept += (decays + B * mamba::state_numbers(s)) * number;
        }
    }
    for_each_step(L, options.prefill, [&](const Step& step) {
        const std::int64_t vectors = 2 * static_cast<std::int64_t>(in.layers.size()) + (in.final_norm ? 1 : 0);
        add_rms_norm(costs, B * vectors * step.count, Dm);
        costs.additions += B * 2 * static_cast<std::int64_t>(in.layers.size()) * step.count * Dm;
        for (const Layer<T>& layer : in.layers) {
            const Costs mixer = layer.has_attention ? detail::attention_cost(layer.attention, options, step.first,
                                                                             step.count, scalar_bytes)
                                                    : mamba::advance_cost(layer.mamba, step.count, scalar_bytes);
            const Costs feed_forward = detail::feed_forward_cost(layer, options, step.count, scalar_bytes);
            costs.add_operations(mixer, B), costs.add_operations(feed_forward, B);
            // hidden, its norm, and what the mixer or the network makes of it
            held = std::max(
                held, 3 * std::int64_t{step.count} * Dm * number + std::max(mixer.bytes_held, feed_forward.bytes_held));
        }
    });
    costs.bytes_held = kept + held;
    return costs;
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::jamba
