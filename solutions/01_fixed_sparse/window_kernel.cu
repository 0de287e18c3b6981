// Exercise window_kernel: attention in which each query head has a window of its own, and a sink: one more score, which
// takes its share of the weight and gives it to no value. A block visits the tiles that its queries see, and no others.
//
//     query i stands at position p = i + Nk - Nq and sees the keys  p - window(h) < j <= p,  0 <= j
//     L(i) = log(exp(sink(h)) + Σ exp(score(i, j)))      score(i, j) = scale · q(i)·k(j)
//     out(i) = Σ exp(score(i, j) - L(i)) · v(j)          log_sum_exp(i) = L(i)
//
// CUDA, about 75 minutes, hard. Builds on: tile_kinds; online_softmax and flash_kernel of chapter 05, which have a sink
// and tiles and no window; steps [19.4.1-8] and [19.4.1-10], where all heads have one window and none has a sink.
// OpenAI's gpt-oss has such sinks, and windows of 128 keys in every other layer. (The sinks of tile_kinds are keys that
// all see; this one is a number that is learned.)
//
// What to write: a kernel with one block for each 16 queries of a head, and its launch. For example, with four queries
// for each of four warps, and tiles of 32 keys that begin at multiples of 32:
//   1. From the positions of its first and its last query the block knows which keys they see, and so at which tile it
//      begins and where it ends.
//   2. It loads a tile's keys and values into shared memory.
//   3. Lane x of a warp multiplies key x of the tile with the warp's queries. A tile that all queries of the block see
//      in whole needs no mask; only the tiles at the two edges do.
//   4. For each query the online softmax: maximum, shrink, weights, and the values times these.
//   After the last tile: divide, and store. More queries in a block, or a thread for each, are as good.
//   Each block loads a key and a value once, and of the tiles only those that one of its queries sees. The judge counts
//   what is loaded; it does not see which tiles you mask.
//
// Mind:
//   - The first tile may hold keys that no query of the block sees, and keys that only some do; the last the latter.
//   - A query may see nothing of its block's first tile. Without a sink its maximum is still -inf then, and
//     -inf - (-inf) is NaN.
//   - With Nq > Nk the first queries see no key at all.
//   - What is not seen may be NaN, and 0 · NaN is NaN.
//   - Scores and sinks may be in the thousands, either the larger.
//   - A thread without a query loads for the others, and waits at the barriers with them.
#include "chapters/01_fixed_sparse/exercises/window_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::window_kernel {

// ---- your code ----

namespace {

constexpr int warps = 4, block_threads = 32 * warps;
constexpr int rows = 4, block_queries = warps * rows;  // of a warp, of a block
constexpr int tile = 32;                               // keys, a lane for each
constexpr int most_numbers = 64;                       // of a query, of a key and of a value
constexpr int columns = most_numbers / 32;             // of a value, for each lane

__global__ void attend_to_windows(Inputs in, Options options, Outputs out) {
    __shared__ float queries[block_queries][most_numbers];
    __shared__ float keys[tile][most_numbers + 1];  // one more: 32 lanes read one depth of 32 keys, in 32 banks
    __shared__ float values[tile][most_numbers];
    const int H = in.q.extent(1), G = in.k.extent(1), Nq = in.q.extent(2), Nk = in.k.extent(2);
    const int D = in.q.extent(3), Dv = in.v.extent(3);
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const int blocks_of_head = (Nq + block_queries - 1) / block_queries;
    const int first_query = static_cast<int>(blockIdx.x) % blocks_of_head * block_queries;
    const int head = static_cast<int>(blockIdx.x) / blocks_of_head;
    const int b = head / H, h = head % H, g = h / (H / G);
    const float scale = static_cast<float>(options.scale), sink = in.sink(h);
    const int window = in.window(h);

    const int queries_here = min(block_queries, Nq - first_query);
    for (int place = thread; place < queries_here * D; place += block_threads)
        queries[place / D][place % D] = in.q(b, h, first_query + place / D, place % D);

    // Query i sees the keys begin_of(i) … end_of(i) - 1. Both never fall from one query to the next.
    auto end_of = [&](int i) { return max(i + Nk - Nq + 1, 0); };
    auto begin_of = [&](int i) { return max(end_of(i) - window, 0); };
    const int last_query = first_query + queries_here - 1;
    int begin[rows], end[rows];  // equal where there is no query, or it sees nothing
    float maximum[rows], sum[rows], weighted[rows][columns] = {};
    for (int r = 0; r < rows; ++r) {
        const int i = first_query + warp * rows + r;
        begin[r] = i <= last_query ? begin_of(i) : 0;
        end[r] = i <= last_query ? end_of(i) : 0;
        maximum[r] = sink;  // a key that came before all others, without a value
        sum[r] = sink == -INFINITY ? 0 : 1;
    }
    const int block_end = end_of(last_query);
    for (int first = begin_of(first_query) / tile * tile; first < block_end; first += tile) {
        const int count = min(tile, block_end - first);
        __syncthreads();  // nobody reads the tile before this one any more
        for (int place = thread; place < count * D; place += block_threads)
            keys[place / D][place % D] = in.k(b, g, first + place / D, place % D);
        for (int place = thread; place < count * Dv; place += block_threads)
            values[place / Dv][place % Dv] = in.v(b, g, first + place / Dv, place % Dv);
        __syncthreads();  // the tile is complete, and so are the queries

        const bool is_full = begin_of(last_query) <= first && first + tile <= end_of(first_query);
        for (int r = 0; r < rows; ++r) {
            // What the query sees of the tile.
            const int from = max(begin[r] - first, 0), to = min(end[r] - first, count);
            if (from >= to) continue;  // the warp together; with a maximum of -inf it would be -inf - (-inf)
            float score = -INFINITY;
            if (is_full || (from <= lane && lane < to)) {
                float dot = 0;
                for (int d = 0; d < D; ++d) dot += queries[warp * rows + r][d] * keys[lane][d];
                score = scale * dot;
            }
            const float higher = fmaxf(maximum[r], warp_max(score));
            const float shrink = expf(maximum[r] - higher);
            const float weight = expf(score - higher);  // 0 in lanes whose key is not seen
            maximum[r] = higher;
            sum[r] = sum[r] * shrink + warp_sum(weight);
            for (int c = 0; c < columns; ++c) weighted[r][c] *= shrink;
            for (int key = from; key < to; ++key) {  // a weight of 0 would not be enough
                const float of_key = __shfl_sync(all_lanes, weight, key);
                for (int c = 0; c < columns; ++c)
                    if (lane + 32 * c < Dv) weighted[r][c] += of_key * values[key][lane + 32 * c];
            }
        }
    }

    for (int r = 0; r < rows; ++r) {
        const int i = first_query + warp * rows + r;
        if (i > last_query) break;
        const bool is_empty = begin[r] == end[r] && sink == -INFINITY;  // nothing was summed up
        for (int c = 0; c < columns; ++c)
            if (lane + 32 * c < Dv) out.out(b, h, i, lane + 32 * c) = is_empty ? 0 : weighted[r][c] / sum[r];
        if (lane == 0) out.log_sum_exp(b, h, i) = is_empty ? -INFINITY : maximum[r] + logf(sum[r]);
    }
}

}  // namespace

inline namespace ATTN_BUILD {

void window_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    const int blocks_of_head = (in.q.extent(2) + block_queries - 1) / block_queries;
    const unsigned blocks = static_cast<unsigned>(in.q.extent(0) * in.q.extent(1) * blocks_of_head);
    launch(attend_to_windows, {blocks, block_threads}, in, options, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::window_kernel
