// What a judge found out about an exercise. A judge is a Catch2 program, one for each chapter; it hands cases to a
// worker, which holds the student's code, compares what comes back, and appends a line of JSON for each of its tests.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/exercise/exercise_list.hpp"

namespace attn {

enum class Status {
    passed,
    failed,      // wrong outputs, or more accesses than the exercise allows
    broke_rule,  // the emulator found a broken rule of the CUDA model
    crashed,     // or ended itself, or left something behind
    timed_out,
    not_implemented,  // it still says so
    not_run,          // no GPU
    not_judged,       // the judge did not come to its end
};
const char* text(Status status);  // "passed", "failed", "broke a rule of the CUDA model", …

// A usual wrong answer that explains everything that was seen.
struct Diagnosis {
    std::string name;  // of the file in tests/<chapter>/mistakes/<exercise>/
    std::string says;  // "equals the answer without the sink: …"
};

struct TestResult {
    std::string test;  // "any mask"
    Status status = Status::not_judged;
    std::string message;               // for people, several lines; empty where it passed
    std::vector<Diagnosis> diagnoses;  // mistakes that explain this test alone; more than one cannot be told apart
    std::string kept_case;             // folder of the first failing case, with expected/ and out/; may be empty
    double seconds = 0;
};

struct ExerciseVerdict {
    std::string exercise;
    Status status = Status::not_judged;  // passed where every test passed, else the worst of its tests
    std::vector<TestResult> tests;       // in the order of the judge
    std::vector<Diagnosis> diagnoses;    // mistakes that explain all tests together
    std::uint64_t seed = 0;
    std::string trouble;  // what the judge itself said where it did not end properly; else empty

    int passed() const;  // tests
};

struct JudgeOptions {
    // Where the executables of the workers stand, each named as its exercise; or the whole command that runs one, a
    // sandbox and all, with `work` as the folder that it sees as its own (with folders in/ and out/ already made).
    std::filesystem::path workers;
    std::vector<std::string> worker_command;
    std::filesystem::path work;
    std::uint64_t seed = 1;
    double seconds = 0;          // for all tests together; 0: as long as it takes
    std::filesystem::path keep;  // where failing cases are kept: keep/<exercise>/<test>; empty: nowhere
    std::function<void(const TestResult&)> each;  // called as each test ends, for progress
};

// Runs the judge of the exercise's chapter and reads what it says. Throws std::runtime_error where there is no judge.
// A signal that ends this program ends the judge and its workers first.
ExerciseVerdict judge(const ExerciseInfo& exercise, const JudgeOptions& options);

// The judge's program of a chapter, and the folders beside it in this build.
std::filesystem::path build_folder();  // of the running program
std::filesystem::path judge_program(const std::string& chapter);
std::filesystem::path workers_folder(const std::string& kind);  // "mine", "solution", "debug", "mine_cuda", …

}  // namespace attn
