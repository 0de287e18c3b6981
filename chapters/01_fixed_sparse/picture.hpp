// The picture of a pattern: a row for each query, a column for each key, drawn from the predicate `visible`, which is
// also what the kernels mask with; and its tiles, from the lists that the kernels go through.
#pragma once

#include <string>

#include "chapters/01_fixed_sparse/tile_lists.hpp"

namespace attn::fixed_sparse {

// For a terminal: ■ where query i sees key j of head h.
template <class Pattern>
std::string terminal_picture(const Pattern& pattern, int h, int queries, int keys) {
    std::string picture;
    for (int i = 0; i < queries; ++i) {
        picture += "    ";
        for (int j = 0; j < keys; ++j) picture += pattern.visible(h, i, j) ? "■ " : "· ";
        picture.back() = '\n';
    }
    return picture;
}

// For a terminal: the tiles that are visited, █ full and ▒ partial.
template <class Pattern>
std::string terminal_tiles(const Pattern& pattern, int queries, int keys, const Tiles& tiles) {
    std::string picture;
    const TileLists lists = list_tiles(pattern, Area{queries, keys}, tiles);
    for (std::size_t list = 0; list + 1 < lists.begin.size(); ++list) {
        picture += "   ";
        auto visit = lists.visits.begin() + lists.begin[list];
        for (int tile = 0; tile < tiles_of(keys, tiles.columns); ++tile) {
            const bool is_visited = visit != lists.visits.begin() + lists.begin[list + 1] && visit->tile == tile;
            picture += is_visited ? visit->partial ? " ▒" : " █" : " ·";
            if (is_visited) ++visit;
        }
        picture += "\n";
    }
    return picture;
}

// As SVG, for the first head: pairs, and behind them the visited tiles, full ones dark, partial ones light.
template <class Pattern>
std::string svg_picture(const Pattern& pattern, int n, int tile) {
    constexpr int cell = 5, gap = 1;
    std::string full, partial, pairs;  // paths
    const auto square = [&](std::string& path, int row, int column, int cells) {
        const std::string side = std::to_string(cell * cells - gap);
        path += "M" + std::to_string(cell * column) + " " + std::to_string(cell * row) + "h" + side + "v" + side +
                "h-" + side + "z";
    };
    const TileLists lists = list_tiles(pattern, Area{n, n}, Tiles{tile, tile});
    for (int row_tile = 0; row_tile < lists.row_tiles; ++row_tile)
        for (int visit = lists.begin[static_cast<std::size_t>(row_tile)];
             visit < lists.begin[static_cast<std::size_t>(row_tile) + 1]; ++visit) {
            const ListedTile& listed = lists.visits[static_cast<std::size_t>(visit)];
            square(listed.partial ? partial : full, row_tile * tile, listed.tile * tile, tile);
        }
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j)
            if (pattern.visible(0, i, j)) square(pairs, i, j, 1);
    const std::string side = std::to_string(cell * n - gap);
    return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + side + "\" height=\"" + side + "\">\n" +
           "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<path fill=\"#9dbce0\" d=\"" + full +
           "\"/>\n<path fill=\"#dfe9f5\" d=\"" + partial + "\"/>\n<path fill=\"#1f4e8c\" d=\"" + pairs +
           "\"/>\n</svg>\n";
}

}  // namespace attn::fixed_sparse
