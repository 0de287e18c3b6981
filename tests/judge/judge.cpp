#include "tests/judge/judge.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/exercise/child_process.hpp"
#include "common/tensor/compare.hpp"
#include "tests/judge/picture.hpp"
#include "tests/judge/worker_process.hpp"
#include "tests/support/catch.hpp"

namespace attn::judge {

namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

// Where workers hold what nvcc compiled.
bool on_gpu() { return environment("ATTN_WORKERS").ends_with("_cuda"); }

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t from = 0; from < text.size();) {
        const std::size_t to = std::min(text.find('\n', from), text.size());
        lines.push_back(text.substr(from, to - from));
        from = to + 1;
    }
    return lines;
}

// The folder that judge and worker share: in/ is written here, out/ there.
const fs::path& work_folder() {
    static std::optional<TemporaryFolder> ours;
    static const fs::path folder = [] {
        if (const std::string given = environment("ATTN_WORK"); !given.empty()) return fs::path(given);
        ours.emplace();
        fs::create_directory(ours->path() / "in");
        fs::create_directory(ours->path() / "out");
        return ours->path();
    }();
    return folder;
}

// One worker for all tests of an exercise; a new one after each that is gone.
struct Workers {
    std::unique_ptr<WorkerProcess> process;
    std::string exercise;
    int requests = 0;
    bool has_timed_out = false;

    WorkerLimits limits() const {
        WorkerLimits limits;
        if (on_gpu()) limits.address_bytes = 0;
        if (has_timed_out) limits.seconds = 2;  // whoever waits has waited long enough
        return limits;
    }

    WorkerProcess& for_exercise(const std::string& name) {
        if (process && process->alive() && exercise == name) return *process;
        std::vector<std::string> command = lines_of(environment("ATTN_WORKER_COMMAND"));
        const std::string folder = environment("ATTN_WORKERS");
        if (command.empty()) {
            if (folder.empty()) throw std::runtime_error("neither ATTN_WORKERS nor ATTN_WORKER_COMMAND is set");
            command = {(fs::path(folder) / name).string()};
        }
        process.reset();
        process = std::make_unique<WorkerProcess>(command, work_folder(), limits());
        exercise = name;
        return *process;
    }
};
Workers workers;

struct Descriptor {
    int number;
    explicit Descriptor(int opened) : number(opened) {}
    ~Descriptor() {
        if (number >= 0) ::close(number);
    }
    Descriptor(const Descriptor&) = delete;
};

// A file that the worker has written, of at most `longest` bytes: neither a link nor anything else that could stand in
// its place. Empty where there is no such file.
std::optional<std::vector<std::byte>> read_output(int folder, const std::string& name, std::size_t longest) {
    const int file = ::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return {};
    struct stat status;
    std::optional<std::vector<std::byte>> bytes;
    if (::fstat(file, &status) == 0 && S_ISREG(status.st_mode) && static_cast<std::size_t>(status.st_size) <= longest) {
        bytes.emplace(static_cast<std::size_t>(status.st_size));
        std::size_t done = 0;
        ssize_t count;
        while (done < bytes->size() && (count = ::read(file, bytes->data() + done, bytes->size() - done)) > 0)
            done += static_cast<std::size_t>(count);
        bytes->resize(done);
    }
    ::close(file);
    return bytes;
}

// Whether the element is right; `misplaced`: NaN or an infinity stands in one of the two only.
bool is_right(double found, double expected, const Tolerance& tolerance, bool& misplaced) {
    misplaced = false;
    if (!std::isfinite(found) || !std::isfinite(expected)) {
        misplaced = !(found == expected || (std::isnan(found) && std::isnan(expected)));
        return !misplaced;
    }
    return std::abs(found - expected) <= tolerance.relative * std::max(std::abs(expected), tolerance.magnitude);
}

double element(const Array& array, std::int64_t position) {
    switch (array.dtype) {
        case DType::float32: return array.data<float>()[position];
        case DType::float64: return array.data<double>()[position];
        case DType::int32: return array.data<std::int32_t>()[position];
        default: return static_cast<double>(array.data<std::int64_t>()[position]);
    }
}

