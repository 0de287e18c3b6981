// Exercise pattern_pairs, the interface: which keys a query sees, and how many pairs that makes, in a pattern of
// dilated windows and global tokens over packed documents.
#pragma once

#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::pattern_pairs {

// The letters: n positions, H heads.
struct Inputs {
    TensorView<const int, 1> begin;       // [documents], where each begins: 0 first, ascending, all below n
    TensorView<const int, 1> window;      // [H], W: how many keys a query sees in its window, its own counted in
    TensorView<const int, 1> dilation;    // [H], d: how far apart these keys are; W · d is no more than an int holds
    TensorView<const int, 1> query, key;  // [P], positions: pairs to tell of whether they are visible
    TensorView<const int, 1> global_tokens;  // [G], positions, ascending, each once; absent, with an extent of 0,
                                             // where there is none

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("begin", begin), visitor("window", window), visitor("dilation", dilation);
        visitor("query", query), visitor("key", key), visitor("global_tokens", global_tokens, Optional{});
    }
    struct Optional {};
};

struct Options {
    int positions = 1;  // n

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("positions", positions);
    }
};

struct Outputs {
    TensorView<int, 2> visible;         // [H, P]: 1 where query(p) sees key(p), 0 elsewhere
    TensorView<std::int64_t, 1> pairs;  // [H], how many of the n · n pairs of a query and a key are visible

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("visible", visible), visitor("pairs", pairs);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) {
        const int H = in.window.extent(0);
        return {{nullptr, {H, in.query.extent(0)}}, {nullptr, {H}}};
    }
};

// The function to write, in pattern_pairs.cpp. All tensors are in the host's memory.
void pattern_pairs(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace attn::exercises::pattern_pairs
