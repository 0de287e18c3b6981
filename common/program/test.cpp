// attn test: builds exercises and has them judged.
#include "common/program/test.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>

#include "common/exercise/project.hpp"
#include "common/program/build.hpp"
#include "common/program/exercise_names.hpp"
#include "common/program/progress.hpp"
#include "common/program/reset.hpp"
#include "common/program/terminal.hpp"
#include "common/tensor/npy.hpp"

namespace attn {

namespace fs = std::filesystem;

namespace {

constexpr int most_message_lines = 12, most_further_lines = 6;  // of the first test that fails, of the others
constexpr std::size_t most_printed_lines = 12;                  // by the student's own code

bool is_as_handed_out(const ExerciseInfo& info, const SignalsHeld& signals) {
    if (!is_untouched(info)) return false;
    return stub_of(info, signals) == read_text(project_folder() / info.file);
}

// Shorter to read: paths from the project's folder, names without the namespaces that all of them have.
std::string shortened(std::string text, const ExerciseInfo& info) {
    for (const std::string& part : {project_folder().string() + "/",
                                    "attn::exercises::" + info.name + "::", std::string("(anonymous namespace)::")})
        for (std::size_t at; (at = text.find(part)) != std::string::npos;) text.erase(at, part.size());
    return text;
}

// A test's line as it ends, and what the judge says of it where it failed: in full for the first that fails, and not
// what was said already.
class TestPrinter {
  public:
    explicit TestPrinter(const ExerciseInfo& info) : info_(info) {}

    void print(const TestResult& result) {
        if (result.status == Status::passed) {
            fmt::print("  {} {}\n", green("✓"), result.test);
        } else {
            fmt::print("  {} {}: {}\n", red("✗"), result.test, text(result.status));
            // What the student's own code printed is never cut away by what the judge has to say.
            const std::string message = shortened(result.message, info_), mark = "  It printed:\n";
            const std::size_t prints = std::min(message.find(mark), message.size());
            print_message(message.substr(0, prints));
            print_last_lines(message.substr(prints));
            most_lines_ = most_further_lines;
        }
        std::fflush(stdout);
    }

  private:
    void print_message(const std::string& message) {
        const std::size_t first_end = std::min(message.find('\n'), message.size());  // the first line tells the case
        const std::string rest = message.substr(first_end);
        const bool is_known = !rest.empty() && rest == said_;
        said_ = rest;
        std::istringstream lines(is_known ? message.substr(0, first_end) + "\n  as above" : message);
        int count = 0;
        for (std::string line; std::getline(lines, line); ++count)
            if (count < most_lines_) print_line(line);
        if (count > most_lines_) fmt::print("      … and {} more lines\n", count - most_lines_);
    }

    void print_last_lines(const std::string& text) {
        std::istringstream stream(text);
        std::vector<std::string> lines;
        for (std::string line; std::getline(stream, line);) lines.push_back(line);
        if (lines.empty()) return;
        print_line(lines[0]);
        const std::size_t first = lines.size() > most_printed_lines + 1 ? lines.size() - most_printed_lines : 1;
        if (first > 1) fmt::print("        …\n");
        for (std::size_t index = first; index < lines.size(); ++index) print_line(lines[index]);
    }

    void print_line(const std::string& line) {
        const std::string indent(6 + std::min(line.find_first_not_of(' '), line.size()), ' ');
        if (columns(line) + 6 > 80 && line.find_first_not_of(' ') != std::string::npos)
            fmt::print("{}", wrapped(line, indent, indent));
        else
            fmt::print("      {}\n", line);
    }

