// Where the student is.
#pragma once

#include <string>
#include <vector>

namespace attn {

struct ExerciseState {
    std::string chapter, name, what;
    std::string file;  // from the project's folder
    int minutes = 0;
    bool begun = false;  // its file no longer says "not implemented yet"
};

// All exercises, chapter by chapter, in the order in which they are meant to be done.
std::vector<ExerciseState> exercise_states();

// How many are begun, and which one is next.
void print_progress();

}  // namespace attn
