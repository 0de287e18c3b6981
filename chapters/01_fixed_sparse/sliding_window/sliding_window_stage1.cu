// Sliding-window attention on the GPU, stages 1 and 2: the block-sparse kernel, first with every tile in its lists,
// each masked, then with the tiles that the window sees. What differs is the list; so the difference in bytes and in
// work is what skipping saves.
#include "chapters/01_fixed_sparse/block_sparse.cuh"
#include "chapters/01_fixed_sparse/sliding_window/sliding_window.hpp"
#include "common/cuda/on_device.hpp"

namespace attn::sliding_window {
namespace {

fixed_sparse::Attention attention(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    return {in.q,
            in.k,
            in.v,
            out.out,
            out.log_sum_exp,
            static_cast<float>(options.scale),
            {size.Nq, size.Nk, size.H / size.G}};
}

void launch_stage1(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const fixed_sparse::Attention a = attention(in, options, out);
    launch_lists(a, pattern(in.sizes(), options), fixed_sparse::all_tiles(a.area));
}

void launch_stage2(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const fixed_sparse::Attention a = attention(in, options, out);
    const fixed_sparse::WindowPattern seen = pattern(in.sizes(), options);
    launch_lists(a, seen, list_tiles(seen, a.area));
}

}  // namespace
}  // namespace attn::sliding_window

ATTN_CUDA_VERSION("sliding_window", "stage1", "dense with a mask: every tile is visited, and masked",
                  attn::sliding_window::launch_stage1, attn::sliding_window::Inputs<float>,
                  attn::sliding_window::Options, attn::sliding_window::Outputs<float>)
ATTN_CUDA_VERSION("sliding_window", "stage2", "tile lists: only tiles that are seen, only partial ones masked",
                  attn::sliding_window::launch_stage2, attn::sliding_window::Inputs<float>,
                  attn::sliding_window::Options, attn::sliding_window::Outputs<float>)
