#include "common/program/progress.hpp"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace attn {

namespace {

struct ExerciseState {
    std::string chapter, what;
    std::string file;  // from the project's folder
    int minutes = 0;
    bool begun = false;  // its file no longer says "not implemented yet"
};

bool still_a_stub(const std::filesystem::path& file) {
    std::ifstream stream(file);
    std::string text{std::istreambuf_iterator<char>(stream), {}};
    return text.find("throw NotImplementedYet") != std::string::npos;
}

// All exercises, chapter by chapter, in the order in which they are meant to be done.
std::vector<ExerciseState> exercise_states() {
    const std::filesystem::path source = ATTN_SOURCE_FOLDER;
    std::vector<std::filesystem::path> lists;
    for (const auto& chapter : std::filesystem::directory_iterator(source / "chapters"))
        if (std::filesystem::exists(chapter.path() / "exercises" / "exercises.toml")) lists.push_back(chapter.path());
    std::sort(lists.begin(), lists.end());

    std::vector<ExerciseState> states;
    for (const auto& chapter : lists) {
        toml::table list = toml::parse_file((chapter / "exercises" / "exercises.toml").string());
        for (const auto& node : *list["exercise"].as_array()) {
            const toml::table& entry = *node.as_table();
            auto text = [&](const char* key) { return entry[key].value_or(std::string()); };
            std::filesystem::path file = chapter / "exercises" / text("file");
            states.push_back({chapter.filename().string(), text("what"),
                              std::filesystem::relative(file, source).string(), entry["minutes"].value_or(0),
                              !still_a_stub(file)});
        }
    }
    return states;
}

}  // namespace

void print_progress() {
    std::vector<ExerciseState> states = exercise_states();
    auto begun = std::count_if(states.begin(), states.end(), [](const ExerciseState& state) { return state.begun; });
    fmt::print("You: {} of {} exercises begun.\n", begun, states.size());
    auto next = std::find_if(states.begin(), states.end(), [](const ExerciseState& state) { return !state.begun; });
    if (next != states.end())
        fmt::print(
            "Next: read chapters/{}/README.md, then {}\n"
            "      ({}; about {} minutes)\n",
            next->chapter, next->file, next->what, next->minutes);
}

}  // namespace attn
