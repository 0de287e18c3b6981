// Native sparse attention on the GPU, fp32, stage 1: as stage 2 (native_sparse.cu), but each query head has a block of
// threads of its own, and loads the selected blocks for itself.
#include "chapters/06_native_sparse/native_sparse.cuh"
#include "common/cuda/on_device.hpp"

namespace attn::native_sparse {
namespace {

void launch_stage1(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    attend(in, options, out, 1);
}

}  // namespace
}  // namespace attn::native_sparse

ATTN_CUDA_VERSION("native_sparse", "stage1", "each query head loads the selected blocks for itself",
                  attn::native_sparse::launch_stage1, attn::native_sparse::Inputs<float>, attn::native_sparse::Options,
                  attn::native_sparse::Outputs<float>)
