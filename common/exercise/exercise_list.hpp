// The exercises of all chapters, as chapters/*/exercises/exercises.toml lists them.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace attn {

struct ExerciseInfo {
    std::string name;            // "masked_softmax": in commands, namespaces and file names
    std::string chapter;         // "00_dense_attention"
    std::filesystem::path file;  // the student's, from the project's folder: chapters/…/exercises/masked_softmax.cpp
    std::string what;            // one line
    int minutes = 0;
    std::string difficulty;          // "easy", "easy to medium", …
    std::vector<std::string> hints;  // three, each telling more than the one before
    double points = 0;               // from tests/grader/rubric.toml

    bool is_cuda() const { return file.extension() == ".cu"; }
};

// Chapter by chapter, in the order in which they are meant to be done. Throws std::runtime_error that names the file
// where a list does not hold what it must.
const std::vector<ExerciseInfo>& exercises();

// Null where there is none.
const ExerciseInfo* find_exercise(std::string_view name);

// Points by exercise. Throws std::runtime_error that names the file where it misses an exercise or names none that is.
std::map<std::string, double> read_rubric(const std::filesystem::path& file);

// Whether the student's file still throws NotImplementedYet, as it was handed out.
bool is_untouched(const ExerciseInfo& exercise);

}  // namespace attn
