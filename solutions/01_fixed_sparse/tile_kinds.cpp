// Exercise tile_kinds: before a block-sparse kernel starts, somebody has to tell it which tiles it needs not visit, and
// which of the others it needs not mask. Causal windows, one for each head, with sinks, over packed documents:
//
//     the query at position p sees key j where  j <= p, both are of one document, and one of these holds:
//         p - W < j                         (the window of head h: W = window(h))
//         j is among the first s keys of the document      (its sinks)
//
// C++, about 35 minutes, medium. Builds on: pattern_pairs; list_tiles in tile_lists.hpp, which knows neither documents
// nor heads with windows of their own, and takes a tile with fewer columns for partial. FlexAttention makes such a
// BlockMask by looking at each pair of a mask (PyTorch's create_block_mask).
//
// What to write: kind, for each head and tile. A query sees at most two runs of neighbouring keys, and what a run has
// in
//   a tile is a difference of two positions. With 60000 positions nobody looks at each pair; a step for each row and
//   each tile in which it sees something is quick enough.
//
// Mind:
//   - Queries and keys are aligned bottom right: position p = i + Nk - Nq. With Nq > Nk the first queries stand at
//     negative positions, belong to no document, and see nothing.
//   - Of a tile only those pairs count that are there: with 5 queries left, 5 rows can make it full.
//   - A sink may be in the window as well, and is one key all the same. A sink that comes after the query is not seen.
//   - Tiles have any height and width, and so have windows and documents: a whole document may lie within a tile.
//   - To look at a tile's corners is not enough.
#include "chapters/01_fixed_sparse/exercises/tile_kinds.hpp"

#include <algorithm>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::tile_kinds {

// ---- your code ----

void tile_kinds(const Inputs& in, const Options& options, const Outputs& out) {
    const int H = in.window.extent(0), row_tiles = out.kind.extent(1), column_tiles = out.kind.extent(2);
    const int Nq = options.queries, Nk = options.keys, rows = options.rows, columns = options.columns;
    const int *begins = in.begin.data(), *begins_end = begins + in.begin.extent(0);
    std::vector<std::int64_t> seen(static_cast<std::size_t>(column_tiles));  // visible pairs of each tile of a row
    for (int h = 0; h < H; ++h)
        for (int row_tile = 0; row_tile < row_tiles; ++row_tile) {
            std::fill(seen.begin(), seen.end(), 0);
            auto add_run = [&](int begin, int end) {
                for (int key = begin; key < end;) {
                    const int tile = key / columns, stop = std::min(end, tile * columns + columns);
                    seen[static_cast<std::size_t>(tile)] += stop - key;
                    key = stop;
                }
            };
            const int first = row_tile * rows, last = std::min(first + rows, Nq);
            for (int i = first; i < last; ++i) {
                const int p = i + Nk - Nq;
                if (p < 0) continue;
                const int document = *(std::upper_bound(begins, begins_end, p) - 1);
                const int window = std::max(document, p - in.window(h) + 1);
                add_run(document, std::min(document + options.sinks, window));  // what the window does not have
                add_run(window, p + 1);
            }
            for (int tile = 0; tile < column_tiles; ++tile) {
                const std::int64_t width = std::min(columns, Nk - tile * columns), all = (last - first) * width;
                const std::int64_t found = seen[static_cast<std::size_t>(tile)];
                out.kind(h, row_tile, tile) = found == 0 ? empty : found == all ? full : partial;
            }
        }
}

// ---- end of your code ----

}  // namespace attn::exercises::tile_kinds
