// Wrong: all of the cache is loaded, and what is not seen is left out afterwards.
#include "chapters/04_head_sharing/exercises/grouped_window_decode.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::grouped_window_decode {

// ---- your code ----

namespace {

constexpr int warps = 8, block_threads = 32 * warps;
constexpr int tile = 32;
constexpr int most_numbers = 128;
constexpr int columns = most_numbers / 32;

__global__ void attend_group(Inputs in, Options options, Outputs out) {
    __shared__ float queries[warps][most_numbers];
    __shared__ float keys[tile][most_numbers + 1];
    __shared__ float values[tile][most_numbers];
    const int H = in.q.extent(1), G = in.k.extent(1), D = in.q.extent(3), Dv = in.v.extent(3), group = H / G;
    const int b = static_cast<int>(blockIdx.x) / G, g = static_cast<int>(blockIdx.x) % G;
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const bool has_query = warp < group;
    const int h = g * group + warp;
    const int end = in.length(b), window = in.window(g);
    const int first = window == 0 ? 0 : max(0, end - window);

    for (int place = thread; place < group * D; place += block_threads)
        queries[place / D][place % D] = in.q(b, g * group + place / D, 0, place % D);

    float maximum = -INFINITY, sum = 0, weighted[columns] = {};
    const int N = in.k.extent(2);
    for (int start = 0; start < N; start += tile) {
        const int count = min(tile, N - start);
        __syncthreads();
        for (int place = thread; place < count * D; place += block_threads)
            keys[place / D][place % D] = in.k(b, g, start + place / D, place % D);
        for (int place = thread; place < count * Dv; place += block_threads)
            values[place / Dv][place % Dv] = in.v(b, g, start + place / Dv, place % Dv);
        __syncthreads();
        if (!has_query) continue;

        float score = -INFINITY;
        const bool is_seen = start + lane >= first && start + lane < end;
        if (is_seen) {
            float dot = 0;
            for (int d = 0; d < D; ++d) dot += queries[warp][d] * keys[lane][d];
            score = static_cast<float>(options.scale) * dot;
        }
        const float higher = fmaxf(maximum, warp_max(score));
        const float shrink = higher == -INFINITY ? 1 : expf(maximum - higher);
        const float weight = is_seen ? expf(score - higher) : 0;
        maximum = higher;
        sum = sum * shrink + warp_sum(weight);
        for (int c = 0; c < columns; ++c) weighted[c] *= shrink;
        for (int row = 0; row < count; ++row) {
            const float of_row = __shfl_sync(all_lanes, weight, row);
            if (start + row < first || start + row >= end) continue;
            for (int c = 0; c < columns; ++c)
                if (lane + 32 * c < Dv) weighted[c] += of_row * values[row][lane + 32 * c];
        }
    }

    if (!has_query) return;
    for (int c = 0; c < columns; ++c)
        if (lane + 32 * c < Dv) out.out(b, h, 0, lane + 32 * c) = end > 0 ? weighted[c] / sum : 0;
    if (lane == 0) out.log_sum_exp(b, h, 0) = end > 0 ? maximum + logf(sum) : -INFINITY;
}

}  // namespace

inline namespace ATTN_BUILD {

void grouped_window_decode(const Inputs& in, const Options& options, const Outputs& out) {
    const unsigned groups = static_cast<unsigned>(in.k.extent(0) * in.k.extent(1));
    launch(attend_group, {groups, block_threads}, in, options, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::grouped_window_decode
