// Causal attention without a softmax in one kernel: a block goes through the chunks of a head in their order and keeps
// the state in shared memory. Linear attention and RetNet are this kernel with different rules.
#pragma once

#include <type_traits>

#include "chapters/02_linear/chunk.cuh"
#include "common/cuda/launch.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn::linear_attention {
inline namespace ATTN_BUILD {

// The tensors, all in device memory. The initial ones may be absent, and so may the normalizer.
struct ChunkTensors {
    TensorView<const float, 4> q, k, v;             // [B, H, Nq or Nk, D], values [B, H, Nk, Dv]
    TensorView<const float, 4> initial_state;       // [B, H, D, Dv]
    TensorView<const float, 3> initial_normalizer;  // [B, H, D]
    TensorView<float, 4> out;                       // [B, H, Nq, Dv]
    TensorView<float, 4> state;                     // [B, H, D, Dv]; causal only
    TensorView<float, 3> normalizer;                // [B, H, D]; causal only
};

// What a mechanism's rule has:
//     feature          what q and k go through, element by element; Unchanged for nothing
//     causal           else all keys are summed up before the first query
//     has_normalizer   z is kept; `normalize`: the output is divided by φ(q)·z + epsilon
//     scale            of the output
//     decays           by gamma(h) at each token: causal only

// Where row first + row of a head begins, null behind the last.
struct RowsOfHead {
    TensorView<const float, 2> matrix;  // [N, D]
    int first;
    __device__ const float* operator()(int row) const {
        return first + row < matrix.extent(0) ? &matrix(first + row, 0) : nullptr;
    }
};

// Stores two rows of the output, four columns each, divided by their denominators. [19.4.2-4]
template <bool Aligned>
__device__ inline void store_output(const TensorView<float, 2>& out, int row, int column, const OutputTile& tile,
                                    const float* denominators, float scale = 1) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        if (row + r >= out.extent(0)) continue;
        const float4 sums = tile.at[r];
        const float d = denominators[r];
        store_four<Aligned>(
            &out(row + r, 0), column, out.extent(1),
            make_float4(scale * sums.x / d, scale * sums.y / d, scale * sums.z / d, scale * sums.w / d));
    }
}

namespace detail {

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
    ATTN_HOST_DEVICE int powers() const { return denominators() + chunk_tokens; }                   // [chunk + 1]
    ATTN_HOST_DEVICE int end() const { return powers() + chunk_tokens + 4; }
    ATTN_HOST_DEVICE int stride() const { return row_stride(features); }
};

// The state of `columns` columns in shared memory, from and to a head's in device memory.
template <bool Aligned>
__device__ void load_state(const ChunkTensors& tensors, int b, int h, const Layout& at, float* memory,
                           int first_value) {
    const int D = tensors.k.extent(3), Dv = tensors.v.extent(3);
    load_rows_shared<Aligned, block_threads>(
        memory + at.state(), at.columns, at.features, first_value, at.columns, Dv,
        [&](int m) { return tensors.initial_state && m < D ? &tensors.initial_state(b, h, m, 0) : nullptr; });
    for (int m = static_cast<int>(threadIdx.x); m < at.features; m += block_threads)
        memory[at.normalizer() + m] = tensors.initial_normalizer && m < D ? tensors.initial_normalizer(b, h, m) : 0;
}
template <bool Aligned>
__device__ void store_state(const ChunkTensors& tensors, int b, int h, const Layout& at, const float* memory,
                            int first_value) {
    const int D = tensors.state.extent(2), Dv = tensors.state.extent(3), groups = at.columns / 4;
    for (int place = static_cast<int>(threadIdx.x); place < D * groups; place += block_threads) {
        const int m = place / groups, column = place % groups * 4;
        store_four<Aligned>(&tensors.state(b, h, m, 0), first_value + column, Dv,
                            four_at(memory + at.state() + m * at.columns + column));
    }
    if (tensors.normalizer && first_value == 0)
        for (int m = static_cast<int>(threadIdx.x); m < D; m += block_threads)
            tensors.normalizer(b, h, m) = memory[at.normalizer() + m];
}

// The keys and values of the chunk, which stand in shared memory, into the state. `existing` of them exist; the rows
// behind are 0, and add nothing.
template <bool HasNormalizer, class Powers>
__device__ void update_state(const Layout& at, float* memory, int existing, Powers powers) {
    const int tokens = std::is_same_v<Powers, NoDecay> ? chunk_tokens : existing;
    const int groups = at.columns / 4;
    for (int task = static_cast<int>(threadIdx.x); task < at.features / 4 * groups; task += block_threads) {
        const int feature = task / groups * 4, column = task % groups * 4;
        StateTile sums;
        float* state = memory + at.state() + feature * at.columns + column;
#pragma unroll
        for (int f = 0; f < 4; ++f) sums.at[f] = four_at(state + f * at.columns);
        sums.multiply(powers.power(tokens));
        sums.add_tokens(memory + at.keys() + feature, at.stride(), memory + at.values() + column, at.columns, tokens,
                        powers);
#pragma unroll
        for (int f = 0; f < 4; ++f) *reinterpret_cast<float4*>(state + f * at.columns) = sums.at[f];
    }
    if constexpr (HasNormalizer)
        for (int m = static_cast<int>(threadIdx.x); m < at.features; m += block_threads) {
            float sum = memory[at.normalizer() + m];
            for (int j = 0; j < tokens; ++j) sum += memory[at.keys() + j * at.stride() + m];
            memory[at.normalizer() + m] = sum;
        }
}

