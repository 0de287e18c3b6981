// The softmax of one row, in pieces that can be put together: what tiled attention and attention to a KV cache rest on.
//
// Keys are taken in splits of a fixed number, counted from position 0, and the splits of a row put together in their
// order. So a row has one order of sums, however many rows are computed at once, whether the cache is in one piece or
// paged, and whether one block takes all splits or each has a block of its own: the same bits in prefill and decoding.
#pragma once

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/tensor/tensor_view.hpp"

namespace attn {
inline namespace ATTN_BUILD {

constexpr int split_keys = 256;

// The exponential of a score, less the maximum so far. Where every score so far is -inf there is nothing to subtract.
__device__ inline float exp_above(float score, float maximum) {
    return expf(score - (maximum == -INFINITY ? 0.0f : maximum));
}

// What is known of some keys of a row: the largest score, and the sum of exp(score - maximum). Goes with the sums of
// the values, weighted alike. Without keys: the identity element of `put_together`.
struct RowState {
    float maximum = -INFINITY, sum = 0;
};

// By what the sums of the two parts must be multiplied; the state becomes that of both together.
struct Factors {
    float before, added;
};
__device__ inline Factors put_together(RowState& state, const RowState& added) {
    const float maximum = fmaxf(state.maximum, added.maximum);
    const Factors factors{exp_above(state.maximum, maximum), exp_above(added.maximum, maximum)};
    state.sum = fmaf(state.sum, factors.before, added.sum * factors.added);
    state.maximum = maximum;
    return factors;
}

// What the blocks of single splits leave of each query and head, to be put together.
struct Parts {
    TensorView<float, 4> sums;    // [B, H, queries · splits, Dv]
    TensorView<float, 4> states;  // [B, H, queries · splits, 2]: maximum and sum
};

// A warp for each query and head: out [B, H, N, Dv] and, where it has data, log_sum_exp [B, H, N], for the queries
// first … first + count - 1. Queries below `blind` see no key: 0 and -inf.
static __global__ void put_splits_together(Parts parts, int splits, int first, int count, int blind,
                                           TensorView<float, 4> out, TensorView<float, 3> log_sum_exp) {
    const int H = out.extent(1), Dv = out.extent(3);
    const int index = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (index >= out.extent(0) * H * count) return;  // the whole warp together
    const int local = index % count, query = first + local;
    const int h = index / count % H, b = index / count / H;
    for (int column = lane; column < Dv; column += 32) {
        RowState total;
        float sum = 0;
        for (int split = 0; split < splits; ++split) {
            const int part = local * splits + split;
            const Factors factors = put_together(total, {parts.states(b, h, part, 0), parts.states(b, h, part, 1)});
            sum = fmaf(sum, factors.before, parts.sums(b, h, part, column) * factors.added);
        }
        out(b, h, query, column) = query < blind ? 0 : sum / total.sum;
        if (column == 0 && log_sum_exp)
            log_sum_exp(b, h, query) = query < blind ? -INFINITY : total.maximum + logf(total.sum);
    }
}

inline void launch_put_splits_together(const Parts& parts, int splits, int first, int count, int blind,
                                       const TensorView<float, 4>& out, const TensorView<float, 3>& log_sum_exp) {
    constexpr int threads = 128;
    launch(put_splits_together,
           {blocks_for(std::int64_t{out.extent(0)} * out.extent(1) * count * 32, threads), threads}, parts, splits,
           first, count, blind, out, log_sum_exp);
}

// With fewer blocks than this, each split of the keys gets one of its own: it is what keeps the multiprocessors busy.
constexpr unsigned enough_blocks = 128;

}  // namespace ATTN_BUILD
}  // namespace attn
