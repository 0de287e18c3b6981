// The Sparse Transformer's attention on the GPU, stages 1 to 3: the block-sparse kernel with every tile in its lists,
// each masked; with the tiles that are seen; and, for the strided pattern, with positions sorted by their remainder.
//
// Every l-th position touches a tile of 64 keys for each of them: of the pairs computed there one in 64 is visible.
// Sorted by their remainder mod l these positions are neighbours, and their tiles are full. What is local is then
// scattered; so each part is attended to in the order that suits it, and the two results are put together, as parts of
// one softmax are. (The paper's kernel transposes for the same reason.)
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

}  // namespace
}  // namespace attn::sparse_transformer

ATTN_CUDA_VERSION("sparse_transformer", "stage1", "dense with a mask: every tile is visited, and masked",
                  attn::sparse_transformer::launch_stage1, attn::sparse_transformer::Inputs<float>,
                  attn::sparse_transformer::Options, attn::sparse_transformer::Outputs<float>)
ATTN_CUDA_VERSION("sparse_transformer", "stage2", "tile lists: only tiles that are seen, only partial ones masked",
                  attn::sparse_transformer::launch_stage2, attn::sparse_transformer::Inputs<float>,
                  attn::sparse_transformer::Options, attn::sparse_transformer::Outputs<float>)