// A block: a head, `at.columns` columns of its values.
template <bool Aligned, class Rule>
__global__ void __launch_bounds__(block_threads, 2) attend_in_chunks(ChunkTensors tensors, Rule rule, Layout at) {
    extern __shared__ __align__(16) float memory[];
    const int H = tensors.q.extent(1), Nq = tensors.q.extent(2), Nk = tensors.k.extent(2);
    const int D = tensors.q.extent(3), Dv = tensors.v.extent(3);
    const int parts = (Dv + at.columns - 1) / at.columns;
    const int first_value = static_cast<int>(blockIdx.x) % parts * at.columns;
    const int h = static_cast<int>(blockIdx.x) / parts % H, b = static_cast<int>(blockIdx.x) / parts / H;
    float *queries = memory + at.queries(), *keys = memory + at.keys(), *values = memory + at.values(),
          *weights = memory + at.weights(), *denominators = memory + at.denominators();

    std::conditional_t<Rule::decays, Decay, NoDecay> powers{};
    if constexpr (Rule::decays) {
        powers.powers = memory + at.powers();
        if (threadIdx.x <= chunk_tokens)
            memory[at.powers() + threadIdx.x] = exp2f(static_cast<float>(threadIdx.x) * log2f(rule.gamma(h)));
    }
    auto load_keys_and_values = [&](int first) {
        load_rows_shared<Aligned, block_threads>(keys, at.stride(), chunk_tokens, 0, at.features, D,
                                                 RowsOfHead{tensors.k.slice(b, h), first}, rule.feature);
        load_rows_shared<Aligned, block_threads>(values, at.columns, chunk_tokens, first_value, at.columns, Dv,
                                                 RowsOfHead{tensors.v.slice(b, h), first});
    };
    load_state<Aligned>(tensors, b, h, at, memory, first_value);
    if (!rule.causal)
        for (int first = 0; first < Nk; first += chunk_tokens) {
            __syncthreads();  // nobody reads the chunk before this one any more; the state has been cleared
            load_keys_and_values(first);
            __syncthreads();  // the chunk is complete
            update_state<Rule::has_normalizer>(at, memory, min(chunk_tokens, Nk - first), powers);
        }
    for (int first = 0; first < Nq; first += chunk_tokens) {
        __syncthreads();  // nobody reads the chunk before this one any more, and the state is complete
        load_rows_shared<Aligned, block_threads>(queries, at.stride(), chunk_tokens, 0, at.features, D,
                                                 RowsOfHead{tensors.q.slice(b, h), first}, rule.feature);
        if (rule.causal) load_keys_and_values(first);
        __syncthreads();  // the chunk is complete

        // [19.4.2-5] the pairs of the chunk; the denominators
        float denominator = 0;
        if (rule.causal) {
            float dots[keys_per_lane] = {};
            add_to_pairs(dots, queries, keys, at.stride(), at.features);
            denominator = store_pairs(dots, weights, powers);
        }
        if constexpr (Rule::has_normalizer)
            denominator = sum_over_lanes(denominator +
                                         part_of_product(queries, memory + at.normalizer(), at.stride(), at.features));
        if (lane_of_query() == 0) denominators[shared_query()] = rule.normalize ? denominator + rule.epsilon : 1;
        __syncthreads();  // weights and denominators are complete

        const int groups = at.columns / 4;
        for (int task = static_cast<int>(threadIdx.x); task < chunk_tokens / 2 * groups; task += block_threads) {
            const int row = task / groups * 2, column = task % groups * 4;
            OutputTile sums;
            sums.add_product(queries + row * at.stride(), at.stride(), memory + at.state() + column, at.columns,
                             at.features);
            sums.multiply(powers.power(row + 1), powers.power(row + 2));
            if (rule.causal) sums.add_values(row, weights, values + column, at.columns);
            store_output<Aligned>(tensors.out.slice(b, h), first + row, first_value + column, sums, denominators + row,
                                  rule.scale);
        }
        if (rule.causal) {
            __syncthreads();  // nobody reads the state from before the chunk any more
            update_state<Rule::has_normalizer>(at, memory, min(chunk_tokens, Nk - first), powers);
        }
    }
    if (rule.causal) {
        __syncthreads();  // the state is complete
        store_state<Aligned>(tensors, b, h, at, memory, first_value);
    }
}

}  // namespace detail

// All columns of the values in one block, so that q and k are read once; else as many as fit into shared memory. False,
// and nothing done, where the state of 16 columns does not.
template <class Rule>
bool launch_chunks(const ChunkTensors& tensors, const Rule& rule) {
    int device = 0, most_bytes = 0;
    check(cudaGetDevice(&device));
    check(cudaDeviceGetAttribute(&most_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    const int D = tensors.k.extent(3), Dv = tensors.v.extent(3);
    detail::Layout at{4 * detail::fours(D), 4 * detail::fours(Dv)};
    auto bytes = [&] { return static_cast<std::size_t>(at.end()) * sizeof(float); };
    while (bytes() > static_cast<std::size_t>(most_bytes) && at.columns > 16)
        at.columns = 4 * detail::fours(at.columns / 2);
    if (bytes() > static_cast<std::size_t>(most_bytes)) return false;
    const unsigned heads = static_cast<unsigned>(tensors.q.extent(0)) * static_cast<unsigned>(tensors.q.extent(1));
    launch(D % 4 == 0 && Dv % 4 == 0 ? detail::attend_in_chunks<true, Rule> : detail::attend_in_chunks<false, Rule>,
           {heads * blocks_for(Dv, at.columns), block_threads, bytes()}, tensors, rule, at);
    return true;
}

}  // namespace ATTN_BUILD
}  // namespace attn::linear_attention
