// FlashAttention on the GPU, stage 3: both products from registers. A block has 64 queries, and goes through tiles of
// 64 keys: scores and outputs are made four by four in the registers of each thread (common/cuda/register_tile.cuh), so
// a number from shared memory is used four times, one from device memory 64 times. Tiles that nobody sees are skipped,
// and only those on the diagonal are masked.
#include "chapters/05_flash_attention/flash_attention_backward.cuh"
#include "chapters/05_flash_attention/flash_attention_tiles.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"
#include "common/cuda/register_tile.cuh"
#include "common/cuda/row_state.cuh"

namespace attn::flash_attention {
namespace {

// The 16 threads of a half warp have the columns of four rows.
__device__ float row_max(float value) {
    for (int distance = 8; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(all_lanes, value, distance));
    return value;
}
__device__ float row_sum(float value) {
    for (int distance = 8; distance > 0; distance /= 2) value += __shfl_xor_sync(all_lanes, value, distance);
    return value;
}

// A block: 64 queries of one head, and 64 · ValueTiles columns of the values.
template <int ValueTiles, bool Aligned>
__global__ void __launch_bounds__(tile_threads, 1)
    attend_tiles(Inputs<float> in, Options options, TensorView<float, 4> out, TensorView<float, 3> log_sum_exp,
                 bool keeps_queries) {
    const Sizes size = in.sizes();
    extern __shared__ __align__(16) unsigned char memory[];
    Strip* keys_values = reinterpret_cast<Strip*>(memory);  // a strip of keys, then of each tile of values
    Strip* weights = keys_values + ValueTiles;              // [2]: 64 keys, transposed
    // All columns of the queries, transposed; or, of rows too long to be kept, the strip at hand.
    Strip* queries = weights + 2;
    const int chunks = (size.Dv + ValueTiles * tile - 1) / (ValueTiles * tile);
    const int tiles_of_queries = (size.Nq + tile - 1) / tile;
    const int first_value = static_cast<int>(blockIdx.x) % chunks * ValueTiles * tile;
    // The last queries see the most keys: they come first.
    const int first_query = (tiles_of_queries - 1 - static_cast<int>(blockIdx.x) / chunks % tiles_of_queries) * tile;
    const int head = static_cast<int>(blockIdx.x) / chunks / tiles_of_queries;
    const int b = head / size.H, h = head % size.H;
    const float* q = in.q.slice(b, h).data();
    const float* k = in.k.slice(b, size.kv_head(h)).data();
    const float* v = in.v.slice(b, size.kv_head(h)).data();
    const int row = own_row(), column = own_column();

    auto all_columns = [&](int) { return size.D; };
    auto query_at = [&](int r) {
        return first_query + r < size.Nq ? q + std::int64_t{first_query + r} * size.D : nullptr;
    };
    for (int first = 0; keeps_queries && first < size.D; first += strip)
        load_transposed<Aligned>(queries[first / strip], first, query_at, all_columns);

    int visible[per_thread];
#pragma unroll
    for (int r = 0; r < per_thread; ++r) {
        const int i = first_query + row + r;
        visible[r] = i < size.Nq ? size.visible_keys(i, options.causal) : 0;
    }
    const int seen_by_all = first_query + tile <= size.Nq ? size.visible_keys(first_query, options.causal) : 0;
    const int seen_by_any = size.visible_keys(min(first_query + tile, size.Nq) - 1, options.causal);

    RowState total[per_thread];
    Sums sums[ValueTiles];
    for (int first_of_split = 0; first_of_split < seen_by_any; first_of_split += split_keys) {
        RowState state[per_thread];
        Sums split_sums[ValueTiles];
        const int end = min(first_of_split + split_keys, seen_by_any);
        for (int first_key = first_of_split; first_key < end; first_key += tile_keys) {
            // [19.4.5-1] scores of the tile
            Sums scores;
            for (int first = 0; first < size.D; first += strip) {
                __syncthreads();  // nobody reads the strip before this one any more
                if (!keeps_queries) load_transposed<Aligned>(queries[0], first, query_at, all_columns);
                load_transposed<Aligned>(
                    keys_values[0], first,
                    [&](int r) { return first_key + r < end ? k + std::int64_t{first_key + r} * size.D : nullptr; },
                    all_columns);
                __syncthreads();  // the strip is complete
#pragma unroll 8
                for (int depth = 0; depth < strip; ++depth)
                    add_outer_product(
                        scores,
                        *reinterpret_cast<const float4*>(
                            &queries[keeps_queries ? first / strip : 0][depth][swizzled(depth, row)]),
                        *reinterpret_cast<const float4*>(&keys_values[0][depth][swizzled(depth, column)]));
            }

            // [19.4.5-2] [19.4.5-3] the maximum so far, and by what the sums so far shrink
            const bool all_see_all = first_key + tile_keys <= seen_by_all;
            float shrink[per_thread];
#pragma unroll
            for (int r = 0; r < per_thread; ++r) {
                float most = -INFINITY;
#pragma unroll
                for (int c = 0; c < per_thread; ++c) {
                    const bool is_seen = all_see_all || first_key + column + c < visible[r];
                    scores.at[r][c] = is_seen ? static_cast<float>(options.scale) * scores.at[r][c] : -INFINITY;
                    most = fmaxf(most, scores.at[r][c]);
                }
                const float maximum = fmaxf(state[r].maximum, row_max(most));
                float sum = 0;
#pragma unroll
                for (int c = 0; c < per_thread; ++c) {
                    const bool is_seen = all_see_all || first_key + column + c < visible[r];
                    scores.at[r][c] = is_seen ? exp_above(scores.at[r][c], maximum) : 0;  // now a weight
                    sum += scores.at[r][c];
                }
                shrink[r] = exp_above(state[r].maximum, maximum);
                state[r] = {maximum, fmaf(state[r].sum, shrink[r], row_sum(sum))};
            }

            // [19.4.5-4] [19.4.5-5] the weighted sum of the values
#pragma unroll
            for (int t = 0; t < ValueTiles; ++t)
#pragma unroll
                for (int r = 0; r < per_thread; ++r)
#pragma unroll
                    for (int c = 0; c < per_thread; ++c) split_sums[t].at[r][c] *= shrink[r];
#pragma unroll
            for (int c = 0; c < per_thread; ++c) {
                const int key = column + c;
                *reinterpret_cast<float4*>(&weights[key / strip][key % strip][swizzled(key % strip, row)]) =
                    make_float4(scores.at[0][c], scores.at[1][c], scores.at[2][c], scores.at[3][c]);
            }
            for (int first = 0; first < tile_keys; first += strip) {
                __syncthreads();  // the weights are complete, and nobody reads the strips before these any more
                for (int t = 0; t < ValueTiles; ++t)
                    load_rows<Aligned>(keys_values[t], first_value + t * tile, size.Dv, [&](int key) {
                        return first_key + first + key < end ? v + std::int64_t{first_key + first + key} * size.Dv
                                                             : nullptr;
                    });
                __syncthreads();
#pragma unroll 4
                for (int depth = 0; depth < strip; ++depth) {
                    const float4 weight =
                        *reinterpret_cast<const float4*>(&weights[first / strip][depth][swizzled(depth, row)]);
                    const float of_rows[per_thread] = {weight.x, weight.y, weight.z, weight.w};
#pragma unroll
                    for (int t = 0; t < ValueTiles; ++t) {
                        const float4 value = *reinterpret_cast<const float4*>(&keys_values[t][depth][column]);
                        if (all_see_all) {
                            add_outer_product(split_sums[t], weight, value);
                        } else {
                            // A weight of 0 is not enough: 0 · NaN is NaN.
                            const float columns[per_thread] = {value.x, value.y, value.z, value.w};
#pragma unroll
                            for (int r = 0; r < per_thread; ++r)
                                if (first_key + first + depth < visible[r])
#pragma unroll
                                    for (int c = 0; c < per_thread; ++c)
                                        split_sums[t].at[r][c] += of_rows[r] * columns[c];
                        }
                    }
                }
            }
        }
        // [19.4.5-7] merge: the splits of 256 keys are joined in their order
#pragma unroll
        for (int r = 0; r < per_thread; ++r) {
            const Factors factors = put_together(total[r], state[r]);
#pragma unroll
            for (int t = 0; t < ValueTiles; ++t)
#pragma unroll
                for (int c = 0; c < per_thread; ++c)
                    sums[t].at[r][c] = fmaf(sums[t].at[r][c], factors.before, split_sums[t].at[r][c] * factors.added);
        }
    }

    // [19.4.5-6] divided by the sum at the end
#pragma unroll
    for (int r = 0; r < per_thread; ++r) {
        const int i = first_query + row + r;
        if (i >= size.Nq) continue;
        const bool is_blind = visible[r] == 0;
#pragma unroll
        for (int t = 0; t < ValueTiles; ++t) {
            const float* s = sums[t].at[r];
            const float by = total[r].sum;
            store_four<Aligned>(
                out.slice(b, h, i).data(), first_value + t * tile + column, size.Dv,
                is_blind ? make_float4(0, 0, 0, 0) : make_float4(s[0] / by, s[1] / by, s[2] / by, s[3] / by));
        }
    }
    // Of the threads that know a row's state, one for each of the four rows writes it, all at once.
    float own_log = 0;
#pragma unroll
    for (int r = 0; r < per_thread; ++r)
        if (column / per_thread == r) own_log = visible[r] == 0 ? -INFINITY : total[r].maximum + logf(total[r].sum);
    const int own_query = first_query + row + column / per_thread;
    if (column < per_thread * per_thread && own_query < size.Nq && first_value == 0)
        log_sum_exp(b, h, own_query) = own_log;
}

template <int ValueTiles>
void launch_with(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    constexpr unsigned most_strips = 8;  // of queries: 64 KiB
    const unsigned query_strips = blocks_for(size.D, strip);
    const bool keeps_queries = query_strips <= most_strips;
    const std::size_t strips = ValueTiles + 2 + (keeps_queries ? query_strips : 1);
    const auto blocks = static_cast<unsigned>(blocks_of_tiles(size)) * blocks_for(size.Dv, ValueTiles * tile);
    launch(size.D % 4 == 0 && size.Dv % 4 == 0 ? attend_tiles<ValueTiles, true> : attend_tiles<ValueTiles, false>,
           {blocks, tile_threads, strips * sizeof(Strip)}, in, options, out.out, out.log_sum_exp, keeps_queries);
}

}  // namespace

inline namespace ATTN_BUILD {

void launch_tiles(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    if (in.sizes().Dv <= tile)
        launch_with<1>(in, options, out);
    else
        launch_with<2>(in, options, out);
}

}  // namespace ATTN_BUILD

namespace {

void launch_stage3(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    launch_tiles(in, options, out);
    if (in.d_out) launch_backward(in, options, out, DQ::by_atomics);
}

}  // namespace
}  // namespace attn::flash_attention

ATTN_CUDA_VERSION("flash_attention", "stage3", "64 queries against tiles of 64 keys, both products from registers",
                  attn::flash_attention::launch_stage3, attn::flash_attention::Inputs<float>,
                  attn::flash_attention::Options, attn::flash_attention::Outputs<float>)
