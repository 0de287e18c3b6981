// FlashAttention on the GPU, stage 2: a warp for eight queries. Each lane has a key, and multiplies it with all
// eight. Maximum and sum go through shuffles; no thread needs registers for a whole row, and rows are written by whole
// warps.
#include "chapters/05_flash_attention/flash_attention.hpp"
#include "chapters/05_flash_attention/flash_attention_backward.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"
#include "common/cuda/vector_access.hpp"
#include "common/cuda/warp.hpp"

namespace attn::flash_attention {
namespace {

constexpr int warps = 8, block_threads = 32 * warps;
constexpr int rows_per_warp = 8, block_queries = warps * rows_per_warp;
constexpr int tile_keys = 32;       // a lane for each
constexpr int value_columns = 128;  // of one block: four of each lane

template <bool Aligned>
__global__ void __launch_bounds__(block_threads, 1)
    attend_by_warp(Inputs<float> in, Options options, TensorView<float, 4> out, TensorView<float, 3> log_sum_exp) {
    const Sizes size = in.sizes();
    extern __shared__ __align__(16) float memory[];
    const int stride = row_stride(size.D), fours = (size.D + 3) / 4;
    float* queries = memory;                              // [block_queries, stride]
    float* keys = queries + block_queries * stride;       // [tile_keys, stride]
    float* values = keys + tile_keys * stride;            // [tile_keys, value_columns]
    float* weights = values + tile_keys * value_columns;  // [block_queries, tile_keys]
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const int chunks = (size.Dv + value_columns - 1) / value_columns;
    const int tiles_of_queries = (size.Nq + block_queries - 1) / block_queries;
    const int first_column = static_cast<int>(blockIdx.x) % chunks * value_columns;
    const int first_query = static_cast<int>(blockIdx.x) / chunks % tiles_of_queries * block_queries;
    const int head = static_cast<int>(blockIdx.x) / chunks / tiles_of_queries;
    const int b = head / size.H, h = head % size.H, g = size.kv_head(h);

    load_rows_shared<Aligned, block_threads>(queries, stride, block_queries, 0, size.D, size.D, [&](int row) {
        return first_query + row < size.Nq ? &in.q(b, h, first_query + row, 0) : nullptr;
    });

    int visible[rows_per_warp], seen_by_all = size.Nk;
#pragma unroll
    for (int r = 0; r < rows_per_warp; ++r) {
        const int i = first_query + warp * rows_per_warp + r;
        visible[r] = i < size.Nq ? size.visible_keys(i, options.causal) : 0;
        seen_by_all = min(seen_by_all, visible[r]);
    }
    const int seen_by_any = size.visible_keys(min(first_query + block_queries, size.Nq) - 1, options.causal);
    float maximum[rows_per_warp], sum[rows_per_warp] = {}, means[rows_per_warp][value_columns / 32] = {};
#pragma unroll
    for (int r = 0; r < rows_per_warp; ++r) maximum[r] = -INFINITY;
    for (int first = 0; first < seen_by_any; first += tile_keys) {
        const int count = min(tile_keys, seen_by_any - first);
        __syncthreads();  // nobody reads the tile before this one any more
        load_rows_shared<Aligned, block_threads>(keys, stride, tile_keys, 0, size.D, size.D, [&](int row) {
            return row < count ? &in.k(b, g, first + row, 0) : nullptr;
        });
        for (int place = static_cast<int>(threadIdx.x); place < tile_keys * value_columns / 4; place += block_threads) {
            const int row = place / (value_columns / 4), column = place % (value_columns / 4) * 4;
            const float4 four =
                row < count ? load_four<Aligned>(in.v.slice(b, g, first + row).data(), first_column + column, size.Dv)
                            : make_float4(0, 0, 0, 0);
            *reinterpret_cast<float4*>(&values[row * value_columns + column]) = four;
        }
        __syncthreads();  // the tile is complete

        // [19.4.5-1] scores: each lane multiplies its key with the queries of its warp
        float scores[rows_per_warp] = {};
#pragma unroll 2
        for (int d = 0; d < 4 * fours; d += 4) {
            const float4 k = *reinterpret_cast<const float4*>(&keys[lane * stride + d]);
#pragma unroll
            for (int r = 0; r < rows_per_warp; ++r) {
                const float4 q = *reinterpret_cast<const float4*>(&queries[(warp * rows_per_warp + r) * stride + d]);
                scores[r] = fmaf(q.x, k.x, scores[r]), scores[r] = fmaf(q.y, k.y, scores[r]);
                scores[r] = fmaf(q.z, k.z, scores[r]), scores[r] = fmaf(q.w, k.w, scores[r]);
            }
        }

        // [19.4.5-2] [19.4.5-3] the maximum so far, and by what the sums so far shrink
#pragma unroll
        for (int r = 0; r < rows_per_warp; ++r) {
            const bool is_seen = first + lane < visible[r];
            const float score = is_seen ? static_cast<float>(options.scale) * scores[r] : -INFINITY;
            const float next = fmaxf(maximum[r], warp_max(score));
            const float base = next == -INFINITY ? 0 : next;
            const float shrink = expf(maximum[r] - base), weight = is_seen ? expf(score - base) : 0;
            maximum[r] = next;
            sum[r] = fmaf(sum[r], shrink, warp_sum(weight));
            weights[(warp * rows_per_warp + r) * tile_keys + lane] = weight;
#pragma unroll
            for (int c = 0; c < value_columns / 32; ++c) means[r][c] *= shrink;
        }
        __syncwarp();

        // [19.4.5-4] [19.4.5-5] the weighted sum of the values: each lane has every 32nd column
        const bool all_see_all = first + tile_keys <= seen_by_all;
#pragma unroll 2
        for (int j = 0; j < tile_keys; ++j) {
            float value[value_columns / 32];
#pragma unroll
            for (int c = 0; c < value_columns / 32; ++c) value[c] = values[j * value_columns + c * 32 + lane];
#pragma unroll
            for (int r = 0; r < rows_per_warp; ++r) {
                if (!all_see_all && first + j >= visible[r]) continue;  // 0 · NaN is NaN
                const float weight = weights[(warp * rows_per_warp + r) * tile_keys + j];
#pragma unroll
                for (int c = 0; c < value_columns / 32; ++c) means[r][c] = fmaf(weight, value[c], means[r][c]);
            }
        }
        __syncwarp();  // the weights have been read
    }

    // [19.4.5-6] divided by the sum at the end
#pragma unroll
    for (int r = 0; r < rows_per_warp; ++r) {
        const int i = first_query + warp * rows_per_warp + r;
        if (i >= size.Nq) continue;
#pragma unroll
        for (int c = 0; c < value_columns / 32; ++c) {
            const int column = first_column + c * 32 + lane;
            if (column < size.Dv) out(b, h, i, column) = visible[r] > 0 ? means[r][c] / sum[r] : 0;
        }
        if (lane == 0 && first_column == 0)
            log_sum_exp(b, h, i) = visible[r] > 0 ? maximum[r] + logf(sum[r]) : -INFINITY;
    }
}

void launch_stage2(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    const unsigned blocks = static_cast<unsigned>(size.B * size.H) * blocks_for(size.Nq, block_queries) *
                            blocks_for(size.Dv, value_columns);
    const std::size_t numbers = static_cast<std::size_t>(block_queries + tile_keys) * row_stride(size.D) +
                                tile_keys * value_columns + block_queries * tile_keys;
    launch(size.D % 4 == 0 && size.Dv % 4 == 0 ? attend_by_warp<true> : attend_by_warp<false>,
           {blocks, block_threads, numbers * sizeof(float)}, in, options, out.out, out.log_sum_exp);
    if (in.d_out) launch_backward(in, options, out, DQ::by_atomics);
}

}  // namespace
}  // namespace attn::flash_attention

ATTN_CUDA_VERSION("flash_attention", "stage2",
                  "a warp for eight queries, a lane for each key; shuffles for maximum and sum",
                  attn::flash_attention::launch_stage2, attn::flash_attention::Inputs<float>,
                  attn::flash_attention::Options, attn::flash_attention::Outputs<float>)
