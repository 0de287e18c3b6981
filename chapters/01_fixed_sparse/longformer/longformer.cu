// Longformer's attention on the GPU, stages 1 and 2: the block-sparse kernel, once for the rows of the other tokens,
// and once for those of the global ones, which have tensors of their own; with every tile in its lists, each masked,
// and then with the tiles that are seen.
//
// The first launch leaves 0 in the rows of the global tokens, the second writes these. Its rows are few and see
// everything: they are split, so that there is a block for each part of the keys. With a dilation the positions are
// sorted by their remainder: what is dilated there are neighbours here.
#include "chapters/01_fixed_sparse/block_sparse.cuh"
#include "chapters/01_fixed_sparse/longformer/longformer.hpp"
#include "common/cuda/on_device.hpp"

namespace attn::longformer {
namespace {

using fixed_sparse::Attention;
using fixed_sparse::GlobalTokens;
using fixed_sparse::LongformerGlobal;
using fixed_sparse::LongformerLocal;
using fixed_sparse::LongformerPattern;

// How many visits a block of the global rows has: four, that is 256 keys, or more if there are enough blocks anyway.
int visits_of_global(const Sizes& s, int rows) {
    const int blocks = s.B * s.H * fixed_sparse::tiles_of(rows, tile);
    const int parts = std::max(1, static_cast<int>(enough_blocks) / blocks);
    return std::clamp(fixed_sparse::tiles_of(fixed_sparse::tiles_of(s.N, tile), parts), 4, 512);
}

template <class Lists>
void launch_both(const Inputs<float>& in, const Options& options, const Outputs<float>& out, int order, Lists lists) {
    const int N = in.sizes().N;
    const float scale = static_cast<float>(options.scale);
    const GlobalTokens global(options.global_tokens, N);
    const DeviceTensor<int, 1> tokens = fixed_sparse::on_the_device(global.tokens, "global tokens"),
                               marks = fixed_sparse::on_the_device(global.marks, "marks of the global tokens");
    const auto to_device = [&](auto half) {
        half.tokens = {tokens.view().data(), half.tokens.shape()}, half.marks = marks.view();
        return half;
    };
    LongformerLocal local(pattern(N, options, global));
    local.key_step = local.query_step = order;
    const Attention others{in.q, in.k, in.v, out.out, {}, scale, {N, N}};
    launch_lists(others, to_device(local), lists(local, others.area));
    if (options.global_tokens.empty()) return;
    const LongformerGlobal its(pattern(N, options, global));
    const int rows = static_cast<int>(options.global_tokens.size());
    const Attention of_global{
        in.queries_of_global(), in.keys_of_global(), in.values_of_global(), out.out, {}, scale, {rows, N}};
    launch_lists(of_global, to_device(its), lists(its, of_global.area), visits_of_global(in.sizes(), rows));
}

void launch_stage1(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    launch_both(in, options, out, 1,
                [](const auto&, const fixed_sparse::Area& area) { return fixed_sparse::all_tiles(area); });
}
void launch_stage2(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    launch_both(in, options, out, options.dilation,
                [](const auto& half, const fixed_sparse::Area& area) { return list_tiles(half, area); });
}

}  // namespace
}  // namespace attn::longformer

ATTN_CUDA_VERSION("longformer", "stage1", "dense with a mask: every tile is visited, and masked",
                  attn::longformer::launch_stage1, attn::longformer::Inputs<float>, attn::longformer::Options,
                  attn::longformer::Outputs<float>)
ATTN_CUDA_VERSION("longformer", "stage2", "tile lists: only tiles that are seen, only partial ones masked",
                  attn::longformer::launch_stage2, attn::longformer::Inputs<float>, attn::longformer::Options,
                  attn::longformer::Outputs<float>)
