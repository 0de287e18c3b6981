// attn grade SUBMISSION…: takes the exercises out of each submission, compiles and judges them in a sandbox, with
// inputs that nobody has seen before, and writes what platforms read.
#include "common/program/grade.hpp"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>

#include "common/exercise/project.hpp"
#include "common/exercise/verdict.hpp"
#include "common/program/build.hpp"
#include "common/program/processes.hpp"
#include "common/program/program.hpp"
#include "common/program/sandbox.hpp"
#include "common/tensor/nearest.hpp"
#include "common/tensor/npy.hpp"

namespace attn {

namespace fs = std::filesystem;

namespace {

constexpr std::uintmax_t longest_source = 1 << 20;
constexpr int deepest_folder = 12;
constexpr double judge_seconds = 180;   // for all tests of an exercise
constexpr double compile_seconds = 60;  // the compiler's own time, of each of its processes
const SandboxLimits compiler_limits = {compile_seconds, std::int64_t{4} << 30, std::int64_t{64} << 20, 64};
const SandboxLimits worker_limits = {120, std::int64_t{8} << 30, std::int64_t{256} << 20, 64};

// Names and prints of a submission on a terminal, in a file name, in a cell: no control characters.
std::string printable(std::string text, bool lines = false) {
    for (char& c : text)
        if ((static_cast<unsigned char>(c) < 0x20 && !(lines && (c == '\n' || c == '\t'))) || c == 0x7f) c = '?';
    return text;
}

// Nobody but us may guess it before the submissions have run.
std::uint64_t secret_seed() {
    std::uint64_t seed = 0;
    if (::getrandom(&seed, sizeof seed, 0) != sizeof seed) throw std::runtime_error("no random numbers");
    return seed >> 11;  // so that a JSON reader or a spreadsheet keeps every digit
}

// ---- submissions ----------------------------------------------------------------------------------------------------

struct Submission {
    std::string name;
    fs::path folder;
    std::map<std::string, fs::path> files;  // by exercise
    std::vector<std::string> remarks;       // what was not taken, and why
};

// The file in the place where the exercise stands in the project, or else the only one of that name. Links are not
// followed: they could lead anywhere.
Submission read_submission(const fs::path& folder) {
    Submission submission;
    submission.folder = fs::canonical(folder);
    submission.name = printable(submission.folder.filename().string());
    std::map<std::string, std::vector<fs::path>> by_name;
    std::size_t others = 0;
    std::error_code trouble;  // a folder that cannot be read is as good as empty
    for (auto entry = fs::recursive_directory_iterator(submission.folder, fs::directory_options::skip_permission_denied,
                                                       trouble);
         !trouble && entry != fs::recursive_directory_iterator(); entry.increment(trouble)) {
        const fs::file_status status = entry->symlink_status(trouble);
        const std::string name = entry->path().filename().string();
        const bool uninteresting = name == ".git" || name == "build" || entry.depth() >= deepest_folder;
        if (fs::is_directory(status) && uninteresting) entry.disable_recursion_pending();
        if (!fs::is_regular_file(status)) continue;
        by_name[name].push_back(entry->path());
        ++others;
    }
    if (trouble) submission.remarks.push_back("it could not be read to its end: " + trouble.message());
    for (const ExerciseInfo& exercise : exercises()) {
        std::vector<fs::path> found = by_name[exercise.file.filename().string()];
        const fs::path usual = submission.folder / exercise.file;
        if (std::find(found.begin(), found.end(), usual) != found.end()) found = {usual};
        if (found.empty()) continue;
        const std::string file = exercise.file.filename().string();
        if (found.size() > 1)
            submission.remarks.push_back(fmt::format("{}: {} files of that name, none at {}: none taken", file,
                                                     found.size(), exercise.file.string()));
        else if (fs::file_size(found[0]) > longest_source)
            submission.remarks.push_back(fmt::format("{}: larger than 1 MiB: not taken", file));
        else
            submission.files[exercise.name] = found[0];
    }
    others -= submission.files.size();
    if (others > 0) submission.remarks.push_back(fmt::format("{} other files ignored", others));
    return submission;
}

// ---- compiling ------------------------------------------------------------------------------------------------------

// With what a worker is compiled and linked: workers/<exercise>.kit, and the command that compiles the student's own.
struct Kit {
    std::string compiler, compile_command;  // the command with {source} and {object}
    std::vector<fs::path> objects;
    std::vector<std::string> libraries;
};

void replace_all(std::string& text, const std::string& from, const std::string& to) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
}

Kit read_kit(const ExerciseInfo& exercise) {
    Kit kit;
    const fs::path file = build_folder() / "workers" / (exercise.name + ".kit");
    std::ifstream stream(file);
    for (std::string kind, value; stream >> kind && std::getline(stream >> std::ws, value);) {
        if (kind == "compiler") kit.compiler = value;
        if (kind == "object") kit.objects.push_back(value);
        if (kind == "library") kit.libraries.push_back(value);
    }
    const std::string mark = "/worker_" + exercise.name + "_code.dir/";
    for (const auto& entry : nlohmann::json::parse(read_text(build_folder() / "compile_commands.json"))) {
        std::string command = entry.at("command");
        if (command.find(mark) == std::string::npos) continue;
        kit.compile_command = std::regex_replace(command, std::regex(" -o [^ ]+ -c .*$"), " -o {object} -c {source}");
    }
    if (kit.compiler.empty() || kit.objects.empty() || kit.compile_command.find("{source}") == std::string::npos)
        throw std::runtime_error(file.string() + ": no kit to build " + exercise.name + " with; ./attn builds it");
    return kit;
}

// What all submissions share, readable by whoever runs in the sandbox: the headers, and what workers are linked with.
class Workshop {
  public:
    explicit Workshop(const Sandbox& sandbox) : sandbox_(sandbox) {
        fs::permissions(folder_.path(), fs::perms(0711));
        const fs::path source = project_folder();
        fs::create_directory(project());
        for (const char* part : {"common", "cmake"})
            fs::copy(source / part, project() / part, fs::copy_options::recursive);
        for (const auto& entry : fs::recursive_directory_iterator(source / "chapters")) {
            const std::string extension = entry.path().extension().string();
            if (extension != ".hpp" && extension != ".cuh") continue;
            const fs::path copy = project() / fs::relative(entry.path(), source);
            fs::create_directories(copy.parent_path());
            fs::copy_file(entry.path(), copy);
        }
        fs::create_directory(objects());
    }

