#include "common/program/progress.hpp"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <stdexcept>

#include "common/exercise/project.hpp"
#include "common/tensor/nearest.hpp"
#include "common/tensor/npy.hpp"

namespace attn {

namespace fs = std::filesystem;

namespace {

// Where it is a link, what it leads to: a rename would put a file in its place.
fs::path progress_file() { return fs::weakly_canonical(project_folder() / "progress.toml"); }

[[noreturn]] void refuse(const std::string& where, const std::string& found, const std::string& expected) {
    throw std::runtime_error(
        fmt::format("{}: found {}, expected {}. Put it right, or move it away to start afresh: it is left as it is",
                    where, found, expected));
}

std::string readable_text(const fs::path& file) {
    if (!fs::is_regular_file(file) || !std::ifstream(file))
        refuse(file.string(), "something that cannot be read", "a text file");
    return read_text(file);
}

// A table of the file, and what messages call a place in it.
struct Entry {
    const toml::table& table;
    std::string file, exercise;

    std::string where(const toml::node& node) const {
        return fmt::format("{}:{}: {}", file, node.source().begin.line, exercise);
    }

    std::string text(const char* key, const std::vector<std::string>& allowed = {}) const {
        const toml::node* node = table.get(key);
        if (!node) return {};
        auto value = node->value_exact<std::string>();
        if (!value) refuse(where(*node), fmt::format("{} that is no text", key), "one in quotes");
        if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), *value) == allowed.end())
            refuse(where(*node), fmt::format("{} = {}", key, in_quotes(*value)), "\"done\" or \"failing\"");
        return *value;
    }

    int count(const char* key) const {
        const toml::node* node = table.get(key);
        if (!node) return 0;
        auto value = node->value_exact<std::int64_t>();
        if (!value || *value < 0 || *value > 1000)
            refuse(where(*node), fmt::format("{} that is no count", key), "0 … 1000");
        return static_cast<int>(*value);
    }
};

// A key that is not known would be lost when the file is written next.
void refuse_others(const Entry& entry) {
    static const std::vector<std::string> known = {"verdict", "passed", "tests", "date", "file", "hints", "diagnosis"};
    for (const auto& [key, node] : entry.table) {
        const std::string name(key.str());
        if (std::find(known.begin(), known.end(), name) != known.end()) continue;
        const std::string near = nearest(name, known);
        refuse(entry.where(node), "the key " + in_quotes(name), near.empty() ? "one that is known" : in_quotes(near));
    }
}

Progress parse(const std::string& text, const std::string& file) {
    toml::table table;
    try {
        table = toml::parse(text);
    } catch (const toml::parse_error& error) {
        const std::string where = fmt::format("{}:{}", file, error.source().begin.line);
        const bool merging = text.find("\n<<<<<<< ") != std::string::npos || text.starts_with("<<<<<<< ");
        if (merging) refuse(where, "the marks of a merge", "one of the two sides of each");
        refuse(where, fmt::format("no TOML ({})", error.description()), "what ./attn test wrote");
    }
    Progress progress;
    for (const auto& [key, node] : table) {
        const std::string name(key.str());
        if (!node.is_table())
            refuse(fmt::format("{}:{}", file, node.source().begin.line), in_quotes(name), "[an exercise]");
        Entry entry{*node.as_table(), file, name};
        refuse_others(entry);
        progress[name] = {entry.text("verdict", {"done", "failing"}),
                          entry.count("passed"),
                          entry.count("tests"),
                          entry.text("date"),
                          entry.text("file"),
                          entry.count("hints"),
                          entry.text("diagnosis")};
    }
    return progress;
}

std::string toml_text(const std::string& text) {
    std::string result = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\')
            result += '\\', result += c;
        else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            result += fmt::format("\\u{:04x}", static_cast<int>(c));
        else
            result += c;
    }
    return result + '"';
}

