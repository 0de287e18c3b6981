// Native sparse attention on the GPU, fp32.
//
//   1  compress           a thread for four numbers of a block, or the mlp's products
//   2  attend             the compressed branch and the window: chapter 01's tiles of 64 queries and 64 keys
//   3  weigh_blocks       the compressed weights once more, from log_sum_exp, reduced to the importance of blocks in
//                         shared memory: the matrix n × n/d is never written
//   4  choose_blocks      a warp for each query and key/value head
//   5  attend_to_selected a block for each query and key/value head: its query heads share what is loaded of the
//                         selected blocks; the gated sum at the end
//
// 3 and 4 take so many queries at a time that the importance, n × n/l' for all, stays small.
#include "chapters/01_fixed_sparse/block_sparse.cuh"
#include "chapters/06_native_sparse/native_sparse.hpp"
#include "common/cuda/matrix_product.cuh"
#include "common/cuda/on_device.hpp"
#include "common/mechanism/layer.hpp"

namespace attn::native_sparse {
namespace {

using fixed_sparse::Attention;
using fixed_sparse::RowTile;

constexpr int row_threads = 128, warps = row_threads / 32;
constexpr std::int64_t importance_numbers = 1 << 22;  // 16 MiB

// Compressed blocks, or positions: begin … end - 1.
struct Range {
    int begin, end;

    ATTN_HOST_DEVICE int count() const { return end - begin; }
};

// ---- 1 compression --------------------------------------------------------------------------------------------------

// [19.4.6-1] compression, mean (without weights) or linear: a thread for four numbers of one block
template <bool Aligned>
__global__ void compress_by_sums(TensorView<const float, 4> tokens, TensorView<const float, 1> weight, Options options,
                                 Range range, TensorView<float, 4> blocks) {
    const int G = tokens.extent(1), D = tokens.extent(3), fours = (D + 3) / 4;
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index >= std::int64_t{tokens.extent(0)} * G * range.count() * fours) return;
    const int x = static_cast<int>(index % fours) * 4;
    const int i = range.begin + static_cast<int>(index / fours % range.count());
    const int head = static_cast<int>(index / fours / range.count());
    const float* first = &tokens(head / G, head % G, i * options.compress_stride, 0);
    float4 sum = make_float4(0, 0, 0, 0);
    for (int s = 0; s < options.compress_block; ++s) {
        const float4 token = load_four<Aligned>(first + std::int64_t{s} * D, x, D);
        const float by = weight ? weight(s) : 1;
        sum = make_float4(fmaf(by, token.x, sum.x), fmaf(by, token.y, sum.y), fmaf(by, token.z, sum.z),
                          fmaf(by, token.w, sum.w));
    }
    const float by = weight ? 1 : static_cast<float>(options.compress_block);
    store_four<Aligned>(&blocks(head / G, head % G, i, 0), x, D,
                        make_float4(sum.x / by, sum.y / by, sum.z / by, sum.w / by));
}

// hidden = gelu(hidden + shift), a thread for each number
__global__ void shift_and_gelu(TensorView<float, 2> hidden, TensorView<const float, 2> shift) {
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index >= hidden.count()) return;
    const float x = hidden.data()[index] + shift(0, static_cast<int>(index % hidden.extent(1)));
    hidden.data()[index] = 0.5f * x * (1 + erff(x * 0.70710678f));
}

// [19.4.6-1] compression by the mlp: up · (block + position) = up · block + up · position. A block's tokens stand side
// by side in memory, so it is a row of l·D numbers, and the next row begins d tokens further on.
void compress_by_mlp(const TensorView<const float, 4>& tokens, const Weights<float>& w, const Options& options,
                     const Range& range, const TensorView<float, 4>& blocks) {
    const int N = tokens.extent(2), D = tokens.extent(3), heads = tokens.extent(0) * tokens.extent(1);
    const int rows = heads * range.count(), numbers = options.compress_block * D, Dh = w.up.extent(0);
    DeviceTensor<float, 2> hidden({rows, Dh}, "hidden units"), shift({1, Dh}, "up · position");
    const std::int64_t stride = std::int64_t{options.compress_stride} * D;
    multiply({w.position.data(), numbers}, {w.up.data(), numbers}, {shift.view().data(), Dh}, 1, Dh, numbers);
    multiply({tokens.data() + range.begin * stride, stride, range.count(), std::int64_t{N} * D}, {w.up.data(), numbers},
             {hidden.view().data(), Dh}, rows, Dh, numbers);
    launch(shift_and_gelu, {blocks_for(std::int64_t{rows} * Dh, row_threads), row_threads}, hidden.view(),
           shift.view());
    multiply({hidden.view().data(), Dh}, {w.down.data(), Dh},
             {blocks.data() + std::int64_t{range.begin} * D, D, range.count(), std::int64_t{blocks.extent(2)} * D},
             rows, D, Dh);
}

