// The backward pass on the device, shared by the stages of the forward pass.
#pragma once

#include "chapters/05_flash_attention/flash_attention.hpp"
#include "common/cuda/build.hpp"

namespace attn::flash_attention {
inline namespace ATTN_BUILD {

// How the gradients of the queries are summed up over tiles of keys, which different blocks have: with atomic
// additions, in whatever order the blocks come; or by a kernel of its own, which computes the weights once more and has
// the same bits on every run.
enum class DQ { by_atomics, deterministic };

// Fills d_q, d_k and d_v from the inputs, out and log_sum_exp, all on the device.
void launch_backward(const Inputs<float>& in, const Options& options, const Outputs<float>& out, DQ d_q);

}  // namespace ATTN_BUILD
}  // namespace attn::flash_attention
