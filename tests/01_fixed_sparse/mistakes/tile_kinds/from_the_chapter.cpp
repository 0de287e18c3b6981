// Wrong: the tile lists of the chapter (tile_lists.hpp) for its sliding window: one document.
#include "chapters/01_fixed_sparse/exercises/tile_kinds.hpp"

#include <algorithm>
#include <vector>

#include "chapters/01_fixed_sparse/tile_lists.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::tile_kinds {

// ---- your code ----

void tile_kinds(const Inputs& in, const Options& options, const Outputs& out) {
    std::fill(out.kind.data(), out.kind.data() + out.kind.count(), empty);
    for (int h = 0; h < in.window.extent(0); ++h) {
        const fixed_sparse::WindowPattern pattern{{}, options.queries, options.keys, in.window(h), options.sinks};
        const fixed_sparse::TileLists lists =
            list_tiles(pattern, fixed_sparse::Area{options.queries, options.keys}, {options.rows, options.columns});
        for (int row_tile = 0; row_tile < lists.row_tiles; ++row_tile)
            for (int visit = lists.begin[static_cast<std::size_t>(row_tile)];
                 visit < lists.begin[static_cast<std::size_t>(row_tile) + 1]; ++visit) {
                const fixed_sparse::ListedTile& listed = lists.visits[static_cast<std::size_t>(visit)];
                out.kind(h, row_tile, listed.tile) = listed.partial ? partial : full;
            }
    }
}

// ---- end of your code ----

}  // namespace attn::exercises::tile_kinds