void compress(const TensorView<const float, 4>& tokens, const Weights<float>& w, const Options& options,
              const Range& range, const TensorView<float, 4>& blocks) {
    if (range.count() <= 0) return;
    if (options.compressor == Compressor::mlp) return compress_by_mlp(tokens, w, options, range, blocks);
    const int D = tokens.extent(3);
    const std::int64_t threads = std::int64_t{tokens.extent(0)} * tokens.extent(1) * range.count() * ((D + 3) / 4);
    launch(D % 4 == 0 ? compress_by_sums<true> : compress_by_sums<false>,
           {blocks_for(threads, row_threads), row_threads}, tokens, w.weight, options, range, blocks);
}

// ---- 2 the compressed branch and the window -------------------------------------------------------------------------

// Rows are the positions from `begin` on.
struct FromPosition : fixed_sparse::InOrder {
    int begin;

    ATTN_HOST_DEVICE constexpr int query(int row) const { return begin + row; }
};

// [19.4.6-2] blocks that are complete
struct CompleteBlocks : FromPosition {
    Options options;

    ATTN_HOST_DEVICE constexpr bool visible(int, int t, int i) const { return i < options.complete(t + 1); }
    ATTN_HOST_DEVICE constexpr bool blind(int, int t) const { return options.complete(t + 1) == 0; }
    ATTN_HOST_DEVICE constexpr Range seen(int t) const { return {0, options.complete(t + 1)}; }
};
// [19.4.6-6] the last W tokens
struct LastTokens : FromPosition {
    int window;

    ATTN_HOST_DEVICE constexpr bool visible(int, int t, int j) const { return j <= t && t - j < window; }
    ATTN_HOST_DEVICE constexpr bool blind(int, int) const { return false; }
    ATTN_HOST_DEVICE constexpr Range seen(int t) const { return {t < window ? 0 : t - window + 1, t + 1}; }
};

// A block: 64 rows of one key/value head, 64 · ValueTiles columns of the values. Only tiles that somebody sees.
template <class Pattern, int ValueTiles, bool Aligned>
__global__ void __launch_bounds__(tile_threads, 1) attend(Attention a, Pattern pattern) {
    extern __shared__ __align__(16) unsigned char memory[];
    const int G = a.k.extent(1), row_tiles = (a.area.rows() + tile - 1) / tile;
    const int chunks = (a.v.extent(3) + ValueTiles * tile - 1) / (ValueTiles * tile);
    const int first_value = static_cast<int>(blockIdx.x) % chunks * ValueTiles * tile;
    const int row_tile = static_cast<int>(blockIdx.x) / chunks % row_tiles;
    const int head = static_cast<int>(blockIdx.x) / chunks / row_tiles;
    const Range by_first = pattern.seen(pattern.query(row_tile * tile / a.area.group));
    const Range by_last = pattern.seen(pattern.query((min((row_tile + 1) * tile, a.area.rows()) - 1) / a.area.group));
    RowTile<Pattern, ValueTiles, Aligned> rows(a, pattern, memory, head / G, head % G, row_tile, first_value);
    for (int visit = by_first.begin / tile; visit * tile < by_last.end; ++visit)
        rows.add(visit, visit * tile < by_last.begin || (visit + 1) * tile > by_first.end);
    rows.write_out();
}

template <class Pattern, int ValueTiles>
void launch_attend_with(const Attention& a, const Pattern& pattern) {
    const int D = a.q.extent(3), Dv = a.v.extent(3);
    const auto heads = static_cast<unsigned>(a.k.extent(0) * a.k.extent(1));
    launch(D % 4 == 0 && Dv % 4 == 0 ? attend<Pattern, ValueTiles, true> : attend<Pattern, ValueTiles, false>,
           {heads * blocks_for(a.area.rows(), tile) * blocks_for(Dv, ValueTiles * tile), tile_threads,
            RowTile<Pattern, ValueTiles, true>::shared_bytes(D)},
           a, pattern);
}
template <class Pattern>
void launch_attend(const Attention& a, const Pattern& pattern) {
    if (a.v.extent(3) <= tile)
        launch_attend_with<Pattern, 1>(a, pattern);
    else
        launch_attend_with<Pattern, 2>(a, pattern);
}

