// The exercises as they were handed out.
#pragma once

#include <optional>
#include <string>

#include "common/exercise/exercise_list.hpp"
#include "common/program/processes.hpp"

namespace attn {

// The student's file as it was handed out: from exercises/.stubs/ where that is, else the newest version in git's
// history that says it is not implemented yet. Nothing where there is neither.
std::optional<std::string> stub_of(const ExerciseInfo& exercise, const SignalsHeld& signals);

}  // namespace attn
