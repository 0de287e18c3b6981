#pragma once

#include <stdexcept>

namespace attn {

// A call of the CUDA runtime failed, or a kernel broke a rule of the CUDA model.
struct CudaError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace attn
