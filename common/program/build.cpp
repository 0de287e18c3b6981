#include "common/program/build.hpp"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "common/exercise/project.hpp"
#include "common/exercise/verdict.hpp"
#include "common/program/terminal.hpp"

namespace attn {

namespace fs = std::filesystem;

namespace {

bool lies_in(const fs::path& inner, const fs::path& outer) {
    const fs::path a = fs::weakly_canonical(inner), b = fs::weakly_canonical(outer);
    return std::mismatch(b.begin(), b.end(), a.begin(), a.end()).first == b.end();
}

// The launcher's for builds that the launcher makes too.
fs::path lock_file() {
    const fs::path folder = build_folder(), all_builds = project_folder() / "build";
    return lies_in(folder, all_builds) ? all_builds / ".lock" : folder / ".attn-lock";
}

// Held while it lives.
class BuildLock {
  public:
    explicit BuildLock(const SignalsHeld& signals) {
        const fs::path file = lock_file();
        descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (descriptor_ < 0)
            throw std::runtime_error(fmt::format("cannot lock the build: {}: {}", file.string(), std::strerror(errno)));
        bool said = false;
        while (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK && !must_end()) {
            if (!said) fmt::print(stderr, "attn: waiting for another build\n");
            said = true;
            wait_a_little(signals, 0.1);
        }
    }
    ~BuildLock() { ::close(descriptor_); }
    BuildLock(const BuildLock&) = delete;

  private:
    int descriptor_;
};

// One line that stays in its place, on a terminal only.
class ProgressLine {
  public:
    void show(const std::string& line) {
        if (!terminal_) return;
        fmt::print(stderr, "\r\033[K{}", cut(line, columns_of(STDERR_FILENO, 80) - 1));
        open_ = true;
    }
    ~ProgressLine() {
        if (open_) fmt::print(stderr, "\r\033[K");
    }

  private:
    bool terminal_ = ::isatty(STDERR_FILENO);
    bool open_ = false;
};

}  // namespace

BuildOutcome build(const std::vector<std::string>& targets, const SignalsHeld& signals) {
    BuildLock lock(signals);
    if (must_end()) return {};
    Command command;
    command.words = {"cmake", "--build", build_folder().string(), "--target"};
    command.words.insert(command.words.end(), targets.begin(), targets.end());
    // What the compiler says is read here: in English, without colours.
    command.environment = {{"NINJA_STATUS", "[%f/%t] "}, {"LC_ALL", "C.UTF-8"},   {"LANGUAGE", nullptr},
                           {"CLICOLOR_FORCE", nullptr},  {"GCC_COLORS", nullptr}, {"VERBOSE", nullptr}};
    command.with_errors = true;
    ProgressLine progress;
    Captured captured = run_captured(command, signals, [&](const std::string& line) {
        if (line.starts_with("[")) progress.show(line);
    });
    return {captured.status == 0 && !must_end(), std::move(captured.output)};
}

}  // namespace attn
