// Wrong: the windows of all rows of a tile begin with that of the first.
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
                const int window = std::max(document, first + Nk - Nq - in.window(h) + 1);
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
