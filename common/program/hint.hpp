// What attn watch shows of the hints too.
#pragma once

#include <optional>

#include "common/exercise/exercise_list.hpp"

namespace attn {

// The next of the hints, or the one of this level; it is remembered as seen.
void print_hint(const ExerciseInfo& exercise, std::optional<int> level = std::nullopt);

}  // namespace attn
