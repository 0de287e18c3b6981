// Exercise top_blocks, the interface: which blocks of its document a query attends to.
#pragma once

#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::top_blocks {

// The letters: G key/value heads, N positions, J blocks of l' positions, the last of which may be incomplete.
struct Inputs {
    TensorView<const float, 3> importance;  // [G, N, J] of each block to query t; may be NaN. Of blocks that the query
                                            // cannot choose anything
    TensorView<const int, 1> begin;         // [N], the position at which the document of each position begins
    TensorView<const int, 1> budget;        // [G], n, 1 or more: how many blocks a query of the head may have in all

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("importance", importance), visitor("begin", begin), visitor("budget", budget);
    }
};

struct Options {
    int select_block = 1;  // l': block J has the positions J l' … J l' + l' - 1, whatever documents there are
    int width = 1;         // places for a query's blocks, at least as many as the largest budget

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("select_block", select_block), visitor("width", width);
    }
};

struct Outputs {
    TensorView<int, 3> selected;  // [G, N, width]: blocks, ascending, then -1

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("selected", selected);
    }

    // The shapes that belong to the inputs and options, without data.
    static Outputs shaped(const Inputs& in, const Options& options) {
        return {{nullptr, {in.importance.extent(0), in.importance.extent(1), options.width}}};
    }
};

// The function to write, in top_blocks.cpp. All tensors are in the host's memory.
void top_blocks(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace attn::exercises::top_blocks
