// What must hold of a chapter's exercises, beside that their solutions pass:
//
//     exercise_checks mistakes CHAPTER EXERCISE/MISTAKE…   each usual mistake fails, and is diagnosed as itself, on
//     inputs
//                                                          that nobody has seen before
//     exercise_checks stubs CHAPTER                        each stub says that it is not implemented yet, and equals
//     its
//                                                          solution outside of the part to fill in
#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <set>

#include "common/exercise/verdict.hpp"

namespace {

using namespace attn;

constexpr int least_mistakes = 6;

int failures = 0;

void complain(const std::string& text) {
    fmt::print("FAILED {}\n", text);
    ++failures;
}

// Another one each time; ATTN_SEED repeats one.
std::uint64_t fresh_seed() {
    if (const char* seed = std::getenv("ATTN_SEED")) return std::strtoull(seed, nullptr, 10);
    std::random_device device;
    return device() % 1000000000u;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

void check_mistakes(const std::string& chapter, const std::vector<std::string>& mistakes) {
    const std::uint64_t seed = fresh_seed();
    fmt::print("seed {} (ATTN_SEED={} repeats it)\n\n{:<16}{:<24}{:<13}{}\n", seed, seed, "exercise", "mistake",
               "tests", "diagnosed as");
    for (const ExerciseInfo& exercise : exercises()) {
        if (exercise.chapter != chapter) continue;
        int count = 0;
        for (const std::string& mistake : mistakes) {
            const std::size_t slash = mistake.find('/');
            if (mistake.substr(0, slash) != exercise.name) continue;
            const std::string name = mistake.substr(slash + 1);
            ++count;
            JudgeOptions options;
            options.workers = workers_folder("mistakes/" + name);
            options.seed = seed;
            const ExerciseVerdict verdict = judge(exercise, options);
            std::string diagnosed;
            for (const Diagnosis& diagnosis : verdict.diagnoses)
                diagnosed += (diagnosed.empty() ? "" : ", ") + diagnosis.name;
            fmt::print("{:<16}{:<24}{} of {:<8}{}\n", exercise.name, name, verdict.passed(), verdict.tests.size(),
                       diagnosed.empty() ? "nothing" : diagnosed);
            if (verdict.status == Status::not_judged) complain(mistake + ": " + verdict.trouble);
            if (verdict.status == Status::passed) complain(mistake + " passes");
            if (diagnosed != name) {
                complain(mistake + " is not diagnosed as itself alone");
                for (const TestResult& test : verdict.tests) {
                    std::string alone;
                    for (const Diagnosis& diagnosis : test.diagnoses) alone += " " + diagnosis.name;
                    fmt::print("    {}: {}{}; {}\n", test.test, text(test.status), alone, first_line(test.message));
                }
            }
            std::fflush(stdout);
        }
        if (count < least_mistakes)
            complain(fmt::format("{} has {} mistakes, expected {} or more", exercise.name, count, least_mistakes));
    }
}

std::string read(const std::filesystem::path& file) {
    std::ifstream stream(file);
    if (!stream) complain("cannot read " + file.string());
    return {std::istreambuf_iterator<char>(stream), {}};
}

struct Parts {
    std::string before, marked, after;
};

Parts parts_of(const std::filesystem::path& file) {
    const std::string text = read(file);
    const std::string begin = "\n// ---- your code ----\n", end = "\n// ---- end of your code ----\n";
    const std::size_t first = text.find(begin), last = text.find(end);
    if (first == std::string::npos || last == std::string::npos || first > last ||
        text.find(begin, first + 1) != std::string::npos || text.find(end, last + 1) != std::string::npos) {
        complain(file.string() + " has not one part to fill in");
        return {};
    }
    return {text.substr(0, first), text.substr(first, last - first), text.substr(last)};
}

void check_stubs(const std::string& chapter) {
    const std::filesystem::path source = ATTN_SOURCE_FOLDER;
    int count = 0;
    for (const ExerciseInfo& exercise : exercises()) {
        if (exercise.chapter != chapter) continue;
        ++count;
        JudgeOptions options;
        options.workers = workers_folder("stub");
        const ExerciseVerdict verdict = judge(exercise, options);
        fmt::print("{:<16} {}\n", exercise.name, text(verdict.status));
        if (verdict.tests.empty()) complain(exercise.name + ": " + verdict.trouble);
        for (const TestResult& test : verdict.tests)
            if (test.status != Status::not_implemented)
                complain(fmt::format("{}, {}: {}, expected \"not implemented yet\"", exercise.name, test.test,
                                     text(test.status)));

        const Parts stub = parts_of(source / exercise.file);
        const Parts solution = parts_of(source / "solutions" / chapter / exercise.file.filename());
        if (stub.before != solution.before || stub.after != solution.after)
            complain(exercise.name + ": stub and solution differ outside of the part to fill in");
        if (stub.marked.find("throw NotImplementedYet(\"" + exercise.name + "\");") == std::string::npos)
            complain(exercise.name + ": the stub does not throw NotImplementedYet with its name");
        if (solution.marked.find("NotImplementedYet") != std::string::npos)
            complain(exercise.name + ": the solution is a stub");
        // A hint that says no more than the title, or than the one before, is none.
        std::set<std::string> said = {"", exercise.what};
        for (const std::string& hint : exercise.hints)
            if (hint.size() < 40 || !said.insert(hint).second)
                complain(exercise.name + ": a hint that is too short or said before: " + hint);
    }
    if (count == 0) complain("no exercise in " + chapter);
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.size() >= 2 && words[0] == "mistakes")
        check_mistakes(words[1], {words.begin() + 2, words.end()});
    else if (words.size() == 2 && words[0] == "stubs")
        check_stubs(words[1]);
    else
        return 2;
    return failures > 0;
}
