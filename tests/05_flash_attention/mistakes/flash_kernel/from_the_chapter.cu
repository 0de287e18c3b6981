// Wrong: the kernel of the chapter (flash_attention_stage1.cu), which has no cap.
#include "chapters/05_flash_attention/exercises/flash_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::flash_kernel {

// ---- your code ----

namespace {

struct Sizes {
    int B, H, G, Nq, Nk, D, Dv;
    __device__ int kv_head(int h) const { return h / (H / G); }
    __device__ int visible_keys(int i, bool causal) const { return causal ? min(max(i + Nk - Nq + 1, 0), Nk) : Nk; }
};

constexpr int block_queries = 64;  // a thread each
constexpr int tile_keys = 32;
constexpr int value_columns = 64;  // of one block: what its threads have registers for

__global__ void __launch_bounds__(block_queries)
    attend_by_row(Inputs in, Options options, TensorView<float, 4> out, TensorView<float, 3> log_sum_exp) {
    const Sizes size{in.q.extent(0), in.q.extent(1), in.k.extent(1), in.q.extent(2),
                     in.k.extent(2), in.q.extent(3), in.v.extent(3)};
    extern __shared__ float memory[];
    const int query_stride = size.D | 1;                   // odd: neighbouring queries in different banks
    float* queries = memory;                               // [block_queries, query_stride]
    float* keys = queries + block_queries * query_stride;  // [tile_keys, D]
    float* values = keys + tile_keys * size.D;             // [tile_keys, value_columns]
    const int chunks = (size.Dv + value_columns - 1) / value_columns;
    const int tiles_of_queries = (size.Nq + block_queries - 1) / block_queries;
    const int first_column = static_cast<int>(blockIdx.x) % chunks * value_columns;
    const int first_query = static_cast<int>(blockIdx.x) / chunks % tiles_of_queries * block_queries;
    const int head = static_cast<int>(blockIdx.x) / chunks / tiles_of_queries;
    const int b = head / size.H, h = head % size.H, g = size.kv_head(h);
    const int own = static_cast<int>(threadIdx.x), i = first_query + own;

    for (int place = own; place < block_queries * size.D; place += block_queries) {
        const int row = place / size.D, d = place % size.D;
        queries[row * query_stride + d] = first_query + row < size.Nq ? in.q(b, h, first_query + row, d) : 0;
    }
    const int visible = i < size.Nq ? size.visible_keys(i, options.causal) : 0;
    const int seen_by_any = size.visible_keys(min(first_query + block_queries, size.Nq) - 1, options.causal);
    float maximum = -INFINITY, sum = 0, means[value_columns] = {};
    for (int first = 0; first < seen_by_any; first += tile_keys) {
        const int count = min(tile_keys, seen_by_any - first);
        __syncthreads();  // nobody reads the tile before this one any more
        for (int place = own; place < tile_keys * size.D; place += block_queries)
            keys[place] = place / size.D < count ? in.k(b, g, first + place / size.D, place % size.D) : 0;
        for (int place = own; place < tile_keys * value_columns; place += block_queries) {
            const int row = place / value_columns, column = first_column + place % value_columns;
            values[place] = row < count && column < size.Dv ? in.v(b, g, first + row, column) : 0;
        }
        __syncthreads();  // the tile is complete

        // [19.4.5-1] scores of the tile
        float scores[tile_keys] = {};
        for (int d = 0; d < size.D; ++d) {
            const float q = queries[own * query_stride + d];
#pragma unroll
            for (int j = 0; j < tile_keys; ++j) scores[j] = fmaf(q, keys[j * size.D + d], scores[j]);
        }

        // [19.4.5-2] [19.4.5-3] the maximum so far, and by what the sums so far shrink
        float next = maximum;
#pragma unroll
        for (int j = 0; j < tile_keys; ++j) {
            scores[j] = first + j < visible ? static_cast<float>(options.scale) * scores[j] : -INFINITY;
            next = fmaxf(next, scores[j]);
        }
        const float base = next == -INFINITY ? 0 : next;
        const float shrink = expf(maximum - base);
        maximum = next;

        // [19.4.5-4] [19.4.5-5] weights, their sum, and the weighted sum of the values
        sum *= shrink;
#pragma unroll
        for (int c = 0; c < value_columns; ++c) means[c] *= shrink;
        for (int j = 0; j < tile_keys; ++j) {
            if (first + j >= visible) break;  // a weight of 0 is not enough: 0 · NaN is NaN
            const float weight = expf(scores[j] - base);
            sum += weight;
#pragma unroll
            for (int c = 0; c < value_columns; ++c) means[c] = fmaf(weight, values[j * value_columns + c], means[c]);
        }
    }
    if (i >= size.Nq) return;

        // [19.4.5-6] divided by the sum at the end
#pragma unroll
    for (int c = 0; c < value_columns; ++c)
        if (first_column + c < size.Dv) out(b, h, i, first_column + c) = visible > 0 ? means[c] / sum : 0;
    if (first_column == 0) log_sum_exp(b, h, i) = visible > 0 ? maximum + logf(sum) : -INFINITY;
}

}  // namespace

inline namespace ATTN_BUILD {

void flash_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    const int B = in.q.extent(0), H = in.q.extent(1), Nq = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    const unsigned blocks =
        static_cast<unsigned>(B * H) * blocks_for(Nq, block_queries) * blocks_for(Dv, value_columns);
    const std::size_t numbers =
        block_queries * static_cast<std::size_t>(D | 1) + tile_keys * static_cast<std::size_t>(D + value_columns);
    launch(attend_by_row, {blocks, block_queries, numbers * sizeof(float)}, in, options, out.out, out.log_sum_exp);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::flash_kernel