bool equal(const NamedArrays& found, const Answer& answer) {
    for (const auto& [name, expected] : answer.outputs) {
        const Array& array = found.at(name);
        const Tolerance& tolerance = answer.tolerances.at(name);
        bool misplaced;
        for (std::int64_t position = 0; position < expected.count(); ++position)
            if (!is_right(element(array, position), element(expected, position), tolerance, misplaced)) return false;
    }
    return true;
}

std::string number(const Array& array, std::int64_t position) {
    if (std::isnan(element(array, position))) return "NaN";  // without the sign that it may have
    const bool integers = array.dtype == DType::int32 || array.dtype == DType::int64;
    return integers ? fmt::format("{}", element(array, position)) : fmt::format("{:.7g}", element(array, position));
}

// How an output differs from what it must be; empty where it does not.
std::string difference(const std::string& name, const Array& found, const Array& expected, const Tolerance& tolerance) {
    std::int64_t misplaced_count = 0, wrong = 0, first = -1, worst = -1;
    double worst_error = -1;
    std::vector<char> marks(static_cast<std::size_t>(expected.count()));
    for (std::int64_t position = 0; position < expected.count(); ++position) {
        const double f = element(found, position), e = element(expected, position);
        bool misplaced;
        if (is_right(f, e, tolerance, misplaced)) continue;
        marks[static_cast<std::size_t>(position)] = misplaced ? '!' : 'x';
        misplaced_count += misplaced;
        ++wrong;
        if (first < 0) first = position;
        const double error = misplaced ? std::numeric_limits<double>::infinity() : std::abs(f - e);
        if (error > worst_error) worst_error = error, worst = position;
    }
    if (wrong == 0) return "";
    std::string text =
        fmt::format("  {} {}: {} of {} elements wrong", name, shape_text(expected.shape), wrong, expected.count());
    if (misplaced_count > 0)
        text += fmt::format(", {} of them with NaN or infinity in one of the two only", misplaced_count);
    text += "\n";
    auto place = [&](const char* which, std::int64_t position) {
        text += fmt::format("    {:<6} {}: found {}, expected {}\n", which, index_text(expected.shape, position),
                            number(found, position), number(expected, position));
    };
    place("first", first);
    if (worst != first) place("worst", worst);
    return text + picture(marks, expected.shape, first);
}

// Of the words that '|' separates.
bool is_one_of(const std::string& word, const std::string& words) {
    return ("|" + words + "|").find("|" + word + "|") != std::string::npos;
}

std::string slug(std::string text) {
    for (char& c : text)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
    return text;
}

std::string indented(const std::string& text) {
    std::string result;
    for (const std::string& line : lines_of(text)) result += "    " + line + "\n";
    return result;
}

// How it ended, where it did not answer.
std::string ending(const Reply& reply, double seconds) {
    switch (reply.end) {
        case Reply::End::timed_out:
            return fmt::format("It did not come to an end within {} s: is there a loop that never ends?", seconds);
        case Reply::End::printed_too_much:
            return "It printed more than 1 MiB and was ended: is there a print in a loop?";
        case Reply::End::signalled:
            if (reply.status == SIGXFSZ) return "It wrote a file of more than 256 MiB and was ended.";
            return fmt::format("It crashed: {} (signal {}).{}", ::strsignal(reply.status), reply.status,
                               reply.status == SIGSEGV ? " It reached for memory that is not its own: an index out of "
                                                         "bounds, a null pointer, or recursion without end."
                                                       : "");
        default: break;
    }
    if (reply.status == worker_lost_its_pipes)
        return "It closed files that it had not opened: the worker could not answer any more.";
    if (reply.status == 127) return "The worker could not be started.";
    if (reply.status > 128 && reply.status < 128 + 65)  // as a sandbox passes it on
        return fmt::format("It crashed: {} (signal {}).", ::strsignal(reply.status - 128), reply.status - 128);
    return fmt::format("It ended the whole program with exit status {}: an exercise returns, it does not exit.",
                       reply.status);
}

// An empty object for what is no report; one nested deeper than any would cost the judge its stack.
nlohmann::json parse_report(const std::vector<std::byte>& bytes) {
    const char* text = reinterpret_cast<const char*>(bytes.data());
    int depth = 0;
    for (const char c : std::string_view(text, bytes.size())) {
        depth += (c == '[' || c == '{') - (c == ']' || c == '}');
        if (depth > 32) return nlohmann::json::object();
    }
    nlohmann::json report = nlohmann::json::parse(text, text + bytes.size(), nullptr, false);
    if (!report.is_object()) report = nlohmann::json::object();
    return report;
}