// ---- 3 importance ---------------------------------------------------------------------------------------------------

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
                const Strip& queries_strip = of_queries[keeps ? first / strip : 0];
#pragma unroll 8
                for (int depth = 0; depth < strip; ++depth)
                    add_outer_product(
                        scores, *reinterpret_cast<const float4*>(&queries_strip[depth][swizzled(depth, own_row())]),
                        *reinterpret_cast<const float4*>(&(*of_keys)[depth][swizzled(depth, own_column())]));
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

// ---- 4 the choice ---------------------------------------------------------------------------------------------------

struct Candidate {
    float importance = -INFINITY;
    int block = 1 << 30;

    // Of equal ones, and where there is NaN, the lower index. (NaN are all of them or none: they are weights of one
    // softmax.)
    __device__ bool comes_before(const Candidate& other) const {
        return importance > other.importance || (!(other.importance > importance) && block < other.block);
    }
};
__device__ Candidate warp_first(Candidate own) {
    for (int distance = 16; distance > 0; distance /= 2) {
        const Candidate other{__shfl_xor_sync(all_lanes, own.importance, distance),
                              __shfl_xor_sync(all_lanes, own.block, distance)};
        if (other.comes_before(own)) own = other;
    }
    return own;
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
    Candidate last{INFINITY, -1};
    for (int r = 0; r < choices && !takes_all; ++r) {
        Candidate first;
        for (int J = 1 + lane; J <= own - 2; J += 32) {
            const Candidate candidate{c.importance(b, g, query, J), J};
            if (last.comes_before(candidate) && candidate.comes_before(first)) first = candidate;
        }
        last = warp_first(first);
    }
    int written = 0;
    for (int first = 0; first <= own; first += 32) {
        const int J = first + lane;
        const bool is_forced = J == 0 || J >= own - 1, is_compared = !is_forced && !takes_all && choices > 0;
        const Candidate candidate{is_compared ? c.importance(b, g, query, J) : 0, J};
        const bool is_chosen = J <= own && (is_forced || takes_all || (is_compared && !last.comes_before(candidate)));
        const unsigned chosen = __ballot_sync(all_lanes, is_chosen);
        if (is_chosen) c.selected(b, g, t, written + __popc(chosen & ((1u << lane) - 1))) = J;
        written += __popc(chosen);
    }
    for (int r = written + lane; r < n; r += 32) c.selected(b, g, t, r) = -1;
}

// ---- 5 the selected blocks, and the gated sum -----------------------------------------------------------------------

constexpr int tile_keys = 32;    // a lane has one
constexpr int value_strip = 64;  // columns of keys or values in shared memory at one time
constexpr int key_stride = row_stride(value_strip);

struct SharedMemory {
    float of_keys[tile_keys][key_stride];  // of keys, then of values
    float weights[warps][4][tile_keys];
    int tokens[tile_keys];
};

