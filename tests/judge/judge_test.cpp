// Whatever an exercise does to its worker is one failed test with a clear sentence, and the other tests go on.
#include <cstdlib>
#include <optional>

#include "common/exercise/child_process.hpp"
#include "common/exercise/verdict.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;

ExerciseVerdict verdict_under(const std::string& attack) {
    ExerciseInfo doubled;
    doubled.name = "doubled";
    doubled.chapter = "example";
    JudgeOptions options;
    options.workers = workers_folder("attacks");
    ::setenv("ATTACK", attack.c_str(), 1);
    return judge(doubled, options);
}

TEST_CASE("an exercise that does nothing bad passes", "[judge]") {
    const ExerciseVerdict verdict = verdict_under("");
    INFO(verdict.trouble);
    CHECK(verdict.status == Status::passed);
    CHECK(verdict.tests.size() == 3);
}

TEST_CASE("each attack fails its own test, and no other", "[judge]") {
    struct Attack {
        const char* name;
        std::optional<Status> status;  // none: whichever comes first
        const char* says;
    };
    const Attack attacks[] = {
        {"crash", Status::crashed, "It crashed: Segmentation fault (signal 11)"},
        {"abort", Status::crashed, "It crashed: Aborted"},
        {"exit", Status::crashed, "It ended the whole program with exit status 0"},
        {"quick_exit", Status::crashed, "It ended the whole program with exit status 0"},
        {"exit_says_done", Status::crashed, "It "},
        {"loop", Status::timed_out, "It did not come to an end within 5 s"},
        {"sleep", Status::timed_out, "It did not come to an end within 5 s"},
        {"recursion", Status::crashed, "recursion without end"},
        {"allocate", Status::failed, "it asked for more memory than it may have"},
        {"map", Status::crashed, "It crashed: Aborted"},
        {"print", Status::crashed, "It printed more than 1 MiB"},
        {"file", Status::crashed, "It wrote a file of more than 256 MiB"},
        {"thread", Status::crashed, "It left a thread running"},
        {"close", Status::crashed, "It closed files that it had not opened"},
        {"child_holds_pipes", Status::crashed, "It ended the whole program with exit status 0"},
        {"throw", Status::failed, "It threw an exception: a line break"},
        {"throw_int", Status::failed, "It threw"},
        {"nan", Status::failed, "13 of 13 elements wrong, 13 of them with NaN"},
        {"stale", Status::failed, "13 of 13 elements wrong, 13 of them with NaN"},
        {"link", Status::crashed, "It ended the whole program with exit status 0"},
        {"link_says_done", {}, "y is not an output of the exercise"},
        {"flood_answers", Status::crashed, "It printed more"},
        {"empty_answer", {}, "It threw"},
        {"out_as_file", Status::crashed, "It cannot be judged"},
        {"out_as_link", Status::crashed, "It cannot be judged"},
        {"deep_report", {}, "y is not an output"},
        {"bounds", Status::crashed, "Assertion"},
        {"not_implemented", Status::not_implemented, ""},
    };
    // What a link leads to keeps its permissions.
    TemporaryFolder victim;
    ::setenv("ATTACK_VICTIM", victim.path().c_str(), 1);
    const auto permissions = std::filesystem::status(victim.path()).permissions();
    for (const Attack& attack : attacks) {
        INFO(attack.name);
        const ExerciseVerdict verdict = verdict_under(attack.name);
        INFO(verdict.trouble);
        REQUIRE(verdict.tests.size() == 3);
        INFO(verdict.tests[1].message);
        CHECK(verdict.tests[0].status == Status::passed);
        CHECK(verdict.tests[1].status != Status::passed);
        CHECK(verdict.tests[1].status == attack.status.value_or(verdict.tests[1].status));
        CHECK(verdict.status == verdict.tests[1].status);
        CHECK(verdict.tests[1].message.find(attack.says) != std::string::npos);
        CHECK(verdict.tests[2].status == Status::passed);
        CHECK(std::filesystem::status(victim.path()).permissions() == permissions);
    }
}

}  // namespace
