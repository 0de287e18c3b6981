// Grouped-query attention against the KV cache, on a GPU. The rows of a block are the queries of all heads of one
// group: so a key or value is read once for the group, and not once for each head. With many rows (prefill) a block
// goes through all keys; with few (decoding) each split of the keys has a block, and a second kernel puts the splits
// together.
#include "chapters/00_dense_attention/dense_attention_backward.cuh"
#include "chapters/04_head_sharing/grouped_query/grouped_query.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"
#include "common/cuda/row_state.cuh"
#include "common/cuda/vector_access.hpp"

namespace attn::grouped_query {
namespace {

using kv_cache::KvCache;

constexpr int warps = 4, block_threads = 32 * warps;
constexpr int rows_per_warp = 4, block_rows = warps * rows_per_warp;
constexpr int tile_keys = 32;                  // a lane for each
constexpr int strip = 64;                      // numbers of a row that are in shared memory at one time
constexpr int strip_stride = strip + 4;        // the rows of a strip start in different banks
constexpr int most_value_columns = 4 * strip;  // of one block: more would not fit into its registers

// One step: queries first … first + count - 1 against a cache of `length` positions.
struct Work {
    Inputs<float> in;
    KvCache<const float> cache;
    Options options;
    Step step;
    TensorView<float, 4> out;          // [B, H, Nq, Dv]
    TensorView<float, 3> log_sum_exp;  // [B, H, Nq]
    Parts parts;                       // where each split has a block; without data where a block takes all

