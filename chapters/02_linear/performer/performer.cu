// Performer on the GPU. A block has 64 features of a head and 64 columns of its values; it goes through the tokens in
// their order, 16 at a time, makes their features, and keeps the state in registers. The features never exist in device
// memory. Where there are more than 64 features, each tile of them gives each query a maximum, a denominator and a
// numerator, which are put together as the splits of a softmax are.
//
// Unlike linear attention's, the pairs of a chunk are not multiplied with each other: each key's features are relative
// to the largest so far, which differs from token to token. One largest of the whole chunk would let later keys push
// earlier features to 0.
#include "chapters/02_linear/chunk.cuh"
#include "chapters/02_linear/performer/performer.hpp"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"
#include "common/cuda/row_state.cuh"

namespace attn::performer {
namespace {

using namespace linear_attention;  // chunk.cuh

constexpr int tokens = 16, lanes = block_threads / tokens;
constexpr int tile_features = 64, tile_values = 64, strip = 64;
constexpr int features_per_lane = tile_features / lanes;
constexpr int groups = 4, group_features = tile_features / groups;  // of the state: a thread has one group, one column
static_assert(groups * tile_values == block_threads);
constexpr int group_stride = group_features + 4, token_stride = groups * group_stride;  // the groups in other banks
constexpr int stride = row_stride(strip);

// Where feature f of token i stands.
__device__ int place(int i, int f) { return i * token_stride + f / group_features * group_stride + f % group_features; }

struct SharedMemory {
    float rows[tokens * stride];             // a strip of queries or keys
    float features[tile_features * stride];  // of W
    float values[tokens * tile_values];
    float maximum[(tokens + 1) * token_stride];  // before each token, and after the last; then the normalizers
    float shrink[tokens * token_stride], weight[tokens * token_stride], query[tokens * token_stride];
};

// Exponents w·x of this thread's token and features, and, where asked, |x|²: x = row / D^(1/4).
template <bool Aligned>
__device__ void project(SharedMemory& memory, const TensorView<const float, 2>& matrix, int first_token,
                        const TensorView<const float, 2>& w, int first_feature, float (&exponents)[features_per_lane],
                        float* squares) {
    const int D = w.extent(1);
    float dots[features_per_lane] = {}, sum = 0;
    for (int first = 0; first < D; first += strip) {
        __syncthreads();  // nobody reads the strip before this one any more
        load_rows_shared<Aligned, block_threads>(memory.rows, stride, tokens, first, strip, D, [&](int row) {
            return first_token + row < matrix.extent(0) ? &matrix(first_token + row, 0) : nullptr;
        });
        if (D > strip)  // else it was loaded once for all
            load_rows_shared<Aligned, block_threads>(
                memory.features, stride, tile_features, first, strip, D,
                [&](int f) { return first_feature + f < w.extent(0) ? &w(first_feature + f, 0) : nullptr; });
        __syncthreads();  // the strip is complete
        add_to_pairs<lanes>(dots, memory.rows, memory.features, stride, strip);
        if (squares)
            sum += part_of_product<lanes>(memory.rows, memory.rows + shared_query<lanes>() * stride, stride, strip);
    }
    const float scale = rsqrtf(sqrtf(static_cast<float>(D)));
#pragma unroll
    for (int c = 0; c < features_per_lane; ++c) exponents[c] = scale * dots[c];
    if (squares) *squares = scale * scale * sum_over_lanes<lanes>(sum);
}

struct Work {
    Inputs<float> in;
    Options options;
    TensorView<float, 4> out;
    Parts parts;  // of the tiles of features; without data where there is one tile
};

template <bool Aligned>
__global__ void __launch_bounds__(block_threads, 1) attend(Work work) {
    extern __shared__ __align__(16) unsigned char bytes[];
    SharedMemory& memory = *reinterpret_cast<SharedMemory*>(bytes);
    const Sizes size = work.in.sizes();
    const bool causal = work.options.causal;
    const int feature_tiles = (size.M + tile_features - 1) / tile_features;
    const int feature_tile = static_cast<int>(blockIdx.x) % feature_tiles, first_feature = feature_tile * tile_features;
    const int h = static_cast<int>(blockIdx.x) / feature_tiles % size.H,
              b = static_cast<int>(blockIdx.x) / feature_tiles / size.H;
    const int first_value = static_cast<int>(blockIdx.y) * tile_values;
    const TensorView<const float, 2> q = work.in.q.slice(b, h), k = work.in.k.slice(b, h), v = work.in.v.slice(b, h);
    const int token = shared_query<lanes>(), lane = lane_of_query<lanes>();
    const int column = static_cast<int>(threadIdx.x) / groups, group = static_cast<int>(threadIdx.x) % groups;
    // Of a feature the running things: 16 lanes of each of four warps, so that they meet in no bank.
    const bool has_feature = threadIdx.x < 32 * groups && threadIdx.x % 32 < group_features;
    const int own_feature = static_cast<int>(threadIdx.x) / 32 * group_features + static_cast<int>(threadIdx.x) % 32;
    float largest = -INFINITY, normalizer = 0;  // of own_feature
    float state[group_features] = {};           // of `group` and `column`

    if (size.D <= strip)
        load_rows_shared<Aligned, block_threads>(memory.features, stride, tile_features, 0, strip, size.D, [&](int f) {
            return first_feature + f < size.M ? &work.in.features(first_feature + f, 0) : nullptr;
        });

    // Keys of this chunk into the state where `has_keys`, its queries answered where `has_queries`.
    auto chunk = [&](int first, bool has_keys, bool has_queries) {
        float exponents[features_per_lane];
        if (has_keys) {
            // [19.4.2-11] exponents of the keys; a token or feature that does not exist adds exp(-inf)
            float squares = 0;
            project<Aligned>(memory, k, first, work.in.features, first_feature, exponents, &squares);
#pragma unroll
            for (int c = 0; c < features_per_lane; ++c) {
                const int f = lane + c * lanes;
                const bool exists = first + token < size.Nk && first_feature + f < size.M;
                memory.weight[place(token, f)] = exists ? exponents[c] - squares / 2 : -INFINITY;
            }
            load_rows_shared<Aligned, block_threads>(
                memory.values, tile_values, tokens, first_value, tile_values, size.Dv,
                [&](int row) { return first + row < size.Nk ? &v(first + row, 0) : nullptr; });
        }
        __syncthreads();  // the exponents are complete
        // [19.4.2-12] the largest so far, before each token and after the last
        if (has_feature) {
            memory.maximum[place(0, own_feature)] = largest;
            for (int i = 0; i < tokens; ++i) {
                if (has_keys) largest = fmaxf(largest, memory.weight[place(i, own_feature)]);
                memory.maximum[place(i + 1, own_feature)] = largest;
            }
        }
        __syncthreads();
        if (has_keys) {
#pragma unroll
            for (int c = 0; c < features_per_lane; ++c) {
                const int f = lane + c * lanes;
                const float before = memory.maximum[place(token, f)], after = memory.maximum[place(token + 1, f)];
                memory.shrink[place(token, f)] = exp_above(before, after);
                memory.weight[place(token, f)] = exp_above(memory.weight[place(token, f)], after);
            }
        }
        float most = -INFINITY;
        if (has_queries) {
            // [19.4.2-14] features of the queries, the largest of this tile's is 1
            project<Aligned>(memory, q, first, work.in.features, first_feature, exponents, nullptr);
#pragma unroll
            for (int c = 0; c < features_per_lane; ++c) {
                exponents[c] += memory.maximum[place(token + 1, lane + c * lanes)];
                most = fmaxf(most, exponents[c]);
            }
            for (int distance = lanes / 2; distance > 0; distance /= 2)
                most = fmaxf(most, __shfl_xor_sync(all_lanes, most, distance));
#pragma unroll
            for (int c = 0; c < features_per_lane; ++c)
                memory.query[place(token, lane + c * lanes)] = exp_above(exponents[c], most);
        }
        __syncthreads();  // shrink, weight and query are complete, and nobody reads the maxima any more
        // [19.4.2-13] the normalizers after each token, in the place of the maxima
        if (has_feature)
            for (int i = 0; i < tokens; ++i) {
                if (has_keys)
                    normalizer =
                        fmaf(normalizer, memory.shrink[place(i, own_feature)], memory.weight[place(i, own_feature)]);
                memory.maximum[place(i, own_feature)] = normalizer;
            }
        __syncthreads();

        if (has_queries) {
            float denominator = 0;
#pragma unroll
            for (int c = 0; c < features_per_lane; ++c) {
                const int at = place(token, lane + c * lanes);
                denominator = fmaf(memory.query[at], memory.maximum[at], denominator);
            }
            denominator = sum_over_lanes<lanes>(denominator);
            // Into the place of the rows, which nobody needs any more.
            if (lane == 0) memory.rows[token] = denominator;
            if (lane == 0 && work.parts.sums && first_value == 0 && first + token < size.Nq) {
                work.parts.states(b, h, (first + token) * feature_tiles + feature_tile, 0) = most;
                work.parts.states(b, h, (first + token) * feature_tiles + feature_tile, 1) = denominator;
            }
        }
        __syncthreads();  // the denominators are complete
        // [19.4.2-13] [19.4.2-15] the state, token by token, and its product with the query's features
        for (int i = 0; i < tokens; ++i) {
            const float value = has_keys ? memory.values[i * tile_values + column] : 0;
            float sum = 0;
#pragma unroll
            for (int x = 0; x < group_features; x += 4) {
                const int at = i * token_stride + group * group_stride + x;
                if (has_keys) {
                    const float4 shrink = four_at(memory.shrink + at), weight = four_at(memory.weight + at);
                    state[x + 0] = fmaf(state[x + 0], shrink.x, weight.x * value);
                    state[x + 1] = fmaf(state[x + 1], shrink.y, weight.y * value);
                    state[x + 2] = fmaf(state[x + 2], shrink.z, weight.z * value);
                    state[x + 3] = fmaf(state[x + 3], shrink.w, weight.w * value);
                }
                if (has_queries)
                    sum = dot_four(sum, four_at(memory.query + at),
                                   make_float4(state[x], state[x + 1], state[x + 2], state[x + 3]));
            }
            if (!has_queries) continue;
            for (int distance = 1; distance < groups; distance *= 2) sum += __shfl_xor_sync(all_lanes, sum, distance);
            if (group != 0 || first + i >= size.Nq || first_value + column >= size.Dv) continue;
            if (work.parts.sums)
                work.parts.sums(b, h, (first + i) * feature_tiles + feature_tile, first_value + column) = sum;
            else
                work.out(b, h, first + i, first_value + column) = sum / memory.rows[i];
        }
        __syncthreads();  // the next chunk may come
    };

    if (!causal)
        for (int first = 0; first < size.Nk; first += tokens) chunk(first, true, false);
    for (int first = 0; first < size.Nq; first += tokens) chunk(first, causal, true);
}

void launch_performer(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    const int feature_tiles = static_cast<int>(blocks_for(size.M, tile_features));
    const int parts = feature_tiles > 1 ? size.Nq * feature_tiles : 0;
    DeviceTensor<float, 4> sums({size.B, size.H, parts, size.Dv}, "numerators of the tiles of features"),
        states({size.B, size.H, parts, 2}, "maxima and denominators of the tiles of features");
    Work work{in, options, out.out, {}};
    if (feature_tiles > 1) work.parts = {sums.view(), states.view()};
    launch(size.D % 4 == 0 && size.Dv % 4 == 0 ? attend<true> : attend<false>,
           {dim3(static_cast<unsigned>(size.B * size.H * feature_tiles), blocks_for(size.Dv, tile_values)),
            block_threads, sizeof(SharedMemory)},
           work);
    if (feature_tiles > 1) launch_put_splits_together(work.parts, feature_tiles, 0, size.Nq, 0, out.out, {});
}

}  // namespace
}  // namespace attn::performer

ATTN_CUDA_VERSION("performer", "stage1", "64 features a block, made on the way, the state in registers",
                  attn::performer::launch_performer, attn::performer::Inputs<float>, attn::performer::Options,
                  attn::performer::Outputs<float>)
