// Exercise grouped_window_decode, the interface: the attention of one new token, in which neighbouring query heads
// share a key/value head of the KV cache, and each key/value head has its own window.
#pragma once

#include "common/cuda/build_name.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::grouped_window_decode {

// The letters: B sequences, H query heads, G key/value heads (H is a multiple of G, and at most 8 · G), N positions for
// which the cache has room, D head dimension and Dv value dimension (both at most 128).
struct Inputs {
    TensorView<const float, 4> q;     // [B, H, 1, D], of the newest position of each sequence
    TensorView<const float, 4> k;     // [B, G, N, D], the cache; query head h reads key/value head h / (H/G)
    TensorView<const float, 4> v;     // [B, G, N, Dv]
    TensorView<const int, 1> length;  // [B], 0 … N: positions 0 … length-1 are in the cache, the newest one among them
    TensorView<const int, 1> window;  // [G], how many of these, the last ones, are seen, the newest included; 0: all

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("q", q), visitor("k", k), visitor("v", v), visitor("length", length), visitor("window", window);
    }
};

struct Options {
    double scale = 1;  // usually 1/sqrt(D)

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("scale", scale);
    }
};

struct Outputs {
    TensorView<float, 4> out;          // [B, H, 1, Dv]; 0 where the sequence has no position
    TensorView<float, 3> log_sum_exp;  // [B, H, 1], natural; -inf where the sequence has no position

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("log_sum_exp", log_sum_exp);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) {
        return {{nullptr, {in.q.extent(0), in.q.extent(1), 1, in.v.extent(3)}},
                {nullptr, {in.q.extent(0), in.q.extent(1), 1}}};
    }
};

inline namespace ATTN_BUILD {

// The function to write, in grouped_window_decode.cu. All tensors are in device memory.
void grouped_window_decode(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace ATTN_BUILD
}  // namespace attn::exercises::grouped_window_decode
