// The exercises of chapter 00 on tensors of the host: the CUDA ones are taken to the device and back.
#pragma once

#include <cstdint>
#include <optional>

#include "chapters/00_dense_attention/exercises/masked_softmax.hpp"
#include "chapters/00_dense_attention/exercises/row_maximum.hpp"
#include "chapters/00_dense_attention/exercises/scores_kernel.hpp"
#include "chapters/00_dense_attention/exercises/tile_transpose.hpp"
#include "chapters/00_dense_attention/exercises/warp_reduction.hpp"

namespace attn::exercises {

void run(const row_maximum::Inputs& in, const row_maximum::Options& options, const row_maximum::Outputs& out);
void run(const warp_reduction::Inputs& in, const warp_reduction::Options& options, const warp_reduction::Outputs& out);
void run(const tile_transpose::Inputs& in, const tile_transpose::Options& options, const tile_transpose::Outputs& out);
void run(const scores_kernel::Inputs& in, const scores_kernel::Options& options, const scores_kernel::Outputs& out);
inline void run(const masked_softmax::Inputs& in, const masked_softmax::Options& options,
                const masked_softmax::Outputs& out) {
    masked_softmax::masked_softmax(in, options, out);
}

// Bytes that the threads asked for since forget_accesses(). Nothing on a GPU, which does not tell.
struct Accesses {
    std::uint64_t loaded, stored, loaded_from_shared, stored_to_shared;
};
std::optional<Accesses> accesses();
void forget_accesses();

}  // namespace attn::exercises
