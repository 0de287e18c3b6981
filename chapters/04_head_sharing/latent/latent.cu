// Multi-head latent attention on a GPU. The projections are matrix products (common/cuda). Expanded, the keys and
// values of all heads are made out of the latents, and it is multi-head attention. Absorbed, the rows of the cache are
// the keys of all heads, and their latents the values: a tile of rows in shared memory serves the scores and the
// weighted means of many heads at once.
#include "chapters/04_head_sharing/latent/latent.hpp"

#include "chapters/04_head_sharing/grouped_query/grouped_query.cuh"
#include "common/cuda/layer.cuh"
#include "common/cuda/matrix_product.cuh"
#include "common/cuda/on_device.hpp"
#include "common/cuda/row_state.cuh"
#include "common/cuda/vector_access.hpp"

namespace attn::latent {
namespace {

constexpr int block_threads = 256, warps = block_threads / 32;

// ---- between the products -------------------------------------------------------------------------------------------

// RoPE of the `rope_dim` numbers from `offset` on of each row, in place: a thread for each pair. angles [N, Dr/2, 2]:
// cosine and sine. Row r of a batch is position first + r.
__global__ void rotate(Rows<float> rows, int count, int heads, int offset, TensorView<const float, 3> angles, int first,
                       bool half_split) {
    const int pairs = angles.extent(1);
    const int index = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (index >= count * heads * pairs) return;
    const int i = index % pairs, head = index / pairs % heads, row = index / pairs / heads;
    float* x = rows.at(row, head) + offset;
    float& a = x[half_split ? i : 2 * i];
    float& b = x[half_split ? i + pairs : 2 * i + 1];
    const int position = first + row % rows.rows_per_batch;
    const float cosine = angles(position, i, 0), sine = angles(position, i, 1);
    const float turned = a * cosine - b * sine;
    b = a * sine + b * cosine;
    a = turned;
}

LaunchShape threads_for(std::int64_t count) { return {blocks_for(count, block_threads), block_threads}; }

// ---- absorbed: attention to the latents -----------------------------------------------------------------------------

constexpr int rows_per_warp = 2, block_rows = warps * rows_per_warp;
constexpr int tile_keys = 16;                // two lanes for each
constexpr int most_value_columns = 16 * 32;  // of one block

// One step: `count` queries of all heads, the last of the n positions in the cache.
struct Work {
    TensorView<const float, 4> q;      // [B, H, count, Rkv+Dr]: absorbed
    TensorView<const float, 3> cache;  // [B, N, Rkv+Dr]
    TensorView<float, 4> out;          // [B, H, count, Rkv]
    int n, Rkv;
    float scale;
    Parts parts;  // where each split has a block; without data where a block takes all

