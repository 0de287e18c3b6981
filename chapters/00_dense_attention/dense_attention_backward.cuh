// The backward pass on the device, shared by the stages of the forward pass.
#pragma once

#include "chapters/00_dense_attention/dense_attention.hpp"
#include "common/cuda/build.hpp"

namespace attn::dense {
inline namespace ATTN_BUILD {

// Fills d_q, d_k and d_v from the inputs, out and log_sum_exp, all on the device.
void launch_backward(const Inputs<float>& in, const Options& options, const Outputs<float>& out);

}  // namespace ATTN_BUILD
}  // namespace attn::dense
