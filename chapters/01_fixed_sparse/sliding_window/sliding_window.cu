// Sliding-window attention on the GPU, stage 3: a kernel for this pattern alone. Which tiles a tile of queries visits,
// and which of them are partial, is arithmetic here; there is no list to make, to upload and to read. The rest is the
// block-sparse kernel's (block_sparse.cuh), so that the two show what the lists cost.
#include "chapters/01_fixed_sparse/block_sparse.cuh"
#include "chapters/01_fixed_sparse/sliding_window/sliding_window.hpp"
#include "common/cuda/on_device.hpp"

namespace attn::sliding_window {
namespace {

using fixed_sparse::Attention;
using fixed_sparse::RowTile;
using fixed_sparse::WindowPattern;

// A block: 64 rows of one key/value head, 64 · ValueTiles columns of the values.
template <int ValueTiles, bool Aligned>
__global__ void __launch_bounds__(tile_threads, fixed_sparse::blocks_at_once)
    attend_to_window(Attention a, WindowPattern pattern) {
    extern __shared__ __align__(16) unsigned char memory[];
    const int G = a.k.extent(1), row_tiles = (a.area.rows() + tile - 1) / tile;
    const int chunks = (a.v.extent(3) + ValueTiles * tile - 1) / (ValueTiles * tile);
    const int first_value = static_cast<int>(blockIdx.x) % chunks * ValueTiles * tile;
    const int row_tile = static_cast<int>(blockIdx.x) / chunks % row_tiles;
    const int head = static_cast<int>(blockIdx.x) / chunks / row_tiles;

    // [19.4.1-8] the visits: tiles of the window, from the first key of the first query to the own one of the last, and
    // tiles with sinks before them
    const int first = pattern.position(row_tile * tile / a.area.group);
    const int last = pattern.position((min((row_tile + 1) * tile, a.area.rows()) - 1) / a.area.group);
    const int window_begin = max(0, max(0, first) - (pattern.window - 1)) / tile;

    RowTile<WindowPattern, ValueTiles, Aligned> rows(a, pattern, memory, head / G, head % G, row_tile, first_value);
    for (int visit = 0; visit * tile <= last; ++visit) {
        if (visit * tile >= pattern.sinks) visit = max(visit, window_begin);  // behind the sinks
        const int first_key = visit * tile, last_key = first_key + tile - 1;
        const bool is_full = last_key <= first && (last - first_key < pattern.window || last_key < pattern.sinks);
        rows.add(visit, !is_full);
    }
    rows.write_out();
}

template <int ValueTiles>
void launch_with(const Attention& a, const WindowPattern& pattern) {
    const int D = a.q.extent(3), Dv = a.v.extent(3);
    const auto heads = static_cast<unsigned>(a.k.extent(0) * a.k.extent(1));
    launch(D % 4 == 0 && Dv % 4 == 0 ? attend_to_window<ValueTiles, true> : attend_to_window<ValueTiles, false>,
           {heads * blocks_for(a.area.rows(), tile) * blocks_for(Dv, ValueTiles * tile), tile_threads,
            RowTile<WindowPattern, ValueTiles, true>::shared_bytes(D)},
           a, pattern);
}

void launch_stage3(const Inputs<float>& in, const Options& options, const Outputs<float>& out) {
    const Sizes size = in.sizes();
    const Attention a{in.q,
                      in.k,
                      in.v,
                      out.out,
                      out.log_sum_exp,
                      static_cast<float>(options.scale),
                      {size.Nq, size.Nk, size.H / size.G}};
    if (size.Dv <= tile)
        launch_with<1>(a, pattern(size, options));
    else
        launch_with<2>(a, pattern(size, options));
}

}  // namespace
}  // namespace attn::sliding_window

ATTN_CUDA_VERSION("sliding_window", "stage3", "without lists: the window's tiles by arithmetic",
                  attn::sliding_window::launch_stage3, attn::sliding_window::Inputs<float>,
                  attn::sliding_window::Options, attn::sliding_window::Outputs<float>)