// In the order of the exercises, a fact a line: versions of it merge.
std::string format(const Progress& progress) {
    std::vector<std::string> order;
    for (const ExerciseInfo& info : exercises()) order.push_back(info.name);
    for (const auto& [name, entry] : progress)
        if (std::find(order.begin(), order.end(), name) == order.end()) order.push_back(name);

    std::string text = "# Your progress: written by ./attn test and ./attn hint, shown by ./attn list.\n";
    for (const std::string& name : order) {
        auto found = progress.find(name);
        if (found == progress.end()) continue;
        const ExerciseProgress& entry = found->second;
        const bool is_bare = name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == std::string::npos;
        text += fmt::format("\n[{}]\n", is_bare ? name : toml_text(name));
        if (!entry.verdict.empty())
            text +=
                fmt::format("verdict = {}\npassed = {}\ntests = {}\ndate = {}\nfile = {}\n", toml_text(entry.verdict),
                            entry.passed, entry.tests, toml_text(entry.date), toml_text(entry.fingerprint));
        if (entry.hints > 0) text += fmt::format("hints = {}\n", entry.hints);
        if (!entry.diagnosis.empty()) text += fmt::format("diagnosis = {}\n", toml_text(entry.diagnosis));
    }
    return text;
}

}  // namespace

Progress read_progress() {
    const fs::path file = progress_file();
    return fs::exists(file) ? parse(readable_text(file), file.string()) : Progress();
}

void update_progress(const std::string& exercise, const std::function<void(ExerciseProgress&)>& change) {
    Progress progress = read_progress();
    change(progress[exercise]);
    write_file(progress_file(), format(progress));
}

std::string fingerprint(const ExerciseInfo& exercise) {
    std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
    for (char byte : read_text(project_folder() / exercise.file))
        hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    return fmt::format("{:016x}", hash);
}

std::string today() {
    const std::time_t now = std::time(nullptr);
    char text[16];
    std::strftime(text, sizeof text, "%Y-%m-%d", std::localtime(&now));
    return text;
}

State state_of(const ExerciseInfo& exercise, const Progress& progress) {
    auto found = progress.find(exercise.name);
    if (found != progress.end() && !found->second.verdict.empty() && found->second.fingerprint == fingerprint(exercise))
        return found->second.verdict == "done" ? State::done : State::failing;
    return is_untouched(exercise) ? State::untouched : State::edited;
}

std::string state_text(const ExerciseInfo& exercise, const Progress& progress) {
    switch (state_of(exercise, progress)) {
        case State::untouched: return "untouched";
        case State::done: return "done";
        case State::edited: return "edited";
        case State::failing: break;
    }
    const ExerciseProgress& entry = progress.at(exercise.name);
    return fmt::format("failing {} of {}", entry.tests - entry.passed, entry.tests);
}

const ExerciseInfo* next_exercise(const Progress& progress, const ExerciseInfo* exercise) {
    const std::vector<ExerciseInfo>& all = exercises();
    std::size_t first = 0;
    for (std::size_t i = 0; exercise && i < all.size(); ++i)
        if (all[i].name == exercise->name) first = i + 1;
    for (std::size_t i = 0; i < all.size(); ++i) {
        const ExerciseInfo& candidate = all[(first + i) % all.size()];
        if (state_of(candidate, progress) != State::done) return &candidate;
    }
    return nullptr;
}

void print_progress() {
    const Progress progress = read_progress();
    const std::vector<ExerciseInfo>& all = exercises();
    auto done = std::count_if(all.begin(), all.end(),
                              [&](const ExerciseInfo& info) { return state_of(info, progress) == State::done; });
    fmt::print("You: {} of {} exercises done.\n", done, all.size());
    if (const ExerciseInfo* next = next_exercise(progress))
        fmt::print(
            "Next: read chapters/{}/README.md, then\n"
            "      {}\n"
            "      ({}; about {} minutes)\n",
            next->chapter, next->file.string(), next->what, next->minutes);
}

}  // namespace attn
