// Linear attention on the GPU, stage 1: three kernels, with the states in memory between them. Every chunk can be
// worked on at the same time, and its state costs D · Dv numbers that are written, read, written and read again.
//
//   1. sum_chunks      of each chunk by itself: φ(K)ᵀ V and Σ φ(k)
//   2. sum_before      the state before each chunk: a running sum over these
//   3. answer          the output of each chunk, from the state before it and its own pairs
#include "chapters/02_linear/linear_attention/linear_attention.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"

namespace attn::linear_attention {
namespace {

constexpr int tile = 64;  // features and columns of a state that a block has at one time
constexpr int stride = row_stride(tile);
constexpr int groups = tile / 4;
static_assert(groups * groups == block_threads);

struct States {
    TensorView<float, 4> sums;         // [B · H, chunks, D, Dv]
    TensorView<float, 3> normalizers;  // [B · H, chunks, D]
};

template <class T>
__device__ TensorView<T, 2> head(const TensorView<T, 4>& tensor, int index) {
    return tensor.slice(index / tensor.extent(1), index % tensor.extent(1));
}

// A block: a chunk of a head, a tile of its state.
template <bool Aligned>
__global__ void __launch_bounds__(block_threads) sum_chunks(Inputs<float> in, Options options, States states) {
    __shared__ __align__(16) float keys[chunk_tokens * stride], values[chunk_tokens * stride];
    const Sizes size = in.sizes();
    const int chunks = states.sums.extent(1), chunk = static_cast<int>(blockIdx.x) % chunks;
    const int of_head = static_cast<int>(blockIdx.x) / chunks;
    const int value_tiles = (size.Dv + tile - 1) / tile;
    const int first_feature = static_cast<int>(blockIdx.y) / value_tiles * tile,
              first_value = static_cast<int>(blockIdx.y) % value_tiles * tile;
    load_rows_shared<Aligned, block_threads>(keys, stride, chunk_tokens, first_feature, tile, size.D,
                                             RowsOfHead{head(in.k, of_head), chunk * chunk_tokens},
                                             Feature{options.feature_map});
    load_rows_shared<Aligned, block_threads>(values, stride, chunk_tokens, first_value, tile, size.Dv,
                                             RowsOfHead{head(in.v, of_head), chunk * chunk_tokens});
    __syncthreads();  // the rows are complete
    const int feature = static_cast<int>(threadIdx.x) / groups * 4, column = static_cast<int>(threadIdx.x) % groups * 4;
    StateTile sums;
    sums.add_tokens(keys + feature, stride, values + column, stride, chunk_tokens);
#pragma unroll
    for (int f = 0; f < 4; ++f)
        if (first_feature + feature + f < size.D)
            store_four<Aligned>(&states.sums(of_head, chunk, first_feature + feature + f, 0), first_value + column,
                                size.Dv, sums.at[f]);
    if (first_value == 0 && threadIdx.x < tile && first_feature + static_cast<int>(threadIdx.x) < size.D) {
        float sum = 0;
        for (int j = 0; j < chunk_tokens; ++j) sum += keys[j * stride + static_cast<int>(threadIdx.x)];
        states.normalizers(of_head, chunk, first_feature + static_cast<int>(threadIdx.x)) = sum;
    }
}

// A thread: one number of the state of a head. In place: each chunk's sum becomes the sum of the chunks before it.
__global__ void sum_before(TensorView<float, 3> sums, TensorView<const float, 2> initial, TensorView<float, 2> last) {
    const int heads = sums.extent(0), chunks = sums.extent(1), count = sums.extent(2);
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index >= std::int64_t{heads} * count) return;
    const int of_head = static_cast<int>(index / count), place = static_cast<int>(index % count);
    float sum = initial ? initial(of_head, place) : 0;
    for (int chunk = 0; chunk < chunks; ++chunk) {
        const float added = sums(of_head, chunk, place);
        sums(of_head, chunk, place) = sum;
        sum += added;
    }
    last(of_head, place) = sum;
}

// A block: a chunk of a head, a tile of the columns of its output. Causal: the state before the chunk, and its pairs;
// else the sum over all keys alone, which stands in the place of chunk 0.
template <bool Aligned>
__global__ void __launch_bounds__(block_threads, 1)
    answer(Inputs<float> in, Options options, States states, TensorView<float, 4> out) {
    __shared__ __align__(16) float queries[chunk_tokens * stride], keys[chunk_tokens * stride], matrix[tile * tile],
        weights[chunk_tokens * weight_stride], normalizer[tile], denominators[chunk_tokens];
    const Sizes size = in.sizes();
    const int chunks = (size.Nq + chunk_tokens - 1) / chunk_tokens, chunk = static_cast<int>(blockIdx.x) % chunks;
    const int of_head = static_cast<int>(blockIdx.x) / chunks;
    const int first_token = chunk * chunk_tokens, first_value = static_cast<int>(blockIdx.y) * tile;
    const int state = options.causal ? chunk : 0;
    const Feature feature{options.feature_map};
    const int row = static_cast<int>(threadIdx.x) / groups * 2, column = static_cast<int>(threadIdx.x) % groups * 4;
    OutputTile sums;
    float dots[keys_per_lane] = {}, denominator = 0;
    for (int first = 0; first < size.D; first += tile) {
        __syncthreads();  // nobody reads the strip before this one any more
        load_rows_shared<Aligned, block_threads>(queries, stride, chunk_tokens, first, tile, size.D,
                                                 RowsOfHead{head(in.q, of_head), first_token}, feature);
        if (options.causal)
            load_rows_shared<Aligned, block_threads>(keys, stride, chunk_tokens, first, tile, size.D,
                                                     RowsOfHead{head(in.k, of_head), first_token}, feature);
        load_rows_shared<Aligned, block_threads>(matrix, tile, tile, first_value, tile, size.Dv,
                                                 RowsOfHead{states.sums.slice(of_head, state), first});
        for (int m = static_cast<int>(threadIdx.x); m < tile; m += block_threads)
            normalizer[m] = first + m < size.D ? states.normalizers(of_head, state, first + m) : 0;
        __syncthreads();  // the strip is complete
        if (options.causal) add_to_pairs(dots, queries, keys, stride, tile);
        denominator += part_of_product(queries, normalizer, stride, tile);
        sums.add_product(queries + row * stride, stride, matrix + column, tile, tile);
    }
    __syncthreads();  // nobody reads the keys any more: the values come into their place
    if (options.causal) {
        denominator += store_pairs(dots, weights);
        load_rows_shared<Aligned, block_threads>(keys, stride, chunk_tokens, first_value, tile, size.Dv,
                                                 RowsOfHead{head(in.v, of_head), first_token});
    }
    denominator = sum_over_lanes(denominator) + static_cast<float>(options.epsilon);
    if (lane_of_query() == 0) denominators[shared_query()] = options.normalize ? denominator : 1;
    __syncthreads();  // weights, values and denominators are complete
    if (options.causal) sums.add_values(row, weights, keys + column, stride);
    store_output<Aligned>(head(out, of_head), first_token + row, first_value + column, sums, denominators + row);
}

template <bool Aligned>
void launch_kernels(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    const int heads = size.B * size.H, chunks = static_cast<int>(blocks_for(size.Nk, chunk_tokens));
    const unsigned feature_tiles = blocks_for(size.D, tile), value_tiles = blocks_for(size.Dv, tile);
    DeviceTensor<float, 4> sums({heads, chunks, size.D, size.Dv}, "states before the chunks");
    DeviceTensor<float, 3> normalizers({heads, chunks, size.D}, "normalizers before the chunks");
    DeviceTensor<float, 4> total({heads, 1, size.D, size.Dv}, "state after the last chunk");
    DeviceTensor<float, 3> total_normalizer({heads, 1, size.D}, "normalizer after the last chunk");
    const States states{sums.view(), normalizers.view()};
    launch(sum_chunks<Aligned>,
           {dim3(static_cast<unsigned>(heads * chunks), feature_tiles * value_tiles), block_threads}, in, options,
           states);

    auto scan = [&](float* parts, int count, const float* initial, float* last) {
        launch(sum_before, {blocks_for(std::int64_t{heads} * count, block_threads), block_threads},
               TensorView<float, 3>{parts, {heads, chunks, count}}, TensorView<const float, 2>{initial, {heads, count}},
               TensorView<float, 2>{last, {heads, count}});
    };
    scan(states.sums.data(), size.D * size.Dv, in.initial_state.data(),
         options.causal ? out.state.data() : total.view().data());
    scan(states.normalizers.data(), size.D, in.initial_normalizer.data(),
         options.causal ? out.normalizer.data() : total_normalizer.view().data());

    const States seen = options.causal ? states : States{total.view(), total_normalizer.view()};
    launch(answer<Aligned>,
           {dim3(static_cast<unsigned>(heads) * blocks_for(size.Nq, chunk_tokens), value_tiles), block_threads}, in,
           options, seen, out.out);
}

}  // namespace

inline namespace ATTN_BUILD {

void launch_with_states_in_memory(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    if (in.sizes().D % 4 == 0 && in.sizes().Dv % 4 == 0)
        launch_kernels<true>(in, options, out);
    else
        launch_kernels<false>(in, options, out);
}

}  // namespace ATTN_BUILD
}  // namespace attn::linear_attention

ATTN_CUDA_VERSION("linear_attention", "stage1", "chunks side by side, their states in device memory",
                  attn::linear_attention::launch_with_states_in_memory, attn::linear_attention::Inputs<float>,
                  attn::linear_attention::Options, attn::linear_attention::Outputs<float>)
