// FlashAttention on the GPU, stage 4: few queries, many keys, as in generation (Flash-Decoding). With one query a block
// for each 64 queries leaves the GPU idle: here each split of 256 keys has a block, and a second kernel puts the splits
// together. The queries of all heads that share keys are the rows of one block, so that a key is read once for them.
//
// Many queries go to the kernel of stage 3. Both sum up in the same order: four neighbouring keys by one thread, then
// sixteen of those by a tree; keys one after the other; splits one after the other. So a query's output has the same
// bits alone (decoding) and among others (prefill).
#include "chapters/05_flash_attention/flash_attention_backward.cuh"
#include "chapters/05_flash_attention/flash_attention_tiles.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"
#include "common/cuda/row_state.cuh"
#include "common/cuda/vector_access.hpp"

namespace attn::flash_attention {
namespace {

constexpr int warps = 4, block_threads = 32 * warps;
constexpr int half_warp = 16, block_rows = block_threads / half_warp;
constexpr int keys_per_lane = tile_keys / half_warp;
constexpr int weight_stride = tile_keys + 4;  // the rows of a warp in different banks
constexpr int columns_per_lane = 8, value_columns = half_warp * columns_per_lane;  // of one block

// The rows of a group: query row / (H/G), head row % (H/G) of the group. A block: block_rows of them, a half warp each,
// against one split.
template <bool Aligned>
__global__ void __launch_bounds__(block_threads, 3)
    attend_to_split(Inputs<float> in, Options options, int splits, Parts parts, int first_value) {
    const Sizes size = in.sizes();
    extern __shared__ __align__(16) float memory[];
    const int stride = row_stride(size.D), tile_stride = max(stride, value_columns);
    float* tile_memory = memory;                             // [tile_keys, tile_stride]: keys, then values
    float* queries = tile_memory + tile_keys * tile_stride;  // [block_rows, stride]
    float* weights = queries + block_rows * stride;          // [block_rows, weight_stride]
    const int group = size.H / size.G, rows = size.Nq * group;
    const int tiles_of_rows = (rows + block_rows - 1) / block_rows;
    const int split = static_cast<int>(blockIdx.x) % splits;
    const int first_row = static_cast<int>(blockIdx.x) / splits % tiles_of_rows * block_rows;
    const int g = static_cast<int>(blockIdx.x) / splits / tiles_of_rows % size.G;
    const int b = static_cast<int>(blockIdx.x) / splits / tiles_of_rows / size.G;
    const int own = static_cast<int>(threadIdx.x) / half_warp, lane = static_cast<int>(threadIdx.x) % half_warp;
    const int own_query = (first_row + own) / group, own_head = g * group + (first_row + own) % group;
    const bool exists = first_row + own < rows;
    const int visible = exists ? size.visible_keys(own_query, options.causal) : 0;
    const int last_query = (min(first_row + block_rows, rows) - 1) / group;
    const int end = min((split + 1) * split_keys, size.visible_keys(last_query, options.causal));

    load_rows_shared<Aligned, block_threads>(queries, stride, block_rows, 0, size.D, size.D, [&](int row) {
        const int r = first_row + row;
        return r < rows ? &in.q(b, g * group + r % group, r / group, 0) : nullptr;
    });

    RowState state;
    float sums[columns_per_lane] = {};
    for (int first_key = split * split_keys; first_key < end; first_key += tile_keys) {
        __syncthreads();  // nobody reads the values before these keys any more
        // Key 4l + c stands in row 16c + l: what the lanes read together lies in different banks.
        load_rows_shared<Aligned, block_threads>(tile_memory, stride, tile_keys, 0, size.D, size.D, [&](int row) {
            const int key = first_key + row % half_warp * keys_per_lane + row / half_warp;
            return key < end ? &in.k(b, g, key, 0) : nullptr;
        });
        __syncthreads();  // the keys are complete

        // [19.4.5-1] scores: each lane has four neighbouring keys
        float scores[keys_per_lane] = {};
        for (int d = 0; d < size.D; d += 4) {
            const float4 q = *reinterpret_cast<const float4*>(&queries[own * stride + d]);
#pragma unroll
            for (int c = 0; c < keys_per_lane; ++c) {
                const float4 k = *reinterpret_cast<const float4*>(&tile_memory[(c * half_warp + lane) * stride + d]);
                scores[c] += q.x * k.x, scores[c] += q.y * k.y, scores[c] += q.z * k.z, scores[c] += q.w * k.w;
            }
        }

        // [19.4.5-2] [19.4.5-3] the maximum so far, and by what the sums so far shrink
        float most = -INFINITY, sum = 0;
#pragma unroll
        for (int c = 0; c < keys_per_lane; ++c) {
            const bool is_seen = first_key + lane * keys_per_lane + c < visible;
            scores[c] = is_seen ? static_cast<float>(options.scale) * scores[c] : -INFINITY;
            most = fmaxf(most, scores[c]);
        }
        for (int distance = half_warp / 2; distance > 0; distance /= 2)
            most = fmaxf(most, __shfl_xor_sync(all_lanes, most, distance));
        const float maximum = fmaxf(state.maximum, most);
#pragma unroll
        for (int c = 0; c < keys_per_lane; ++c) {
            const bool is_seen = first_key + lane * keys_per_lane + c < visible;
            scores[c] = is_seen ? exp_above(scores[c], maximum) : 0;  // now a weight
            sum += scores[c];
        }
        for (int distance = half_warp / 2; distance > 0; distance /= 2)
            sum += __shfl_xor_sync(all_lanes, sum, distance);
        const float shrink = exp_above(state.maximum, maximum);
        state = {maximum, fmaf(state.sum, shrink, sum)};
        *reinterpret_cast<float4*>(&weights[own * weight_stride + lane * keys_per_lane]) =
            make_float4(scores[0], scores[1], scores[2], scores[3]);

        // [19.4.5-4] [19.4.5-5] the weighted sum of the values: each lane has every 16th column
        __syncthreads();  // nobody reads the keys any more
        load_rows_shared<Aligned, block_threads>(
            tile_memory, value_columns, tile_keys, first_value, value_columns, size.Dv,
            [&](int row) { return first_key + row < end ? &in.v(b, g, first_key + row, 0) : nullptr; });
        __syncthreads();  // the values are complete
#pragma unroll
        for (int c = 0; c < columns_per_lane; ++c) sums[c] *= shrink;
        for (int j = 0; j < tile_keys; ++j) {
            if (first_key + j >= visible) break;
            const float weight = weights[own * weight_stride + j];
#pragma unroll
            for (int c = 0; c < columns_per_lane; ++c)
                sums[c] += weight * tile_memory[j * value_columns + c * half_warp + lane];
        }
    }
    if (!exists) return;
    const int part = own_query * splits + split;
#pragma unroll
    for (int c = 0; c < columns_per_lane; ++c) {
        const int column = first_value + c * half_warp + lane;
        if (column < size.Dv) parts.sums(b, own_head, part, column) = sums[c];
    }
    if (lane == 0 && first_value == 0) {
        parts.states(b, own_head, part, 0) = state.maximum;
        parts.states(b, own_head, part, 1) = state.sum;
    }
}

void launch_stage4(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    const int splits = static_cast<int>(blocks_for(size.Nk, split_keys));
    constexpr int few_queries = 16, longest_row = 256;
    if (size.Nq > few_queries || size.D > longest_row || blocks_of_tiles(size) >= enough_blocks) {
        launch_tiles(in, options, out);
    } else {
        DeviceTensor<float, 4> sums({size.B, size.H, size.Nq * splits, size.Dv}, "sums of the splits"),
            states({size.B, size.H, size.Nq * splits, 2}, "states of the splits");
        const Parts parts{sums.view(), states.view()};
        const unsigned blocks = static_cast<unsigned>(size.B * size.G * splits) *
                                blocks_for(std::int64_t{size.Nq} * (size.H / size.G), block_rows);
        const int stride = row_stride(size.D);
        const std::size_t numbers = static_cast<std::size_t>(tile_keys) * std::max(stride, value_columns) +
                                    static_cast<std::size_t>(block_rows) * (stride + weight_stride);
        for (int first = 0; first < size.Dv; first += value_columns)
            launch(size.D % 4 == 0 && size.Dv % 4 == 0 ? attend_to_split<true> : attend_to_split<false>,
                   {blocks, block_threads, numbers * sizeof(float)}, in, options, splits, parts, first);
        const int blind = options.causal ? std::max(0, size.Nq - size.Nk) : 0;
        launch_put_splits_together(parts, splits, 0, size.Nq, blind, out.out, out.log_sum_exp);
    }
    if (in.d_out) launch_backward(in, options, out, DQ::deterministic);
}

}  // namespace
}  // namespace attn::flash_attention

ATTN_CUDA_VERSION("flash_attention", "stage4",
                  "few queries: a block for each split of 256 keys; the gradient of q without atomics",
                  attn::flash_attention::launch_stage4, attn::flash_attention::Inputs<float>,
                  attn::flash_attention::Options, attn::flash_attention::Outputs<float>)
