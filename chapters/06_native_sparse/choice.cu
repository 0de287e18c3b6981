// Native sparse attention on the GPU: which blocks each query attends to. The weights of the compressed keys are made
// once more, from log_sum_exp, and reduced to the importance of blocks in shared memory: the matrix n × n/d is never
// written. Then a warp for each query and key/value head chooses. So many queries at a time that the importance, n ×
// n/l' for all, stays small.
#include "chapters/06_native_sparse/native_sparse.cuh"
#include "common/cuda/device_buffer.hpp"
#include "common/cuda/ranking.cuh"
#include "common/cuda/register_tile.cuh"

namespace attn::native_sparse {
namespace {

constexpr std::int64_t importance_numbers = 1 << 22;  // 16 MiB at a time

// What 3 and 4 work on: some queries, from position `first` on.
struct Choice {
    TensorView<const float, 4> q, keys;      // [B, H, N, Dk]; compressed: [B, G, blocks of l, Dk]
    TensorView<const float, 3> log_sum_exp;  // [B, H, N]: of the compressed branch
    Options options;
    int first;
    TensorView<float, 4> importance;       // [B, G, queries, blocks of l']
    TensorView<std::int32_t, 4> selected;  // [B, G, N, n]
};

constexpr int most_kept = 4;  // strips of queries in shared memory

// [19.4.6-3] importance, a block for a tile of 64 rows: all heads of a group for a few queries. Blocks 0 … own - 2
// only, the last two are chosen anyway; so everything that counts is visible, and nothing has to be masked.
template <bool Aligned>
__global__ void __launch_bounds__(tile_threads, 2) weigh_blocks(Choice c) {
    extern __shared__ __align__(16) unsigned char memory[];
    Strip* of_keys = reinterpret_cast<Strip*>(memory);
    float(*weights)[tile] = reinterpret_cast<float(*)[tile]>(of_keys + 1);  // [rows][keys]
    Strip* of_queries = of_keys + 3;
    const int G = c.keys.extent(1), group = c.q.extent(1) / G, D = c.q.extent(3);
    const int heads = min(group, tile), queries = tile / heads;  // of a tile
    const int tiles = (c.importance.extent(2) + queries - 1) / queries;
    const int first_query = static_cast<int>(blockIdx.x) % tiles * queries;
    const int g = static_cast<int>(blockIdx.x) / tiles % G, b = static_cast<int>(blockIdx.x) / tiles / G;
    const int end_query = min(first_query + queries, c.importance.extent(2));
    const int stride = c.options.compress_stride, alpha = c.options.select_block / stride,
              beta = c.options.compress_block / stride;
    const int end_block = c.options.block_of(c.first + end_query - 1) - 1, end_key = end_block * alpha;
    const bool keeps = D <= most_kept * strip;

    for (int first_head = 0; first_head < group; first_head += heads) {
        const auto exists = [&](int row) {
            return first_query + row / heads < end_query && first_head + row % heads < group;
        };
        const auto head_of = [&](int row) { return g * group + first_head + row % heads; };
        const auto position_of = [&](int row) { return c.first + first_query + row / heads; };
        const auto load_queries = [&](Strip& to, int first) {
            load_transposed<Aligned>(
                to, first, [&](int row) { return exists(row) ? &c.q(b, head_of(row), position_of(row), 0) : nullptr; },
                [&](int) { return D; });
        };
        if (first_head > 0) __syncthreads();  // nobody reads the queries of the heads before these any more
        for (int first = 0; keeps && first < D && end_key > 0; first += strip)
            load_queries(of_queries[first / strip], first);
        float log_sum_exp[per_thread];
        for (int r = 0; r < per_thread; ++r)
            log_sum_exp[r] = exists(own_row() + r) && end_key > 0
                                 ? c.log_sum_exp(b, head_of(own_row() + r), position_of(own_row() + r))
                                 : INFINITY;

        for (int first_key = 0; first_key < end_key; first_key += tile) {
            Sums scores;
            for (int first = 0; first < D; first += strip) {
                __syncthreads();  // nobody reads the strip before this one, nor the weights before these, any more
                if (!keeps) load_queries(of_queries[0], first);
                load_transposed<Aligned>(
                    *of_keys, first,
                    [&](int key) { return first_key + key < end_key ? &c.keys(b, g, first_key + key, 0) : nullptr; },
                    [&](int) { return D; });
                __syncthreads();  // the strip is complete
                add_products(scores, of_queries[keeps ? first / strip : 0], *of_keys);
            }
            const float scale = static_cast<float>(c.options.scale);
#pragma unroll
            for (int r = 0; r < per_thread; ++r) {
                const auto weight = [&](int column) { return expf(scale * scores.at[r][column] - log_sum_exp[r]); };
                *reinterpret_cast<float4*>(&weights[own_row() + r][own_column()]) =
                    make_float4(weight(0), weight(1), weight(2), weight(3));
            }
            __syncthreads();  // the weights are complete

            // The heads' weights of a key, into the place of the first head's.
            const int all_heads = min(heads, group - first_head);
            for (int place = static_cast<int>(threadIdx.x); place < queries * tile; place += tile_threads) {
                const int row = place / tile * heads, key = place % tile;
                float sum = weights[row][key];
                for (int h = 1; h < all_heads; ++h) sum += weights[row + h][key];
                weights[row][key] = sum;
            }
            __syncthreads();  // the sums are complete

            // What these keys add to the blocks with which they share strides: key i has the strides i … i + β - 1.
            const int last_key = min(first_key + tile, end_key) - 1;
            const int first_block = first_key / alpha,
                      blocks = min((last_key + beta - 1) / alpha, end_block - 1) + 1 - first_block;
            for (int place = static_cast<int>(threadIdx.x); place < queries * blocks; place += tile_threads) {
                const int query = first_query + place / blocks, J = first_block + place % blocks;
                if (query >= end_query || J > c.options.block_of(c.first + query) - 2) continue;
                const int from = max(0, J * alpha - beta + 1), begin = max(first_key, from);
                const bool is_first = first_head == 0 && begin == from;
                float sum = is_first ? 0 : c.importance(b, g, query, J);
                for (int i = begin; i <= min(last_key, J * alpha + alpha - 1); ++i)
                    sum = fmaf(static_cast<float>(c.options.shared_strides(i, J)),
                               weights[place / blocks * heads][i - first_key], sum);
                c.importance(b, g, query, J) = sum;
            }
        }
    }
}

// [19.4.6-4] the choice, a warp for each query: round by round the next candidate, until the last one is known; then
// everything that does not come behind it, in ascending order
__global__ void __launch_bounds__(row_threads) choose_blocks(Choice c) {
    const int index = static_cast<int>(blockIdx.x) * warps + static_cast<int>(threadIdx.x) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int queries = c.importance.extent(2), G = c.importance.extent(1), n = c.selected.extent(3);
    if (index >= c.importance.extent(0) * G * queries) return;  // the whole warp together
    const int query = index % queries, g = index / queries % G, b = index / queries / G;
    const int t = c.first + query, own = c.options.block_of(t);
    // Beside the first and the two last there are the blocks 1 … own - 2.
    const int choices = c.options.selected_at(t) - min(3, own + 1);
    const bool takes_all = choices >= own - 2;
    Ranked last = before_all();
    for (int r = 0; r < choices && !takes_all; ++r)
        last = warp_next(last, 1, own - 1, [&](int J) { return c.importance(b, g, query, J); });
    int written = 0;
    for (int first = 0; first <= own; first += 32) {
        const int J = first + lane;
        const bool is_forced = J == 0 || J >= own - 1, is_compared = !is_forced && !takes_all && choices > 0;
        const Ranked candidate{is_compared ? c.importance(b, g, query, J) : 0, J};
        const bool is_chosen = J <= own && (is_forced || takes_all || (is_compared && !last.comes_before(candidate)));
        const unsigned chosen = __ballot_sync(all_lanes, is_chosen);
        if (is_chosen) c.selected(b, g, t, written + __popc(chosen & ((1u << lane) - 1))) = J;
        written += __popc(chosen);
    }
    for (int r = written + lane; r < n; r += 32) c.selected(b, g, t, r) = -1;
}

}  // namespace

inline namespace ATTN_BUILD {

void choose(const TensorView<const float, 4>& q, const TensorView<const float, 4>& keys,
            const TensorView<const float, 3>& log_sum_exp, const Options& options, const Range& positions,
            const TensorView<std::int32_t, 4>& selected) {
    Choice c{q, keys, log_sum_exp, options, 0, {}, selected};
    const int B = c.q.extent(0), G = c.keys.extent(1), D = c.q.extent(3), heads = std::min(c.q.extent(1) / G, tile);
    const int blocks = c.options.blocks(positions.end);
    const std::int64_t fitting = importance_numbers / (std::int64_t{B} * G * blocks);
    const int most = static_cast<int>(std::min<std::int64_t>(std::max<std::int64_t>(fitting, tile), positions.count()));
    DeviceTensor<float, 4> importance({B, G, most, blocks}, "importance");
    for (c.first = positions.begin; c.first < positions.end; c.first += most) {
        const int queries = std::min(most, positions.end - c.first);
        c.importance = {importance.view().data(), {{B, G, queries, blocks}}};
        const auto groups = static_cast<unsigned>(B * G);
        const std::size_t strips = 3 + std::min<unsigned>(most_kept, blocks_for(D, strip));
        if (c.options.block_of(c.first + queries - 1) > 2 &&
            c.options.select_count > 3)  // there is something to choose
            launch(D % 4 == 0 ? weigh_blocks<true> : weigh_blocks<false>,
                   {groups * blocks_for(queries, tile / heads), tile_threads, strips * sizeof(Strip)}, c);
        launch(choose_blocks, {blocks_for(std::int64_t{B} * G * queries, warps), row_threads}, c);
    }
}

}  // namespace ATTN_BUILD
}  // namespace attn::native_sparse
