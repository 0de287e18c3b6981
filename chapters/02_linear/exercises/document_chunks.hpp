// Exercise document_chunks, the interface: causal linear attention to a sequence in which several documents are packed
// one behind the other, chunk by chunk, going on from the state of an earlier sequence.
#pragma once

#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::document_chunks {

// The letters: B sequences, H heads, N tokens (1 or more), D head dimension, Dv value dimension.
struct Inputs {
    TensorView<const float, 4> q;       // [B, H, N, D]
    TensorView<const float, 4> k;       // [B, H, N, D]
    TensorView<const float, 4> v;       // [B, H, N, Dv]
    TensorView<const int, 2> document;  // [B, N]: neighbours with the same number belong together, any other number
                                        // begins a document, be it larger, smaller, negative, or one that was there
                                        // before another document
    // What tokens before the first one have left: token 0 goes on with their document. Both absent: there are none.
    TensorView<const float, 4> initial_state;       // [B, H, D, Dv]
    TensorView<const float, 3> initial_normalizer;  // [B, H, D], 0 or more

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("q", q), visitor("k", k), visitor("v", v), visitor("document", document);
        visitor("initial_state", initial_state, Optional{});
        visitor("initial_normalizer", initial_normalizer, Optional{});
    }
    struct Optional {};
};

struct Options {
    int chunk = 64;  // tokens in a chunk, 1 or more; the last chunk may be shorter

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("chunk", chunk);
    }
};

// The state at a place of the sequence is that of one document: the one which the token before the place belongs to. It
// is Σ phi(k(j)) v(j) over the tokens of that document up to there, the normalizer Σ phi(k(j)); for the document that
// was begun before the first token, initial_state and initial_normalizer are added.
struct Outputs {
    TensorView<float, 4> out;     // [B, H, N, Dv]
    TensorView<float, 5> states;  // [B, H, chunks, D, Dv]: the state before the first token of each chunk, whether
                                  // or not this token goes on with the document; before token 0 initial_state, or 0
    TensorView<float, 4> normalizers;  // [B, H, chunks, D], at the same places
    TensorView<float, 4> state;        // [B, H, D, Dv]: the state after the last token
    TensorView<float, 3> normalizer;   // [B, H, D], at the same place

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("states", states), visitor("normalizers", normalizers);
        visitor("state", state), visitor("normalizer", normalizer);
    }

    // The shapes that belong to the inputs and options, without data.
    static Outputs shaped(const Inputs& in, const Options& options) {
        const int B = in.q.extent(0), H = in.q.extent(1), N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
        const int chunks = (N - 1) / options.chunk + 1;
        return {{nullptr, in.v.shape()},
                {nullptr, {B, H, chunks, D, Dv}},
                {nullptr, {B, H, chunks, D}},
                {nullptr, {B, H, D, Dv}},
                {nullptr, {B, H, D}}};
    }
};

// The function to write, in document_chunks.cpp. All tensors are in the host's memory.
void document_chunks(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace attn::exercises::document_chunks