// [19.4.6-5] a block: one position, `heads` query heads of one group. Warp w has the rows w, w + 4 …: `Rows` of them.
template <int Rows, int ValueStrips, bool Aligned>
__global__ void __launch_bounds__(row_threads, 3) attend_to_selected(Inputs<float> in, Options options, Range positions,
                                                                     int heads, int first_value, Outputs<float> out) {
    extern __shared__ __align__(16) unsigned char memory[];
    auto& [of_keys, weights, tokens] = *reinterpret_cast<SharedMemory*>(memory);
    float* queries = reinterpret_cast<float*>(memory + sizeof(SharedMemory));  // [heads, Dk rounded up to 4]
    const Sizes size = in.sizes();
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const int chunks = (size.group() + heads - 1) / heads;
    const int first_head = static_cast<int>(blockIdx.x) % chunks * heads;
    const int t = positions.begin + static_cast<int>(blockIdx.x) / chunks % positions.count();
    const int g = static_cast<int>(blockIdx.x) / chunks / positions.count() % size.G;
    const int b = static_cast<int>(blockIdx.x) / chunks / positions.count() / size.G;
    const int rows = min(heads, size.group() - first_head);
    const int total = options.selected_keys(t);  // the own block is the last: these are the ones up to t
    load_rows_shared<Aligned, row_threads>(queries, (size.Dk + 3) / 4 * 4, rows, 0, size.Dk, size.Dk, [&](int row) {
        return &in.q(b, g * size.group() + first_head + row, t, 0);
    });

    RowState state[Rows];
    float sums[Rows][2 * ValueStrips] = {};
    for (int first_key = 0; first_key < total; first_key += tile_keys) {
        const int count = min(tile_keys, total - first_key);
        __syncthreads();  // nobody reads the tokens before these any more
        if (thread < count) {
            const int key = first_key + thread;
            tokens[thread] =
                out.selected(b, g, t, key / options.select_block) * options.select_block + key % options.select_block;
        }
        const auto row_of = [&](const TensorView<const float, 4>& tensor) {
            return [&](int key) { return key < count ? &tensor(b, g, tokens[key], 0) : nullptr; };
        };
        float dots[Rows] = {};
        for (int first = 0; first < size.Dk; first += value_strip) {
            __syncthreads();  // the tokens are known, and nobody reads the strip before this one any more
            load_rows_shared<Aligned, row_threads>(of_keys[0], key_stride, tile_keys, first, value_strip, size.Dk,
                                                   row_of(in.k_select));
            __syncthreads();  // the strip is complete
            const int columns = min(value_strip, (size.Dk + 3) / 4 * 4 - first);
#pragma unroll 2
            for (int d = 0; d < columns; d += 4) {
                const float4 k = *reinterpret_cast<const float4*>(&of_keys[lane][d]);
#pragma unroll
                for (int r = 0; r < Rows; ++r) {
                    const int row = min(warp + r * warps, rows - 1);
                    const float4 q =
                        *reinterpret_cast<const float4*>(&queries[row * ((size.Dk + 3) / 4 * 4) + first + d]);
                    dots[r] = fmaf(q.x, k.x, dots[r]), dots[r] = fmaf(q.y, k.y, dots[r]);
                    dots[r] = fmaf(q.z, k.z, dots[r]), dots[r] = fmaf(q.w, k.w, dots[r]);
                }
            }
        }
#pragma unroll
        for (int r = 0; r < Rows; ++r) {
            const float score = lane < count ? static_cast<float>(options.scale) * dots[r] : -INFINITY;
            const float maximum = fmaxf(state[r].maximum, warp_max(score));
            const float weight = lane < count ? exp_above(score, maximum) : 0;
            const float shrink = exp_above(state[r].maximum, maximum);
            state[r] = {maximum, fmaf(state[r].sum, shrink, warp_sum(weight))};
            weights[warp][r][lane] = weight;
#pragma unroll
            for (int column = 0; column < 2 * ValueStrips; ++column) sums[r][column] *= shrink;
        }
#pragma unroll
        for (int s = 0; s < ValueStrips; ++s) {
            __syncthreads();  // the weights are complete, and nobody reads the strip before this one any more
            load_rows_shared<Aligned, row_threads>(of_keys[0], key_stride, tile_keys, first_value + s * value_strip,
                                                   value_strip, size.Dv, row_of(in.v_select));
            __syncthreads();  // the strip is complete
            for (int key = 0; key < count; ++key) {
                const float left = of_keys[key][lane], right = of_keys[key][lane + 32];
#pragma unroll
                for (int r = 0; r < Rows; ++r) {
                    const float weight = weights[warp][r][key];
                    sums[r][2 * s] = fmaf(weight, left, sums[r][2 * s]);
                    sums[r][2 * s + 1] = fmaf(weight, right, sums[r][2 * s + 1]);
                }
            }
        }
    }

    // [19.4.6-7] the gated sum
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
        if (warp + r * warps >= rows) continue;
        const int h = g * size.group() + first_head + warp + r * warps;
        const float gate = lane < 3 ? in.gates(b, h, t, lane) : 0;
        const float g_compress = __shfl_sync(all_lanes, gate, 0), g_select = __shfl_sync(all_lanes, gate, 1),
                    g_window = __shfl_sync(all_lanes, gate, 2);
#pragma unroll
        for (int c = 0; c < 2 * ValueStrips; ++c) {
            const int column = first_value + c * 32 + lane;
            if (column >= size.Dv) continue;
            const float selected = sums[r][c] / state[r].sum;
            out.out_select(b, h, t, column) = selected;
            out.out(b, h, t, column) = fmaf(g_window, out.out_window(b, h, t, column),
                                            fmaf(g_select, selected, g_compress * out.out_compress(b, h, t, column)));
        }
    }
}

