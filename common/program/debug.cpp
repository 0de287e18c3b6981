// attn debug: the student's code under a debugger, on a case that failed.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "common/exercise/project.hpp"
#include "common/exercise/verdict.hpp"
#include "common/program/build.hpp"
#include "common/program/exercise_names.hpp"
#include "common/program/program.hpp"

namespace attn {

namespace fs = std::filesystem;

namespace {

bool is_case(const fs::path& folder) { return fs::exists(folder / "case.json"); }

fs::path newest_failing_case(const ExerciseInfo& info) {
    const fs::path kept = build_folder() / "failed" / info.name;
    fs::path newest;
    if (fs::is_directory(kept))
        for (const auto& entry : fs::directory_iterator(kept))
            if (is_case(entry.path()) && (newest.empty() || fs::last_write_time(newest / "case.json") <
                                                                fs::last_write_time(entry.path() / "case.json")))
                newest = entry.path();
    if (newest.empty())
        throw std::runtime_error(
            fmt::format("found no failing case of {0}, expected one in {1}: ./attn test {0} keeps those that fail",
                        info.name, kept.string()));
    return newest;
}

fs::path chosen_case(const ExerciseInfo& info, const fs::path& given) {
    if (given.empty()) return newest_failing_case(info);
    if (!is_case(given))
        throw std::runtime_error(
            fmt::format("found no case.json in {}, expected the folder of a case", given.string()));
    return fs::absolute(given);
}

bool is_installed(const std::string& program) {
    const char* all = std::getenv("PATH");
    std::string path = all ? all : "";
    for (std::size_t at = 0; at <= path.size();) {
        const std::size_t end = std::min(path.find(':', at), path.size());
        if (::access((fs::path(path.substr(at, end - at)) / program).c_str(), X_OK) == 0) return true;
        at = end + 1;
    }
    return false;
}

// As the compiler names it: kernels and what launches them are in an inline namespace.
std::string function_name(const ExerciseInfo& info) {
    return fmt::format("attn::exercises::{0}::{1}{0}", info.name, info.is_cuda() ? "emulated::" : "");
}

fs::path printers() {
    const fs::path own = project_folder() / "common/debug/attn_gdb.py";
    return fs::exists(own) ? own : project_folder() / "common/tensor/gdb_printers.py";
}

std::vector<std::string> debugger_command(const ExerciseInfo& info, const std::vector<std::string>& worker) {
    std::vector<std::string> words;
    if (is_installed("gdb")) {
        words = {"gdb",   "-q",
                 "-ex",   "source " + printers().string(),
                 "-ex",   "set breakpoint pending on",
                 "-ex",   "break " + function_name(info),
                 "--args"};
    } else if (is_installed("lldb")) {
        words = {"lldb",
                 "-o",
                 "command script import '" + (project_folder() / "common/debug/attn_lldb.py").string() + "'",
                 "-o",
                 "breakpoint set --name " + function_name(info),
                 "--"};
    } else {
        throw std::runtime_error("found neither gdb nor lldb, expected one of them: ./attn setup installs gdb");
    }
    words.insert(words.end(), worker.begin(), worker.end());
    return words;
}

void build_worker(const ExerciseInfo& info) {
    SignalsHeld signals;
    const BuildOutcome outcome = build({"worker_debug_" + info.name}, signals);
    if (must_end()) return;  // and ends
    fmt::print("{}", diagnostics_for(info.file, outcome));
    if (!outcome.succeeded) throw std::runtime_error("the build of " + info.name + " failed: see above");
}

}  // namespace

int debug_verb(const std::string& name, const fs::path& case_folder) {
    const ExerciseInfo& info = one_exercise(name);
    const fs::path input = chosen_case(info, case_folder);
    build_worker(info);

    // Always the same, for nobody is left to remove it.
    const fs::path out = build_folder() / "debug" / info.name;
    fs::remove_all(out);
    fs::create_directories(out);
    const std::vector<std::string> words =
        debugger_command(info, {(workers_folder("debug") / info.name).string(), input.string(), out.string()});
    fmt::print("The case: {}\n", input.string());
    fmt::print("run starts it and stops in {}; then next, step, print in, continue, quit.\n", info.name);
    if (info.is_cuda())
        fmt::print("In one thread of a kernel: break {}:LINE if threadIdx.x == 5 && blockIdx.x == 0\n",
                   info.file.filename().string());
    std::fflush(nullptr);
    const std::vector<char*> arguments = exec_arguments(words);
    ::execvp(arguments[0], arguments.data());
    throw std::runtime_error(fmt::format("cannot start {}: {}", words[0], std::strerror(errno)));
}

}  // namespace attn