    ATTN_HOST_DEVICE int splits() const { return (n + split_keys - 1) / split_keys; }
};

// A block: block_rows rows, row = (query · H + head), which share the cache. Of the tile in shared memory the scores
// use all columns and the weighted means the first Rkv: the values are a part of the keys.
template <int ValueColumns, bool Aligned>
__global__ void __launch_bounds__(block_threads, 1) attend_to_latents(Work work, int first_value) {
    extern __shared__ __align__(16) float memory[];
    const int columns = work.cache.extent(2), fours = (columns + 3) / 4, stride = row_stride(columns);
    float* keys = memory;                            // [tile_keys, stride]
    float* queries = keys + tile_keys * stride;      // [block_rows, stride]
    float* weights = queries + block_rows * stride;  // [block_rows, tile_keys]
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, own_key = lane % tile_keys, half = lane / tile_keys;
    const int H = work.q.extent(1), count = work.q.extent(2), rows = H * count;
    const bool all_splits = !work.parts.sums;
    const int splits = all_splits ? 1 : work.splits(), tiles_of_rows = (rows + block_rows - 1) / block_rows;
    const int own_split = static_cast<int>(blockIdx.x) % splits;
    const int first_row = static_cast<int>(blockIdx.x) / splits % tiles_of_rows * block_rows;
    const int b = static_cast<int>(blockIdx.x) / splits / tiles_of_rows;

    load_rows_shared<Aligned, block_threads>(queries, stride, block_rows, 0, columns, columns, [&](int row) {
        const int r = first_row + row;
        return r < rows ? &work.q(b, r % H, r / H, 0) : nullptr;
    });

    int visible[rows_per_warp], seen_by_all = work.n;
#pragma unroll
    for (int r = 0; r < rows_per_warp; ++r) {
        const int row = first_row + warp * rows_per_warp + r;
        visible[r] = row < rows ? work.n - count + row / H + 1 : 0;
        seen_by_all = min(seen_by_all, visible[r]);
    }
    const int seen_by_any = work.n - count + (min(first_row + block_rows, rows) - 1) / H + 1;

    RowState total[rows_per_warp];
    float sums[rows_per_warp][ValueColumns] = {};
    const int end_split = all_splits ? (seen_by_any + split_keys - 1) / split_keys : own_split + 1;
    for (int split = own_split; split < end_split; ++split) {
        RowState state[rows_per_warp];
        float split_sums[rows_per_warp][ValueColumns] = {};
        const int end = min((split + 1) * split_keys, seen_by_any);
        for (int first_key = split * split_keys; first_key < end; first_key += tile_keys) {
            __syncthreads();  // nobody reads the tile before this one any more
            load_rows_shared<Aligned, block_threads>(keys, stride, tile_keys, 0, columns, columns, [&](int key) {
                return first_key + key < end ? &work.cache(b, first_key + key, 0) : nullptr;
            });
            __syncthreads();  // the tile is complete

            // [19.4.4-12] scores: two lanes have a key, and take its columns in turns of four
            float dots[rows_per_warp] = {};
#pragma unroll 2
            for (int d = 4 * half; d < 4 * fours; d += 8) {
                const float4 k = *reinterpret_cast<const float4*>(&keys[own_key * stride + d]);
#pragma unroll
                for (int r = 0; r < rows_per_warp; ++r) {
                    const float4 q =
                        *reinterpret_cast<const float4*>(&queries[(warp * rows_per_warp + r) * stride + d]);
                    dots[r] = fmaf(q.x, k.x, dots[r]), dots[r] = fmaf(q.y, k.y, dots[r]);
                    dots[r] = fmaf(q.z, k.z, dots[r]), dots[r] = fmaf(q.w, k.w, dots[r]);
                }
            }

            // [19.4.4-9] weights, relative to the largest score so far
#pragma unroll
            for (int r = 0; r < rows_per_warp; ++r) {
                const float dot = dots[r] + __shfl_xor_sync(all_lanes, dots[r], tile_keys);
                const bool is_seen = first_key + own_key < visible[r];
                const float score = is_seen ? work.scale * dot : -INFINITY;
                const float maximum = fmaxf(state[r].maximum, warp_max(score));
                const float weight = is_seen ? exp_above(score, maximum) : 0;
                const float factor = exp_above(state[r].maximum, maximum);
                state[r] = {maximum, fmaf(state[r].sum, factor, warp_sum(half == 0 ? weight : 0))};
                if (half == 0) weights[(warp * rows_per_warp + r) * tile_keys + own_key] = weight;
#pragma unroll
                for (int c = 0; c < ValueColumns; ++c) split_sums[r][c] *= factor;
            }
            __syncwarp();

            // [19.4.4-13] the weighted means of the latents: each lane has every 32nd column
            const bool all_see_all = first_key + tile_keys <= seen_by_all;
#pragma unroll 1
            for (int key = 0; key < tile_keys; ++key) {
                float weight[rows_per_warp];
                bool is_seen[rows_per_warp];
#pragma unroll
                for (int r = 0; r < rows_per_warp; ++r) {
                    weight[r] = weights[(warp * rows_per_warp + r) * tile_keys + key];
                    is_seen[r] = all_see_all || first_key + key < visible[r];  // 0 · NaN is NaN
                }
#pragma unroll
                for (int c = 0; c < ValueColumns; ++c) {
                    const int column = first_value + c * 32 + lane;
                    const float value = column < work.Rkv ? keys[key * stride + column] : 0;
#pragma unroll
                    for (int r = 0; r < rows_per_warp; ++r)
                        if (is_seen[r]) split_sums[r][c] = fmaf(weight[r], value, split_sums[r][c]);
                }
            }
            __syncwarp();  // the weights have been read
        }
#pragma unroll
        for (int r = 0; r < rows_per_warp; ++r) {
            const Factors factors = put_together(total[r], state[r]);
#pragma unroll
            for (int c = 0; c < ValueColumns; ++c)
                sums[r][c] = fmaf(sums[r][c], factors.before, split_sums[r][c] * factors.added);
        }
    }

#pragma unroll
    for (int r = 0; r < rows_per_warp; ++r) {
        const int row = first_row + warp * rows_per_warp + r;
        if (row >= rows) continue;
        const int part = row / H * splits + own_split;
        float* to = all_splits ? &work.out(b, row % H, row / H, 0) : &work.parts.sums(b, row % H, part, 0);
#pragma unroll
        for (int c = 0; c < ValueColumns; ++c) {
            const int column = first_value + c * 32 + lane;
            if (column < work.Rkv) to[column] = all_splits ? sums[r][c] / total[r].sum : sums[r][c];
        }
        if (!all_splits && lane == 0 && first_value == 0) {
            work.parts.states(b, row % H, part, 0) = total[r].maximum;
            work.parts.states(b, row % H, part, 1) = total[r].sum;
        }
    }
}

template <int ValueColumns>
void launch_attend(const Work& work, int first_value, unsigned blocks) {
    const int columns = work.cache.extent(2);
    const std::size_t numbers =
        static_cast<std::size_t>(tile_keys + block_rows) * row_stride(columns) + block_rows * tile_keys;
    launch(columns % 4 == 0 ? attend_to_latents<ValueColumns, true> : attend_to_latents<ValueColumns, false>,
           {blocks, block_threads, numbers * sizeof(float)}, work, first_value);
}

void attend(Work work) {
    const int B = work.q.extent(0), H = work.q.extent(1), count = work.q.extent(2), splits = work.splits();
    const unsigned tiles = static_cast<unsigned>(B) * blocks_for(std::int64_t{H} * count, block_rows);
    const bool one_block_each = splits > 1 && tiles < enough_blocks;
    const int parts = one_block_each ? count * splits : 0;
    DeviceTensor<float, 4> part_sums({B, H, parts, work.Rkv}), part_states({B, H, parts, 2});
    if (one_block_each) work.parts = {part_sums.view(), part_states.view()};
    const unsigned blocks = tiles * static_cast<unsigned>(one_block_each ? splits : 1);
    for (int first = 0; first < work.Rkv; first += most_value_columns) {
        const int columns = std::min(work.Rkv - first, most_value_columns);
        if (columns <= 32)
            launch_attend<1>(work, first, blocks);
        else if (columns <= 4 * 32)
            launch_attend<4>(work, first, blocks);
        else
            launch_attend<16>(work, first, blocks);
    }
    if (one_block_each) launch_put_splits_together(work.parts, splits, 0, count, 0, work.out, {});
}

// ---- the layer ------------------------------------------------------------------------------------------------------

// Cosine and sine of every position and pair [N, Dr/2, 2], computed in double: float angles are wrong at large ones.
DeviceTensor<float, 3> angle_table(int N, const Options& options) {
    const Shape<3> shape{{N, options.rope_dim / 2, 2}};
    std::vector<float> angles(static_cast<std::size_t>(shape.count()));
    const TensorView<float, 3> table(angles.data(), shape);
    for (int position = 0; position < N; ++position)
        for (int i = 0; i < options.rope_dim / 2; ++i) {
            const double angle = position * std::pow(options.rope_theta, -2.0 * i / options.rope_dim);
            table(position, i, 0) = static_cast<float>(std::cos(angle));
            table(position, i, 1) = static_cast<float>(std::sin(angle));
        }
    return DeviceTensor<float, 3>(TensorView<const float, 3>(table), "angles of RoPE");
}

// Row-major [B · count, columns], for products over the positions of one step.
template <class T>
Rows<T> plain_rows(T* data, std::int64_t columns) {
    return {data, columns};
}

class Layer {
  public:
    Layer(const Inputs<float>& inputs, const Options& layer_options, const Outputs<float>& outputs)
        : in(inputs),
          options(layer_options),
          out(outputs),
          size(in.sizes(options)),
          angles(angle_table(size.N, options)) {}

