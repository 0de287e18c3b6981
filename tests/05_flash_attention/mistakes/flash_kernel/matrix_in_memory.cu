// Wrong: all scores are written to device memory, and read from there.
#include "chapters/05_flash_attention/exercises/flash_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::flash_kernel {

// ---- your code ----

namespace {

// A thread for each score.
__global__ void capped_scores(Inputs in, Options options, TensorView<float, 4> scores) {
    const int H = in.q.extent(1), G = in.k.extent(1), Nq = in.q.extent(2), Nk = in.k.extent(2);
    const int place = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (place >= scores.count()) return;
    const int j = place % Nk, i = place / Nk % Nq, h = place / Nk / Nq % H, b = place / Nk / Nq / H;
    float dot = 0;
    for (int d = 0; d < in.q.extent(3); ++d) dot += in.q(b, h, i, d) * in.k(b, h / (H / G), j, d);
    const float cap = static_cast<float>(options.cap), scale = static_cast<float>(options.scale);
    const bool is_seen = !options.causal || j <= i + Nk - Nq;
    scores(b, h, i, j) = is_seen ? cap * tanhf(scale * dot / cap) : -INFINITY;
}

// A thread for each query.
__global__ void attend_row(Inputs in, Options options, TensorView<float, 4> scores, Outputs out) {
    const int H = in.q.extent(1), G = in.k.extent(1), Nq = in.q.extent(2), Nk = in.k.extent(2);
    const int place = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (place >= out.log_sum_exp.count()) return;
    const int i = place % Nq, h = place / Nq % H, b = place / Nq / H;
    const int visible = options.causal ? min(max(i + Nk - Nq + 1, 0), Nk) : Nk;
    float maximum = -INFINITY, sum = 0;
    for (int j = 0; j < visible; ++j) maximum = fmaxf(maximum, scores(b, h, i, j));
    for (int j = 0; j < visible; ++j) sum += expf(scores(b, h, i, j) - maximum);
    for (int d = 0; d < in.v.extent(3); ++d) {
        float weighted = 0;
        for (int j = 0; j < visible; ++j) weighted += expf(scores(b, h, i, j) - maximum) * in.v(b, h / (H / G), j, d);
        out.out(b, h, i, d) = visible > 0 ? weighted / sum : 0;
    }
    out.log_sum_exp(b, h, i) = visible > 0 ? maximum + logf(sum) : -INFINITY;
}

}  // namespace

inline namespace ATTN_BUILD {

void flash_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    DeviceTensor<float, 4> scores({in.q.extent(0), in.q.extent(1), in.q.extent(2), in.k.extent(2)}, "scores");
    launch(capped_scores, {blocks_for(scores.view().count(), 128), 128}, in, options, scores.view());
    launch(attend_row, {blocks_for(out.log_sum_exp.count(), 128), 128}, in, options, scores.view(), out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::flash_kernel
