// Exercise document_kernel, the interface: causal linear attention that begins anew with each document.
#pragma once

#include "common/cuda/build_name.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::document_kernel {

// The letters: B sequences, H heads, N tokens (at least 1), D head dimension and Dv value dimension (both at most 64).
struct Inputs {
    TensorView<const float, 4> q;       // [B, H, N, D], before the feature map, as is k
    TensorView<const float, 4> k;       // [B, H, N, D]
    TensorView<const float, 4> v;       // [B, H, N, Dv]
    TensorView<const int, 2> document;  // [B, N], any numbers; where a token's number differs from that of the token
                                        // before it, a new document begins, even if the number occurred earlier

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
    TensorView<float, 4> state;       // [B, H, D, Dv], the sum of φ(k) vᵀ over the sequence's last document
    TensorView<float, 3> normalizer;  // [B, H, D], the sum of φ(k) over the same

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("state", state), visitor("normalizer", normalizer);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) {
        const int B = in.q.extent(0), H = in.q.extent(1), N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
        return {{nullptr, {B, H, N, Dv}}, {nullptr, {B, H, D, Dv}}, {nullptr, {B, H, D}}};
    }
};

inline namespace ATTN_BUILD {

// The function to write, in document_kernel.cu. All tensors are in device memory.
void document_kernel(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace ATTN_BUILD
}  // namespace attn::exercises::document_kernel