    void run() const {
        for_each_step(size.N, options.prefill, [&](const Step& step) {
            write_cache(step);
            DeviceTensor<float, 4> q({size.B, size.H, step.count, size.Dn + size.Dr}, "queries");
            make_queries(step, q.view());
            DeviceTensor<float, 3> results({size.B, step.count, size.H * size.Dv}, "results of the heads");
            if (options.form == Form::expanded)
                attend_expanded(step, q.view(), results.view());
            else
                attend_absorbed(step, q.view(), results.view());

            // [19.4.4-15] output: the results of all heads, projected
            multiply(plain_rows<const float>(results.view().data(), size.H * size.Dv),
                     plain_rows(in.w_o.data(), size.H * size.Dv), positions(out.out, step), size.B * step.count,
                     size.Dm, size.H * size.Dv);
        });
    }

  private:
    // The rows of a step of a tensor [B, N, columns].
    template <class T>
    static Rows<T> positions(const TensorView<T, 3>& tensor, const Step& step) {
        return position_rows(tensor, step.first, step.count);
    }
    // Those of all heads of a tensor [B, H, count, columns].
    template <class T>
    static Rows<T> heads(const TensorView<T, 4>& tensor) {
        const std::int64_t columns = tensor.extent(3), count = tensor.extent(2);
        return {tensor.data(), columns, tensor.extent(2), tensor.extent(1) * count * columns, count * columns};
    }
    template <class T>
    static Rows<T> from_column(Rows<T> rows, int column) {
        rows.data += column;
        return rows;
    }

