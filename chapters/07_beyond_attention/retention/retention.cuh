// Stage 1's launcher, for the sizes that stage 2 leaves to it.
#pragma once

#include "chapters/07_beyond_attention/retention/retention.hpp"
#include "common/cuda/build.hpp"

namespace attn::retention {
inline namespace ATTN_BUILD {

// On device memory, whatever the sizes.
void launch_recurrence(const Inputs<float>& in, const Options& options, const Outputs<float>& out);

}  // namespace ATTN_BUILD
}  // namespace attn::retention
