// What people call exercises on the command line.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/exercise/exercise_list.hpp"

namespace attn {

// The exercise, or all of the chapter, that the word names: "masked_softmax", its file, "00_dense_attention", "00",
// "0". Throws std::runtime_error that suggests the nearest name.
std::vector<const ExerciseInfo*> exercises_named(const std::string& word);

// Of several words, each exercise once.
std::vector<const ExerciseInfo*> exercises_named(const std::vector<std::string>& words);

// The exercise of that name, or without one the first that is not done; null: all are done.
const ExerciseInfo* exercise_or_current(const std::string& word);

// The exercise of that name, never a chapter.
const ExerciseInfo& one_exercise(const std::string& word);

}  // namespace attn
