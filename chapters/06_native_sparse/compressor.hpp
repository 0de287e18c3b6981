// What makes one key (or value) of the l keys of a block, and the way back. Templated on the scalar.
#pragma once

#include <cmath>

#include "chapters/06_native_sparse/native_sparse.hpp"
#include "common/mechanism/layer.hpp"
#include "common/tensor/tensor.hpp"

namespace attn::native_sparse {

// The memory of the mlp for one block: its numbers and the hidden units. Empty for the others.
template <class Sum>
struct MlpMemory {
    Tensor<Sum, 1> flat, hidden;

    MlpMemory(int most_numbers, int most_hidden)
        : flat(make_tensor<Sum, 1>({{most_numbers}})), hidden(make_tensor<Sum, 1>({{most_hidden}})) {}
};
template <class T>
MlpMemory<accumulator_t<T>> mlp_memory(const Inputs<T>& in, const Options& options) {
    if (options.compressor != Compressor::mlp) return {0, 0};
    const Sizes s = in.sizes();
    return {options.compress_block * std::max(s.Dk, s.Dv),
            std::max(in.compress_k_up.extent(0), in.compress_v_up.extent(0))};
}

// GELU: x Φ(x), with the normal distribution Φ itself and not its approximation by tanh
template <class Sum>
Sum gelu(Sum x) {
    using std::erf;
    return Sum(0.5) * x * (Sum(1) + erf(x / Sum(std::sqrt(2.0))));
}
template <class Sum>
Sum gelu_slope(Sum x) {
    using std::erf, std::exp;
    return Sum(0.5) * (Sum(1) + erf(x / Sum(std::sqrt(2.0)))) + x * exp(Sum(-0.5) * x * x) / Sum(std::sqrt(2 * M_PI));
}

// flatten(block + position): the tokens of block i one after the other
template <class T, class Sum>
void flatten(TensorView<const T, 2> tokens, const Weights<T>& w, int first, TensorView<Sum, 1> flat) {
    const int D = tokens.extent(1);
    for (int s = 0; s < w.position.extent(0); ++s)
        for (int d = 0; d < D; ++d)
            flat(s * D + d) = static_cast<Sum>(tokens(first + s, d)) + static_cast<Sum>(w.position(s, d));
}

// [19.4.6-1] compression: of the tokens [N, D] the blocks begin … end - 1 of l, one every d, each into its row of
// `blocks`
template <class T>
void compress(TensorView<const T, 2> tokens, const Weights<T>& w, const Options& options,
              MlpMemory<accumulator_t<T>>& memory, TensorView<T, 2> blocks, int begin, int end) {
    using Sum = accumulator_t<T>;
    const int l = options.compress_block, D = tokens.extent(1);
    for (int i = begin; i < end; ++i) {
        const int first = i * options.compress_stride;
        if (options.compressor == Compressor::mlp) {
            const TensorView<Sum, 1> flat = part(view(memory.flat), 0, l * D),
                                     hidden = part(view(memory.hidden), 0, w.up.extent(0));
            flatten(tokens, w, first, flat);
            for (int h = 0; h < hidden.extent(0); ++h) hidden(h) = gelu(dot(w.up.slice(h), flat));
            for (int d = 0; d < D; ++d) blocks(i, d) = static_cast<T>(dot(w.down.slice(d), hidden));
            continue;
        }
        for (int d = 0; d < D; ++d) {
            Sum sum = 0;
            if (options.compressor == Compressor::mean) {
                for (int s = 0; s < l; ++s) sum += static_cast<Sum>(tokens(first + s, d));
                sum = sum / Sum(l);
            } else {
                for (int s = 0; s < l; ++s)
                    sum += static_cast<Sum>(w.weight(s)) * static_cast<Sum>(tokens(first + s, d));
            }
            blocks(i, d) = static_cast<T>(sum);
        }
    }
}

// Gradients of the weights of one compressor; empty where it has none.
template <class Sum>
struct WeightGradients {
    Tensor<Sum, 1> weight;
    Tensor<Sum, 2> position, up, down;

    template <class T>
    explicit WeightGradients(const Weights<T>& w)
        : weight(make_tensor<Sum, 1>(w.weight.shape())),
          position(make_tensor<Sum, 2>(w.position.shape())),
          up(make_tensor<Sum, 2>(w.up.shape())),
          down(make_tensor<Sum, 2>(w.down.shape())) {}
};

// [19.4.6-10] backward through the compressor: what the blocks' gradients [blocks, D] add to those of their tokens
// [N, D] and of the weights. A token is in up to l/d blocks.
template <class T, class Sum>
void compress_backward(TensorView<const T, 2> tokens, const Weights<T>& w, const Options& options,
                       MlpMemory<Sum>& memory, TensorView<const Sum, 2> d_blocks, TensorView<Sum, 2> d_tokens,
                       WeightGradients<Sum>& d) {
    const int l = options.compress_block, D = tokens.extent(1);
    for (int i = 0; i < d_blocks.extent(0); ++i) {
        const int first = i * options.compress_stride;
        if (options.compressor != Compressor::mlp) {
            for (int s = 0; s < l; ++s)
                for (int e = 0; e < D; ++e) {
                    if (options.compressor == Compressor::mean) {
                        d_tokens(first + s, e) += d_blocks(i, e) / Sum(l);
                        continue;
                    }
                    d_tokens(first + s, e) += static_cast<Sum>(w.weight(s)) * d_blocks(i, e);
                    d.weight(s) += static_cast<Sum>(tokens(first + s, e)) * d_blocks(i, e);
                }
            continue;
        }
        const TensorView<Sum, 1> flat = part(view(memory.flat), 0, l * D);
        flatten(tokens, w, first, flat);
        for (int h = 0; h < w.up.extent(0); ++h) {
            const Sum before = dot(w.up.slice(h), flat);
            Sum d_hidden = 0;
            for (int e = 0; e < D; ++e) {
                d_hidden += static_cast<Sum>(w.down(e, h)) * d_blocks(i, e);
                d.down(e, h) += gelu(before) * d_blocks(i, e);
            }
            memory.hidden(h) = d_hidden * gelu_slope(before);
        }
        for (int x = 0; x < l * D; ++x) {
            Sum d_number = 0;
            for (int h = 0; h < w.up.extent(0); ++h) {
                d_number += static_cast<Sum>(w.up(h, x)) * memory.hidden(h);
                d.up(h, x) += memory.hidden(h) * flat(x);
            }
            d_tokens(first + x / D, x % D) += d_number;
            d.position(x / D, x % D) += d_number;
        }
    }
}

}  // namespace attn::native_sparse
