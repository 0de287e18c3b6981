// Native sparse attention on the device: its parts, each in a file of its own, and what they share. All tensors are in
// device memory.
#pragma once

#include "chapters/06_native_sparse/native_sparse.hpp"
#include "common/cuda/launch.hpp"

namespace attn::native_sparse {
inline namespace ATTN_BUILD {

constexpr int row_threads = 128, warps = row_threads / 32;  // of kernels without tiles

// Compressed blocks, or positions: begin … end - 1.
struct Range {
    int begin, end;

    ATTN_HOST_DEVICE int count() const { return end - begin; }
};

// [19.4.6-1] of tokens [B, G, N, D] the blocks of the range, into blocks [B, G, blocks, D] (compression.cu)
void compress(const TensorView<const float, 4>& tokens, const Weights<float>& weights, const Options& options,
              const Range& range, const TensorView<float, 4>& blocks);

// [19.4.6-3] [19.4.6-4] the selection of these positions, from queries [B, H, N, Dk], compressed keys [B, G, blocks,
// Dk] and the log_sum_exp [B, H, N] of their branch, into selected [B, G, N, n] (choice.cu)
void choose(const TensorView<const float, 4>& q, const TensorView<const float, 4>& keys,
            const TensorView<const float, 3>& log_sum_exp, const Options& options, const Range& positions,
            const TensorView<std::int32_t, 4>& selected);

// [19.4.6-5] [19.4.6-7] out_select and out of these positions, from what else is in `out` (selection.cu). `most_heads`
// of a group share what is loaded, at most 16.
void attend_to_selected(const Inputs<float>& in, const Options& options, const Range& positions, int most_heads,
                        const Outputs<float>& out);

// All of it (native_sparse.cu).
void attend(const Inputs<float>& in, const Options& options, const Outputs<float>& out, int most_heads);

}  // namespace ATTN_BUILD
}  // namespace attn::native_sparse
