// Exercise attention_operations, the interface: what attention multiplies and adds, where each group has its own
// window.
#pragma once

#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::attention_operations {

struct Inputs {
    TensorView<const int, 2> window;  // [layers, G], one for each key/value head: how many of the last positions the
                                      // queries of its group see, their own included; 0: all up to their own

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("window", window);
    }
};

struct Options {
    int batch = 1;        // B sequences
    int query_heads = 1;  // H, a multiple of G: each key/value head serves a group of H/G
    int positions = 1;    // n, of each sequence's prompt
    int head_dim = 64;    // D, the numbers of a query and of a key
    int value_dim = 64;   // Dv, the numbers of a value

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("batch", batch), visitor("query_heads", query_heads), visitor("positions", positions);
        visitor("head_dim", head_dim), visitor("value_dim", value_dim);
    }
};

struct Outputs {
    TensorView<std::int64_t, 1> prefill;  // [layers], multiply-adds of all n queries of the prompt
    TensorView<std::int64_t, 1> step;     // [layers], of the one query after them, against the KV cache

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("prefill", prefill), visitor("step", step);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) {
        return {{nullptr, {in.window.extent(0)}}, {nullptr, {in.window.extent(0)}}};
    }
};

// The function to write, in attention_operations.cpp. All tensors are in the host's memory.
void attention_operations(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace attn::exercises::attention_operations
