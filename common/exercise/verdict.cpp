#include "common/exercise/verdict.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/exercise/child_process.hpp"
#include "common/tensor/npy.hpp"

namespace attn {

namespace fs = std::filesystem;

namespace {

// A line of the judge's results.
struct Line {
    TestResult result;
    std::uint64_t seed = 0;
    bool tells = false;                 // of mistakes
    std::vector<Diagnosis> consistent;  // mistakes that nothing in this test speaks against
};

Status status_of(const std::string& name) {
    static const std::map<std::string, Status> known = {
        {"passed", Status::passed},   {"failed", Status::failed},       {"broke_rule", Status::broke_rule},
        {"crashed", Status::crashed}, {"timed_out", Status::timed_out}, {"not_implemented", Status::not_implemented},
        {"not_run", Status::not_run}};
    return known.at(name);
}

Line parse_line(const std::string& text) {
    const nlohmann::json json = nlohmann::json::parse(text);
    Line line;
    line.result.test = json.at("test");
    line.result.status = status_of(json.at("status"));
    line.result.message = json.at("message");
    line.result.kept_case = json.at("kept_case");
    line.result.seconds = json.at("seconds");
    line.seed = json.at("seed");
    line.tells = json.at("tells");
    for (const auto& mistake : json.at("consistent")) {
        Diagnosis diagnosis{mistake.at("name"), mistake.at("says")};
        if (mistake.at("explains").get<bool>()) line.result.diagnoses.push_back(diagnosis);
        line.consistent.push_back(std::move(diagnosis));
    }
    return line;
}

bool holds(const std::vector<Diagnosis>& list, const Diagnosis& diagnosis) {
    return std::any_of(list.begin(), list.end(), [&](const Diagnosis& other) { return other.name == diagnosis.name; });
}

// The mistakes that explain a test and that no other test speaks against.
std::vector<Diagnosis> diagnose(const std::vector<Line>& lines) {
    std::vector<Diagnosis> result;
    for (const Line& line : lines)
        for (const Diagnosis& diagnosis : line.result.diagnoses) {
            const bool stands = std::all_of(lines.begin(), lines.end(), [&](const Line& other) {
                return !other.tells || holds(other.consistent, diagnosis);
            });
            if (stands && !holds(result, diagnosis)) result.push_back(diagnosis);
        }
    return result;
}

// The worst first.
Status worst_of(const std::vector<TestResult>& tests) {
    for (Status status : {Status::crashed, Status::timed_out, Status::broke_rule, Status::failed,
                          Status::not_implemented, Status::not_run})
        for (const TestResult& test : tests)
            if (test.status == status) return status;
    return tests.empty() ? Status::not_judged : Status::passed;
}

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += word + "\n";
    return text;
}

}  // namespace

const char* text(Status status) {
    switch (status) {
        case Status::passed: return "passed";
        case Status::failed: return "failed";
        case Status::broke_rule: return "broke a rule of the CUDA model";
        case Status::crashed: return "crashed";
        case Status::timed_out: return "timed out";
        case Status::not_implemented: return "not implemented yet";
        case Status::not_run: return "not run: no GPU";
        case Status::not_judged: return "not judged";
    }
    return "";
}

int ExerciseVerdict::passed() const {
    return static_cast<int>(std::count_if(tests.begin(), tests.end(),
                                          [](const TestResult& test) { return test.status == Status::passed; }));
}

fs::path build_folder() {
    // The program stands in the build folder itself, judges and workers in folders of it.
    fs::path folder = fs::read_symlink("/proc/self/exe").parent_path();
    while (!fs::exists(folder / "CMakeCache.txt") && folder.has_relative_path()) folder = folder.parent_path();
    return folder;
}

fs::path judge_program(const std::string& chapter) { return build_folder() / "judges" / chapter; }

fs::path workers_folder(const std::string& kind) { return build_folder() / "workers" / kind; }

ExerciseVerdict judge(const ExerciseInfo& exercise, const JudgeOptions& options) {
    const fs::path program = judge_program(exercise.chapter);
    if (!fs::exists(program)) throw std::runtime_error("there is no judge " + program.string());

    SignalsHeld signals;
    TemporaryFolder temporary;
    const fs::path results = temporary.path() / "results", log = temporary.path() / "log";
    fs::path work = options.work;
    if (work.empty()) {
        work = temporary.path() / "work";
        fs::create_directories(work / "in");
        fs::create_directories(work / "out");
    }
    std::vector<std::pair<const char*, std::string>> environment = {
        {"ATTN_WORK", work.string()},
        {"ATTN_SEED", std::to_string(options.seed)},
        {"ATTN_RESULTS", results.string()},
        {"ATTN_KEEP", options.keep.string()},
        {"ATTN_WORKERS", options.workers.string()},
        {"ATTN_WORKER_COMMAND", joined(options.worker_command)}};
    const std::string tag = "[" + exercise.name + "]";
    const pid_t self = ::getpid(), child = ::fork();
    if (child < 0) throw std::runtime_error(std::string("cannot start the judge: ") + std::strerror(errno));
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != self) ::_exit(127);
        ::setpgid(0, 0);  // Ctrl-C comes to us alone
        ::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
        signals.release();
        const int output = ::open(log.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        const int input = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        ::dup2(input, STDIN_FILENO);
        ::dup2(output, STDOUT_FILENO);
        ::dup2(output, STDERR_FILENO);
        for (const auto& [name, value] : environment) ::setenv(name, value.c_str(), 1);
        ::execl(program.c_str(), program.c_str(), tag.c_str(), nullptr);
        ::_exit(127);
    }

    std::vector<Line> lines;
    auto read_lines = [&] {
        const std::string all = read_text(results);
        std::size_t from = 0, number = 0;
        for (std::size_t to; (to = all.find('\n', from)) != std::string::npos; from = to + 1)
            if (number++ >= lines.size()) {
                lines.push_back(parse_line(all.substr(from, to - from)));
                if (options.each) options.each(lines.back().result);
            }
    };
    int status = 0, signal = 0;
    bool in_time = true;
    const auto start = std::chrono::steady_clock::now();
    while (::waitpid(child, &status, WNOHANG) == 0) {
        const int came = signals.wait(0.05);
        if (came > 0 && came != SIGCHLD) {
            signal = came;
            ::kill(child, SIGKILL);  // its workers follow
            ::waitpid(child, &status, 0);
            break;
        }
        read_lines();
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        in_time = options.seconds <= 0 || seconds.count() < options.seconds;
        if (!in_time) ::kill(child, SIGKILL);
    }
    if (signal != 0) {
        ::raise(signal);  // takes effect when the signals are no longer held, and the folder is gone
        return {};
    }
    read_lines();

    ExerciseVerdict verdict;
    verdict.exercise = exercise.name;
    verdict.seed = options.seed;
    for (const Line& line : lines) verdict.tests.push_back(line.result);
    verdict.status = worst_of(verdict.tests);
    verdict.diagnoses = diagnose(lines);
    // Catch2 exits with the number of failures, or 42; a judge that is ended, or that finds nothing to do, is no
    // verdict.
    const bool all_passed = verdict.status == Status::passed || verdict.status == Status::not_run;
    const bool ended = WIFEXITED(status) && (WEXITSTATUS(status) == 0) == all_passed;
    if (!in_time) {
        verdict.status = Status::timed_out;
        verdict.tests.clear();
    } else if (!ended || verdict.tests.empty()) {
        verdict.status = Status::not_judged;
        verdict.trouble = "the judge of " + exercise.name + " did not come to its end; it said:\n" + read_text(log);
    }
    return verdict;
}

}  // namespace attn
