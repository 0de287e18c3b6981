// attn list: the exercises, and how far the student is.
#include <fmt/format.h>

#include <algorithm>

#include "common/program/program.hpp"
#include "common/program/progress.hpp"
#include "common/program/terminal.hpp"

namespace attn {

namespace {

// With these, and the widest state, a row has 80 columns at most.
constexpr int longest_name = 24, longest_difficulty = 14;

std::string padded(const std::string& text, int width) {
    return text + std::string(static_cast<std::size_t>(std::max(0, width - columns(text))), ' ');
}

std::string coloured(const std::string& text, State state) {
    switch (state) {
        case State::done: return green(text);
        case State::failing: return red(text);
        case State::edited: return bold(text);
        case State::untouched: return dim(text);
    }
    return text;
}

int widest(std::string ExerciseInfo::*text, int most) {
    int width = 0;
    for (const ExerciseInfo& info : exercises()) width = std::max(width, columns(info.*text));
    return std::min(width, most);
}

}  // namespace

int list_verb() {
    const Progress progress = read_progress();
    const ExerciseInfo* next = next_exercise(progress);
    const int name_width = widest(&ExerciseInfo::name, longest_name);
    const int difficulty_width = widest(&ExerciseInfo::difficulty, longest_difficulty);

    std::string chapter;
    double points = 0, points_done = 0;
    int done = 0, minutes_left = 0;
    for (const ExerciseInfo& info : exercises()) {
        if (info.chapter != chapter) {
            fmt::print("{}{}\n", chapter.empty() ? "" : "\n", bold(info.chapter));
            chapter = info.chapter;
        }
        const State state = state_of(info, progress);
        fmt::print("  {} {}  {:>4g} {:<6}  {:>3} min  {}  {}\n", &info == next ? "→" : " ",
                   padded(cut(info.name, name_width), name_width), info.points, info.points == 1 ? "point" : "points",
                   info.minutes, padded(cut(info.difficulty, difficulty_width), difficulty_width),
                   coloured(state_text(info, progress), state));
        points += info.points;
        if (state == State::done)
            ++done, points_done += info.points;
        else
            minutes_left += info.minutes;
    }
    fmt::print("\n{} of {} exercises done, {:g} of {:g} points; about {} minutes left\n", done, exercises().size(),
               points_done, points, minutes_left);
    fmt::print("{}\n", next ? "→ is next: ./attn next" : "All are done.");
    return exit_ok;
}

}  // namespace attn
