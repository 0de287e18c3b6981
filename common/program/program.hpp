// The verbs of the command line. Each returns the program's exit status.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace attn {

enum ExitStatus { exit_ok = 0, exit_outside_bound = 1, exit_bad_usage = 2, exit_not_implemented = 3, exit_broken = 4 };

struct RunOptions {
    std::filesystem::path case_folder;
    std::string implementation = "optimized";
    std::string exercise;
    std::string device;  // empty: a GPU where one answers
    std::string dtype = "float32";
    std::filesystem::path out;
    std::optional<double> timeout_seconds;
};

int run_verb(const RunOptions& options);
int table_verb();
int trace_verb(const std::string& mechanism);

}  // namespace attn
