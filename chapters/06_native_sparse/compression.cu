// Native sparse attention on the GPU: compression. A thread makes four numbers of a block; the mlp is matrix products.
#include "chapters/06_native_sparse/native_sparse.cuh"
#include "common/cuda/device_buffer.hpp"
#include "common/cuda/matrix_product.cuh"

namespace attn::native_sparse {
namespace {

// [19.4.6-1] compression, mean (without weights) or linear: a thread for four numbers of one block
template <bool Aligned>
__global__ void compress_by_sums(TensorView<const float, 4> tokens, TensorView<const float, 1> weight, Options options,
                                 Range range, TensorView<float, 4> blocks) {
    const int G = tokens.extent(1), D = tokens.extent(3), fours = (D + 3) / 4;
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index >= std::int64_t{tokens.extent(0)} * G * range.count() * fours) return;
    const int x = static_cast<int>(index % fours) * 4;
    const int i = range.begin + static_cast<int>(index / fours % range.count());
    const int head = static_cast<int>(index / fours / range.count());
    const float* first = &tokens(head / G, head % G, i * options.compress_stride, 0);
    float4 sum = make_float4(0, 0, 0, 0);
    for (int s = 0; s < options.compress_block; ++s) {
        const float4 token = load_four<Aligned>(first + std::int64_t{s} * D, x, D);
        const float by = weight ? weight(s) : 1;
        sum = make_float4(fmaf(by, token.x, sum.x), fmaf(by, token.y, sum.y), fmaf(by, token.z, sum.z),
                          fmaf(by, token.w, sum.w));
    }
    const float by = weight ? 1 : static_cast<float>(options.compress_block);
    store_four<Aligned>(&blocks(head / G, head % G, i, 0), x, D,
                        make_float4(sum.x / by, sum.y / by, sum.z / by, sum.w / by));
}

// hidden = gelu(hidden + shift), a thread for each number
__global__ void shift_and_gelu(TensorView<float, 2> hidden, TensorView<const float, 2> shift) {
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index >= hidden.count()) return;
    const float x = hidden.data()[index] + shift(0, static_cast<int>(index % hidden.extent(1)));
    hidden.data()[index] = 0.5f * x * (1 + erff(x * 0.70710678f));
}

// [19.4.6-1] compression by the mlp: up · (block + position) = up · block + up · position. A block's tokens stand side
// by side in memory, so it is a row of l·D numbers, and the next row begins d tokens further on.
void compress_by_mlp(const TensorView<const float, 4>& tokens, const Weights<float>& w, const Options& options,
                     const Range& range, const TensorView<float, 4>& blocks) {
    const int N = tokens.extent(2), D = tokens.extent(3), heads = tokens.extent(0) * tokens.extent(1);
    const int rows = heads * range.count(), numbers = options.compress_block * D, Dh = w.up.extent(0);
    DeviceTensor<float, 2> hidden({rows, Dh}, "hidden units"), shift({1, Dh}, "up · position");
    const std::int64_t stride = std::int64_t{options.compress_stride} * D;
    multiply({w.position.data(), numbers}, {w.up.data(), numbers}, {shift.view().data(), Dh}, 1, Dh, numbers);
    multiply({tokens.data() + range.begin * stride, stride, range.count(), std::int64_t{N} * D}, {w.up.data(), numbers},
             {hidden.view().data(), Dh}, rows, Dh, numbers);
    launch(shift_and_gelu, {blocks_for(std::int64_t{rows} * Dh, row_threads), row_threads}, hidden.view(),
           shift.view());
    multiply({hidden.view().data(), Dh}, {w.down.data(), Dh},
             {blocks.data() + std::int64_t{range.begin} * D, D, range.count(), std::int64_t{blocks.extent(2)} * D},
             rows, D, Dh);
}

}  // namespace

inline namespace ATTN_BUILD {

void compress(const TensorView<const float, 4>& tokens, const Weights<float>& w, const Options& options,
              const Range& range, const TensorView<float, 4>& blocks) {
    if (range.count() <= 0) return;
    if (options.compressor == Compressor::mlp) return compress_by_mlp(tokens, w, options, range, blocks);
    const int D = tokens.extent(3);
    const std::int64_t threads = std::int64_t{tokens.extent(0)} * tokens.extent(1) * range.count() * ((D + 3) / 4);
    launch(D % 4 == 0 ? compress_by_sums<true> : compress_by_sums<false>,
           {blocks_for(threads, row_threads), row_threads}, tokens, w.weight, options, range, blocks);
}

}  // namespace ATTN_BUILD
}  // namespace attn::native_sparse
