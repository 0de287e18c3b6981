// attn hint and attn next: what to do now.
#include "common/program/hint.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/exercise/project.hpp"
#include "common/program/exercise_names.hpp"
#include "common/program/program.hpp"
#include "common/program/progress.hpp"
#include "common/program/terminal.hpp"

namespace attn {

namespace {

void print_solution(const ExerciseInfo& info) {
    const std::filesystem::path solution = std::filesystem::path("solutions") / info.chapter / info.file.filename();
    if (std::filesystem::exists(project_folder() / solution))
        fmt::print("The solution: {}\n", solution.string());
    else
        fmt::print("That was the last hint; this copy of the project has no solutions.\n");
}

}  // namespace

void print_hint(const ExerciseInfo& info, std::optional<int> wanted) {
    const Progress progress = read_progress();
    auto found = progress.find(info.name);
    const ExerciseProgress known = found == progress.end() ? ExerciseProgress() : found->second;
    const int count = static_cast<int>(info.hints.size());
    const int level = wanted.value_or(known.hints + 1);

    if (!known.diagnosis.empty() && state_of(info, progress) == State::failing)
        fmt::print("{}\n", wrapped(known.diagnosis, "Judged last. ", "    "));
    if (level > count) {
        fmt::print("You have seen the {} hints on {} (--level N shows one again).\n", count, info.name);
        print_solution(info);
        return;
    }
    fmt::print("{}, hint {} of {}\n", info.name, level, count);
    fmt::print("{}", wrapped(info.hints[static_cast<std::size_t>(level - 1)], "    ", "    "));
    if (level == count) print_solution(info);
    if (level > known.hints)
        update_progress(info.name, [&](ExerciseProgress& entry) { entry.hints = std::max(entry.hints, level); });
}

int hint_verb(const std::string& name, std::optional<int> level) {
    const ExerciseInfo* info = exercise_or_current(name);
    if (info)
        print_hint(*info, level);
    else
        fmt::print("All exercises are done. ./attn hint EXERCISE shows the hints of one.\n");
    return exit_ok;
}

int next_verb() {
    const Progress progress = read_progress();
    const ExerciseInfo* next = next_exercise(progress);
    if (!next) {
        fmt::print("All {} exercises are done.\n", exercises().size());
        return exit_ok;
    }
    fmt::print("{} ({}, about {} minutes; {})\n", next->name, next->difficulty, next->minutes,
               state_text(*next, progress));
    fmt::print("{}", wrapped(next->what, "    ", "    "));
    fmt::print(
        "Read:  chapters/{}/README.md\n"
        "Write: {}\n"
        "Judge: ./attn test {}, or ./attn watch, which judges each time you save\n",
        next->chapter, next->file.string(), next->name);
    return exit_ok;
}

}  // namespace attn
