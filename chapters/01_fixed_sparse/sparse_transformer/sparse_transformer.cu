// The Sparse Transformer's attention on the GPU, stages 1 to 3: the block-sparse kernel with every tile in its lists,
// each masked; with the tiles that are seen; and with positions sorted by their remainder.
//
// The second part of either pattern touches a tile of 64 keys for one of them, or for a few, and leaves the others of
// it unused. Sorted by their remainder mod l they are neighbours: of strided, where a query sees the keys of its own
// remainder, queries and keys; of fixed, where all queries see the same remainders, the keys. What is local is
// scattered by this order; so each part is attended to in the order that suits it, and the two results are put
// together, as parts of one softmax are. (The paper's kernel for strided attention transposes for the same reason.)
#include "chapters/01_fixed_sparse/block_sparse.cuh"
#include "chapters/01_fixed_sparse/sparse_transformer/sparse_transformer.hpp"
#include "common/cuda/on_device.hpp"

namespace attn::sparse_transformer {
namespace {

using fixed_sparse::Attention;
using fixed_sparse::SparseTransformerPattern;

Attention attention(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const int N = in.sizes().N;
    return {in.q, in.k, in.v, out.out, {}, static_cast<float>(options.scale), {N, N}};
}

void launch_stage1(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Attention a = attention(in, options, out);
    launch_lists(a, pattern(in.sizes().N, options), fixed_sparse::all_tiles(a.area));
}

void launch_stage2(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Attention a = attention(in, options, out);
    const SparseTransformerPattern seen = pattern(in.sizes().N, options);
    launch_lists(a, seen, list_tiles(seen, a.area));
}

// [19.4.1-12] two parts of the keys, each attended to in its own order, are one softmax: the weighted mean of both
// results, weighted by what log_sum_exp says of each. A warp for each row; `out` has the first result and gets the
// whole.
__global__ void put_two_together(TensorView<float, 4> out, TensorView<const float, 3> log_sum_exp,
                                 TensorView<const float, 4> other, TensorView<const float, 3> other_log) {
    const std::int64_t row = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
    if (row >= log_sum_exp.count()) return;  // the whole warp together
    const float first = log_sum_exp.data()[row], second = other_log.data()[row];
    const float maximum = fmaxf(first, second);
    const float of_first = exp_above(first, maximum), of_second = exp_above(second, maximum);
    const int Dv = out.extent(3);
    for (int column = static_cast<int>(threadIdx.x) % 32; column < Dv; column += 32) {
        const std::int64_t index = row * Dv + column;
        out.data()[index] = (of_first * out.data()[index] + of_second * other.data()[index]) / (of_first + of_second);
    }
}

void launch_stage3(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    if (options.part == Part::first) return launch_stage2(in, options, out);
    const Sizes s = in.sizes();
    Attention a = attention(in, options, out);
    const SparseTransformerPattern whole = pattern(s.N, options);
    SparseTransformerPattern first = whole, sorted = whole;
    sorted.key_step = options.stride;
    sorted.query_step = options.kind == Kind::strided ? options.stride : 1;
    if (options.part == Part::second) return launch_lists(a, sorted, list_tiles(sorted, a.area));

    first.part = Part::first, sorted.part = Part::rest;
    DeviceTensor<float, 4> other({s.B, s.H, s.N, s.Dv}, "result of the rest");
    DeviceTensor<float, 3> log({s.B, s.H, s.N}, "log_sum_exp of the first part"),
        other_log({s.B, s.H, s.N}, "log_sum_exp of the rest");
    a.log_sum_exp = log.view();
    launch_lists(a, first, list_tiles(first, a.area));
    a.out = other.view(), a.log_sum_exp = other_log.view();
    launch_lists(a, sorted, list_tiles(sorted, a.area));
    constexpr int threads = 128;
    launch(put_two_together, {blocks_for(log.view().count() * 32, threads), threads}, out.out, log.view(), other.view(),
           other_log.view());
}

}  // namespace
}  // namespace attn::sparse_transformer

ATTN_CUDA_VERSION("sparse_transformer", "stage1", "dense with a mask: every tile is visited, and masked",
                  attn::sparse_transformer::launch_stage1, attn::sparse_transformer::Inputs<float>,
                  attn::sparse_transformer::Options, attn::sparse_transformer::Outputs<float>)
ATTN_CUDA_VERSION("sparse_transformer", "stage2", "tile lists: only tiles that are seen, only partial ones masked",
                  attn::sparse_transformer::launch_stage2, attn::sparse_transformer::Inputs<float>,
                  attn::sparse_transformer::Options, attn::sparse_transformer::Outputs<float>)
ATTN_CUDA_VERSION("sparse_transformer", "stage3",
                  "positions sorted by their remainder, so that the second part fills its tiles",
                  attn::sparse_transformer::launch_stage3, attn::sparse_transformer::Inputs<float>,
                  attn::sparse_transformer::Options, attn::sparse_transformer::Outputs<float>)
