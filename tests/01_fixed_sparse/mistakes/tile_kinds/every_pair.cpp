// Wrong: looks at each pair.
#include "chapters/01_fixed_sparse/exercises/tile_kinds.hpp"

#include <algorithm>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::tile_kinds {

// ---- your code ----

void tile_kinds(const Inputs& in, const Options& options, const Outputs& out) {
    const int Nq = options.queries, Nk = options.keys, rows = options.rows, columns = options.columns;
    const int *begins = in.begin.data(), *begins_end = begins + in.begin.extent(0);
    for (int h = 0; h < in.window.extent(0); ++h) {
        auto visible = [&](int i, int j) {
            const int p = i + Nk - Nq;
            if (j > p) return false;
            const int document = *(std::upper_bound(begins, begins_end, p) - 1);
            return j >= document && (p - j < in.window(h) || j - document < options.sinks);
        };
        for (int row_tile = 0; row_tile < out.kind.extent(1); ++row_tile)
            for (int tile = 0; tile < out.kind.extent(2); ++tile) {
                const int first = row_tile * rows, last = std::min(first + rows, Nq);
                const int begin = tile * columns, end = std::min(begin + columns, Nk);
                bool any = false, all = true;
                for (int i = first; i < last; ++i)
                    for (int j = begin; j < end; ++j) {
                        const bool seen = visible(i, j);
                        any |= seen, all &= seen;
                    }
                out.kind(h, row_tile, tile) = all ? full : any ? partial : empty;
            }
    }
}

// ---- end of your code ----

}  // namespace attn::exercises::tile_kinds
