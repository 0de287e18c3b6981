// Dense attention on the GPU, stage 2: the same three steps, each the way a GPU likes it. Still without
// FlashAttention's idea: the n × n matrix is written to device memory and read back.
//
// Both products are tiled (common/cuda/register_tile.cuh): a number that is loaded is used 64 times; stage 1 used it
// once. The softmax takes a warp for each row.
//
// Also missing on the way to a fast kernel: loading the next strip while this one is multiplied, and tensor cores.
#include "chapters/00_dense_attention/dense_attention_backward.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"
#include "common/cuda/register_tile.cuh"
#include "common/cuda/warp.hpp"

namespace attn::dense {
namespace {

constexpr int block_threads = tile_threads;
constexpr int blocks_per_multiprocessor = 3;  // leaves each thread 85 registers; with fewer the sums spill
constexpr int warps_per_block = 8;            // softmax: rows of one block

// Rows first_row … of a matrix with `rows` of `columns` numbers.
__device__ auto rows_from(const float* matrix, int first_row, int rows, int columns) {
    return [=](int row) { return first_row + row < rows ? matrix + std::int64_t{first_row + row} * columns : nullptr; };
}

// [19.3-1] scores, a tile of [queries, keys] for each block
template <bool Aligned>
__global__ void __launch_bounds__(block_threads, blocks_per_multiprocessor)
    score_tiles(Inputs<float> in, Options options, TensorView<float, 4> scores /* [B, H, Nq, Nk] */) {
    __shared__ __align__(16) Strip queries, keys;
    const Sizes size = in.sizes();
    const int tiles_of_keys = (size.Nk + tile - 1) / tile, tiles_of_queries = (size.Nq + tile - 1) / tile;
    const int first_key = static_cast<int>(blockIdx.x) % tiles_of_keys * tile;
    const int first_query = static_cast<int>(blockIdx.x) / tiles_of_keys % tiles_of_queries * tile;
    const int head = static_cast<int>(blockIdx.x) / tiles_of_keys / tiles_of_queries;
    const int b = head / size.H, h = head % size.H;
    const int last_query = min(first_query + tile, size.Nq) - 1;
    if (first_key >= size.visible_keys(last_query, options.causal)) return;  // nobody sees any of these keys

    const float* q = in.q.slice(b, h).data();
    const float* k = in.k.slice(b, size.kv_head(h)).data();
    const int row = own_row(), column = own_column();
    auto whole_row = [&](int) { return size.D; };
    Sums sums;
    for (int first = 0; first < size.D; first += strip) {
        load_transposed<Aligned>(queries, first, rows_from(q, first_query, size.Nq, size.D), whole_row);
        load_transposed<Aligned>(keys, first, rows_from(k, first_key, size.Nk, size.D), whole_row);
        __syncthreads();  // the strips are complete
#pragma unroll 8
        for (int depth = 0; depth < strip; ++depth) {
            const float4 a = *reinterpret_cast<const float4*>(&queries[depth][swizzled(depth, row)]);
            const float4 b = *reinterpret_cast<const float4*>(&keys[depth][swizzled(depth, column)]);
            add_outer_product(sums, a, b);
        }
        __syncthreads();  // nobody reads them any more
    }

    const float scale = static_cast<float>(options.scale);
#pragma unroll
    for (int r = 0; r < per_thread; ++r) {
        const int i = first_query + row + r;
        if (i >= size.Nq) continue;
        const float4 four =
            make_float4(scale * sums.at[r][0], scale * sums.at[r][1], scale * sums.at[r][2], scale * sums.at[r][3]);
        float* start = scores.slice(b, h, i).data();
        if (size.Nk % 4 == 0)
            store_four<true>(start, first_key + column, size.Nk, four);
        else
            store_four<false>(start, first_key + column, size.Nk, four);
    }
}

// [19.3-2] [19.3-3] [19.3-4] a warp for each row; neighbouring lanes take neighbouring keys
__global__ void __launch_bounds__(warps_per_block * 32)
    softmax_warps(Sizes size, Options options, TensorView<float, 4> scores, TensorView<float, 3> log_sum_exp) {
    const int lane = threadIdx.x % 32;
    const std::int64_t index = std::int64_t{blockIdx.x} * warps_per_block + threadIdx.x / 32;
    if (index >= log_sum_exp.count()) return;  // the whole warp together
    const int visible = size.visible_keys(static_cast<int>(index % size.Nq), options.causal);
    float* row = scores.data() + index * size.Nk;

    float maximum = -INFINITY;
    for (int j = lane; j < visible; j += 32) maximum = fmaxf(maximum, row[j]);
    maximum = warp_max(maximum);
    float sum = 0;
    for (int j = lane; j < visible; j += 32) sum += expf(row[j] - maximum);
    sum = warp_sum(sum);
    for (int j = lane; j < visible; j += 32) row[j] = expf(row[j] - maximum) / sum;
    if (lane == 0) log_sum_exp.data()[index] = visible > 0 ? maximum + logf(sum) : -INFINITY;
}

// [19.3-5] out, a tile of [queries, values] for each block
template <bool Aligned>
__global__ void __launch_bounds__(block_threads, blocks_per_multiprocessor)
    output_tiles(Inputs<float> in, Options options, TensorView<const float, 4> weights, TensorView<float, 4> out) {
    __shared__ __align__(16) Strip strip_of_weights, values;
    const Sizes size = in.sizes();
    const int tiles_of_values = (size.Dv + tile - 1) / tile, tiles_of_queries = (size.Nq + tile - 1) / tile;
    const int first_value = static_cast<int>(blockIdx.x) % tiles_of_values * tile;
    const int first_query = static_cast<int>(blockIdx.x) / tiles_of_values % tiles_of_queries * tile;
    const int head = static_cast<int>(blockIdx.x) / tiles_of_values / tiles_of_queries;
    const int b = head / size.H, h = head % size.H;
    const int last_query = min(first_query + tile, size.Nq) - 1;

    const float* p = weights.slice(b, h).data();
    const float* v = in.v.slice(b, size.kv_head(h)).data();
    const int row = own_row(), column = own_column();
    auto visible_keys = [&](int i) { return size.visible_keys(i, options.causal); };
    const int seen_by_all = visible_keys(first_query), seen_by_any = visible_keys(last_query);
    Sums sums;
    for (int first = 0; first < seen_by_any; first += strip) {
        auto weights_of = rows_from(p, first_query, size.Nq, size.Nk);
        auto visible_to = [&](int row) { return visible_keys(first_query + row); };
        if (size.Nk % 4 == 0)
            load_transposed<true>(strip_of_weights, first, weights_of, visible_to);
        else
            load_transposed<false>(strip_of_weights, first, weights_of, visible_to);
        load_rows<Aligned>(values, first_value, size.Dv, [&](int depth) {
            return first + depth < seen_by_any ? v + std::int64_t{first + depth} * size.Dv : nullptr;
        });
        __syncthreads();  // the strips are complete
        if (first + strip <= seen_by_all) {
#pragma unroll 8
            for (int depth = 0; depth < strip; ++depth) {
                const float4 a = *reinterpret_cast<const float4*>(&strip_of_weights[depth][swizzled(depth, row)]);
                const float4 c = *reinterpret_cast<const float4*>(&values[depth][column]);
                add_outer_product(sums, a, c);
            }
        } else {
            // Some rows do not see some of these keys. A weight of 0 is not enough: 0 · NaN is NaN.
            for (int depth = 0; depth < strip; ++depth) {
                const float4 a = *reinterpret_cast<const float4*>(&strip_of_weights[depth][swizzled(depth, row)]);
                const float4 c = *reinterpret_cast<const float4*>(&values[depth][column]);
                const float rows[per_thread] = {a.x, a.y, a.z, a.w}, columns[per_thread] = {c.x, c.y, c.z, c.w};
#pragma unroll
                for (int r = 0; r < per_thread; ++r)
                    if (first + depth < visible_keys(first_query + row + r))
#pragma unroll
                        for (int i = 0; i < per_thread; ++i) sums.at[r][i] += rows[r] * columns[i];
            }
        }
        __syncthreads();  // nobody reads them any more
    }

#pragma unroll
    for (int r = 0; r < per_thread; ++r) {
        const int i = first_query + row + r;
        if (i >= size.Nq) continue;
        store_four<Aligned>(out.slice(b, h, i).data(), first_value + column, size.Dv,
                            make_float4(sums.at[r][0], sums.at[r][1], sums.at[r][2], sums.at[r][3]));
    }
}

void launch_stage2(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    DeviceTensor<float, 4> scores({size.B, size.H, size.Nq, size.Nk});
    const std::int64_t heads = std::int64_t{size.B} * size.H;
    const std::int64_t tiles_of_queries = blocks_for(size.Nq, tile);
    // 16-byte accesses need rows that are a multiple of 16 bytes.
    launch(size.D % 4 == 0 ? score_tiles<true> : score_tiles<false>,
           {static_cast<unsigned>(heads * tiles_of_queries * blocks_for(size.Nk, tile)), block_threads}, in, options,
           scores.view());
    launch(softmax_warps, {blocks_for(out.log_sum_exp.count(), warps_per_block), warps_per_block * 32}, size, options,
           scores.view(), out.log_sum_exp);
    launch(size.Dv % 4 == 0 ? output_tiles<true> : output_tiles<false>,
           {static_cast<unsigned>(heads * tiles_of_queries * blocks_for(size.Dv, tile)), block_threads}, in, options,
           scores.view(), out.out);
    if (in.d_out) launch_backward(in, options, out);
}

}  // namespace
}  // namespace attn::dense

ATTN_CUDA_VERSION("dense", "stage2", "tiles in shared memory and registers, a warp for each row of the softmax",
                  attn::dense::launch_stage2, attn::dense::Inputs<float>, attn::dense::Options,
                  attn::dense::Outputs<float>)