    // The splits that anybody looks at: from the first that the first query sees.
    ATTN_HOST_DEVICE int first_split() const {
        return step.visible(in.sizes(), options, step.first).begin / split_keys;
    }
    ATTN_HOST_DEVICE int splits() const { return (step.length + split_keys - 1) / split_keys - first_split(); }
};

// The rows of a group: query first + row / (H/G), head row % (H/G) of the group. Neighbours see the same keys.
struct Row {
    int query, head;
    bool exists;
};
__device__ Row row_of(const Work& work, const Sizes& size, int g, int row) {
    const int group = size.H / size.G;
    return {work.step.first + row / group, g * group + row % group, row < work.step.count * group};
}

// Of a block; the queries stand behind it.
struct SharedMemory {
    float of_keys[tile_keys][strip_stride];  // of keys, then of values
    float weights[warps][rows_per_warp][tile_keys];
    int cache_rows[split_keys];  // where the keys of this split stand
};

// [19.4.4-1] A block: block_rows rows of one group, one split of the keys or all of them, and up to most_value_columns
// columns of the values.
template <int ValueStrips, bool Aligned>
__global__ void __launch_bounds__(block_threads, 2) attend(Work work, int value_strips_before) {
    extern __shared__ __align__(16) unsigned char memory[];
    auto& [of_keys, weights, cache_rows] = *reinterpret_cast<SharedMemory*>(memory);
    float* queries = reinterpret_cast<float*>(memory + sizeof(SharedMemory));  // [block_rows, D rounded up to 4]
    const Sizes size = work.in.sizes();
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const bool all_splits = !work.parts.sums;
    const int splits = all_splits ? 1 : work.splits();
    const int rows = work.step.count * (size.H / size.G);
    const int tiles_of_rows = (rows + block_rows - 1) / block_rows;
    const int part_of_split = all_splits ? 0 : static_cast<int>(blockIdx.x) % splits;
    const int first_row = static_cast<int>(blockIdx.x) / splits % tiles_of_rows * block_rows;
    const int g = static_cast<int>(blockIdx.x) / splits / tiles_of_rows % size.G;
    const int b = static_cast<int>(blockIdx.x) / splits / tiles_of_rows / size.G;
    const int first_value = value_strips_before * strip;

    const int query_stride = (size.D + 3) / 4 * 4;
    for (int place = threadIdx.x; place < block_rows * query_stride; place += block_threads) {
        const Row row = row_of(work, size, g, first_row + place / query_stride);
        const int d = place % query_stride;
        queries[place] = row.exists && d < size.D ? work.in.q(b, row.head, row.query, d) : 0;
    }

    // What this warp's rows see, what all of them see, and what any row of the block sees.
    Visible visible[rows_per_warp], by_all{0, work.step.length};
#pragma unroll
    for (int r = 0; r < rows_per_warp; ++r) {
        const Row row = row_of(work, size, g, first_row + warp * rows_per_warp + r);
        visible[r] = row.exists ? work.step.visible(size, work.options, row.query) : Visible{0, 0};
        by_all = {max(by_all.begin, visible[r].begin), min(by_all.end, visible[r].end)};
    }
    const Row first = row_of(work, size, g, first_row),
              last = row_of(work, size, g, min(first_row + block_rows, rows) - 1);
    const Visible by_any{work.step.visible(size, work.options, first.query).begin,
                         work.step.visible(size, work.options, last.query).end};

    RowState total[rows_per_warp];
    float sums[rows_per_warp][2 * ValueStrips] = {};
    const int first_split = all_splits ? by_any.begin / split_keys : work.first_split() + part_of_split;
    const int end_split = all_splits ? (by_any.end + split_keys - 1) / split_keys : first_split + 1;
    for (int split = first_split; split < end_split; ++split) {
        RowState state[rows_per_warp];
        float split_sums[rows_per_warp][2 * ValueStrips] = {};
        const int begin = max(split * split_keys, by_any.begin / tile_keys * tile_keys);
        const int end = min((split + 1) * split_keys, by_any.end);
        __syncthreads();  // nobody reads the last split's rows any more
        for (int j = max(begin, by_any.begin) + threadIdx.x; j < end; j += block_threads)
            cache_rows[j % split_keys] = work.cache.row(b, g, j);
        auto is_needed = [&](int key) { return key >= by_any.begin && key < end; };
        for (int first_key = begin; first_key < end; first_key += tile_keys) {
            // [19.4.4-2] scores: each lane has a key, and multiplies it with the queries of its warp
            float dots[rows_per_warp] = {};
            for (int first = 0; first < size.D; first += strip) {
                __syncthreads();  // nobody reads the strip before this one any more
                load_rows_shared<Aligned, block_threads>(
                    of_keys[0], strip_stride, tile_keys, first, strip, size.D, [&](int key) {
                        return is_needed(first_key + key)
                                   ? work.cache.key_row(cache_rows[(first_key + key) % split_keys])
                                   : nullptr;
                    });
                __syncthreads();  // the strip is complete
                const int columns = min(strip, query_stride - first);
#pragma unroll 2
                for (int d = 0; d < columns; d += 4) {
                    const float4 k = *reinterpret_cast<const float4*>(&of_keys[lane][d]);
#pragma unroll
                    for (int r = 0; r < rows_per_warp; ++r) {
                        const float4 q = *reinterpret_cast<const float4*>(
                            &queries[(warp * rows_per_warp + r) * query_stride + first + d]);
                        dots[r] = fmaf(q.x, k.x, dots[r]), dots[r] = fmaf(q.y, k.y, dots[r]);
                        dots[r] = fmaf(q.z, k.z, dots[r]), dots[r] = fmaf(q.w, k.w, dots[r]);
                    }
                }
            }

            // [19.4.4-3] weights, relative to the largest score so far; what was summed up before shrinks accordingly
#pragma unroll
            for (int r = 0; r < rows_per_warp; ++r) {
                const bool is_seen = first_key + lane >= visible[r].begin && first_key + lane < visible[r].end;
                const float score = is_seen ? static_cast<float>(work.options.scale) * dots[r] : -INFINITY;
                const float maximum = fmaxf(state[r].maximum, warp_max(score));
                const float weight = is_seen ? exp_above(score, maximum) : 0;
                const float factor = exp_above(state[r].maximum, maximum);
                state[r] = {maximum, fmaf(state[r].sum, factor, warp_sum(weight))};
                weights[warp][r][lane] = weight;
#pragma unroll
                for (int c = 0; c < 2 * ValueStrips; ++c) split_sums[r][c] *= factor;
            }
            __syncwarp();

            // [19.4.4-4] output: each lane has two columns of each strip of the values
#pragma unroll
            for (int s = 0; s < ValueStrips; ++s) {
                __syncthreads();
                load_rows_shared<Aligned, block_threads>(
                    of_keys[0], strip_stride, tile_keys, first_value + s * strip, strip, size.Dv, [&](int key) {
                        return is_needed(first_key + key)
                                   ? work.cache.value_row(cache_rows[(first_key + key) % split_keys])
                                   : nullptr;
                    });
                __syncthreads();
                const bool all_see_all = first_key >= by_all.begin && first_key + tile_keys <= by_all.end;
#pragma unroll 4
                for (int key = 0; key < tile_keys; ++key) {
                    const float left = of_keys[key][lane], right = of_keys[key][lane + 32];
#pragma unroll
                    for (int r = 0; r < rows_per_warp; ++r) {
                        // A weight of 0 is not enough: 0 · NaN is NaN.
                        if (!all_see_all && (first_key + key < visible[r].begin || first_key + key >= visible[r].end))
                            continue;
                        const float weight = weights[warp][r][key];
                        split_sums[r][2 * s] = fmaf(weight, left, split_sums[r][2 * s]);
                        split_sums[r][2 * s + 1] = fmaf(weight, right, split_sums[r][2 * s + 1]);
                    }
                }
            }
            __syncwarp();  // the weights have been read
        }
#pragma unroll
        for (int r = 0; r < rows_per_warp; ++r) {
            const Factors factors = put_together(total[r], state[r]);
#pragma unroll
            for (int c = 0; c < 2 * ValueStrips; ++c)
                sums[r][c] = fmaf(sums[r][c], factors.before, split_sums[r][c] * factors.added);
        }
    }

#pragma unroll
    for (int r = 0; r < rows_per_warp; ++r) {
        const Row row = row_of(work, size, g, first_row + warp * rows_per_warp + r);
        if (!row.exists) continue;
        const int part = (row.query - work.step.first) * splits + part_of_split;
        float* to = all_splits ? &work.out(b, row.head, row.query, 0) : &work.parts.sums(b, row.head, part, 0);
#pragma unroll
        for (int c = 0; c < 2 * ValueStrips; ++c) {
            const int column = first_value + c * 32 + lane;
            if (column >= size.Dv) continue;
            to[column] = !all_splits ? sums[r][c] : visible[r].end > visible[r].begin ? sums[r][c] / total[r].sum : 0;
        }
        if (lane != 0 || first_value > 0) continue;
        if (all_splits) {
            work.log_sum_exp(b, row.head, row.query) =
                visible[r].end > visible[r].begin ? total[r].maximum + logf(total[r].sum) : -INFINITY;
        } else {
            work.parts.states(b, row.head, part, 0) = total[r].maximum;
            work.parts.states(b, row.head, part, 1) = total[r].sum;
        }
    }
}

// New keys or values [B, G, N, D], positions first … first + count - 1, into their places: a thread for each number.
__global__ void write_into_cache(TensorView<const float, 4> from, TensorView<float, 4> pool,
                                 TensorView<const int, 2> table, int first, int count) {
    const int heads = from.extent(1), columns = from.extent(3), page = pool.extent(2);
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index >= std::int64_t{from.extent(0)} * heads * count * columns) return;
    const int d = static_cast<int>(index % columns), j = first + static_cast<int>(index / columns % count);
    const int g = static_cast<int>(index / columns / count % heads),
              b = static_cast<int>(index / columns / count / heads);
    pool(table(b, j / page % table.extent(1)), g, j % page, d) = from(b, g, j, d);
}

template <int ValueStrips>
void launch_attend(const Work& work, int value_strips_before, unsigned blocks) {
    const Sizes size = work.in.sizes();
    const std::size_t query_bytes = block_rows * static_cast<std::size_t>((size.D + 3) / 4 * 4) * sizeof(float);
    launch(size.D % 4 == 0 && size.Dv % 4 == 0 ? attend<ValueStrips, true> : attend<ValueStrips, false>,
           {blocks, block_threads, sizeof(SharedMemory) + query_bytes}, work, value_strips_before);
}

}  // namespace