std::string text_at(const nlohmann::json& object, const char* key) {
    const auto entry = object.find(key);
    return entry != object.end() && entry->is_string() ? entry->get<std::string>() : "";
}

std::uint64_t count_at(const nlohmann::json& object, const char* key) {
    const auto entry = object.find(key);
    return entry != object.end() && entry->is_number_unsigned() ? entry->get<std::uint64_t>() : 0;
}

std::optional<emulator::Counts> counts_in(const nlohmann::json& report) {
    const auto counts = report.find("counts");
    if (counts == report.end() || !counts->is_object()) return {};
    emulator::Counts result;
    for (const emulator::CountName& count : emulator::count_names) result.*count.field = count_at(*counts, count.name);
    return result;
}

// In the order of how much each weighs for the test.
enum class Outcome { passed, not_run, not_implemented, failed, broke_rule, timed_out, crashed };
constexpr const char* outcome_names[] = {"passed",     "not_run",   "not_implemented", "failed",
                                         "broke_rule", "timed_out", "crashed"};

}  // namespace

struct Test::State {
    std::string exercise, name;
    std::uint64_t base_seed = 1;
    Clock::time_point start = Clock::now();
    Outcome outcome = Outcome::passed;
    int cases = 0, wrong_cases = 0;
    bool ended = false;  // nothing more is asked of the worker
    bool concluded = false;
    std::string message, kept_case, last_case;
    std::vector<Mistake> mistakes;
    std::vector<bool> consistent;  // of each mistake: with all cases so far
    bool has_cases = false;        // of which mistakes could be held against
    std::vector<std::string> failed_expectations;

    void note(Outcome found, const std::string& text) {
        if (found == Outcome::passed) return;
        if (message.empty()) message = text;
        outcome = std::max(outcome, found);
    }
};

Test::Test() : state_(std::make_unique<State>()) {
    const std::string name(Catch::getResultCapture().getCurrentTestName());
    const std::size_t colon = name.find(": ");
    state_->exercise = name.substr(0, colon);
    state_->name = colon == std::string::npos ? name : name.substr(colon + 2);
    const std::string seed = environment("ATTN_SEED");
    if (!seed.empty()) state_->base_seed = std::strtoull(seed.c_str(), nullptr, 10);
}

Test::~Test() {
    if (!state_->concluded && std::uncaught_exceptions() == 0) std::abort();  // a test that asserts nothing
}

std::uint64_t Test::seed(std::uint64_t which) const { return random_bits(state_->base_seed, which); }

Report Test::run(const std::string& exercise, const std::vector<Mistake>& mistakes, const Trial& trial) {
    try {
        return judge_trial(exercise, mistakes, trial);
    } catch (const std::runtime_error& error) {  // what a worker has done to its folder, for one
        state_->ended = true;
        state_->note(Outcome::crashed, state_->last_case + "\n  It cannot be judged: " + error.what() + "\n");
        ++state_->wrong_cases;
        workers.process.reset();
        return {};
    }
}