    // Copies once what the exercise's worker is linked with.
    const Kit& kit(const ExerciseInfo& exercise) {
        auto [entry, is_new] = kits_.try_emplace(exercise.name);
        if (!is_new) return entry->second;
        Kit kit = read_kit(exercise);
        for (fs::path& object : kit.objects) {
            const fs::path copy = objects() / fmt::format("{}{}", kits_.size(), object.filename().string());
            const fs::path shared = objects() / object.filename();
            const bool is_archive = object.extension() == ".a";
            fs::copy_file(object, is_archive ? shared : copy, fs::copy_options::overwrite_existing);
            object = is_archive ? shared : copy;
        }
        replace_all(kit.compile_command, project_folder().string() + "/", project().string() + "/");
        replace_all(kit.compile_command, project_folder().string() + " ", project().string() + " ");
        return entry->second = kit;
    }

    // Whether the sandbox sees what is in here: otherwise its failures would look like those of the submissions.
    void check(const SignalsHeld& signals) {
        const fs::path place = new_folder(), build = give(place / "build");
        Command command;
        command.words = sandbox_.wrap({"test", "-d", (project() / "common").string()},
                                      {{project(), project()}, {objects(), objects()}, {build, build, true}}, build,
                                      compiler_limits);
        command.with_errors = true;
        const Captured captured = run_captured(command, signals);
        if (captured.status != 0)
            throw std::runtime_error(fmt::format(
                "the sandbox does not see {}: {}\nA folder on the way there may be closed to other users; TMPDIR names "
                "another place for temporary files.",
                folder_.path().string(), captured.output));
    }

    fs::path project() const { return folder_.path() / "project"; }
    fs::path objects() const { return folder_.path() / "objects"; }
    fs::path new_folder() {
        const fs::path result = folder_.path() / std::to_string(++count_);
        fs::create_directory(result);
        fs::permissions(result, fs::perms(0711));
        return result;
    }

    // A folder that the sandbox's user may write to.
    fs::path give(const fs::path& folder) const {
        fs::create_directory(folder);
        if (sandbox_.user() && ::chown(folder.c_str(), *sandbox_.user(), *sandbox_.user()) != 0)
            throw std::runtime_error("cannot give away " + folder.string());
        return folder;
    }

