// FlashAttention, naive: forward, then backward where it is asked for, each in a file of its own.
#pragma once

#include "chapters/05_flash_attention/flash_attention_naive_backward.hpp"
#include "chapters/05_flash_attention/flash_attention_naive_forward.hpp"
#include "common/tensor/half.hpp"

namespace attn::flash_attention {

template <class T>
void naive_forward_and_backward(const Inputs<T>& in, const Options& options, const Outputs<T>& out,
                                const Tiles& tiles) {
    naive_forward(in, options, out, tiles);
    if (in.d_out) naive_backward(in, options, out, tiles);
}

// Rounds each element.
template <class From, class To, int N>
void copy(TensorView<From, N> from, TensorView<To, N> to) {
    for (std::int64_t index = 0; index < from.count(); ++index) to.data()[index] = static_cast<To>(from.data()[index]);
}
template <class From, int N>
auto in_float(TensorView<From, N> from) {
    auto to = make_tensor<float, N>(from.shape());
    copy(from, view(to));
    return to;
}

// 16 bits: the inputs have them, and the outputs are rounded to them at the end. All between is float; above all
// log_sum_exp, whose rounding would be a factor of all weights of its row in the backward pass.
template <class T>
void naive_in_float(const Inputs<T>& in, const Options& options, const Outputs<T>& out, const Tiles& tiles) {
    const auto q = in_float(in.q), k = in_float(in.k), v = in_float(in.v), d_out = in_float(in.d_out);
    auto result = in_float(out.out), d_q = in_float(out.d_q), d_k = in_float(out.d_k), d_v = in_float(out.d_v);
    auto log_sum_exp = in_float(out.log_sum_exp);
    Inputs<float> inputs{view(q), view(k), view(v), {}};
    if (in.d_out) inputs.d_out = view(d_out);
    naive_forward_and_backward(inputs, options,
                               Outputs<float>{view(result), view(log_sum_exp), view(d_q), view(d_k), view(d_v)}, tiles);
    copy(view(result), out.out), copy(view(log_sum_exp), out.log_sum_exp);
    copy(view(d_q), out.d_q), copy(view(d_k), out.d_k), copy(view(d_v), out.d_v);
}

template <class T>
void naive(const Inputs<T>& in, const Options& options, const Outputs<T>& out, const Tiles& tiles = {}) {
    if constexpr (std::is_same_v<T, accumulator_t<T>>)
        naive_forward_and_backward(in, options, out, tiles);
    else
        naive_in_float(in, options, out, tiles);
}

}  // namespace attn::flash_attention
