// The verbs of the command line. Each returns the program's exit status.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

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
// `plot`: an SVG file to write; empty: none.
int recall_verb(const std::filesystem::path& plot);
int trace_verb(const std::string& mechanism);

struct ProfileOptions {
    std::string mechanism;
    std::string stage;  // empty: the last one
    int n = 256;
    bool lines = false, json = false;
    std::string gpu = "A100";  // whose limits and occupancy
};

int profile_verb(const ProfileOptions& options);

struct TestOptions {
    std::vector<std::string> names;  // of exercises, or of chapters or their numbers
    std::string device = "emulated";
    std::uint64_t seed = 1;
};

int test_verb(const TestOptions& options);
// A question of section 19.9, or a folder of tests/; nothing where the name is neither.
std::optional<int> test_other(const std::string& name);
int list_verb();
int next_verb();
// Without a name: of the first exercise that is not done.
int hint_verb(const std::string& exercise, std::optional<int> level);
int watch_verb(const std::string& exercise);
int reset_verb(const std::string& exercise, bool yes);
int debug_verb(const std::string& exercise, const std::filesystem::path& case_folder);

}  // namespace attn
