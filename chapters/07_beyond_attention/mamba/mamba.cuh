// Mamba on the device, for other kernels of the family.
#pragma once

#include "chapters/07_beyond_attention/mamba/mamba.hpp"
#include "common/cuda/device_buffer.hpp"
#include "common/cuda/matrix_product.cuh"

namespace attn::mamba {
inline namespace ATTN_BUILD {

// A layer whose weights are in device memory, and what it remembers of B sequences.
class Layer {
  public:
    // `weights` must outlive the layer.
    Layer(const Weights<float>& weights, double norm_epsilon, int B);

    // The next `count` positions of each sequence, hidden vectors to outputs: rows_per_batch = count. The state moves
    // on.
    void advance(const Rows<const float>& hidden, const Rows<float>& out, int count);

  private:
    const Weights<float>& w_;
    const Sizes size_;
    const double norm_epsilon_;
    const int B_;
    DeviceTensor<float, 2> a_;
    // The convolution reads the inputs before this chunk out of one, and leaves the last ones in the other.
    DeviceTensor<float, 3> windows_[2];
    int now_ = 0;
    DeviceTensor<float, 3> h_;
};

}  // namespace ATTN_BUILD
}  // namespace attn::mamba
