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

using fixed_sparse::Attention;
using fixed_sparse::RowTile;

// Rows are the positions from `begin` on.
struct FromPosition : fixed_sparse::InOrder {
    int begin;

    ATTN_HOST_DEVICE constexpr int query(int row) const { return begin + row; }
};

// [19.4.6-2] blocks that are complete
struct CompleteBlocks : FromPosition {
    Options options;

    ATTN_HOST_DEVICE constexpr bool visible(int, int t, int i) const { return i < options.complete(t + 1); }
    ATTN_HOST_DEVICE constexpr bool blind(int, int t) const { return options.complete(t + 1) == 0; }
    ATTN_HOST_DEVICE constexpr Range seen(int t) const { return {0, options.complete(t + 1)}; }
};
// [19.4.6-6] the last W tokens
struct LastTokens : FromPosition {
    int window;

    ATTN_HOST_DEVICE constexpr bool visible(int, int t, int j) const { return j <= t && t - j < window; }
    ATTN_HOST_DEVICE constexpr bool blind(int, int) const { return false; }
    ATTN_HOST_DEVICE constexpr Range seen(int t) const { return {t < window ? 0 : t - window + 1, t + 1}; }
};

// A block: 64 rows of one key/value head, 64 · ValueTiles columns of the values. Only tiles that somebody sees.
template <class Pattern, int ValueTiles, bool Aligned>
__global__ void __launch_bounds__(tile_threads, 1) attend_to_tiles(Attention a, Pattern pattern) {
    extern __shared__ __align__(16) unsigned char memory[];
    const int G = a.k.extent(1), row_tiles = (a.area.rows() + tile - 1) / tile;
    const int chunks = (a.v.extent(3) + ValueTiles * tile - 1) / (ValueTiles * tile);
    const int first_value = static_cast<int>(blockIdx.x) % chunks * ValueTiles * tile;
    const int row_tile = static_cast<int>(blockIdx.x) / chunks % row_tiles;
    const int head = static_cast<int>(blockIdx.x) / chunks / row_tiles;
    const Range by_first = pattern.seen(pattern.query(row_tile * tile / a.area.group));
    const Range by_last = pattern.seen(pattern.query((min((row_tile + 1) * tile, a.area.rows()) - 1) / a.area.group));
    RowTile<Pattern, ValueTiles, Aligned> rows(a, pattern, memory, head / G, head % G, row_tile, first_value);
    for (int visit = by_first.begin / tile; visit * tile < by_last.end; ++visit)
        rows.add(visit, visit * tile < by_last.begin || (visit + 1) * tile > by_first.end);
    rows.write_out();
}

template <class Pattern, int ValueTiles>
void launch_attend_with(const Attention& a, const Pattern& pattern) {
    const int D = a.q.extent(3), Dv = a.v.extent(3);
    const auto heads = static_cast<unsigned>(a.k.extent(0) * a.k.extent(1));
    launch(D % 4 == 0 && Dv % 4 == 0 ? attend_to_tiles<Pattern, ValueTiles, true>
                                     : attend_to_tiles<Pattern, ValueTiles, false>,
           {heads * blocks_for(a.area.rows(), tile) * blocks_for(Dv, ValueTiles * tile), tile_threads,
            RowTile<Pattern, ValueTiles, true>::shared_bytes(D)},
           a, pattern);
}
template <class Pattern>
void launch_attend(const Attention& a, const Pattern& pattern) {
    if (a.v.extent(3) <= tile)
        launch_attend_with<Pattern, 1>(a, pattern);
    else
        launch_attend_with<Pattern, 2>(a, pattern);
}

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
        launch_attend(Attention{in.q,
                                keys.view(),
                                values.view(),
                                out.out_compress,
                                log_sum_exp.view(),
                                scale,
                                {step.count, completed.end, H / G}},
                      CompleteBlocks{{{}, positions.begin}, options});
        launch_attend(
            Attention{in.q, in.k_window, in.v_window, out.out_window, {}, scale, {step.count, positions.end, H / G}},
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
