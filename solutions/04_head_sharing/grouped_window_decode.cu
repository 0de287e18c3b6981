// Exercise grouped_window_decode: one new query for each sequence and query head against the KV cache, of which each
// key/value head shows its last `window` positions.
//
//     score(j) = scale · q(b, h)·k(b, g, j)      out(b, h) = Σ softmax(score)(j) · v(b, g, j)      g = h / (H/G)
//     over the positions j that are seen:  length(b) - window(g) <= j < length(b), 0 <= j;  all with window(g) = 0
//
// CUDA, about 60 minutes, medium to hard. Builds on: warp_reduction and scores_kernel of chapter 00; steps [19.4.4-1]
// to [19.4.4-4], where all heads have one window and all sequences one length. A step of generation does little with
// each number that it reads, so that reading is what takes time: to read a key or value once for all query heads that
// share it is the point of grouped-query attention.
//
// What to write: a kernel with one block for each sequence and key/value head, and its launch. For example, with a warp
// for each of the up to 8 query heads of the group:
//   1. The block loads a tile of 32 keys and their 32 values from device memory into shared memory.
//   2. Lane x of a warp multiplies its warp's query with key x of the tile; that is its score.
//   3. The warp takes the maximum of its scores and of those before, and shrinks what it has summed up by
//      exp(old maximum - new maximum): the sum of the exponentials, and the weighted sum of the values.
//   4. It adds the exponentials, and the values times these: lane x has the columns x, x + 32, x + 64 and x + 96.
//   After the last tile: divide, and store. Two passes, with all scores in shared memory, are another way.
//   Each number of k and v that is seen is loaded from device memory once by its block, neighbouring threads taking
//   neighbouring numbers; none of the others is loaded.
//
// Mind:
//   - What is not seen may be NaN, and 0 · NaN is NaN.
//   - Lengths, D and Dv are no multiples of anything. A sequence of length 0 gets 0, and -inf as its log_sum_exp.
//   - A warp without a query head loads for the others, and waits at the barriers with them.
//   - Scores may be in the thousands.
#include "chapters/04_head_sharing/exercises/grouped_window_decode.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::grouped_window_decode {

// ---- your code ----

namespace {

constexpr int warps = 8, block_threads = 32 * warps;  // a warp for each query head of the group
constexpr int tile = 32;                              // positions, a lane for each
constexpr int most_numbers = 128;                     // of a key, and of a value
constexpr int columns = most_numbers / 32;            // of a value, for each lane

__global__ void attend_group(Inputs in, Options options, Outputs out) {
    __shared__ float queries[warps][most_numbers];
    __shared__ float keys[tile][most_numbers + 1];  // one more: 32 lanes read one depth of 32 keys, in 32 banks
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
    for (int start = first; start < end; start += tile) {
        const int count = min(tile, end - start);
        __syncthreads();  // nobody reads the tile before this one any more
        for (int place = thread; place < count * D; place += block_threads)
            keys[place / D][place % D] = in.k(b, g, start + place / D, place % D);
        for (int place = thread; place < count * Dv; place += block_threads)
            values[place / Dv][place % Dv] = in.v(b, g, start + place / Dv, place % Dv);
        __syncthreads();           // the tile is complete, and so are the queries
        if (!has_query) continue;  // on to the next barrier, the whole warp

        float score = -INFINITY;
        if (lane < count) {
            float dot = 0;
            for (int d = 0; d < D; ++d) dot += queries[warp][d] * keys[lane][d];
            score = static_cast<float>(options.scale) * dot;
        }
        const float higher = fmaxf(maximum, warp_max(score));
        const float shrink = expf(maximum - higher);  // 0 in the first tile
        const float weight = expf(score - higher);    // 0 in lanes without a position
        maximum = higher;
        sum = sum * shrink + warp_sum(weight);
        for (int c = 0; c < columns; ++c) weighted[c] *= shrink;
        for (int row = 0; row < count; ++row) {  // rows of this tile only: what lies behind them was never written
            const float of_row = __shfl_sync(all_lanes, weight, row);
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
