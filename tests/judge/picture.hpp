// Where the wrong elements of a tensor stand, at a glance.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "common/tensor/compare.hpp"

namespace attn::judge {

// The last two dimensions, of the others the matrix that holds element `first`; a cell for one element or, in large
// tensors, for several. '.' right, 'x' wrong, '!' NaN or an infinity in one of the two only. Empty where one line would
// say no more than the indices do.
inline std::string picture(const std::vector<char>& marks, const std::vector<std::int64_t>& shape, std::int64_t first) {
    constexpr std::int64_t most_rows = 12, most_columns = 48;
    const std::int64_t columns = shape.back(), rows = shape.size() > 1 ? shape[shape.size() - 2] : 1;
    if (rows * columns < 2) return "";
    const std::int64_t matrix = first / (rows * columns) * (rows * columns);
    const std::int64_t down = (rows + most_rows - 1) / most_rows, across = (columns + most_columns - 1) / most_columns;
    std::string text;
    for (std::int64_t top = 0; top < rows; top += down) {
        text += "      ";
        for (std::int64_t left = 0; left < columns; left += across) {
            char cell = '.';
            for (std::int64_t row = top; row < std::min(top + down, rows); ++row)
                for (std::int64_t column = left; column < std::min(left + across, columns); ++column) {
                    const char mark = marks[static_cast<std::size_t>(matrix + row * columns + column)];
                    if (mark == '!' || (mark && cell == '.')) cell = mark;
                }
            text += cell;
        }
        text += "\n";
    }
    std::string which = "x wrong";
    if (text.find('!') != std::string::npos) which += ", ! NaN or infinity misplaced";
    if (down > 1 || across > 1) which += fmt::format(", a cell is {} x {}", down, across);
    if (shape.size() > 2) which += fmt::format(", the part with {}", index_text(shape, first));
    return text + "      (" + which + ")\n";
}

}  // namespace attn::judge
