// BigBird's attention on the GPU, stages 1 and 2: the block-sparse kernel with every tile in its lists, each masked;
// then with the tiles that are seen. Each head has lists of its own, as its random blocks are its own. The first and
// the last row of blocks see everything: their tiles are split.
#include "chapters/01_fixed_sparse/bigbird/bigbird.hpp"
#include "chapters/01_fixed_sparse/block_sparse.cuh"
#include "common/cuda/on_device.hpp"

namespace attn::bigbird {
namespace {

using fixed_sparse::Attention;

Attention attention(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes s = in.sizes();
    return {in.q, in.k, in.v, out.out, {}, static_cast<float>(options.scale), {s.N, s.N, 1, s.H}};
}

void launch_stage1(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Attention a = attention(in, options, out);
    launch_lists(a, pattern(in, options), fixed_sparse::all_tiles(a.area));
}

void launch_stage2(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Attention a = attention(in, options, out);
    // The lists are made on the host. In a model once: the random blocks are the same for every input.
    std::vector<std::int64_t> random(static_cast<std::size_t>(in.random_blocks.count()));
    check(cudaMemcpy(random.data(), in.random_blocks.data(), random.size() * sizeof(std::int64_t),
                     cudaMemcpyDeviceToHost));
    fixed_sparse::BigBirdPattern on_the_host = pattern(in, options);
    on_the_host.random_blocks = {random.data(), in.random_blocks.shape()};
    launch_lists(a, pattern(in, options), list_tiles(on_the_host, a.area));
}

}  // namespace
}  // namespace attn::bigbird

ATTN_CUDA_VERSION("bigbird", "stage1", "dense with a mask: every tile is visited, and masked",
                  attn::bigbird::launch_stage1, attn::bigbird::Inputs<float>, attn::bigbird::Options,
                  attn::bigbird::Outputs<float>)
ATTN_CUDA_VERSION("bigbird", "stage2", "tile lists: only tiles that are seen, only partial ones masked",
                  attn::bigbird::launch_stage2, attn::bigbird::Inputs<float>, attn::bigbird::Options,
                  attn::bigbird::Outputs<float>)
