// Exercise importance_map, the interface: how much each block of packed documents matters to each query.
#pragma once

#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::importance_map {

// The letters: H query heads, G key/value heads (H is a multiple of G), N positions, C compressed blocks, and l, d, l'
// as in the options.
struct Inputs {
    TensorView<const float, 3> scores;  // [H, N, C] of query t and compressed key i, scaled; of keys that the query
                                        // does not see anything, even NaN
    TensorView<const int, 1> begin;     // [N], the position at which the document of each position begins

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("scores", scores), visitor("begin", begin);
    }
};

struct Options {
    int compress_block = 1;  // l: compressed block i has the positions i d … i d + l - 1, whatever documents there are
    int compress_stride = 1;  // d; l and l' are multiples of it
    int select_block = 1;     // l': block J has the positions J l' … J l' + l' - 1. l may be more, or less
    int kv_heads = 1;         // G: query head h belongs to key/value head h / (H/G)

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("compress_block", compress_block), visitor("compress_stride", compress_stride);
        visitor("select_block", select_block), visitor("kv_heads", kv_heads);
    }
};

struct Outputs {
    TensorView<float, 3> importance;  // [G, N, J]: of each block of l' to query t; the last one may be incomplete

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("importance", importance);
    }

    // The shapes that belong to the inputs and options, without data.
    static Outputs shaped(const Inputs& in, const Options& options) {
        const int N = in.scores.extent(1);
        return {{nullptr, {options.kv_heads, N, (N - 1) / options.select_block + 1}}};
    }
};

// The function to write, in importance_map.cpp. All tensors are in the host's memory.
void importance_map(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace attn::exercises::importance_map
