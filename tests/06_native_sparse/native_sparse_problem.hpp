// A problem of native sparse attention that owns its tensors, in T; and the problems that the tests are about.
#pragma once

#include "chapters/06_native_sparse/native_sparse_naive_backward.hpp"
#include "common/tensor/random.hpp"

namespace attn::native_sparse {

template <class T>
struct Problem {
    Sizes size;
    Options options;
    Tensor<T, 4> q, k_compress, v_compress, k_select, v_select, k_window, v_window, gates, d_out;
    Tensor<T, 1> k_weight, v_weight;
    Tensor<T, 2> k_position, v_position, k_up, v_up, k_down, v_down;
    Tensor<T, 4> out, out_compress, out_select, out_window, d_q, d_k_compress, d_v_compress, d_k_select, d_v_select,
        d_k_window, d_v_window, d_gates;
    Tensor<T, 1> d_k_weight, d_v_weight;
    Tensor<T, 2> d_k_position, d_v_position, d_k_up, d_v_up, d_k_down, d_v_down;
    Tensor<std::int32_t, 4> selected;

    Problem(const Sizes& s, const Options& o, std::uint64_t seed, int hidden = 5) : size(s), options(o) {
        q = make_tensor<T, 4>({s.B, s.H, s.N, s.Dk}), d_out = make_tensor<T, 4>({s.B, s.H, s.N, s.Dv});
        k_compress = k_select = k_window = make_tensor<T, 4>({s.B, s.G, s.N, s.Dk});
        v_compress = v_select = v_window = make_tensor<T, 4>({s.B, s.G, s.N, s.Dv});
        gates = make_tensor<T, 4>({s.B, s.H, s.N, 3});
        const int l = o.compress_block;
        const bool linear = o.compressor == Compressor::linear, mlp = o.compressor == Compressor::mlp;
        k_weight = v_weight = make_tensor<T, 1>({{linear ? l : 0}});
        k_position = make_tensor<T, 2>({{mlp ? l : 0, s.Dk}}), v_position = make_tensor<T, 2>({{mlp ? l : 0, s.Dv}});
        k_up = make_tensor<T, 2>({{mlp ? hidden : 0, l * s.Dk}}),
        v_up = make_tensor<T, 2>({{mlp ? hidden : 0, l * s.Dv}});
        k_down = make_tensor<T, 2>({{s.Dk, mlp ? hidden : 0}}), v_down = make_tensor<T, 2>({{s.Dv, mlp ? hidden : 0}});
        std::uint64_t next = 32 * seed;
        for (auto* tensor : {&q, &k_compress, &v_compress, &k_select, &v_select, &k_window, &v_window, &gates, &d_out})
            fill_normal(view(*tensor), next++);
        fill_normal(view(k_weight), next++), fill_normal(view(v_weight), next++);
        for (auto* tensor : {&k_position, &v_position, &k_up, &v_up, &k_down, &v_down})
            fill_normal(view(*tensor), next++);
        for (auto* tensor : {&k_up, &v_up})  // hidden units of the size of the numbers
            for (T& weight : *tensor)
                weight = static_cast<T>(static_cast<double>(weight) / std::sqrt(tensor->shape(1)));
        for (T& gate : gates) gate = static_cast<T>(1 / (1 + std::exp(-static_cast<double>(gate))));
        clear();
    }
    template <class U>
    explicit Problem(const Problem<U>& other) : Problem(other.size, other.options, 0, other.k_up.shape(0)) {
        const auto copy = [](const auto& from, auto& to) {
            std::transform(from.begin(), from.end(), to.begin(), [](auto value) { return static_cast<T>(value); });
        };
        copy(other.q, q), copy(other.gates, gates), copy(other.d_out, d_out);
        copy(other.k_compress, k_compress), copy(other.v_compress, v_compress);
        copy(other.k_select, k_select), copy(other.v_select, v_select);
        copy(other.k_window, k_window), copy(other.v_window, v_window);
        copy(other.k_weight, k_weight), copy(other.v_weight, v_weight);
        copy(other.k_position, k_position), copy(other.v_position, v_position);
        copy(other.k_up, k_up), copy(other.v_up, v_up), copy(other.k_down, k_down), copy(other.v_down, v_down);
    }
    void clear() {
        const T poison = static_cast<T>(std::nanf(""));
        out = out_compress = out_select = out_window = make_tensor<T, 4>(view(d_out).shape(), poison);
        d_q = make_tensor<T, 4>(view(q).shape(), poison), d_gates = make_tensor<T, 4>(view(gates).shape(), poison);
        d_k_compress = d_k_select = d_k_window = make_tensor<T, 4>(view(k_compress).shape(), poison);
        d_v_compress = d_v_select = d_v_window = make_tensor<T, 4>(view(v_compress).shape(), poison);
        d_k_weight = d_v_weight = make_tensor<T, 1>(view(k_weight).shape(), poison);
        d_k_position = make_tensor<T, 2>(view(k_position).shape(), poison);
        d_v_position = make_tensor<T, 2>(view(v_position).shape(), poison);
        d_k_up = make_tensor<T, 2>(view(k_up).shape(), poison), d_v_up = make_tensor<T, 2>(view(v_up).shape(), poison);
        d_k_down = make_tensor<T, 2>(view(k_down).shape(), poison);
        d_v_down = make_tensor<T, 2>(view(v_down).shape(), poison);
        selected = make_tensor<std::int32_t, 4>({size.B, size.G, size.N, options.select_count}, -7);
    }
    Inputs<T> inputs(bool backward = false) const {
        Inputs<T> in{};
        in.q = view(q), in.gates = view(gates);
        in.k_compress = view(k_compress), in.v_compress = view(v_compress);
        in.k_select = view(k_select), in.v_select = view(v_select);
        in.k_window = view(k_window), in.v_window = view(v_window);
        if (options.compressor == Compressor::linear)
            in.compress_k_weight = view(k_weight), in.compress_v_weight = view(v_weight);
        if (options.compressor == Compressor::mlp) {
            in.compress_k_position = view(k_position), in.compress_v_position = view(v_position);
            in.compress_k_up = view(k_up), in.compress_v_up = view(v_up);
            in.compress_k_down = view(k_down), in.compress_v_down = view(v_down);
        }
        if (backward) in.d_out = view(d_out);
        return in;
    }
    Outputs<T> outputs(bool backward = false) {
        Outputs<T> result{};
        result.out = view(out), result.out_compress = view(out_compress), result.out_select = view(out_select);
        result.out_window = view(out_window), result.selected = view(selected);
        if (!backward) return result;
        result.d_q = view(d_q), result.d_gates = view(d_gates);
        result.d_k_compress = view(d_k_compress), result.d_v_compress = view(d_v_compress);
        result.d_k_select = view(d_k_select), result.d_v_select = view(d_v_select);
        result.d_k_window = view(d_k_window), result.d_v_window = view(d_v_window);
        result.d_compress_k_weight = view(d_k_weight), result.d_compress_v_weight = view(d_v_weight);
        result.d_compress_k_position = view(d_k_position), result.d_compress_v_position = view(d_v_position);
        result.d_compress_k_up = view(d_k_up), result.d_compress_v_up = view(d_v_up);
        result.d_compress_k_down = view(d_k_down), result.d_compress_v_down = view(d_v_down);
        return result;
    }
    const Tensor<T, 4>& solve(bool backward = false) {
        clear();
        naive(inputs(backward), options, outputs(backward));
        return out;
    }
    // With the blocks that `selected` has.
    const Tensor<T, 4>& solve_with(const Tensor<std::int32_t, 4>& blocks) {
        clear();
        selected = blocks;
        naive_forward(inputs(), options, outputs(), false);
        return out;
    }
};

inline std::string text(const Sizes& s, const Options& o) {
    const auto number = [](const char* name, int value) { return std::string(" ") + name + std::to_string(value); };
    return number("B", s.B) + number("H", s.H) + number("G", s.G) + number("N", s.N) + number("Dk", s.Dk) +
           number("Dv", s.Dv) + number("l", o.compress_block) + number("d", o.compress_stride) +
           number("l'", o.select_block) + number("n", o.select_count) + number("W", o.window) +
           number("compressor", static_cast<int>(o.compressor));
}

// Ragged, from the seed: blocks of every relation, windows from 1 to more than there is.
struct Generated {
    Sizes size;
    Options options;
};
inline Generated generated(std::uint64_t seed, int most_positions, int most_numbers) {
    const auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    const int G = pick(0, 1, 2), d = pick(1, 1, 4), beta = pick(2, 1, 3), alpha = beta + pick(3, 0, 3);
    Generated result{{pick(4, 1, 2), G * pick(5, 1, 3), G, pick(6, 1, most_positions), pick(7, 1, most_numbers),
                      pick(8, 1, most_numbers)},
                     {}};
    result.options.compress_block = beta * d, result.options.compress_stride = d;
    result.options.select_block = alpha * d, result.options.select_count = pick(9, 3, 6);
    result.options.window = pick(10, 1, result.size.N + 3);
    result.options.compressor = static_cast<Compressor>(seed % 3);
    result.options.scale = seed % 8 == 0 ? 3 : 0.4;
    return result;
}

}  // namespace attn::native_sparse