  private:
    const Sandbox& sandbox_;
    TemporaryFolder folder_;
    std::map<std::string, Kit> kits_;
    int count_ = 0;
};

// Compiles and links the student's file, in the sandbox; what the compiler has to say where it does not work.
std::optional<std::string> compile(const Sandbox& sandbox, Workshop& workshop, const ExerciseInfo& exercise,
                                   const fs::path& student, const fs::path& place, const SignalsHeld& signals) {
    const Kit& kit = workshop.kit(exercise);
    const fs::path source = place / "source", build = workshop.give(place / "build");
    fs::create_directory(source);
    const fs::path file = source / exercise.file.filename();
    fs::copy_file(student, file);
    fs::permissions(file, fs::perms(0644));
    fs::path unit = file;
    std::string launcher;
    if (exercise.is_cuda()) {
        unit = source / "unit.emulated.cpp";
        write_file(unit, fmt::format("#include \"{}\"\n", file.string()));
        launcher = (workshop.project() / "cmake" / "emulated_compile").string() + " ";
    }
    std::string command = launcher + kit.compile_command;
    replace_all(command, "{source}", unit.string());
    replace_all(command, "{object}", (build / "code.o").string());
    std::string link = fmt::format("{} {}", kit.compiler, (build / "code.o").string());
    for (const fs::path& object : kit.objects) link += " " + object.string();
    for (const std::string& library : kit.libraries) link += " " + library;
    link += " -o " + (build / exercise.name).string();

    const std::vector<SandboxFolder> folders = {{workshop.project(), workshop.project()},
                                                {workshop.objects(), workshop.objects()},
                                                {source, source},
                                                {build, build, true}};
    std::vector<std::string> words = {"timeout", "-s", "KILL", fmt::format("{}", 2 * compile_seconds)};
    for (std::string& word : sandbox.wrap({"sh", "-ec", command + "\n" + link + "\n"}, folders, build, compiler_limits))
        words.push_back(std::move(word));
    Command command_line;
    command_line.words = words;
    command_line.with_errors = true;
    BuildOutcome outcome;
    const Captured captured = run_captured(command_line, signals);
    outcome.output = captured.output.substr(0, 1 << 20);
    outcome.succeeded = captured.status == 0 && fs::exists(build / exercise.name);
    if (outcome.succeeded) return {};
    replace_all(outcome.output, file.string(), (project_folder() / exercise.file).string());
    std::string text = diagnostics_for(exercise.file, outcome);
    replace_all(text, workshop.project().string() + "/", "");
    replace_all(text, place.string() + "/", "");
    if (captured.status >= 128)
        text += fmt::format("The compiler was ended (signal {}): its limits are {} s and 4 GiB.\n",
                            captured.status - 128, compile_seconds);
    return "It does not compile.\n" + text;
}

// ---- grading --------------------------------------------------------------------------------------------------------

struct Score {
    const ExerciseInfo* exercise = nullptr;
    double points = 0, possible = 0;
    std::string state;    // one or a few words
    std::string trouble;  // where there are no tests: why
    ExerciseVerdict verdict;
};

struct Grade {
    Submission submission;
    std::vector<Score> scores;
    double seconds = 0;