    // [19.4.4-5] rows of the cache: c = RMSNorm(W_DKV x), and the one rotated key of all heads
    void write_cache(const Step& step) const {
        const int rows = size.B * step.count;
        const Rows<float> cache = positions(out.cache, step);
        multiply(positions(in.hidden, step), plain_rows(in.w_dkv.data(), size.Dm), cache, rows, size.Rkv + size.Dr,
                 size.Dm);
        rms_norm(cache, cache, rows, size.Rkv, in.norm_kv.data(), options.norm_epsilon);
        rotate_rows(cache, rows, 1, size.Rkv, step);
    }

    // [19.4.4-6] queries, of all heads
    void make_queries(const Step& step, const TensorView<float, 4>& q) const {
        const int rows = size.B * step.count, columns = size.Dn + size.Dr;
        if (in.w_q) {
            multiply(positions(in.hidden, step), weights_of_heads(in.w_q, columns), heads(q), rows, columns, size.Dm,
                     size.H);
        } else {
            DeviceTensor<float, 3> compressed({size.B, step.count, size.Rq}, "compressed queries");
            const Rows<float> all = plain_rows(compressed.view().data(), size.Rq);
            multiply(positions(in.hidden, step), plain_rows(in.w_dq.data(), size.Dm), all, rows, size.Rq, size.Dm);
            rms_norm(all, all, rows, size.Rq, in.norm_q.data(), options.norm_epsilon);
            multiply(all, weights_of_heads(in.w_uq, columns), heads(q), rows, columns, size.Rq, size.H);
        }
        rotate_rows(heads(q), rows, size.H, size.Dn, step);
    }

