// Dense attention on the GPU, stage 1: the formula as three kernels, one thread for each element of a result.
//
// The n × n matrix of scores goes to device memory and is read from there again and again: the book's O(n²), visible in
// the bytes that `attn run` reports. Neighbouring threads of the first kernel read rows of k that are D floats apart,
// so that each load of a warp touches 32 sectors of 32 bytes where 4 would do, and leaves it to the cache to keep them
// for the next seven steps. Stage 2 mends both the reading and the reuse.
#include "chapters/00_dense_attention/dense_attention_backward.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"

namespace attn::dense {
namespace {

constexpr int block_threads = 256;

__device__ std::int64_t thread_index() { return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }

// [19.3-1] one thread for each score
__global__ void score_elements(Inputs<float> in, Options options, TensorView<float, 4> scores /* [B, H, Nq, Nk] */) {
    const Sizes size = in.sizes();
    const std::int64_t index = thread_index();
    if (index >= scores.count()) return;
    const int j = static_cast<int>(index % size.Nk), i = static_cast<int>(index / size.Nk % size.Nq);
    const int h = static_cast<int>(index / size.Nk / size.Nq % size.H);
    const int b = static_cast<int>(index / size.Nk / size.Nq / size.H);
    if (j >= size.visible_keys(i, options.causal)) return;
    float dot = 0;
    for (int d = 0; d < size.D; ++d) dot += in.q(b, h, i, d) * in.k(b, size.kv_head(h), j, d);
    scores(b, h, i, j) = static_cast<float>(options.scale) * dot;
}

// [19.3-2] [19.3-3] [19.3-4] one thread for each row
__global__ void softmax_rows(Sizes size, Options options, TensorView<float, 4> scores,
                             TensorView<float, 3> log_sum_exp) {
    const std::int64_t index = thread_index();
    if (index >= log_sum_exp.count()) return;
    const int i = static_cast<int>(index % size.Nq);
    const int visible = size.visible_keys(i, options.causal);
    float* row = scores.data() + index * size.Nk;
    float maximum = -INFINITY, sum = 0;
    for (int j = 0; j < visible; ++j) maximum = fmaxf(maximum, row[j]);
    for (int j = 0; j < visible; ++j) {
        row[j] = expf(row[j] - maximum);
        sum += row[j];
    }
    for (int j = 0; j < visible; ++j) row[j] /= sum;
    log_sum_exp.data()[index] = visible > 0 ? maximum + logf(sum) : -INFINITY;
}

// [19.3-5] one thread for each element of out
__global__ void output_elements(Inputs<float> in, Options options, TensorView<const float, 4> weights,
                                TensorView<float, 4> out) {
    const Sizes size = in.sizes();
    const std::int64_t index = thread_index();
    if (index >= out.count()) return;
    const int d = static_cast<int>(index % size.Dv), i = static_cast<int>(index / size.Dv % size.Nq);
    const int h = static_cast<int>(index / size.Dv / size.Nq % size.H);
    const int b = static_cast<int>(index / size.Dv / size.Nq / size.H);
    float mean = 0;
    for (int j = 0; j < size.visible_keys(i, options.causal); ++j)
        mean += weights(b, h, i, j) * in.v(b, size.kv_head(h), j, d);
    out(b, h, i, d) = mean;
}

void launch_stage1(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    DeviceTensor<float, 4> scores({size.B, size.H, size.Nq, size.Nk});
    launch(score_elements, {blocks_for(scores.view().count(), block_threads), block_threads}, in, options,
           scores.view());
    launch(softmax_rows, {blocks_for(out.log_sum_exp.count(), block_threads), block_threads}, size, options,
           scores.view(), out.log_sum_exp);
    launch(output_elements, {blocks_for(out.out.count(), block_threads), block_threads}, in, options, scores.view(),
           out.out);
    if (in.d_out) launch_backward(in, options, out);
}

}  // namespace
}  // namespace attn::dense

ATTN_CUDA_VERSION("dense", "stage1", "one thread for each element; the n × n matrix in device memory",
                  attn::dense::launch_stage1, attn::dense::Inputs<float>, attn::dense::Options,
                  attn::dense::Outputs<float>)
