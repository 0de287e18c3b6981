// check(call): throws CudaError with the place of the call where a call of the CUDA runtime failed.
#pragma once

#include <source_location>
#include <stdexcept>
#include <string>

#include "common/cuda/build.hpp"
#include "common/cuda/cuda_error.hpp"

namespace attn {
inline namespace ATTN_BUILD {

inline void check(cudaError_t error, std::source_location place = std::source_location::current()) {
    if (error == cudaSuccess) return;
    throw CudaError(std::string(cudaGetErrorName(error)) + " (" + cudaGetErrorString(error) + ") at " +
                    place.file_name() + ":" + std::to_string(place.line()));
}

}  // namespace ATTN_BUILD
}  // namespace attn
