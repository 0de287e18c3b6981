// Linear attention on the GPU, stage 2: one kernel. A block goes through the chunks of a head in their order and keeps
// the state in shared memory: q, k and v are read once, out is written once, and no state goes through device memory.
// The price is that the chunks of a head come one after the other: with few heads most of the GPU is idle, and stage 1,
// whose chunks stand side by side, can be the faster one.
#include "chapters/02_linear/linear_attention/linear_attention.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/on_device.hpp"

namespace attn::linear_attention {
namespace {

constexpr int fours(int numbers) { return (numbers + 3) / 4; }

// Where what stands in the shared memory of a block, which has `columns` columns of the values.
struct Layout {
    int features, columns;  // rounded up to multiples of 4

    ATTN_HOST_DEVICE int state() const { return 0; }                                    // [features, columns]
    ATTN_HOST_DEVICE int normalizer() const { return features * columns; }              // [features]
    ATTN_HOST_DEVICE int queries() const { return normalizer() + features; }            // [chunk, row_stride]
    ATTN_HOST_DEVICE int keys() const { return queries() + chunk_tokens * stride(); }   // [chunk, row_stride]
    ATTN_HOST_DEVICE int values() const { return keys() + chunk_tokens * stride(); }    // [chunk, columns]
    ATTN_HOST_DEVICE int weights() const { return values() + chunk_tokens * columns; }  // [chunk, weight_stride]
    ATTN_HOST_DEVICE int denominators() const { return weights() + chunk_tokens * weight_stride; }  // [chunk]
    ATTN_HOST_DEVICE int end() const { return denominators() + chunk_tokens; }
    ATTN_HOST_DEVICE int stride() const { return row_stride(features); }
};

// The state of `columns` columns in shared memory, from and to a head's in device memory.
template <bool Aligned>
__device__ void load_state(const Inputs<float>& in, int b, int h, const Layout& at, float* memory, int first_value) {
    const Sizes size = in.sizes();
    load_rows_shared<Aligned, block_threads>(
        memory + at.state(), at.columns, at.features, first_value, at.columns, size.Dv,
        [&](int m) { return in.initial_state && m < size.D ? &in.initial_state(b, h, m, 0) : nullptr; });
    for (int m = static_cast<int>(threadIdx.x); m < at.features; m += block_threads)
        memory[at.normalizer() + m] = in.initial_normalizer && m < size.D ? in.initial_normalizer(b, h, m) : 0;
}
template <bool Aligned>
__device__ void store_state(const Outputs<float>& out, int b, int h, const Layout& at, const float* memory,
                            int first_value) {
    const int D = out.state.extent(2), Dv = out.state.extent(3), groups = at.columns / 4;
    for (int place = static_cast<int>(threadIdx.x); place < D * groups; place += block_threads) {
        const int m = place / groups, column = place % groups * 4;
        store_four<Aligned>(&out.state(b, h, m, 0), first_value + column, Dv,
                            four_at(memory + at.state() + m * at.columns + column));
    }
    if (first_value == 0)
        for (int m = static_cast<int>(threadIdx.x); m < D; m += block_threads)
            out.normalizer(b, h, m) = memory[at.normalizer() + m];
}

// The keys and values of the chunk, which stand in shared memory, into the state.
__device__ inline void update_state(const Layout& at, float* memory) {
    const int groups = at.columns / 4;
    for (int task = static_cast<int>(threadIdx.x); task < at.features / 4 * groups; task += block_threads) {
        const int feature = task / groups * 4, column = task % groups * 4;
        StateTile sums;
        float* state = memory + at.state() + feature * at.columns + column;
#pragma unroll
        for (int f = 0; f < 4; ++f) sums.at[f] = four_at(state + f * at.columns);
        sums.add_tokens(memory + at.keys() + feature, at.stride(), memory + at.values() + column, at.columns,
                        chunk_tokens);
#pragma unroll
        for (int f = 0; f < 4; ++f) *reinterpret_cast<float4*>(state + f * at.columns) = sums.at[f];
    }
    for (int m = static_cast<int>(threadIdx.x); m < at.features; m += block_threads) {
        float sum = memory[at.normalizer() + m];
        for (int j = 0; j < chunk_tokens; ++j) sum += memory[at.keys() + j * at.stride() + m];
        memory[at.normalizer() + m] = sum;
    }
}

// A block: a head, `at.columns` columns of its values.
template <bool Aligned>
__global__ void __launch_bounds__(block_threads, 2)
    attend(Inputs<float> in, Options options, Outputs<float> out, Layout at) {
    extern __shared__ __align__(16) float memory[];
    const Sizes size = in.sizes();
    const Feature feature{options.feature_map};
    const int parts = (size.Dv + at.columns - 1) / at.columns;
    const int first_value = static_cast<int>(blockIdx.x) % parts * at.columns;
    const int h = static_cast<int>(blockIdx.x) / parts % size.H, b = static_cast<int>(blockIdx.x) / parts / size.H;
    float *queries = memory + at.queries(), *keys = memory + at.keys(), *values = memory + at.values(),
          *weights = memory + at.weights(), *denominators = memory + at.denominators();

    auto load_keys_and_values = [&](int first) {
        load_rows_shared<Aligned, block_threads>(keys, at.stride(), chunk_tokens, 0, at.features, size.D,
                                                 RowsOfHead{in.k.slice(b, h), first}, feature);
        load_rows_shared<Aligned, block_threads>(values, at.columns, chunk_tokens, first_value, at.columns, size.Dv,
                                                 RowsOfHead{in.v.slice(b, h), first});
    };
    load_state<Aligned>(in, b, h, at, memory, first_value);
    if (!options.causal)
        for (int first = 0; first < size.Nk; first += chunk_tokens) {
            __syncthreads();  // nobody reads the chunk before this one any more; the state has been cleared
            load_keys_and_values(first);
            __syncthreads();  // the chunk is complete
            update_state(at, memory);
        }
    for (int first = 0; first < size.Nq; first += chunk_tokens) {
        __syncthreads();  // nobody reads the chunk before this one any more, and the state is complete
        load_rows_shared<Aligned, block_threads>(queries, at.stride(), chunk_tokens, 0, at.features, size.D,
                                                 RowsOfHead{in.q.slice(b, h), first}, feature);
        if (options.causal) load_keys_and_values(first);
        __syncthreads();  // the chunk is complete

        // [19.4.2-5] the pairs of the chunk; the denominators
        float denominator = part_of_product(queries, memory + at.normalizer(), at.stride(), at.features);
        if (options.causal) {
            float dots[keys_per_lane] = {};
            add_to_pairs(dots, queries, keys, at.stride(), at.features);
            denominator += store_pairs(dots, weights);
        }
        denominator = sum_over_lanes(denominator) + static_cast<float>(options.epsilon);
        if (lane_of_query() == 0) denominators[shared_query()] = options.normalize ? denominator : 1;
        __syncthreads();  // weights and denominators are complete

        const int groups = at.columns / 4;
        for (int task = static_cast<int>(threadIdx.x); task < chunk_tokens / 2 * groups; task += block_threads) {
            const int row = task / groups * 2, column = task % groups * 4;
            OutputTile sums;
            sums.add_product(queries + row * at.stride(), at.stride(), memory + at.state() + column, at.columns,
                             at.features);
            if (options.causal) sums.add_values(row, weights, values + column, at.columns);
            store_output<Aligned>(out.out.slice(b, h), first + row, first_value + column, sums, denominators + row);
        }
        if (options.causal) {
            __syncthreads();  // nobody reads the state from before the chunk any more
            update_state(at, memory);
        }
    }
    if (options.causal) {
        __syncthreads();  // the state is complete
        store_state<Aligned>(out, b, h, at, memory, first_value);
    }
}

// All columns of the values in one block, so that q and k are read once; else as many as fit into shared memory. A
// state whose features alone do not fit stays in device memory.
void launch_on_chip(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    int device = 0, most_bytes = 0;
    check(cudaGetDevice(&device));
    check(cudaDeviceGetAttribute(&most_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    Layout at{4 * fours(size.D), 4 * fours(size.Dv)};
    auto bytes = [&] { return static_cast<std::size_t>(at.end()) * sizeof(float); };
    while (bytes() > static_cast<std::size_t>(most_bytes) && at.columns > 16) at.columns = 4 * fours(at.columns / 2);
    if (bytes() > static_cast<std::size_t>(most_bytes)) return launch_with_states_in_memory(in, options, out);
    const unsigned blocks =
        static_cast<unsigned>(size.B) * static_cast<unsigned>(size.H) * blocks_for(size.Dv, at.columns);
    launch(size.D % 4 == 0 && size.Dv % 4 == 0 ? attend<true> : attend<false>, {blocks, block_threads, bytes()}, in,
           options, out, at);
}

}  // namespace
}  // namespace attn::linear_attention

ATTN_CUDA_VERSION("linear_attention", "stage2", "one kernel: the state stays on chip, everything else is moved once",
                  attn::linear_attention::launch_on_chip, attn::linear_attention::Inputs<float>,
                  attn::linear_attention::Options, attn::linear_attention::Outputs<float>)
