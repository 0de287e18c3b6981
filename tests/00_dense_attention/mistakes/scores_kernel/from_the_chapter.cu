// Wrong: the scores of stage 1.
#include "chapters/00_dense_attention/exercises/scores_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::scores_kernel {

// ---- your code ----

namespace {

constexpr int block_threads = 256;

__device__ std::int64_t thread_index() { return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }

// [19.3-1] one thread for each score
__global__ void score_elements(Inputs in, Options options, TensorView<float, 4> scores /* [B, H, Nq, Nk] */) {
    const int H = in.q.extent(1), G = in.k.extent(1), Nq = in.q.extent(2), Nk = in.k.extent(2), D = in.q.extent(3);
    const std::int64_t index = thread_index();
    if (index >= scores.count()) return;
    const int j = static_cast<int>(index % Nk), i = static_cast<int>(index / Nk % Nq);
    const int h = static_cast<int>(index / Nk / Nq % H);
    const int b = static_cast<int>(index / Nk / Nq / H);
    if (options.causal && j > i + (Nk - Nq)) return;
    float dot = 0;
    for (int d = 0; d < D; ++d) dot += in.q(b, h, i, d) * in.k(b, h / (H / G), j, d);
    scores(b, h, i, j) = static_cast<float>(options.scale) * dot;
}

}  // namespace

inline namespace ATTN_BUILD {

void scores_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    launch(score_elements, {blocks_for(out.scores.count(), block_threads), block_threads}, in, options, out.scores);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::scores_kernel
