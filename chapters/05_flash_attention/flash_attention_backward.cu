// The backward pass of FlashAttention: the weights of a tile are computed anew from log_sum_exp, so that no n × n
// matrix is kept for it. With P = exp(scale · Q Kᵀ - L) and D = rowsum(dO ∘ O):
//     dV = Pᵀ dO,   dS = P ∘ (dO Vᵀ - D),   dQ = scale · dS K,   dK = scale · dSᵀ Q
// A block has 64 keys and goes through the queries: dK and dV stay in its registers. dQ is a sum over blocks.
#include "chapters/05_flash_attention/flash_attention_backward.cuh"

#include "common/cuda/device_buffer.hpp"
#include "common/cuda/launch.hpp"
#include "common/cuda/register_tile.cuh"
#include "common/cuda/warp.hpp"

namespace attn::flash_attention {
namespace {

// Everything that the kernels look at.
struct Work {
    Inputs<float> in;
    Options options;
    TensorView<const float, 3> log_sum_exp;
    TensorView<float, 3> corrections;  // [B, H, Nq]: rowsum(dO ∘ O)
    TensorView<float, 4> d_q, d_k, d_v;
};

// [19.4.5-9] correction = dO · O, a warp for each query
__global__ void row_corrections(TensorView<const float, 4> d_out, TensorView<const float, 4> out,
                                TensorView<float, 3> corrections) {
    const std::int64_t index = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32, columns = out.extent(3);
    if (index >= corrections.count()) return;  // the whole warp together
    float sum = 0;
    for (int d = lane; d < columns; d += 32)
        sum = fmaf(d_out.data()[index * columns + d], out.data()[index * columns + d], sum);
    sum = warp_sum(sum);
    if (lane == 0) corrections.data()[index] = sum;
}

// What a block shares.
struct SharedMemory {
    Strip a, b;
    Strip weights[2], gradients[2];  // P and dS of a tile: 64 rows at the depth of the product they are for
};

// A tile of 64 queries of one head, and a tile of 64 keys.
struct Tile {
    const Work& work;
    const Sizes size;
    int b, h, first_query, first_key;