// `heads`: that share a block; all of a group, up to 16, or 1.
template <int Rows, int ValueStrips>
void launch_selected_with(const Inputs<float>& in, const Options& options, const Range& positions, int heads,
                          int first_value, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    const auto blocks = blocks_for(size.group(), heads) * static_cast<unsigned>(positions.count() * size.G * size.B);
    const std::size_t query_bytes = static_cast<std::size_t>(heads * ((size.Dk + 3) / 4 * 4)) * sizeof(float);
    launch(size.Dk % 4 == 0 && size.Dv % 4 == 0 ? attend_to_selected<Rows, ValueStrips, true>
                                                : attend_to_selected<Rows, ValueStrips, false>,
           {blocks, row_threads, sizeof(SharedMemory) + query_bytes}, in, options, positions, heads, first_value, out);
}
void launch_selected(const Inputs<float>& in, const Options& options, const Range& positions, int most_heads,
                     const Outputs<float>& out) {
    const int heads = std::min(in.sizes().group(), most_heads), Dv = in.sizes().Dv;
    for (int first = 0; first < Dv; first += 2 * value_strip) {
        const bool narrow = Dv - first <= value_strip;
        (heads <= warps ? narrow ? launch_selected_with<1, 1> : launch_selected_with<1, 2>
         : narrow ? launch_selected_with<4, 1>
                        : launch_selected_with<4, 2>)(in, options, positions, heads, first, out);
    }
}

// ---- all of it ------------------------------------------------------------------------------------------------------

void choose(Choice c, const Range& positions) {
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

template <int most_heads>
void launch_all(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const auto [B, H, G, N, Dk, Dv] = in.sizes();
    const int blocks = std::max(1, options.complete(N));
    DeviceTensor<float, 4> keys({B, G, blocks, Dk}, "compressed keys"), values({B, G, blocks, Dv}, "compressed values");
    DeviceTensor<float, 3> log_sum_exp({B, H, N}, "log_sum_exp");
    keys.fill_with_nan(), values.fill_with_nan();  // nobody may look at a block that is not complete
    const float scale = static_cast<float>(options.scale);
    for_each_step(N, options.prefill, [&](const Step& step) {
        const Range positions{step.first, step.first + step.count};
        // [19.4.6-11] the compressed cache grows by the blocks that these positions complete
        const Range completed{options.complete(positions.begin), options.complete(positions.end)};
        compress(in.k_compress, key_weights(in), options, completed, keys.view());
        compress(in.v_compress, value_weights(in), options, completed, values.view());
        launch_attend(Attention{in.q,
                                keys.view(),
                                values.view(),
                                out.out_compress,
                                log_sum_exp.view(),
                                scale,
                                {step.count, completed.end, H / G}},
                      CompleteBlocks{{{}, positions.begin}, options});
        launch_attend(
            Attention{in.q, in.k_window, in.v_window, out.out_window, {}, scale, {step.count, positions.end, H / G}},
            LastTokens{{{}, positions.begin}, options.window});
        choose({in.q, keys.view(), log_sum_exp.view(), options, 0, {}, out.selected}, positions);
        launch_selected(in, options, positions, most_heads, out);
    });
}

}  // namespace
}  // namespace attn::native_sparse

ATTN_CUDA_VERSION("native_sparse", "stage1", "each query head loads the selected blocks for itself",
                  attn::native_sparse::launch_all<1>, attn::native_sparse::Inputs<float>, attn::native_sparse::Options,
                  attn::native_sparse::Outputs<float>)
ATTN_CUDA_VERSION("native_sparse", "stage2",
                  "the query heads of a group share a block of threads: selected blocks are loaded once for all",
                  attn::native_sparse::launch_all<16>, attn::native_sparse::Inputs<float>, attn::native_sparse::Options,
                  attn::native_sparse::Outputs<float>)
