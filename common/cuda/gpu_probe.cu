// Compiled by nvcc only: whether a GPU answers.
#include <cuda_runtime.h>

#include "common/mechanism/cuda_versions.hpp"

namespace attn {

bool probe_gpu() {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

}  // namespace attn

namespace {
[[maybe_unused]] const bool probe_set = (attn::gpu_probe = attn::probe_gpu) != nullptr;
}  // namespace
