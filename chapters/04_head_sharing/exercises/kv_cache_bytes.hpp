// Exercise kv_cache_bytes, the interface: the size of a KV cache in which each key/value head has its own window.
#pragma once

#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::kv_cache_bytes {

struct Inputs {
    TensorView<const int, 2> window;  // [layers, G], one for each key/value head: how many of the last positions its
                                      // queries see, their own included; 0: all
    TensorView<const int, 1> length;  // [B], the positions of each sequence so far; 0 for one that has not begun

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("window", window), visitor("length", length);
    }
};

struct Options {
    int query_heads = 1;   // H, a multiple of G
    int head_dim = 64;     // D, the numbers of a key
    int value_dim = 64;    // Dv, the numbers of a value
    int number_bits = 16;  // of one number in the cache, often 16, 8 or 4
    int page = 16;         // positions of one page

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("query_heads", query_heads), visitor("head_dim", head_dim), visitor("value_dim", value_dim);
        visitor("number_bits", number_bits), visitor("page", page);
    }
};

struct Outputs {
    TensorView<std::int64_t, 1> held;  // [layers], bytes of all pages that are taken
    TensorView<std::int64_t, 1> read;  // [layers], bytes of all keys and values that the newest queries see

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("held", held), visitor("read", read);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) {
        return {{nullptr, {in.window.extent(0)}}, {nullptr, {in.window.extent(0)}}};
    }
};

// The function to write, in kv_cache_bytes.cpp. All tensors are in the host's memory.
void kv_cache_bytes(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace attn::exercises::kv_cache_bytes
