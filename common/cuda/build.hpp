// A `.cu` file is compiled twice: by nvcc for a GPU, and by the host compiler for the emulator. What both define with
// external linkage stands in this inline namespace, so that one program can hold both.
#pragma once

#include <cuda_runtime.h>

#include "common/cuda/build_name.hpp"

namespace attn {
inline namespace ATTN_BUILD {
#if defined(__CUDACC__)
constexpr const char* build_device = "cuda";
#else
constexpr const char* build_device = "emulated";
#endif
}  // namespace ATTN_BUILD
}  // namespace attn
