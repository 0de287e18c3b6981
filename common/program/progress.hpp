// Where the student is. It is remembered in progress.toml in the project's folder, and nowhere else.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "common/exercise/exercise_list.hpp"

namespace attn {

struct ExerciseProgress {
    std::string verdict;  // "done" or "failing", as it was judged last; empty: never judged
    int passed = 0, tests = 0;
    std::string date;         // of that judgement: "2026-03-31"
    std::string fingerprint;  // of the student's file then
    int hints = 0;            // how many were shown
    std::string diagnosis;    // what the judge took for the mistake; may be empty
};

using Progress = std::map<std::string, ExerciseProgress>;  // by exercise; one that nothing is known of is not in it

// Empty where there is no file yet. Throws std::runtime_error that names the file and the line where it cannot be read.
Progress read_progress();

// Reads the file anew, changes what it says of the exercise, and writes it, by renaming a new one into its place.
void update_progress(const std::string& exercise, const std::function<void(ExerciseProgress&)>& change);

// Changes when the student's file does.
std::string fingerprint(const ExerciseInfo& exercise);

std::string today();

enum class State { untouched, done, failing, edited };  // edited since it was judged

State state_of(const ExerciseInfo& exercise, const Progress& progress);

// "done", "failing 3 of 5", …
std::string state_text(const ExerciseInfo& exercise, const Progress& progress);

// The first exercise that is not done, from the one after `exercise` on, all around; null: all are done. Without
// `exercise` the first of all.
const ExerciseInfo* next_exercise(const Progress& progress, const ExerciseInfo* exercise = nullptr);

// Prints how many exercises are done, and which one is next.
void print_progress();

}  // namespace attn