Report Test::judge_trial(const std::string& exercise, const std::vector<Mistake>& mistakes, const Trial& trial) {
    State& state = *state_;
    if (exercise != state.exercise) throw std::logic_error("test of " + state.exercise + " runs " + exercise);
    if (state.mistakes.empty()) {
        state.mistakes = mistakes;
        state.consistent.assign(mistakes.size(), true);
    }
    Report report;
    ++state.cases;
    if (state.ended) return report;
    state.last_case = fmt::format("case {}: {}", state.cases, trial.what);

    // To the worker and back.
    const std::string id = std::to_string(++workers.requests);
    const fs::path in = work_folder() / "in" / id, out = work_folder() / "out" / id;
    write_case(in, trial.input);
    // out/ is ours: a worker writes only into the folder of its request. As the same user it could have put something
    // else there, which is seen here, and never followed.
    const Descriptor all(::open((work_folder() / "out").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (::mkdirat(all.number, id.c_str(), 0700) != 0) throw std::runtime_error("something stands in out/" + id);
    const Descriptor folder(::openat(all.number, id.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (folder.number < 0 || ::fchmod(folder.number, 0777) != 0)  // in a sandbox it is another user who writes here
        throw std::runtime_error("cannot open out/" + id);
    const double seconds = workers.limits().seconds;
    Reply reply = workers.for_exercise(exercise).request("in/" + id + " out/" + id);
    nlohmann::json noticed = nlohmann::json::object();
    if (auto bytes = read_output(folder.number, "report.json", 1 << 20)) noticed = parse_report(*bytes);

    const Answer answer = trial.answer("");
    NamedArrays outputs;
    std::string details, finding_kind, finding_text;
    Outcome outcome = Outcome::passed;
    if (reply.end != Reply::End::answered) {
        outcome = reply.end == Reply::End::timed_out ? Outcome::timed_out : Outcome::crashed;
        workers.has_timed_out |= outcome == Outcome::timed_out;
        details = "  " + ending(reply, seconds) + "\n";
        finding_kind = outcome == Outcome::timed_out ? "timed_out" : "crashed";
        finding_text = reply.printed;
        state.ended = true;
    } else if (reply.answer == "not implemented" || reply.answer == "no GPU") {
        outcome = reply.answer == "no GPU" ? Outcome::not_run : Outcome::not_implemented;
        details = outcome == Outcome::not_run ? "not run: no GPU" : "not implemented yet";
        state.ended = true;
    } else if (noticed.contains("findings") && noticed["findings"].is_array() && !noticed["findings"].empty()) {
        const nlohmann::json& finding = noticed["findings"].front();
        outcome = Outcome::broke_rule;
        finding_kind = text_at(finding, "kind"), finding_text = text_at(finding, "text");
        details = indented(finding_text.substr(0, 4096));
    } else if (reply.answer != "done") {
        outcome = Outcome::failed;
        const std::size_t colon = reply.answer.find(": ");
        details =
            "  It threw an exception: " + (colon == std::string::npos ? "" : reply.answer.substr(colon + 2)) + "\n";
        if (reply.answer.find("bad_alloc") != std::string::npos)
            details += "  std::bad_alloc: it asked for more memory than it may have (8 GiB).\n";
        finding_kind = "exception", finding_text = reply.answer;
    } else {
        for (const auto& [name, expected] : answer.outputs) {
            const std::size_t longest = static_cast<std::size_t>(expected.count()) * 8 + 4096;
            try {
                auto bytes = read_output(folder.number, name + ".npy", longest);
                if (!bytes) throw BadCase(name + ".npy", "no such file, or one of another size", "the output");
                outputs[name] = parse_npy(*bytes, name + ".npy");
                const DType wanted = expected.dtype == DType::float64 ? DType::float32 : expected.dtype;
                if (outputs[name].shape != expected.shape || outputs[name].dtype != wanted)
                    throw BadCase(name + ".npy", shape_text(outputs[name].shape), shape_text(expected.shape));
                details += difference(name, outputs[name], expected, answer.tolerances.at(name));
            } catch (const BadCase& error) {
                outputs.erase(name);
                details += "  " + name + " is not an output of the exercise: " + std::string(error.what()) + "\n";
            }
        }
        if (trial.kernels && !on_gpu() && details.empty() &&
            counts_in(noticed).value_or(emulator::Counts()).launches == 0)
            details = "  The outputs are right, but no kernel made them: nothing was launched.\n";
        if (!details.empty()) outcome = Outcome::failed;
        if (noticed.contains("threads_left") && noticed["threads_left"].is_number_integer() &&
            noticed["threads_left"].get<int>() > 0) {
            outcome = std::max(outcome, Outcome::crashed);
            details += "  It left a thread running: whoever starts a thread waits for it before returning.\n";
        }
    }
    if (outcome == Outcome::crashed || outcome == Outcome::timed_out) workers.process.reset();
    if (on_gpu() && outcome > Outcome::not_implemented) workers.process.reset();  // an error stays with the process

    // Which mistakes would have given just that?
    const bool comparable = outputs.size() == answer.outputs.size();
    if (comparable || !finding_kind.empty()) {
        state.has_cases = true;
        for (std::size_t index = 0; index < mistakes.size(); ++index) {
            const Mistake& mistake = mistakes[index];
            if (!state.consistent[index]) continue;
            const Answer wrong = trial.answer(mistake.name);
            if (!finding_kind.empty())
                state.consistent[index] = wrong.finding != Answer::Finding::never &&
                                          is_one_of(finding_kind, mistake.finding) &&
                                          finding_text.find(mistake.finding_says) != std::string::npos;
            else
                state.consistent[index] = wrong.finding != Answer::Finding::always && equal(outputs, wrong);
        }
    }

    if (outcome > Outcome::not_implemented && state.wrong_cases++ == 0) {
        std::string printed = reply.printed.empty() ? "" : "  It printed:\n" + indented(reply.printed);
        state.message.clear();
        details = state.last_case + "\n" + details + printed;
        const std::string keep = environment("ATTN_KEEP");
        if (!keep.empty()) {
            const fs::path kept = fs::path(keep) / exercise / slug(state.name);
            Case failing = trial.input;
            failing.expected = answer.outputs;
            failing.has_expected = true;
            fs::remove_all(kept);
            write_case(kept, failing);
            for (const auto& [name, array] : outputs) {
                fs::create_directories(kept / "out");
                write_npy(kept / "out" / (name + ".npy"), array);
            }
            state.kept_case = kept.string();
        }
    }
    state.note(outcome, details);
    std::error_code ignored;  // what cannot be removed is left to whoever made the folder
    fs::remove_all(in, ignored);
    fs::remove_all(out, ignored);

    report.right = outcome == Outcome::passed;
    if (report.right) {
        report.counts = counts_in(noticed);
        report.peak_bytes = count_at(noticed, "peak_bytes");
        if (report.counts) report.peak_device_bytes = count_at(noticed["counts"], "peak_device_bytes");
    }
    return report;
}

void Test::expect(const std::string& key, bool holds, const std::string& text) {
    if (holds) return;
    state_->failed_expectations.push_back(key);
    state_->note(Outcome::failed, state_->last_case + "\n  The outputs are right, but " + text + "\n");
}

void Test::conclude() {
    State& state = *state_;
    state.concluded = true;
    if (state.cases == 0) throw std::logic_error(state.name + " has no case");

    // A mistake is consistent with a test that shows nothing else than it would; it explains one that fails by it.
    nlohmann::json consistent = nlohmann::json::array();
    std::string explained;
    auto failed_by = [&](const std::string& key) {
        return std::count(state.failed_expectations.begin(), state.failed_expectations.end(), key) > 0;
    };
    for (std::size_t index = 0; state.has_cases && index < state.mistakes.size(); ++index) {
        const Mistake& mistake = state.mistakes[index];
        if (!state.consistent[index]) continue;
        if (!mistake.expectation.empty() && !state.failed_expectations.empty() && !failed_by(mistake.expectation))
            continue;
        const bool explains = state.wrong_cases > 0 || failed_by(mistake.expectation);
        consistent.push_back({{"name", mistake.name}, {"says", mistake.says}, {"explains", explains}});
        if (explains) explained += "  Perhaps: " + mistake.says + "\n";
    }
    const std::string results = environment("ATTN_RESULTS");
    if (!results.empty()) {
        const std::chrono::duration<double> seconds = Clock::now() - state.start;
        const std::string line = nlohmann::json{{"exercise", state.exercise},
                                                {"test", state.name},
                                                {"status", outcome_names[static_cast<int>(state.outcome)]},
                                                {"seed", state.base_seed},
                                                {"message", state.message},
                                                {"cases", state.cases},
                                                {"wrong_cases", state.wrong_cases},
                                                {"tells", state.has_cases},  // of mistakes
                                                {"consistent", consistent},
                                                {"kept_case", state.kept_case},
                                                {"seconds", seconds.count()}}
                                     .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
                                 "\n";
        std::ofstream(results, std::ios::app) << line << std::flush;
    }
    if (state.outcome == Outcome::passed)
        SUCCEED();
    else if (state.outcome == Outcome::not_run)
        WARN("not run: no GPU");
    else
        FAIL_CHECK(state.exercise << ", " << state.name << " (seed " << state.base_seed << ")\n"
                                  << state.message << explained);
}

}  // namespace attn::judge
