// Wrong: a block of threads for each query head.
#include "chapters/06_native_sparse/exercises/selection_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::selection_kernel {

// ---- your code ----

namespace {

constexpr int warps = 4, block_threads = 32 * warps;
constexpr int rows = 4, most_heads = warps * rows;  // query heads of a warp, of a block
constexpr int tile = 32;                            // keys, a lane for each
constexpr int most_numbers = 64;                    // of a query, of a key and of a value
constexpr int columns = most_numbers / 32;          // of a value, for each lane

__global__ void attend_to_selected(Inputs in, Options options, Outputs out) {
    __shared__ float queries[most_heads][most_numbers];
    __shared__ float keys[tile][most_numbers + 1];  // one more: 32 lanes read one depth of 32 keys, in 32 banks
    __shared__ float values[tile][most_numbers];
    const int G = in.k.extent(1), group = in.q.extent(1) / G, N = in.q.extent(2), L = options.select_block;
    const int D = in.q.extent(3), Dv = in.v.extent(3);
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const int t = static_cast<int>(blockIdx.x) % N, h_here = static_cast<int>(blockIdx.x) / N % (G * group);
    const int b = static_cast<int>(blockIdx.x) / N / (G * group), g = h_here / group;
    const float scale = static_cast<float>(options.scale);
    const int document = in.begin(t);

    auto head_of = [&](int row) { return h_here + row; };
    for (int place = thread; place < D; place += block_threads)
        queries[place / D][place % D] = in.q(b, head_of(place / D), t, place % D);

    float maximum[rows], sum[rows], weighted[rows][columns] = {};
    for (int r = 0; r < rows; ++r) {
        const int row = warp + r * warps;
        maximum[r] = row < 1 ? in.sink(head_of(row)) : -INFINITY;  // a key before all others, without a value
        sum[r] = maximum[r] == -INFINITY ? 0 : 1;
    }
    for (int s = 0; s < in.selected.extent(3); ++s) {
        const int J = in.selected(b, g, t, s);
        if (J < 0) break;  // the whole block
        const int begin = max(J * L, document), end = min(J * L + L, t + 1);
        for (int first = begin; first < end; first += tile) {
            const int count = min(tile, end - first);
            __syncthreads();  // nobody reads the keys before these any more
            for (int place = thread; place < count * D; place += block_threads)
                keys[place / D][place % D] = in.k(b, g, first + place / D, place % D);
            for (int place = thread; place < count * Dv; place += block_threads)
                values[place / Dv][place % Dv] = in.v(b, g, first + place / Dv, place % Dv);
            __syncthreads();  // they are complete, and so are the queries

            for (int r = 0; r < rows; ++r) {
                const int row = warp + r * warps;
                if (row >= 1) continue;  // the warp together
                float score = -INFINITY;
                if (lane < count) {
                    float dot = 0;
                    for (int d = 0; d < D; ++d) dot += queries[row][d] * keys[lane][d];
                    score = scale * dot;
                }
                const float higher = fmaxf(maximum[r], warp_max(score));
                const float shrink = expf(maximum[r] - higher);
                const float weight = expf(score - higher);  // 0 in lanes without a key
                maximum[r] = higher;
                sum[r] = sum[r] * shrink + warp_sum(weight);
                for (int c = 0; c < columns; ++c) weighted[r][c] *= shrink;
                for (int key = 0; key < count; ++key) {
                    const float of_key = __shfl_sync(all_lanes, weight, key);
                    for (int c = 0; c < columns; ++c)
                        if (lane + 32 * c < Dv) weighted[r][c] += of_key * values[key][lane + 32 * c];
                }
            }
        }
    }

    for (int r = 0; r < rows; ++r) {
        const int row = warp + r * warps;
        if (row >= 1) continue;
        const int h = head_of(row);
        for (int c = 0; c < columns; ++c)
            if (lane + 32 * c < Dv) out.out(b, h, t, lane + 32 * c) = weighted[r][c] / sum[r];
        if (lane == 0) out.log_sum_exp(b, h, t) = maximum[r] + logf(sum[r]);
    }
}

}  // namespace

inline namespace ATTN_BUILD {

void selection_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    const unsigned blocks = static_cast<unsigned>(in.q.extent(0) * in.q.extent(1) * in.q.extent(2));
    launch(attend_to_selected, {blocks, block_threads}, in, options, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::selection_kernel