    __device__ int visible(int query) const {
        return query < size.Nq ? size.visible_keys(query, work.options.causal) : 0;
    }
    // Rows of the tile's queries and keys. Queries that see no key are as if they were not there.
    __device__ const float* query_row(const TensorView<const float, 4>& tensor, int r) const {
        const int i = first_query + r, columns = tensor.extent(3);
        return visible(i) > 0 ? tensor.data() + (std::int64_t{b * size.H + h} * size.Nq + i) * columns : nullptr;
    }
    __device__ const float* key_row(const TensorView<const float, 4>& tensor, int r) const {
        const int j = first_key + r, columns = tensor.extent(3);
        return j < size.Nk ? tensor.data() + (std::int64_t{b * size.G + size.kv_head(h)} * size.Nk + j) * columns
                           : nullptr;
    }
    __device__ bool all_see_all() const {
        return first_query + tile <= size.Nq && first_key + tile <= visible(first_query);
    }
};

// Queries times keys, over the columns of a row.
template <bool Aligned, class QueryAt, class KeyAt>
__device__ Sums product_of_rows(SharedMemory& shared, int columns, QueryAt query_at, KeyAt key_at) {
    Sums sums;
    auto all_columns = [&](int) { return columns; };
#pragma unroll 1
    for (int first = 0; first < columns; first += strip) {
        __syncthreads();  // nobody reads the strips before these any more
        load_transposed<Aligned>(shared.a, first, query_at, all_columns);
        load_transposed<Aligned>(shared.b, first, key_at, all_columns);
        __syncthreads();  // the strips are complete
#pragma unroll 4
        for (int depth = 0; depth < strip; ++depth)
            add_outer_product(sums, *reinterpret_cast<const float4*>(&shared.a[depth][swizzled(depth, own_row())]),
                              *reinterpret_cast<const float4*>(&shared.b[depth][swizzled(depth, own_column())]));
    }
    return sums;
}

// [19.4.5-10] [19.4.5-11] the weights of the tile, computed anew, and the gradients of its scores, times scale
template <bool Aligned>
__device__ void weights_and_gradients(const Tile& at, SharedMemory& shared, Sums& weights, Sums& gradients) {
    const Work& work = at.work;
    weights = product_of_rows<Aligned>(
        shared, at.size.D, [&](int r) { return at.query_row(work.in.q, r); },
        [&](int r) { return at.key_row(work.in.k, r); });
    gradients = product_of_rows<Aligned>(
        shared, at.size.Dv, [&](int r) { return at.query_row(work.in.d_out, r); },
        [&](int r) { return at.key_row(work.in.v, r); });
    const float scale = static_cast<float>(work.options.scale);
#pragma unroll
    for (int r = 0; r < per_thread; ++r) {
        const int i = at.first_query + own_row() + r, visible = at.visible(i);
        const float log_sum_exp = visible > 0 ? work.log_sum_exp(at.b, at.h, i) : 0;
        const float correction = visible > 0 ? work.corrections(at.b, at.h, i) : 0;
#pragma unroll
        for (int c = 0; c < per_thread; ++c) {
            const bool is_seen = at.first_key + own_column() + c < visible;
            const float weight = is_seen ? expf(scale * weights.at[r][c] - log_sum_exp) : 0;
            gradients.at[r][c] = is_seen ? scale * (weight * (gradients.at[r][c] - correction)) : 0;
            weights.at[r][c] = weight;
        }
    }
}

// Stores a tile for a product over its queries, or over its keys.
__device__ void store_by_query(Strip (&to)[2], const Sums& sums) {
#pragma unroll
    for (int r = 0; r < per_thread; ++r) {
        const int depth = (own_row() + r) % strip;
        *reinterpret_cast<float4*>(&to[(own_row() + r) / strip][depth][swizzled(depth, own_column())]) =
            make_float4(sums.at[r][0], sums.at[r][1], sums.at[r][2], sums.at[r][3]);
    }
}
__device__ void store_by_key(Strip (&to)[2], const Sums& sums) {
#pragma unroll
    for (int c = 0; c < per_thread; ++c) {
        const int depth = (own_column() + c) % strip;
        *reinterpret_cast<float4*>(&to[(own_column() + c) / strip][depth][swizzled(depth, own_row())]) =
            make_float4(sums.at[0][c], sums.at[1][c], sums.at[2][c], sums.at[3][c]);
    }
}

// sums += factorsᵀ · rows, over the 64 queries (or keys) of the tile; columns first_column … + 63 of the rows. Where
// is_pair(depth, r) is false nothing is added: 0 · NaN is NaN.
template <bool Aligned, class RowAt, class IsPair>
__device__ void add_product(Sums& sums, SharedMemory& shared, const Strip (&factors)[2], int first_column, int columns,
                            bool all_pairs, RowAt row_at, IsPair is_pair) {
#pragma unroll 1  // registers are scarce
    for (int first = 0; first < tile; first += strip) {
        __syncthreads();  // the factors are complete, and nobody reads the strip before this one any more
        load_rows<Aligned>(shared.b, first_column, columns, [&](int depth) { return row_at(first + depth); });
        __syncthreads();
#pragma unroll 2
        for (int depth = 0; depth < strip; ++depth) {
            const float4 factor =
                *reinterpret_cast<const float4*>(&factors[first / strip][depth][swizzled(depth, own_row())]);
            const float4 row = *reinterpret_cast<const float4*>(&shared.b[depth][own_column()]);
            if (all_pairs) {
                add_outer_product(sums, factor, row);
            } else {
                const float of_rows[per_thread] = {factor.x, factor.y, factor.z, factor.w};
                const float of_columns[per_thread] = {row.x, row.y, row.z, row.w};
#pragma unroll
                for (int r = 0; r < per_thread; ++r)
                    if (is_pair(first + depth, own_row() + r))
#pragma unroll
                        for (int c = 0; c < per_thread; ++c) sums.at[r][c] += of_rows[r] * of_columns[c];
            }
        }
    }
}

template <bool Aligned>
__device__ void store_tile(const Sums& sums, const TensorView<float, 4>& to, int b, int head, int first_row,
                           int first_column) {
#pragma unroll
    for (int r = 0; r < per_thread; ++r) {
        const int row = first_row + own_row() + r;
        if (row < to.extent(2) && first_column < to.extent(3))
            store_four<Aligned>(to.slice(b, head, row).data(), first_column + own_column(), to.extent(3),
                                make_float4(sums.at[r][0], sums.at[r][1], sums.at[r][2], sums.at[r][3]));
    }
}

// [19.4.5-12] A block: 64 keys of one key/value head, 64 columns of their gradients; all queries of all heads that
// share it. WithQueries: also what these keys add to the gradients of the queries, by atomic additions.
template <bool WithQueries, bool Aligned>
__global__ void __launch_bounds__(tile_threads, 1) key_gradients(Work work) {
    extern __shared__ __align__(16) unsigned char memory[];
    SharedMemory& shared = *reinterpret_cast<SharedMemory*>(memory);
    const Sizes size = work.in.sizes();
    const int tiles_of_keys = (size.Nk + tile - 1) / tile, group = size.H / size.G;
    const int first_key = static_cast<int>(blockIdx.x) % tiles_of_keys * tile;
    const int g = static_cast<int>(blockIdx.x) / tiles_of_keys % size.G;
    const int b = static_cast<int>(blockIdx.x) / tiles_of_keys / size.G;
    const int first_column = static_cast<int>(blockIdx.y) * tile;
    Sums d_k, d_v;
    for (int h = g * group; h < (g + 1) * group; ++h) {
        const int first_seeing = size.first_query(first_key, work.options.causal);
        for (int first_query = first_seeing / tile * tile; first_query < size.Nq; first_query += tile) {
            const Tile at{work, size, b, h, first_query, first_key};
            Sums weights, gradients;
            weights_and_gradients<Aligned>(at, shared, weights, gradients);
            store_by_query(shared.weights, weights);
            store_by_query(shared.gradients, gradients);
            const bool all = at.all_see_all();
            auto is_pair = [&](int query, int key) { return first_key + key < at.visible(first_query + query); };
            add_product<Aligned>(
                d_v, shared, shared.weights, first_column, size.Dv, all,
                [&](int r) { return at.query_row(work.in.d_out, r); }, is_pair);
            add_product<Aligned>(
                d_k, shared, shared.gradients, first_column, size.D, all,
                [&](int r) { return at.query_row(work.in.q, r); }, is_pair);
            if constexpr (WithQueries) {
                Sums d_q;
                __syncthreads();  // nobody reads the weights any more
                store_by_key(shared.weights, gradients);
                add_product<Aligned>(
                    d_q, shared, shared.weights, first_column, size.D, all,
                    [&](int r) { return at.key_row(work.in.k, r); },
                    [&](int key, int query) { return is_pair(query, key); });
                for (int r = 0; r < per_thread; ++r)
                    for (int c = 0; c < per_thread; ++c) {
                        const int i = first_query + own_row() + r, column = first_column + own_column() + c;
                        if (i < size.Nq && column < size.D) atomicAdd(&work.d_q(b, h, i, column), d_q.at[r][c]);
                    }
            }
        }
    }
    store_tile<Aligned>(d_k, work.d_k, b, g, first_key, first_column);
    store_tile<Aligned>(d_v, work.d_v, b, g, first_key, first_column);
}

// [19.4.5-13] A block: 64 queries of one head, 64 columns of their gradients; the weights are computed once more.
template <bool Aligned>
__global__ void __launch_bounds__(tile_threads, 1) query_gradients(Work work) {
    extern __shared__ __align__(16) unsigned char memory[];
    SharedMemory& shared = *reinterpret_cast<SharedMemory*>(memory);
    const Sizes size = work.in.sizes();
    const int tiles_of_queries = (size.Nq + tile - 1) / tile;
    const int first_query = static_cast<int>(blockIdx.x) % tiles_of_queries * tile;
    const int h = static_cast<int>(blockIdx.x) / tiles_of_queries % size.H;
    const int b = static_cast<int>(blockIdx.x) / tiles_of_queries / size.H;
    const int first_column = static_cast<int>(blockIdx.y) * tile;
    const int seen_by_any = size.visible_keys(min(first_query + tile, size.Nq) - 1, work.options.causal);
    Sums d_q;
    for (int first_key = 0; first_key < seen_by_any; first_key += tile) {
        const Tile at{work, size, b, h, first_query, first_key};
        Sums weights, gradients;
        weights_and_gradients<Aligned>(at, shared, weights, gradients);
        store_by_key(shared.gradients, gradients);
        add_product<Aligned>(
            d_q, shared, shared.gradients, first_column, size.D, at.all_see_all(),
            [&](int r) { return at.key_row(work.in.k, r); },
            [&](int key, int query) { return first_key + key < at.visible(first_query + query); });
    }
    store_tile<Aligned>(d_q, work.d_q, b, h, first_query, first_column);
}

}  // namespace

inline namespace ATTN_BUILD {

void launch_backward(const Inputs<float>& in, const Options& options, const Outputs<float>& out, DQ d_q) {
    const Sizes size = in.sizes();
    DeviceTensor<float, 3> corrections(out.log_sum_exp.shape(), "rowsum(dO ∘ O)");
    const Work work{in, options, out.log_sum_exp, corrections.view(), out.d_q, out.d_k, out.d_v};
    launch(row_corrections, {blocks_for(out.log_sum_exp.count() * 32, tile_threads), tile_threads}, in.d_out, out.out,
           corrections.view());
    const bool aligned = size.D % 4 == 0 && size.Dv % 4 == 0;
    const unsigned columns = blocks_for(std::max(size.D, size.Dv), tile);
    const dim3 of_keys(static_cast<unsigned>(size.B * size.G) * blocks_for(size.Nk, tile), columns);
    const dim3 of_queries(static_cast<unsigned>(size.B * size.H) * blocks_for(size.Nq, tile), blocks_for(size.D, tile));
    const std::size_t bytes = sizeof(SharedMemory);
    if (d_q == DQ::by_atomics) {
        check(cudaMemset(out.d_q.data(), 0, static_cast<std::size_t>(out.d_q.count()) * sizeof(float)));
        launch(aligned ? key_gradients<true, true> : key_gradients<true, false>, {of_keys, tile_threads, bytes}, work);
    } else {
        launch(aligned ? key_gradients<false, true> : key_gradients<false, false>, {of_keys, tile_threads, bytes},
               work);
        launch(aligned ? query_gradients<true> : query_gradients<false>, {of_queries, tile_threads, bytes}, work);
    }
}

}  // namespace ATTN_BUILD
}  // namespace attn::flash_attention