    double points() const {
        double sum = 0;
        for (const Score& score : scores) sum += score.points;
        return sum;
    }
    double possible() const {
        double sum = 0;
        for (const Score& score : scores) sum += score.possible;
        return sum;
    }
};

Score grade_exercise(const Sandbox& sandbox, Workshop& workshop, const ExerciseInfo& exercise,
                     const Submission& submission, double possible, std::uint64_t seed, const SignalsHeld& signals) {
    Score score;
    score.exercise = &exercise;
    score.possible = possible;
    const auto file = submission.files.find(exercise.name);
    if (file == submission.files.end()) {
        score.state = "no file";
        score.trouble = "There is no file " + exercise.file.filename().string() + " in the submission.\n";
        return score;
    }
    const fs::path place = workshop.new_folder();
    if (auto trouble = compile(sandbox, workshop, exercise, file->second, place, signals)) {
        score.state = "does not compile";
        score.trouble = *trouble;
    } else {
        const fs::path build = place / "build", work = place / "work";
        fs::create_directories(work / "in");
        fs::create_directory(work / "out");  // ours: the worker writes only into the folders that the judge makes there
        JudgeOptions options;
        options.work = work;
        options.seconds = judge_seconds;
        options.seed = seed;
        // It sees its own program, but cannot change it any more.
        options.worker_command = sandbox.wrap(
            {(build / exercise.name).string()},
            {{build, build}, {work / "in", work / "in"}, {work / "out", work / "out", true}}, work, worker_limits);
        score.verdict = judge(exercise, options);
        for (TestResult& test : score.verdict.tests)
            replace_all(test.message, (place / "source" / exercise.file.filename()).string(), exercise.file.string());
        score.state = text(score.verdict.status);
        score.trouble = score.verdict.trouble;
        if (!score.verdict.tests.empty())
            score.points = possible * score.verdict.passed() / static_cast<double>(score.verdict.tests.size());
        if (score.verdict.status == Status::not_judged) score.points = 0;
    }
    std::error_code ignored;
    fs::remove_all(place, ignored);
    return score;
}

std::string message_of(const ExerciseVerdict& verdict, const TestResult& test) {
    if (test.status == Status::passed) return "passed";
    std::string message = test.message;
    for (const Diagnosis& diagnosis : verdict.diagnoses) message += "  Perhaps: " + diagnosis.says + "\n";
    return message;
}

// As Gradescope's documentation of results.json has it.
nlohmann::json gradescope(const Grade& grade, const Sandbox& sandbox) {
    nlohmann::json tests = nlohmann::json::array();
    int number = 0;
    for (const Score& score : grade.scores) {
        ++number;
        if (score.verdict.tests.empty() || score.verdict.status == Status::not_judged) {
            tests.push_back({{"name", score.exercise->name + ": " + score.state},
                             {"number", std::to_string(number)},
                             {"score", 0.0},
                             {"max_score", score.possible},
                             {"status", "failed"},
                             {"output", score.trouble},
                             {"output_format", "text"}});
            continue;
        }
        const double share = score.possible / static_cast<double>(score.verdict.tests.size());
        int part = 0;
        for (const TestResult& test : score.verdict.tests) {
            const bool passed = test.status == Status::passed;
            tests.push_back({{"name", score.exercise->name + ": " + test.test},
                             {"number", fmt::format("{}.{}", number, ++part)},
                             {"score", passed ? share : 0.0},
                             {"max_score", share},
                             {"status", passed ? "passed" : "failed"},
                             {"output", message_of(score.verdict, test)},
                             {"output_format", "text"}});
        }
    }
    std::string remarks = "Judged in the sandbox " + sandbox.description() + ".\n";
    for (const std::string& remark : grade.submission.remarks) remarks += remark + "\n";
    return {{"score", grade.points()}, {"execution_time", static_cast<int>(grade.seconds + 0.5)},
            {"output", remarks},       {"output_format", "text"},
            {"visibility", "visible"}, {"tests", tests}};
}

std::string quoted_cell(const std::string& text) {
    // A cell that a spreadsheet would take for a formula is none.
    const std::size_t first = text.find_first_not_of(' ');
    const bool formula = first != std::string::npos && std::string("=+-@").find(text[first]) != std::string::npos;
    std::string cell = (formula ? "'" : "") + text;
    replace_all(cell, "\"", "\"\"");
    return "\"" + cell + "\"";
}

std::string csv(const std::vector<Grade>& grades, const Sandbox& sandbox, std::uint64_t seed) {
    std::string text = "submission,points,possible";
    for (const ExerciseInfo& exercise : exercises()) text += fmt::format(",{0},{0}_state", exercise.name);
    text += ",tier,seed\n";
    for (const Grade& grade : grades) {
        text += fmt::format("{},{:.6g},{:.6g}", quoted_cell(grade.submission.name), grade.points(), grade.possible());
        for (const Score& score : grade.scores)
            text += fmt::format(",{:.6g},{}", score.points, quoted_cell(score.state));
        text += fmt::format(",{},{}\n", sandbox.tier(), seed);
    }
    return text;
}

void print_summary(const std::vector<Grade>& grades) {
    std::size_t width = 10;
    for (const Grade& grade : grades) width = std::max(width, grade.submission.name.size());
    for (const Grade& grade : grades) {
        fmt::print("\n{:<{}}  {:.6g} of {:.6g} points\n", grade.submission.name, width, grade.points(),
                   grade.possible());
        for (const Score& score : grade.scores) {
            std::string tests;
            if (!score.verdict.tests.empty())
                tests = fmt::format(", {} of {} tests", score.verdict.passed(), score.verdict.tests.size());
            fmt::print("  {:<16} {:>5.4g} of {:<4.4g}  {}{}\n", score.exercise->name, score.points, score.possible,
                       score.state, tests);
            if (score.verdict.diagnoses.size() == 1)
                fmt::print("                                  {}\n", score.verdict.diagnoses[0].name);
        }
        for (const std::string& remark : grade.submission.remarks) fmt::print("  ({})\n", remark);
    }
}

}  // namespace

