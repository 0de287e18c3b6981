// BigBird's attention, the interface: positions in blocks; each block sees itself and its two neighbours (window), the
// first and the last block (global), and a few that were drawn at random. The first and the last block see everything.
//
//     blocks(I) = { 0, n_b - 1 }  ∪  { I - 1, I, I + 1 }  ∪  random(h, I)         of n_b blocks
//
// A set: a block that is named twice counts once. Not causal. Any two positions hear of each other in two steps,
// through the first block.
//
// Book 19.4, family 1. Zaheer et al. 2020, "Big Bird: Transformers for Longer Sequences" (arXiv 2007.14062), section 2
// and appendix D.
#pragma once

#include "chapters/01_fixed_sparse/pattern.hpp"
#include "chapters/01_fixed_sparse/self_attention.hpp"

namespace attn::bigbird {

using fixed_sparse::Outputs;
using fixed_sparse::Sizes;

struct Options {
    int block = 1;     // positions of a block
    double scale = 1;  // usually 1/sqrt(D)
};

template <class T>
struct Inputs : fixed_sparse::Inputs<T> {
    // [H, N/block, r]: which blocks a row of blocks sees at random, -1 for none. Part of the model, not of the input:
    // random_blocks.hpp draws them. What stands there for the first and the last row is ignored.
    TensorView<const std::int64_t, 3> random_blocks;

    template <class Visitor>
    void visit(Visitor&& visitor) {
        fixed_sparse::Inputs<T>::visit(visitor);
        visitor("random_blocks", random_blocks);
    }
};

// Throws ShapeError where the inputs contradict each other or the options.
template <class T>
void check_inputs(const Inputs<T>& in, const Options& options) {
    check_shapes(in);
    const Sizes s = in.sizes();
    if (s.N % options.block != 0)
        throw ShapeError("q has " + std::to_string(s.N) + " positions, expected a multiple of the block, " +
                         std::to_string(options.block));
    const int blocks = s.N / options.block;
    expect_shape("random_blocks", in.random_blocks, {{s.H, blocks, in.random_blocks.extent(2)}},
                 "[H, N/block, r] with H and N of q");
    for (std::int64_t index = 0; index < in.random_blocks.count(); ++index) {
        const std::int64_t block = in.random_blocks.data()[index];
        if (block < -1 || block >= blocks)
            throw ShapeError("random_blocks holds " + std::to_string(block) + ", expected a block, 0 … " +
                             std::to_string(blocks - 1) + ", or -1 for none");
    }
}

template <class T>
fixed_sparse::BigBirdPattern pattern(const Inputs<T>& in, const Options& options) {
    return {{}, in.sizes().N, options.block, in.random_blocks};
}

// What the naive version costs, forward, exactly.
template <class T>
Costs forward_cost(const Inputs<T>& in, const Options& options, std::size_t scalar_bytes) {
    const Sizes s = in.sizes();
    const fixed_sparse::BigBirdPattern seen = pattern(in, options);
    return fixed_sparse::costs_of_pairs(s.B * seen.pairs(), s.D, s.Dv, seen.longest_row(), scalar_bytes);
}

// The type of the CUDA versions, which work in float.
using CudaFunction = void (*)(const Inputs<float>&, const Options&, const Outputs<float>&);

}  // namespace attn::bigbird
