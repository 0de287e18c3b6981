// Exercise merge_splits, the interface: the attention of a row out of that to several splits of its keys.
#pragma once

#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::merge_splits {

struct Inputs {
    TensorView<const float, 3> part;              // [splits, rows, Dv], the output of each split on its own; NaN where
                                                  // a row saw no key of the split
    TensorView<const float, 2> part_log_sum_exp;  // [splits, rows]; -inf where a row saw no key of the split

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("part", part), visitor("part_log_sum_exp", part_log_sum_exp);
    }
};

struct Options {
    bool base_two = false;  // part_log_sum_exp is a logarithm with the base 2; otherwise a natural one

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("base_two", base_two);
    }
};

struct Outputs {
    TensorView<float, 2> out;          // [rows, Dv]; 0 where all splits are empty
    TensorView<float, 1> log_sum_exp;  // [rows], natural; -inf where all splits are empty

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("out", out), visitor("log_sum_exp", log_sum_exp);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) {
        return {{nullptr, {in.part.extent(1), in.part.extent(2)}}, {nullptr, {in.part.extent(1)}}};
    }
};

// The function to write, in merge_splits.cpp. All tensors are in the host's memory.
void merge_splits(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace attn::exercises::merge_splits