    // [19.4.4-7] keys and values of all heads and positions so far, out of the latents
    void attend_expanded(const Step& step, const TensorView<float, 4>& q, const TensorView<float, 3>& results) const {
        const int n = step.first + step.count, rows = size.B * n;
        DeviceTensor<float, 4> k({size.B, size.H, n, size.Dn + size.Dr}, "keys"),
            v({size.B, size.H, n, size.Dv}, "values");
        const Rows<const float> cache = positions(out.cache, {0, n});
        const Rows<const float> w_uk = weights_of_heads(in.w_ukv, size.Dn + size.Dv);
        multiply(cache, w_uk, heads(k.view()), rows, size.Dn, size.Rkv, size.H);
        multiply(cache, from_column(w_uk, size.Dn * size.Rkv), heads(v.view()), rows, size.Dv, size.Rkv, size.H);
        copy_rows(from_column(cache, size.Rkv), from_column(heads(k.view()), size.Dn), rows, size.H, size.Dr);

        // [19.4.4-8] to [19.4.4-10]: multi-head attention
        DeviceTensor<float, 4> means({size.B, size.H, step.count, size.Dv});
        DeviceTensor<float, 3> log_sum_exp({size.B, size.H, step.count});
        const std::vector<int> own_pages = kv_cache::own_pages(size.B);
        const DeviceTensor<int, 2> table(TensorView<const int, 2>(own_pages.data(), {{size.B, 1}}), "page table");
        const grouped_query::Inputs<float> heads_in{q, k.view(), v.view(), {}};
        grouped_query::attend_on_device(heads_in, {k.view(), v.view(), table.view()}, {true, options.scale},
                                        {0, step.count, n}, {means.view(), log_sum_exp.view(), {}, {}, {}});
        copy_rows(heads(means.view()), of_heads(results), size.B * step.count, size.H, size.Dv);
    }

    void attend_absorbed(const Step& step, const TensorView<float, 4>& q, const TensorView<float, 3>& results) const {
        const int n = step.first + step.count, rows = size.B * step.count;
        const Rows<const float> w_uk = weights_of_heads(in.w_ukv, size.Dn + size.Dv);
        // [19.4.4-11] W_UK changes sides: the queries as the latents see them, W_UKᵀ q, and their rotated part as it is
        DeviceTensor<float, 4> absorbed({size.B, size.H, step.count, size.Rkv + size.Dr}, "absorbed queries");
        multiply_by_transposed(heads(q), w_uk, heads(absorbed.view()), rows, size.Rkv, size.Dn, size.H);
        copy_rows(from_column(heads(q), size.Dn), from_column(heads(absorbed.view()), size.Rkv), rows, size.H, size.Dr);
        DeviceTensor<float, 4> means({size.B, size.H, step.count, size.Rkv}, "means of the latents");
        attend({absorbed.view(), out.cache, means.view(), n, size.Rkv, static_cast<float>(options.scale), {}});
        // [19.4.4-14] and so does W_UV: the values of the means
        multiply(heads(means.view()), from_column(w_uk, size.Dn * size.Rkv), of_heads(results), rows, size.Dv, size.Rkv,
                 size.H);
    }

    // The rows of each head of a weight [H · rows, columns].
    static Rows<const float> weights_of_heads(const TensorView<const float, 2>& weight, int rows) {
        const std::int64_t columns = weight.extent(1);
        return {weight.data(), columns, 1 << 30, 0, rows * columns};
    }
    // The columns of each head of [B, count, H · Dv].
    Rows<float> of_heads(const TensorView<float, 3>& results) const {
        return {results.data(), std::int64_t{size.H} * size.Dv, 1 << 30, 0, size.Dv};
    }
    void rotate_rows(const Rows<float>& rows, int count, int head_count, int offset, const Step& step) const {
        launch(rotate, threads_for(std::int64_t{count} * head_count * (size.Dr / 2)), rows, count, head_count, offset,
               angles.view(), step.first, options.rope_layout == RopeLayout::half_split);
    }

    const Inputs<float>& in;
    const Options& options;
    const Outputs<float>& out;
    const Sizes size;
    const DeviceTensor<float, 3> angles;
};

void launch_layer(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    Layer(in, options, out).run();
}

}  // namespace
}  // namespace attn::latent

ATTN_CUDA_VERSION("latent", "tiles",
                  "projections by tiled products; absorbed, a tile of the cache serves scores and means of 16 heads",
                  attn::latent::launch_layer, attn::latent::Inputs<float>, attn::latent::Options,
                  attn::latent::Outputs<float>)
