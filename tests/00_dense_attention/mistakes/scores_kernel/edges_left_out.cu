// Wrong: the number of tiles is rounded down.
#include "chapters/00_dense_attention/exercises/scores_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::scores_kernel {

// ---- your code ----

namespace {

constexpr int tile_size = 16;

__global__ void score_tiles(Inputs in, Options options, Outputs out) {
    __shared__ float queries[tile_size][tile_size + 1], keys[tile_size][tile_size + 1];
    const int H = in.q.extent(1), G = in.k.extent(1), Nq = in.q.extent(2), Nk = in.k.extent(2), D = in.q.extent(3);
    const int tiles_across = Nk / tile_size, tiles_down = Nq / tile_size;
    const int index = static_cast<int>(blockIdx.x);
    const int first_key = index % tiles_across * tile_size;
    const int first_query = index / tiles_across % tiles_down * tile_size;
    const int head = index / tiles_across / tiles_down, b = head / H, h = head % H, g = h / (H / G);
    const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
    const int i = first_query + y, j = first_key + x;

    float dot = 0;
    for (int first = 0; first < D; first += tile_size) {
        const bool inside = first + x < D;
        queries[y][x] = inside && i < Nq ? in.q(b, h, i, first + x) : 0;
        keys[y][x] = inside && first_key + y < Nk ? in.k(b, g, first_key + y, first + x) : 0;
        __syncthreads();
        for (int depth = 0; depth < tile_size; ++depth) dot += queries[y][depth] * keys[x][depth];
        __syncthreads();
    }

    if (i >= Nq || j >= Nk) return;
    const float scale = static_cast<float>(options.scale), cap = static_cast<float>(options.cap);
    const bool seen = !options.causal || j <= i + (Nk - Nq);
    out.scores(b, h, i, j) = seen ? cap * tanhf(scale * dot / cap) : -INFINITY;
}

}  // namespace

inline namespace ATTN_BUILD {

void scores_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    const unsigned heads = static_cast<unsigned>(in.q.extent(0) * in.q.extent(1));
    const unsigned tiles = static_cast<unsigned>(in.q.extent(2) / tile_size * (in.k.extent(2) / tile_size));
    launch(score_tiles, {heads * tiles, dim3(tile_size, tile_size)}, in, options, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::scores_kernel
