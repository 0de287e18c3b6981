#include "common/program/exercise_names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>

#include "common/program/progress.hpp"
#include "common/tensor/nearest.hpp"
#include "common/tensor/npy.hpp"

namespace attn {

namespace {

// The number of a text that begins with digits and has nothing else, or an underscore, behind them; -1: it has none.
int chapter_number(std::string_view text) {
    int number = -1;
    const char* end = text.data() + text.size();
    auto [rest, error] = std::from_chars(text.data(), end, number);
    return error == std::errc() && (rest == end || *rest == '_') ? number : -1;
}

bool is_number(const std::string& word) {
    return !word.empty() && word.find_first_not_of("0123456789") == std::string::npos;
}

// A path, as a shell completes it, names the exercise or the chapter that it ends in.
std::string without_path(const std::string& word) {
    if (word.find('/') == std::string::npos) return word;
    std::filesystem::path path(word);
    if (!path.has_filename()) path = path.parent_path();
    return path.stem().string();
}

bool is_in_chapter(const ExerciseInfo& info, const std::string& word) {
    return info.chapter == word || (is_number(word) && chapter_number(info.chapter) == chapter_number(word));
}

[[noreturn]] void refuse(const std::string& word) {
    std::vector<std::string> known;
    for (const ExerciseInfo& info : exercises()) known.push_back(info.name), known.push_back(info.chapter);
    throw std::runtime_error(fmt::format("there is no exercise or chapter {}{}; ./attn list shows them",
                                         in_quotes(word), did_you_mean(word, known)));
}

}  // namespace

std::vector<const ExerciseInfo*> exercises_named(const std::string& word) {
    const std::string name = without_path(word);
    std::vector<const ExerciseInfo*> found;
    for (const ExerciseInfo& info : exercises())
        if (info.name == name || is_in_chapter(info, name)) found.push_back(&info);
    if (found.empty()) refuse(word);
    return found;
}

std::vector<const ExerciseInfo*> exercises_named(const std::vector<std::string>& words) {
    std::vector<const ExerciseInfo*> all;
    for (const std::string& word : words)
        for (const ExerciseInfo* info : exercises_named(word))
            if (std::find(all.begin(), all.end(), info) == all.end()) all.push_back(info);
    return all;
}

const ExerciseInfo& one_exercise(const std::string& word) {
    std::vector<const ExerciseInfo*> found = exercises_named(word);
    if (found.size() == 1 && found[0]->name == without_path(word)) return *found[0];
    throw std::runtime_error(
        fmt::format("found the chapter {}, expected one of its exercises: {}, …", in_quotes(word), found[0]->name));
}

const ExerciseInfo* exercise_or_current(const std::string& word) {
    return word.empty() ? next_exercise(read_progress()) : &one_exercise(word);
}

}  // namespace attn
