// Wrong: the score is not divided by the cap.
#include "chapters/05_flash_attention/exercises/flash_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::flash_kernel {

// ---- your code ----

namespace {

constexpr int warps = 4, block_threads = 32 * warps;
constexpr int rows = 4, block_queries = warps * rows;  // of a warp, of a block
constexpr int tile = 32;                               // keys, a lane for each
constexpr int most_numbers = 64;                       // of a query, of a key and of a value
constexpr int columns = most_numbers / 32;             // of a value, for each lane

__global__ void attend_to_tiles(Inputs in, Options options, Outputs out) {
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
    const float scale = static_cast<float>(options.scale), cap = static_cast<float>(options.cap);

    const int queries_here = min(block_queries, Nq - first_query);
    for (int place = thread; place < queries_here * D; place += block_threads)
        queries[place / D][place % D] = in.q(b, h, first_query + place / D, place % D);

    auto visible_keys = [&](int i) { return options.causal ? min(max(i + Nk - Nq + 1, 0), Nk) : Nk; };
    int visible[rows];  // 0 where there is no query
    float maximum[rows], sum[rows] = {}, weighted[rows][columns] = {};
    for (int r = 0; r < rows; ++r) {
        const int row = warp * rows + r;
        visible[r] = row < queries_here ? visible_keys(first_query + row) : 0;
        maximum[r] = -INFINITY;
    }
    const int end = visible_keys(first_query + queries_here - 1);  // of what the block sees
    for (int first = 0; first < end; first += tile) {
        const int count = min(tile, end - first);
        __syncthreads();  // nobody reads the tile before this one any more
        for (int place = thread; place < count * D; place += block_threads)
            keys[place / D][place % D] = in.k(b, g, first + place / D, place % D);
        for (int place = thread; place < count * Dv; place += block_threads)
            values[place / Dv][place % Dv] = in.v(b, g, first + place / Dv, place % Dv);
        __syncthreads();  // the tile is complete, and so are the queries

        float weight[rows];
        for (int r = 0; r < rows; ++r) {
            float score = -INFINITY;
            if (first + lane < visible[r]) {
                float dot = 0;
                for (int d = 0; d < D; ++d) dot += queries[warp * rows + r][d] * keys[lane][d];
                score = cap * tanhf(scale * dot);
            }
            weight[r] = 0;
            if (first >= visible[r]) continue;  // the warp together; from key 0 on it would be -inf - (-inf)
            const float higher = fmaxf(maximum[r], warp_max(score));
            const float shrink = expf(maximum[r] - higher);  // 0 in the first tile
            weight[r] = expf(score - higher);                // 0 in lanes whose key is not seen
            maximum[r] = higher;
            sum[r] = sum[r] * shrink + warp_sum(weight[r]);
            for (int c = 0; c < columns; ++c) weighted[r][c] *= shrink;
        }
        for (int r = 0; r < rows; ++r)
            for (int key = 0; key < count && first + key < visible[r]; ++key) {  // a weight of 0 would not be enough
                const float of_key = __shfl_sync(all_lanes, weight[r], key);
                for (int c = 0; c < columns; ++c)
                    if (lane + 32 * c < Dv) weighted[r][c] += of_key * values[key][lane + 32 * c];
            }
    }

    for (int r = 0; r < rows; ++r) {
        const int row = warp * rows + r, i = first_query + row;
        if (row >= queries_here) break;
        for (int c = 0; c < columns; ++c)
            if (lane + 32 * c < Dv) out.out(b, h, i, lane + 32 * c) = visible[r] > 0 ? weighted[r][c] / sum[r] : 0;
        if (lane == 0) out.log_sum_exp(b, h, i) = visible[r] > 0 ? maximum[r] + logf(sum[r]) : -INFINITY;
    }
}

}  // namespace

inline namespace ATTN_BUILD {

void flash_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    const int blocks_of_head = (in.q.extent(2) + block_queries - 1) / block_queries;
    const unsigned blocks = static_cast<unsigned>(in.q.extent(0) * in.q.extent(1) * blocks_of_head);
    launch(attend_to_tiles, {blocks, block_threads}, in, options, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::flash_kernel
