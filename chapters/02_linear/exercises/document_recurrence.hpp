// Exercise document_recurrence, the interface: causal linear attention to a sequence in which several documents are
// packed one behind the other, token by token.
#pragma once

#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::document_recurrence {

// The letters: B sequences, H heads, N tokens (1 or more), D head dimension, Dv value dimension.
struct Inputs {
    TensorView<const float, 4> q;       // [B, H, N, D]
    TensorView<const float, 4> k;       // [B, H, N, D]
    TensorView<const float, 4> v;       // [B, H, N, Dv]
    TensorView<const int, 2> document;  // [B, N]: neighbours with the same number belong together, any other number
                                        // begins a document, be it larger, smaller, negative, or one that was there
                                        // before another document

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("q", q), visitor("k", k), visitor("v", v), visitor("document", document);
    }
};

struct Options {
    template <class Visitor>
    void visit(Visitor&&) {}
};

struct Outputs {
    TensorView<float, 4> out;         // [B, H, N, Dv]
    TensorView<float, 4> state;       // [B, H, D, Dv]: Σ phi(k(j)) v(j) over the tokens of the last document
    TensorView<float, 3> normalizer;  // [B, H, D]: Σ phi(k(j)) over the tokens of the last document

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("state", state), visitor("normalizer", normalizer);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) {
        const int B = in.q.extent(0), H = in.q.extent(1), D = in.q.extent(3), Dv = in.v.extent(3);
        return {{nullptr, in.v.shape()}, {nullptr, {B, H, D, Dv}}, {nullptr, {B, H, D}}};
    }
};

// The function to write, in document_recurrence.cpp. All tensors are in the host's memory.
void document_recurrence(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace attn::exercises::document_recurrence
