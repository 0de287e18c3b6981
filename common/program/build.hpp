// Builds what a verb needs, and cuts what the compiler says to what concerns the student's file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/program/processes.hpp"

namespace attn {

struct BuildOutcome {
    bool succeeded = false;
    std::string output;  // of the tools
};

// Builds targets of the running program's build folder, one build at a time for the whole project; shows progress on a
// terminal. Where a signal came (must_end) it has not succeeded. Throws std::runtime_error where no build can be begun.
BuildOutcome build(const std::vector<std::string>& targets, const SignalsHeld& signals);

// What of a build's output the student of `file` (from the project's folder) should read: errors and warnings in that
// file, errors elsewhere with the line of the file that led there, and what the linker misses. Where a build failed
// without any of these, the end of its output as it is.
std::string diagnostics_for(const std::filesystem::path& file, const BuildOutcome& outcome);

// Whether the build failed for a reason that is not the student's to mend: none of the errors concerns the file.
bool failed_elsewhere(const std::filesystem::path& file, const BuildOutcome& outcome);

}  // namespace attn