int grade_verb(const GradeOptions& options) {
    if (options.submissions.empty()) throw std::runtime_error("grade needs a folder with a submission, or several");
    std::vector<fs::path> submissions;
    for (const fs::path& folder : options.submissions) {
        if (fs::is_directory(folder))
            submissions.push_back(folder);
        else
            fmt::print(stderr, "attn: {}: found no folder, which a submission is: left out\n",
                       printable(folder.string()));
    }
    if (submissions.empty()) throw std::runtime_error("found no folder, expected one for each submission");
    std::map<std::string, double> points;
    for (const ExerciseInfo& exercise : exercises()) points[exercise.name] = exercise.points;
    if (!options.rubric.empty()) points = read_rubric(options.rubric);

    Sandbox sandbox = [&] {
        try {
            return Sandbox::find(options.trust ? std::optional<std::string>("none") : std::nullopt);
        } catch (const std::exception& error) {
            throw std::runtime_error(
                std::string(error.what()) +
                "\nThe submissions would run with all that you may do. Install bubblewrap, run this "
                "as root, or, if you trust them all, say --i-trust-these-submissions.");
        }
    }();
    fmt::print(stderr, "Sandbox {}\n", sandbox.description());

    SignalsHeld signals;
    std::vector<std::string> targets;
    for (const ExerciseInfo& exercise : exercises()) {
        targets.push_back("kit_" + exercise.name);
        const std::string judge = "judge_" + exercise.chapter;
        if (std::find(targets.begin(), targets.end(), judge) == targets.end()) targets.push_back(judge);
    }
    const BuildOutcome built = build(targets, signals);
    if (must_end()) return exit_broken;
    if (!built.succeeded) throw std::runtime_error("the judges could not be built:\n" + built.output);

    ::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);  // what we were given is not for submissions

    const std::uint64_t seed = options.seed.value_or(secret_seed());
    Workshop workshop(sandbox);
    workshop.check(signals);
    std::vector<Grade> grades;
    std::vector<std::string> names = {"grades.csv"};  // taken in the folder of the results
    if (!options.out.empty()) fs::create_directories(options.out);
    for (const fs::path& folder : submissions) {
        const auto start = std::chrono::steady_clock::now();
        Grade grade;
        grade.submission = read_submission(folder);
        std::string& name = grade.submission.name;
        const std::string first_name = name;
        for (int number = 2; std::count(names.begin(), names.end(), name) > 0; ++number)
            name = fmt::format("{} ({})", first_name, number);
        names.push_back(name);
        for (const ExerciseInfo& exercise : exercises()) {
            if (::isatty(STDERR_FILENO))
                fmt::print(stderr, "\r\033[K{} of {}: {}, {}", grades.size() + 1, submissions.size(), name,
                           exercise.name);
            try {
                grade.scores.push_back(grade_exercise(sandbox, workshop, exercise, grade.submission,
                                                      points.at(exercise.name), seed, signals));
            } catch (const std::exception& error) {  // one submission never ends the others' grading
                Score score;
                score.exercise = &exercise;
                score.possible = points.at(exercise.name);
                score.state = text(Status::not_judged);
                score.trouble = score.verdict.trouble = error.what();
                grade.scores.push_back(score);
            }
            if (must_end()) {
                if (::isatty(STDERR_FILENO)) fmt::print(stderr, "\r\033[K");
                return exit_broken;  // the signal has its effect now
            }
        }
        grade.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        grades.push_back(std::move(grade));
        if (options.out.empty()) continue;
        // As we go: whoever is interrupted has what was graded so far.
        const Grade& done = grades.back();
        fs::create_directories(options.out / done.submission.name);
        write_file(options.out / done.submission.name / "results.json",
                   gradescope(done, sandbox).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
        write_file(options.out / "grades.csv", csv(grades, sandbox, seed));
    }
    if (::isatty(STDERR_FILENO)) fmt::print(stderr, "\r\033[K");
    print_summary(grades);
    fmt::print("\nSandbox {}. Seed {}: --seed {} repeats these inputs.\n", sandbox.tier(), seed, seed);
    if (!options.out.empty()) fmt::print("Written: {}\n", (options.out / "grades.csv").string());
    bool all_judged = true;
    for (const Grade& grade : grades)
        for (const Score& score : grade.scores)
            if (!score.verdict.trouble.empty()) {
                all_judged = false;
                fmt::print(stderr, "attn: {}, {}: {}\n", grade.submission.name, score.exercise->name,
                           printable(score.verdict.trouble, true));
            }
    return all_judged ? exit_ok : exit_broken;
}

}  // namespace attn
