// attn grade: judges submissions and counts their points.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace attn {

struct GradeOptions {
    std::vector<std::filesystem::path> submissions;  // folders
    std::filesystem::path rubric;                    // empty: the project's
    std::filesystem::path out;                       // for grades.csv and <submission>/results.json; empty: neither
    std::optional<std::uint64_t> seed;               // none: a secret one
    bool trust = false;                              // without a sandbox
};

// Exit status: 0 where everything was judged, be it with no points at all; 4 where a judge did not come to its end.
int grade_verb(const GradeOptions& options);

}  // namespace attn