inline namespace ATTN_BUILD {

void attend_on_device(const Inputs<float>& in, const KvCache<const float>& cache, const Options& options,
                      const Step& step, const Outputs<float>& out) {
    Work work{in, cache, options, step, out.out, out.log_sum_exp, {}};
    const Sizes size = in.sizes();
    const int rows = step.count * (size.H / size.G), splits = work.splits();
    const unsigned groups_of_rows = static_cast<unsigned>(size.B * size.G) * blocks_for(rows, block_rows);
    const bool one_block_each = splits > 1 && groups_of_rows < enough_blocks;
    const int parts = one_block_each ? step.count * splits : 0;
    DeviceTensor<float, 4> part_sums({size.B, size.H, parts, size.Dv}), part_states({size.B, size.H, parts, 2});
    if (one_block_each) work.parts = {part_sums.view(), part_states.view()};
    const unsigned blocks = groups_of_rows * static_cast<unsigned>(one_block_each ? splits : 1);

    for (int first = 0; first < size.Dv; first += most_value_columns) {
        const int columns = std::min(size.Dv - first, most_value_columns);
        const int before = first / strip;
        if (columns <= strip)
            launch_attend<1>(work, before, blocks);
        else if (columns <= 2 * strip)
            launch_attend<2>(work, before, blocks);
        else
            launch_attend<4>(work, before, blocks);
    }
    const int blind = options.causal ? std::max(0, size.Nq - size.Nk) : 0;
    if (one_block_each)
        launch_put_splits_together(work.parts, splits, step.first, step.count, blind, out.out, out.log_sum_exp);
}

}  // namespace ATTN_BUILD

