// Exercise tile_kinds, the interface: which tiles of a pattern are empty, partial or full.
#pragma once

#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::tile_kinds {

struct Inputs {
    TensorView<const int, 1> begin;   // [documents], the position where each begins: 0 first, ascending, all below keys
    TensorView<const int, 1> window;  // [H], W: how many of the last keys a query of the head sees, its own counted in

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("begin", begin), visitor("window", window);
    }
};

struct Options {
    int queries = 1;   // Nq: query i stands at position i + Nk - Nq, the last one at that of the last key
    int keys = 1;      // Nk
    int rows = 16;     // queries of a tile
    int columns = 32;  // keys of a tile
    int sinks = 0;     // s: how many of the first keys of its document a query sees beside its window

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("queries", queries), visitor("keys", keys), visitor("rows", rows), visitor("columns", columns);
        visitor("sinks", sinks);
    }
};

constexpr int empty = 0, partial = 1, full = 2;

struct Outputs {
    TensorView<int, 3> kind;  // [H, row tiles, column tiles]: empty where none of its pairs is visible, full where all
                              // are, otherwise partial. The last tiles may have fewer rows or columns: only pairs of
                              // a query and a key that are there count

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("kind", kind);
    }

    // The shapes that belong to the inputs and options, without data.
    static Outputs shaped(const Inputs& in, const Options& options) {
        return {{nullptr,
                 {in.window.extent(0), (options.queries - 1) / options.rows + 1,
                  (options.keys - 1) / options.columns + 1}}};
    }
};

// The function to write, in tile_kinds.cpp. All tensors are in the host's memory.
void tile_kinds(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace attn::exercises::tile_kinds
