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

// The same as SVG, with the visited tiles behind it: full ones dark, partial ones light.
template <class Pattern>
std::string svg_picture(const Pattern& pattern, const std::string& title, int n, int tile) {
    constexpr int cell = 6, head = 24;
    const auto rectangle = [&](int row, int column, int width, double inset, const char* colour) {
        const auto number = [](double x) {
            std::string text = std::to_string(x);
            return text.substr(0, text.find('.') + 2);
        };
        return "<rect x=\"" + number(cell * column + inset) + "\" y=\"" + number(head + cell * row + inset) +
               "\" width=\"" + number(cell * width - 2 * inset) + "\" height=\"" + number(cell * width - 2 * inset) +
               "\" fill=\"" + colour + "\"/>\n";
    };
    const std::string side = std::to_string(cell * n), height = std::to_string(cell * n + head);
    std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + side + "\" height=\"" + height +
                      "\" viewBox=\"0 0 " + side + " " + height + "\">\n<rect width=\"" + side + "\" height=\"" +
                      height + "\" fill=\"white\"/>\n<text x=\"0\" y=\"16\" font-family=\"sans-serif\" " +
                      "font-size=\"13\">" + title + "</text>\n";
    const TileLists lists = list_tiles(pattern, Area{n, n}, Tiles{tile, tile});
    for (int row_tile = 0; row_tile < lists.row_tiles; ++row_tile)
        for (int visit = lists.begin[static_cast<std::size_t>(row_tile)];
             visit < lists.begin[static_cast<std::size_t>(row_tile) + 1]; ++visit) {
            const ListedTile& listed = lists.visits[static_cast<std::size_t>(visit)];
            svg += rectangle(row_tile * tile, listed.tile * tile, tile, 0.3, listed.partial ? "#e3ecf7" : "#a9c4e6");
        }
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j)
            if (pattern.visible(0, i, j)) svg += rectangle(i, j, 1, 1, "#1f4e8c");
    return svg + "</svg>\n";
}

}  // namespace attn::fixed_sparse