    const ExerciseInfo& info_;
    std::string said_;
    int most_lines_ = most_message_lines;
};

// Whether the test ran: "not implemented" and "no GPU" are said once, not for each test.
bool has_run(const TestResult& result) {
    return result.status != Status::not_implemented && result.status != Status::not_run &&
           result.status != Status::not_judged;
}

std::string joined(const std::vector<Diagnosis>& diagnoses) {
    if (diagnoses.size() == 1) return "Diagnosis: " + diagnoses[0].says;
    std::string text = "Diagnosis, one of these:";
    for (const Diagnosis& diagnosis : diagnoses) text += "\n- " + diagnosis.says;
    return text;
}

// What explains all tests; else what explains single ones, where it is one thing.
std::string diagnosis_text(const ExerciseVerdict& verdict) {
    if (!verdict.diagnoses.empty()) return joined(verdict.diagnoses);
    std::map<std::string, std::string> tests_by_diagnosis;
    for (const TestResult& result : verdict.tests) {
        if (result.diagnoses.size() != 1) continue;
        std::string& tests = tests_by_diagnosis[result.diagnoses[0].says];
        tests += fmt::format("{}\"{}\"", tests.empty() ? "" : ", ", result.test);
    }
    std::string text;
    for (const auto& [says, tests] : tests_by_diagnosis)
        text += fmt::format("{}Diagnosis of {}: {}", text.empty() ? "" : "\n", tests, says);
    return text;
}

ExitStatus exit_status(Status status) {
    switch (status) {
        case Status::passed: return exit_ok;
        case Status::failed: return exit_outside_bound;
        case Status::not_implemented: return exit_not_implemented;
        case Status::crashed:
        case Status::timed_out:
        case Status::broke_rule: return exit_broken;
        case Status::not_run:
        case Status::not_judged: return exit_bad_usage;
    }
    return exit_bad_usage;
}

void remember(const ExerciseInfo& info, const ExerciseVerdict& verdict, const std::string& print) {
    update_progress(info.name, [&](ExerciseProgress& entry) {
        entry.verdict = verdict.status == Status::passed ? "done" : "failing";
        entry.passed = verdict.passed();
        entry.tests = static_cast<int>(verdict.tests.size());
        entry.date = today();
        entry.fingerprint = print;
        entry.diagnosis = diagnosis_text(verdict);
    });
}

void print_after_pass() {
    const ExerciseInfo* next = next_exercise(read_progress());
    if (next)
        fmt::print("{} Next is {}: {}\n", green("Done."), next->name, next->file.string());
    else
        fmt::print("{} That was the last one.\n", green("Done."));
}

Judgement not_implemented(const ExerciseInfo& info) {
    fmt::print("{} is not implemented yet (about {} minutes)\n", info.name, info.minutes);
    return {exit_not_implemented, "not implemented yet"};
}

// What the judge found, told test by test while it runs.
Judgement conclude(const ExerciseInfo& info, const TestOptions& options, const ExerciseVerdict& verdict,
                   const std::string& print) {
    const ExitStatus status = exit_status(verdict.status);
    if (verdict.status == Status::not_implemented && verdict.passed() == 0) return not_implemented(info);
    if (verdict.status == Status::not_judged) {
        fmt::print(stderr, "attn: {}\n", verdict.trouble.empty() ? "the judge found nothing to do" : verdict.trouble);
        return {status, "not judged"};
    }
    if (verdict.status == Status::not_run) {
        fmt::print("{} was not run: no GPU answers; without --device cuda the emulator runs it\n", info.name);
        return {status, "not run: no GPU"};
    }
    for (const TestResult& result : verdict.tests)
        if (!has_run(result)) fmt::print("  - {}: {}\n", result.test, text(result.status));

    // What is right on a GPU may still break a rule that the emulator checks: only its verdicts count.
    const bool counts = options.device != "cuda";
    if (counts) remember(info, verdict, print);
    const std::string line = fmt::format("{} of {} tests passed", verdict.passed(), verdict.tests.size());
    fmt::print("{}: {} (seed {}{})\n", info.name, line, verdict.seed, counts ? "" : ", on the GPU");
    if (status == exit_ok) {
        if (counts) print_after_pass();
        return {status, "passed"};
    }
    if (const std::string diagnosis = diagnosis_text(verdict); !diagnosis.empty()) {
        fmt::print("\n{}", wrapped(diagnosis, "", "  "));
    }
    const bool has_case = std::any_of(verdict.tests.begin(), verdict.tests.end(),
                                      [](const TestResult& result) { return !result.kept_case.empty(); });
    fmt::print("\nNext: ./attn hint {}\n", info.name);
    if (has_case) fmt::print("      ./attn debug {}   (steps through a failing case)\n", info.name);
    return {status, fmt::format("{}, {}", text(verdict.status), line)};
}

}  // namespace

Judgement judge_and_print(const ExerciseInfo& info, const TestOptions& options, const SignalsHeld& signals) {
    if (is_as_handed_out(info, signals)) return not_implemented(info);
    const bool cuda = options.device == "cuda";
    if (cuda && !info.is_cuda()) {
        fmt::print("{} is plain C++: --device cuda has nothing to run\n", info.name);
        return {exit_bad_usage, "not run: no kernel"};
    }
    read_progress();  // what is wrong with the file is said before anything is built
    const std::string print = fingerprint(info);
    fmt::print("{}\n", bold(fmt::format("{} ({})", info.name, info.file.string())));
    std::fflush(stdout);
    const BuildOutcome outcome =
        build({"worker_" + info.name + (cuda ? "_cuda" : ""), "judge_" + info.chapter}, signals);
    if (must_end()) return {exit_broken, "interrupted"};
    fmt::print("{}", diagnostics_for(info.file, outcome));
    std::fflush(stdout);
    if (failed_elsewhere(info.file, outcome)) {
        fmt::print("The build failed, and not in {}: the end of what the tools said stands above.\n",
                   info.file.filename().string());
        return {exit_bad_usage, "the build failed"};
    }
    if (!outcome.succeeded) {
        fmt::print("{} does not compile.\n", info.name);
        return {exit_bad_usage, "does not compile"};
    }

    JudgeOptions judge_options;
    judge_options.workers = workers_folder(cuda ? "mine_cuda" : "mine");
    judge_options.seed = options.seed;
    judge_options.keep = build_folder() / "failed";
    TestPrinter printer(info);
    judge_options.each = [&](const TestResult& result) {
        if (has_run(result)) printer.print(result);
    };
    std::error_code none_kept;
    fs::remove_all(judge_options.keep / info.name, none_kept);  // of a judgement before
    const ExerciseVerdict verdict = judge(info, judge_options);
    if (must_end()) return {exit_broken, "interrupted"};
    return conclude(info, options, verdict, print);
}

int test_verb(const TestOptions& options) {
    if (options.names.empty())
        throw std::runtime_error("found no exercise to test, expected names or chapters: ./attn list shows them");
    // The worst counts: crashed, failed, did not compile, not implemented.
    static const int order[] = {exit_ok, exit_not_implemented, exit_bad_usage, exit_outside_bound, exit_broken};
    int worst = exit_ok;
    auto note = [&](int status) {
        auto rank = [](int value) { return std::find(std::begin(order), std::end(order), value); };
        if (rank(status) > rank(worst)) worst = status;
    };
    std::vector<std::string> names;
    for (const std::string& name : options.names) {
        if (const std::optional<int> status = test_other(name))
            note(*status);
        else
            names.push_back(name);
    }
    if (names.empty()) return worst;
    const std::vector<const ExerciseInfo*> chosen = exercises_named(names);
    read_progress();

    SignalsHeld signals;
    std::vector<std::string> lines;
    for (const ExerciseInfo* info : chosen) {
        const Judgement judgement = judge_and_print(*info, options, signals);
        if (must_end()) return exit_broken;
        note(judgement.status);
        lines.push_back(fmt::format("  {:<24} {}\n", info->name, judgement.line));
        if (chosen.size() > 1 && judgement.status != exit_not_implemented) fmt::print("\n");
    }
    if (chosen.size() > 1 && worst != exit_not_implemented)
        for (const std::string& line : lines) fmt::print("{}", line);
    return worst;
}

}  // namespace attn
