// What may be shown on the terminal, and how.
#pragma once

#include <string>
#include <string_view>

namespace attn {

// Standard output is a terminal that shows colours, and NO_COLOR (no-color.org) is unset or empty.
bool has_colours();

// The text in the colour, or as it is where there are no colours.
std::string green(std::string_view text);
std::string red(std::string_view text);
std::string bold(std::string_view text);
std::string dim(std::string_view text);

// Of the terminal at this descriptor; `otherwise` where it is none.
int columns_of(int descriptor, int otherwise);

// How many columns UTF-8 text takes.
int columns(std::string_view text);

// At most so many columns; what is cut off leaves a "…".
std::string cut(std::string_view text, int longest);

// The words of each line in lines of at most 80 columns, each behind `indent`, the first behind `first`.
std::string wrapped(std::string_view text, std::string_view first = "", std::string_view indent = "");

}  // namespace attn
