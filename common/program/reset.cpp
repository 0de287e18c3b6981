// attn reset: an exercise as it was handed out, the present file kept beside it.
#include "common/program/reset.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>

#include "common/exercise/project.hpp"
#include "common/program/exercise_names.hpp"
#include "common/program/program.hpp"
#include "common/tensor/npy.hpp"

namespace attn {

namespace fs = std::filesystem;

namespace {

constexpr const char* mark = "throw NotImplementedYet";

// What git prints; nothing where it fails.
std::optional<std::string> git(std::vector<std::string> words, const SignalsHeld& signals) {
    words.insert(words.begin(), "git");
    try {
        Captured captured = run_captured({words, project_folder(), {}, false}, signals);
        if (captured.status == 0) return std::move(captured.output);
    } catch (const std::runtime_error&) {
        // There is no git.
    }
    return {};
}

// One more than the highest there is: the numbers are in the order of time.
fs::path free_backup(const fs::path& file) {
    const std::string start = file.filename().string() + ".backup-";
    int highest = 0;
    for (const auto& entry : fs::directory_iterator(file.parent_path())) {
        const std::string name = entry.path().filename().string();
        int number = 0;
        if (!name.starts_with(start)) continue;
        std::from_chars(name.data() + start.size(), name.data() + name.size(), number);
        highest = std::max(highest, number);
    }
    return file.parent_path() / (start + std::to_string(highest + 1));
}

// From the person at the terminal.
bool agrees(const std::string& question) {
    if (!::isatty(STDIN_FILENO) || !::isatty(STDOUT_FILENO))
        throw std::runtime_error("nobody to ask here, nothing was changed; --yes puts the file back without asking");
    fmt::print("{} [y/N] ", question);
    std::fflush(stdout);
    std::string answer;
    return std::getline(std::cin, answer) && (answer.starts_with("y") || answer.starts_with("Y"));
}

}  // namespace

std::optional<std::string> stub_of(const ExerciseInfo& exercise, const SignalsHeld& signals) {
    const fs::path packaged = project_folder() / exercise.file.parent_path() / ".stubs" / exercise.file.filename();
    if (fs::exists(packaged)) return read_text(packaged);
    const std::string path = "./" + exercise.file.string();  // from the project's folder, wherever the repository is
    auto commits = git({"log", "--format=%H", "--", path}, signals);
    if (!commits) return {};
    std::istringstream lines(*commits);
    for (std::string commit; std::getline(lines, commit);) {
        auto version = git({"show", commit + ":" + path}, signals);
        if (version && version->find(mark) != std::string::npos) return version;
    }
    return {};
}

int reset_verb(const std::string& name, bool yes) {
    const ExerciseInfo& info = one_exercise(name);
    const fs::path file = project_folder() / info.file;
    std::optional<std::string> stub;
    {
        SignalsHeld signals;
        stub = stub_of(info, signals);
    }
    if (!stub)
        throw std::runtime_error(fmt::format(
            "found no version of {} as it was handed out: neither in exercises/.stubs nor in git's history (is this a "
            "git clone, and is git installed?)",
            info.file.string()));
    const bool exists = fs::exists(file);
    if (exists && read_text(file) == *stub) {
        fmt::print("{} is as it was handed out: nothing to do.\n", info.file.string());
        return exit_ok;
    }
    const fs::path backup = free_backup(file);
    if (!yes && !agrees(fmt::format("Put {} back as it was handed out? Yours is kept as {}.", info.file.string(),
                                    backup.filename().string()))) {
        fmt::print("Nothing was changed.\n");
        return exit_ok;
    }
    if (exists) fs::copy_file(file, backup);  // fails where there is one by now
    write_file(file, *stub);
    fmt::print("{} is as it was handed out.\n", info.file.string());
    if (exists) fmt::print("Yours: {}\n", (info.file.parent_path() / backup.filename()).string());
    return exit_ok;
}

}  // namespace attn
