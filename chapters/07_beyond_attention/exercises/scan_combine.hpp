// Exercise scan_combine, the interface: steps of a recurrence that begins anew with each document, put together in an
// order that is given.
#pragma once

#include "common/tensor/tensor_view.hpp"

namespace attn::exercises::scan_combine {

// The letters: N recurrences, L steps of each (1 or more), P combinations (1 or more).
struct Inputs {
    TensorView<const float, 2> fades;   // [N, L]: step t makes fades(t) · h + enters(t) of h
    TensorView<const float, 2> enters;  // [N, L]
    TensorView<const int, 2> begins;  // [N, L]: where it is not 0 a document begins, and the step makes enters(t) of h
    TensorView<const float, 1> before;  // [N]: h before anything is applied
    // Combination p: what first(p) does, and then what then(p) does, as one. In both 0 … L-1 are the steps, L is the
    // identity, and from L + 1 on come the combinations; each uses earlier ones.
    TensorView<const int, 1> first;  // [P]
    TensorView<const int, 1> then;   // [P]

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("fades", fades), visitor("enters", enters), visitor("begins", begins), visitor("before", before);
        visitor("first", first), visitor("then", then);
    }
};

struct Options {
    template <class Visitor>
    void visit(Visitor&&) {}
};

struct Outputs {
    TensorView<float, 2> after;  // [N, L + 1 + P]: h after each step, the identity and each combination, of before(n)

    template <class Visitor>
    void visit(Visitor&& visitor) {
        visitor("after", after);
    }

    // The shapes that belong to the inputs, without data.
    static Outputs shaped(const Inputs& in) {
        return {{nullptr, {in.fades.extent(0), in.fades.extent(1) + 1 + in.first.extent(0)}}};
    }
};

// Given, in scan_combine.cpp; it calls the four functions to write. All tensors are in the host's memory.
void scan_combine(const Inputs& in, const Options& options, const Outputs& out);

}  // namespace attn::exercises::scan_combine