namespace {

// To the device.
DeviceTensor<int, 2> upload_table(const std::vector<int>& table, int B, int pages) {
    return DeviceTensor<int, 2>(TensorView<const int, 2>(table.data(), {{B, pages}}), "page table");
}

void launch_splits(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    const auto [pages, page] = paging(size, options);
    if (options.prefill == 0) {
        const DeviceTensor<int, 2> own_pages = upload_table(kv_cache::own_pages(size.B), size.B, 1);  // k, v: a cache
        attend_on_device(in, {in.k, in.v, own_pages.view()}, options, {0, size.Nq, size.Nk}, out);
    } else {
        const std::vector<int> table = kv_cache::page_table(size.B, pages);
        kv_cache::check_table({table.data(), {{size.B, pages}}}, size.B * pages);
        const DeviceTensor<int, 2> device_table = upload_table(table, size.B, pages);
        DeviceTensor<float, 4> k({size.B * pages, size.G, page, size.D}, "cache of keys"),
            v({size.B * pages, size.G, page, size.Dv}, "cache of values");
        k.fill_with_nan(), v.fill_with_nan();  // nobody may look at what is not in use
        const KvCache<float> cache{k.view(), v.view(), device_table.view()};
        for_each_step(size, options, [&](const Step& step) {
            kv_cache::check_append(cache.capacity(), step.first, step.count, options.window);
            for (auto [from, pool] : {std::pair{in.k, cache.k}, {in.v, cache.v}})
                launch(write_into_cache,
                       {blocks_for(std::int64_t{size.B} * size.G * step.count * from.extent(3), block_threads),
                        block_threads},
                       from, pool, cache.table, step.first, step.count);
            attend_on_device(in, cache.read_only(), options, step, out);
        });
    }
    if (in.d_out) dense::launch_backward(in, {options.causal, options.scale}, out);
}

}  // namespace
}  // namespace attn::grouped_query

static constexpr const char* attn_splits =
    "the heads of a group read each key and value once; splits of 256 keys, each with a block where queries are few";
ATTN_CUDA_VERSION("grouped_query", "splits", attn_splits, attn::grouped_query::launch_splits,
                  attn::grouped_query::Inputs<float>, attn::grouped_query::Options, attn::grouped_query::Outputs<float>)
ATTN_CUDA_VERSION("multi_query", "splits", attn_splits, attn::grouped_query::launch_splits,
                  attn::grouped_query::Inputs<float>, attn::grouped_query::Options, attn::grouped_query::Outputs<float>)
