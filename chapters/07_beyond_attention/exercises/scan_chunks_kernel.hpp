// Exercise scan_chunks_kernel, the interface: the selective scan of a sequence in which several documents are packed
// one behind the other, with the tokens of a chunk at the same time.
#pragma once

#include "common/cuda/build_name.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::scan_chunks_kernel {

// The letters: B sequences, D channels, L tokens (1 or more), S numbers of state for each channel (at most 16).
struct Inputs {
    TensorView<const float, 3> u;        // [B, D, L]
    TensorView<const float, 3> delta;    // [B, D, L]: Δ as it is, above 0
    TensorView<const float, 2> a;        // [D, S], below 0
    TensorView<const float, 3> b;        // [B, S, L], the same for all channels, as is c
    TensorView<const float, 3> c;        // [B, S, L]
    TensorView<const float, 1> d;        // [D]
    TensorView<const int, 2> position;   // [B, L], of each token in its document: 0 begins a document. Any other number
                                         // goes on with the one before, even where positions skip or repeat
    TensorView<const float, 3> initial;  // [B, D, S]: the state that tokens before the first one have left. Absent: 0

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("u", u), visitor("delta", delta), visitor("a", a), visitor("b", b), visitor("c", c), visitor("d", d);
        visitor("position", position), visitor("initial", initial, Optional{});
    }
    struct Optional {};
};

struct Options {
    template <class Visitor>
    void visit(Visitor&&) {}
};

struct Outputs {
    TensorView<float, 3> out;   // [B, D, L]
    TensorView<float, 3> last;  // [B, D, S]: the state after the last token

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("last", last);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) {
        return {{nullptr, in.u.shape()}, {nullptr, {in.u.extent(0), in.u.extent(1), in.a.extent(1)}}};
    }
};

inline namespace ATTN_BUILD {

// The function to write, in scan_chunks_kernel.cu. All tensors are in device memory.
void scan_chunks_kernel(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace ATTN_BUILD
}  // namespace attn::exercises::scan_chunks_kernel
