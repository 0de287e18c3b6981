// Wrong: the kernel of the chapter (sliding_window.cu), with one window for all heads, and no sink.
#include "chapters/01_fixed_sparse/exercises/window_kernel.hpp"

#include "chapters/01_fixed_sparse/block_sparse.cuh"
#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::window_kernel {

// ---- your code ----

namespace {

using fixed_sparse::Attention;
using fixed_sparse::RowTile;
using fixed_sparse::WindowPattern;

template <int ValueTiles, bool Aligned>
__global__ void __launch_bounds__(tile_threads, 1)
    attend_to_window(Attention a, WindowPattern pattern, TensorView<const int, 1> window) {
    extern __shared__ __align__(16) unsigned char memory[];
    pattern.window = window(0);
    const int G = a.k.extent(1), row_tiles = (a.area.rows() + tile - 1) / tile;
    const int chunks = (a.v.extent(3) + ValueTiles * tile - 1) / (ValueTiles * tile);
    const int first_value = static_cast<int>(blockIdx.x) % chunks * ValueTiles * tile;
    const int row_tile = static_cast<int>(blockIdx.x) / chunks % row_tiles;
    const int head = static_cast<int>(blockIdx.x) / chunks / row_tiles;

    const int first = pattern.position(row_tile * tile / a.area.group);
    const int last = pattern.position((min((row_tile + 1) * tile, a.area.rows()) - 1) / a.area.group);
    const int window_begin = max(0, max(0, first) - (pattern.window - 1)) / tile;
    const int sink_tiles = pattern.sinks / tile + (pattern.sinks % tile != 0);

    RowTile<WindowPattern, ValueTiles, Aligned> rows(a, pattern, memory, head / G, head % G, row_tile, first_value);
    for (int visit = 0; visit * tile <= last; ++visit) {
        if (visit >= sink_tiles) visit = max(visit, window_begin);
        const int first_key = visit * tile, last_key = first_key + tile - 1;
        const bool is_full = last_key <= first && (last - first_key < pattern.window || last_key < pattern.sinks);
        rows.add(visit, !is_full);
    }
    rows.write_out();
}

}  // namespace

inline namespace ATTN_BUILD {

void window_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    const int H = in.q.extent(1), Nq = in.q.extent(2), Nk = in.k.extent(2), D = in.q.extent(3);
    const Attention a{
        in.q, in.k, in.v, out.out, out.log_sum_exp, static_cast<float>(options.scale), {Nq, Nk, H / in.k.extent(1)}};
    const auto heads = static_cast<unsigned>(a.k.extent(0) * a.k.extent(1));
    launch(attend_to_window<1, false>,
           {heads * blocks_for(a.area.rows(), tile), tile_threads, RowTile<WindowPattern, 1, false>::shared_bytes(D)},
           a, WindowPattern{{}, Nq, Nk, 1, 0}, in.window);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::window_kernel
