// A chunk of causal attention without a softmax, on the device: the products that the kernels of this chapter are made
// of. A block of 256 threads has a chunk of 32 tokens.
//
//     weights = tril(φ(Q) φ(K)ᵀ)              the pairs of the chunk
//     out     = φ(Q) S + weights V            what came before through the state S, the chunk by its pairs
//     S       = S + φ(K)ᵀ V
//
// With a state that decays by γ at each token, as RetNet's, n tokens in the chunk:
//
//     weights(i, j) = γ^(i-j) φ(q_i)·φ(k_j),   out_i = γ^(i+1) φ(q_i) S + …,   S = γ^n S + Σ γ^(n-1-j) φ(k_j) v_jᵀ
#pragma once

#include "common/cuda/build.hpp"
#include "common/cuda/vector_access.hpp"
#include "common/cuda/warp.hpp"

namespace attn::linear_attention {
inline namespace ATTN_BUILD {

constexpr int chunk_tokens = 32, block_threads = 256;
constexpr int row_lanes = block_threads / chunk_tokens;  // threads that share a query while it meets the keys
constexpr int keys_per_lane = chunk_tokens / row_lanes;  // neighbouring lanes have neighbouring keys
constexpr int weight_stride = chunk_tokens + 4;          // eight keys, four queries each: 32 banks
static_assert(chunk_tokens * row_lanes == block_threads && keys_per_lane * row_lanes == chunk_tokens);

__device__ inline float dot_four(float sum, float4 a, float4 b) {
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}
__device__ inline void add_four(float4& sums, float factor, float4 row) {
    sums.x = fmaf(factor, row.x, sums.x), sums.y = fmaf(factor, row.y, sums.y);
    sums.z = fmaf(factor, row.z, sums.z), sums.w = fmaf(factor, row.w, sums.w);
}
__device__ inline float4 four_at(const float* row) { return *reinterpret_cast<const float4*>(row); }

// The powers γ⁰ … γ^chunk_tokens of a decay, in shared memory. Without one they are 1, and cost nothing.
struct NoDecay {
    __device__ float power(int) const { return 1; }
};
struct Decay {
    const float* powers;
    __device__ float power(int exponent) const { return powers[exponent]; }
};

// Which token of the chunk this thread shares with `Lanes` - 1 others, and which of these it is.
template <int Lanes = row_lanes>
__device__ int shared_query() {
    return static_cast<int>(threadIdx.x) / Lanes;
}
template <int Lanes = row_lanes>
__device__ int lane_of_query() {
    return static_cast<int>(threadIdx.x) % Lanes;
}

// dots[c] += the row of the shared token times row lane + c · Lanes of `others`, over `depth` numbers, a multiple of 4,
// of rows in shared memory.
template <int Lanes = row_lanes, int Count>
__device__ void add_to_pairs(float (&dots)[Count], const float* rows, const float* others, int stride, int depth) {
    const float* row = rows + shared_query<Lanes>() * stride;
    const float* other = others + lane_of_query<Lanes>() * stride;
    for (int m = 0; m < depth; m += 4) {
        const float4 left = four_at(row + m);
#pragma unroll
        for (int c = 0; c < Count; ++c) dots[c] = dot_four(dots[c], left, four_at(other + c * Lanes * stride + m));
    }
}

// The pairs with j ≤ i of the chunk into `weights` [key, query], and the sum of this lane's. Turned, so that two
// queries of a key are one access.
template <class Powers = NoDecay>
__device__ float store_pairs(const float (&dots)[keys_per_lane], float* weights, Powers powers = {}) {
    const int i = shared_query();
    float sum = 0;
#pragma unroll
    for (int c = 0; c < keys_per_lane; ++c) {
        const int j = lane_of_query() + c * row_lanes;
        const float weight = j <= i ? dots[c] * powers.power(i - j) : 0;
        weights[j * weight_stride + i] = weight;
        sum += weight;
    }
    return sum;
}

// The part that this lane has of the product of the shared token's row with `other`.
template <int Lanes = row_lanes>
__device__ float part_of_product(const float* rows, const float* other, int stride, int depth) {
    const float* row = rows + shared_query<Lanes>() * stride;
    float sum = 0;
    for (int m = 4 * lane_of_query<Lanes>(); m < depth; m += 4 * Lanes)
        sum = dot_four(sum, four_at(row + m), four_at(other + m));
    return sum;
}

// The sum over the lanes that share a token: every one of them gets it.
template <int Lanes = row_lanes>
__device__ float sum_over_lanes(float value) {
    for (int distance = Lanes / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(all_lanes, value, distance);
    return value;
}

// Two neighbouring rows and four neighbouring columns of the output: what one thread sums up.
struct OutputTile {
    float4 at[2] = {make_float4(0, 0, 0, 0), make_float4(0, 0, 0, 0)};

    // += the two rows of `left`, `depth` numbers, a multiple of 4, times the rows of `matrix`, which points at the four
    // columns. [19.4.2-3]
    __device__ void add_product(const float* left, int left_stride, const float* matrix, int matrix_stride, int depth) {
        for (int m = 0; m < depth; m += 4) {
            const float4 first = four_at(left + m), second = four_at(left + left_stride + m);
            const float of_first[] = {first.x, first.y, first.z, first.w};
            const float of_second[] = {second.x, second.y, second.z, second.w};
#pragma unroll
            for (int next = 0; next < 4; ++next) {
                const float4 row = four_at(matrix + (m + next) * matrix_stride);
                add_four(at[0], of_first[next], row), add_four(at[1], of_second[next], row);
            }
        }
    }
    __device__ void multiply(float of_first, float of_second) {
        at[0] = make_float4(at[0].x * of_first, at[0].y * of_first, at[0].z * of_first, at[0].w * of_first);
        at[1] = make_float4(at[1].x * of_second, at[1].y * of_second, at[1].z * of_second, at[1].w * of_second);
    }
    // += the pairs of rows i and i + 1 of the chunk times the values. A pair that nobody sees is left out, not
    // multiplied by its weight of 0: 0 · NaN is NaN. [19.4.2-6]
    __device__ void add_values(int i, const float* weights, const float* values, int value_stride) {
        for (int j = 0; j <= i; ++j) {
            const float4 v = four_at(values + j * value_stride);
            const float2 pair = *reinterpret_cast<const float2*>(weights + j * weight_stride + i);
            add_four(at[0], pair.x, v), add_four(at[1], pair.y, v);
        }
        add_four(at[1], weights[(i + 1) * weight_stride + i + 1], four_at(values + (i + 1) * value_stride));
    }
};

// Four features and four columns of the state: what one thread adds up of a chunk. `keys` and `values` point at them in
// the first token's row. [19.4.2-7]
struct StateTile {
    float4 at[4] = {make_float4(0, 0, 0, 0), make_float4(0, 0, 0, 0), make_float4(0, 0, 0, 0), make_float4(0, 0, 0, 0)};

    template <class Powers = NoDecay>
    __device__ void add_tokens(const float* keys, int key_stride, const float* values, int value_stride, int tokens,
                               Powers powers = {}) {
        for (int j = 0; j < tokens; ++j) {
            const float4 k = four_at(keys + j * key_stride);
            float4 v = four_at(values + j * value_stride);
            const float power = powers.power(tokens - 1 - j);
            v = make_float4(v.x * power, v.y * power, v.z * power, v.w * power);
            add_four(at[0], k.x, v), add_four(at[1], k.y, v), add_four(at[2], k.z, v), add_four(at[3], k.w, v);
        }
    }
    __device__ void multiply(float factor) {
#pragma unroll
        for (int f = 0; f < 4; ++f)
            at[f] = make_float4(at[f].x * factor, at[f].y * factor, at[f].z * factor, at[f].w * factor);
    }
};

}  // namespace ATTN_BUILD
}  // namespace attn::linear_attention
