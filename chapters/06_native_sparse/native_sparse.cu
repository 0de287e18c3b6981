// Native sparse attention on the GPU, fp32, stage 2: the query heads of a group share the selected blocks.
//
//   compression.cu   a thread for four numbers of a block, or the mlp's products
//   here             the compressed branch and the window: chapter 01's tiles of 64 queries and 64 keys
//   choice.cu        importance, and a warp for each query and key/value head that chooses
//   selection.cu     a block for each query and key/value head; the gated sum
#include "chapters/01_fixed_sparse/block_sparse.cuh"
#include "chapters/06_native_sparse/native_sparse.cuh"
#include "common/cuda/on_device.hpp"
#include "common/mechanism/layer.hpp"

namespace attn::native_sparse {
namespace {

// Rows are the positions from `begin` on. A position sees all columns of a range, which moves on with it.
struct FromPosition : fixed_sparse::InOrder {
    int begin;

    ATTN_HOST_DEVICE constexpr int query(int row) const { return begin + row; }

    template <class Function>
    static __device__ void visit_tiles(const Range& by_first, const Range& by_last, Function f) {
        for (int visit = by_first.begin / tile; visit * tile < by_last.end; ++visit)
            f(visit, visit * tile < by_last.begin || (visit + 1) * tile > by_first.end);
    }
};

// [19.4.6-2] blocks that are complete
struct CompleteBlocks : FromPosition {
    Options options;

    ATTN_HOST_DEVICE constexpr bool visible(int, int t, int i) const { return i < options.complete(t + 1); }
    ATTN_HOST_DEVICE constexpr bool blind(int, int t) const { return options.complete(t + 1) == 0; }
    ATTN_HOST_DEVICE constexpr Range seen(int t) const { return {0, options.complete(t + 1)}; }
    template <class Function>
    __device__ void for_each_visit(int first, int last, Function f) const {
        visit_tiles(seen(first), seen(last), f);
    }
};
// [19.4.6-6] the last W tokens
struct LastTokens : FromPosition {
    int window;

    ATTN_HOST_DEVICE constexpr bool visible(int, int t, int j) const { return j <= t && t - j < window; }
    ATTN_HOST_DEVICE constexpr bool blind(int, int) const { return false; }
    ATTN_HOST_DEVICE constexpr Range seen(int t) const { return {t < window ? 0 : t - window + 1, t + 1}; }
    template <class Function>
    __device__ void for_each_visit(int first, int last, Function f) const {
        visit_tiles(seen(first), seen(last), f);
    }
};

}  // namespace

inline namespace ATTN_BUILD {

void attend(const Inputs<float>& in, const Options& options, const Outputs<float>& out, int most_heads) {
    const auto [B, H, G, N, Dk, Dv] = in.sizes();
    const int blocks = std::max(1, options.complete(N));
    DeviceTensor<float, 4> keys({B, G, blocks, Dk}, "compressed keys"), values({B, G, blocks, Dv}, "compressed values");
    DeviceTensor<float, 3> log_sum_exp({B, H, N}, "log_sum_exp");
    keys.fill_with_nan(), values.fill_with_nan();  // nobody may look at a block that is not complete
    const float scale = static_cast<float>(options.scale);
    for_each_step(N, options.prefill, [&](const Step& step) {
        const Range positions{step.first, step.first + step.count};
        // [19.4.6-11] the compressed cache grows by the blocks that these positions complete
        const Range completed{options.complete(positions.begin), options.complete(positions.end)};
        compress(in.k_compress, key_weights(in), options, completed, keys.view());
        compress(in.v_compress, value_weights(in), options, completed, values.view());
        fixed_sparse::launch_without_lists({in.q,
                                            keys.view(),
                                            values.view(),
                                            out.out_compress,
                                            log_sum_exp.view(),
                                            scale,
                                            {step.count, completed.end, H / G}},
                                           CompleteBlocks{{{}, positions.begin}, options});
        fixed_sparse::launch_without_lists(
            {in.q, in.k_window, in.v_window, out.out_window, {}, scale, {step.count, positions.end, H / G}},
            LastTokens{{{}, positions.begin}, options.window});
        choose(in.q, keys.view(), log_sum_exp.view(), options, positions, out.selected);
        attend_to_selected(in, options, positions, most_heads, out);
    });
}

}  // namespace ATTN_BUILD

namespace {

void launch_stage2(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    attend(in, options, out, 16);
}

}  // namespace
}  // namespace attn::native_sparse

ATTN_CUDA_VERSION("native_sparse", "stage2",
                  "the query heads of a group share a block of threads: selected blocks are loaded once for all",
                  attn::native_sparse::launch_stage2, attn::native_sparse::Inputs<float>, attn::native_sparse::Options,
                  attn::native_sparse::Outputs<float>)
