// Exercise scores_kernel: the matrix of scores [B, H, Nq, Nk] of queries q [B, H, Nq, D] and keys k [B, G, Nk, D], with
// a soft cap and a causal mask.
//
//     score(i, j) = cap · tanh(scale · q(i)·k(j) / cap),   or -inf where query i does not see key j
//
// CUDA, about 40 minutes, medium. Builds on: tile_transpose; step [19.3-1] and both stages of this chapter. A soft cap
// keeps one key from taking all the weight (Gemma 2, arXiv 2408.00118, section 2).
//
// What to write: a kernel with a block of 16 × 16 threads for each tile of 16 queries × 16 keys of one head, and its
// launch. Each thread makes one score.
//   1. For 16 depths at a time, each thread loads one element of q and one of k into two tiles in shared memory.
//   2. Each thread adds the products of its row of one tile with its row of the other.
//   3. Scale, cap, mask, store.
//   Each element of q and k is loaded from device memory by a block once, not once for each of the block's scores.
//
// Mind:
//   - Nq, Nk and D are any numbers from 1 on; what lies outside of the matrix must add nothing, and not be read.
//   - A thread whose score lies outside loads elements for others, and waits at the barriers with them.
//   - Neighbouring heads share a key head: head h reads h / (H/G).
//   - The mask is aligned bottom right: the last query sees all keys. With Nq > Nk the first queries see none.
//   - The cap bounds scores, not the mask: what is not seen is -inf, whatever q and k hold.
#include "chapters/00_dense_attention/exercises/scores_kernel.hpp"

#include "common/cuda/launch.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::scores_kernel {

// ---- your code ----

namespace {

constexpr int tile_size = 16;

__global__ void score_tiles(Inputs in, Options options, Outputs out) {
    // A column more than they hold: 16 threads read one depth of 16 keys, which must lie in different banks.
    __shared__ float queries[tile_size][tile_size + 1], keys[tile_size][tile_size + 1];
    const int H = in.q.extent(1), G = in.k.extent(1), Nq = in.q.extent(2), Nk = in.k.extent(2), D = in.q.extent(3);
    const int tiles_across = (Nk + tile_size - 1) / tile_size, tiles_down = (Nq + tile_size - 1) / tile_size;
    const int index = static_cast<int>(blockIdx.x);
    const int first_key = index % tiles_across * tile_size;
    const int first_query = index / tiles_across % tiles_down * tile_size;
    const int head = index / tiles_across / tiles_down, b = head / H, h = head % H, g = h / (H / G);
    const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);

    float dot = 0;
    for (int first = 0; first < D; first += tile_size) {
        // x counts depths here, for keys too: neighbouring threads read neighbouring addresses.
        const bool inside = first + x < D;
        queries[y][x] = inside && first_query + y < Nq ? in.q(b, h, first_query + y, first + x) : 0;
        keys[y][x] = inside && first_key + y < Nk ? in.k(b, g, first_key + y, first + x) : 0;
        __syncthreads();  // the tiles are complete
        for (int depth = 0; depth < tile_size; ++depth) dot += queries[y][depth] * keys[x][depth];
        __syncthreads();  // nobody reads them any more
    }

    const int i = first_query + y, j = first_key + x;
    if (i >= Nq || j >= Nk) return;  // only now: it has loaded for others
    const float scale = static_cast<float>(options.scale), cap = static_cast<float>(options.cap);
    const bool seen = !options.causal || j <= i + (Nk - Nq);
    // The mask comes last: tanh would make -cap of its -inf, and adding it would leave a NaN a NaN.
    out.scores(b, h, i, j) = seen ? cap * tanhf(scale * dot / cap) : -INFINITY;
}

}  // namespace

inline namespace ATTN_BUILD {

void scores_kernel(const Inputs& in, const Options& options, const Outputs& out) {
    const unsigned heads = static_cast<unsigned>(in.q.extent(0) * in.q.extent(1));
    const unsigned tiles = blocks_for(in.q.extent(2), tile_size) * blocks_for(in.k.extent(2), tile_size);
    launch(score_tiles, {heads * tiles, dim3(tile_size, tile_size)}, in, options, out);
}

}  // namespace ATTN_BUILD

// ---- end of your code ----

}  // namespace attn::exercises::scores_kernel
