// The Sparse Transformer's factorised attention, the interface: two small sets of keys in the place of all earlier
// ones, such that two steps reach everything. With a stride l near √n both have about √n keys: n√n pairs in the place
// of n².
//
//     strided   first(i)  = { j : i - l < j <= i }               the last l
//               second(i) = { j <= i : (i - j) mod l = 0 }       every l-th
//     fixed     first(i)  = { j <= i : ⌊j/l⌋ = ⌊i/l⌋ }           the own block of l
//               second(i) = { j <= i : j mod l >= l - c }        the last c of each block: its summary
//
// One layer, or one head, uses the first, another the second; or one softmax runs over their union (merged).
//
// Book 19.4, family 1. Child, Gray, Radford and Sutskever 2019, "Generating Long Sequences with Sparse Transformers"
// (arXiv 1904.10509), section 4.2 and 4.3. (Read to the letter, the paper's sets have l + 1 and c + 1 positions; its
// code has l and c, as here.)
#pragma once

#include "chapters/01_fixed_sparse/pattern.hpp"
#include "chapters/01_fixed_sparse/self_attention.hpp"

namespace attn::sparse_transformer {

using fixed_sparse::check_shapes;
using fixed_sparse::Inputs;
using fixed_sparse::Kind;
using fixed_sparse::Outputs;
using fixed_sparse::Part;
using fixed_sparse::Sizes;

struct Options {
    Kind kind = Kind::strided;
    int stride = 1;   // l
    int summary = 1;  // c, of fixed
    Part part = Part::merged;
    double scale = 1;  // usually 1/sqrt(D)
};

inline fixed_sparse::SparseTransformerPattern pattern(int n, const Options& o) {
    return {n, o.kind, o.stride, o.summary, o.part};
}

// What the naive version costs, forward, exactly.
inline Costs forward_cost(const Sizes& s, const Options& options, std::size_t scalar_bytes) {
    const fixed_sparse::SparseTransformerPattern seen = pattern(s.N, options);
    return fixed_sparse::costs_of_pairs(std::int64_t{s.B} * s.H * seen.pairs(), s.D, s.Dv, seen.longest_row(),
                                        scalar_bytes);
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::sparse_transformer
