// What attn watch shares with attn test.
#pragma once

#include <string>

#include "common/exercise/verdict.hpp"
#include "common/program/processes.hpp"
#include "common/program/program.hpp"

namespace attn {

struct Judgement {
    ExitStatus status = exit_ok;
    std::string line;  // the verdict in a few words
};

// Builds the exercise and its judge, judges it, prints what was found, and remembers it. Where a signal came (must_end)
// nothing is remembered. `untouched` without a build where the file is as it was handed out.
Judgement judge_and_print(const ExerciseInfo& exercise, const TestOptions& options, const SignalsHeld& signals);

}  // namespace attn
