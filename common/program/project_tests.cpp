// What attn test takes beside exercises: the questions of section 19.9, and folders of tests/.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "common/exercise/verdict.hpp"
#include "common/program/build.hpp"
#include "common/program/program.hpp"
#include "common/program/questions.hpp"

namespace attn {

namespace fs = std::filesystem;

namespace {

// CTest, on the tests that the folder adds; its exit status is ours.
int run_ctest(const std::string& folder) {
    {
        SignalsHeld signals;
        const BuildOutcome built = build({"all"}, signals);
        if (must_end()) return exit_broken;
        if (!built.succeeded) throw std::runtime_error("the build failed:\n" + built.output);
    }
    const fs::path tests = build_folder() / "tests" / folder;
    std::vector<std::string> words = {"ctest", "--output-on-failure", "--no-tests=error", "--test-dir"};
    if (fs::exists(tests / "CTestTestfile.cmake"))
        words.push_back(tests.string());
    else  // a folder whose test stands in the list above it
        words.insert(words.end(), {build_folder().string(), "-R", "^" + folder + "$"});
    const std::vector<char*> arguments = exec_arguments(words);
    const pid_t child = ::fork();
    if (child == 0) {
        ::execvp(arguments[0], arguments.data());
        ::_exit(exit_bad_usage);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? exit_ok : exit_outside_bound;
}

}  // namespace

std::optional<int> test_other(const std::string& name) {
    const std::vector<std::string> questions = question_names();
    if (std::find(questions.begin(), questions.end(), name) != questions.end())
        return print_question(judge_question(name, question_folder(name)));
    if (name == "section_19_9") {
        int worst = exit_ok;
        for (const std::string& question : questions)
            worst = std::max(worst, print_question(judge_question(question, question_folder(question))));
        return worst;
    }
    const fs::path source = ATTN_SOURCE_FOLDER;
    const bool is_chapter = fs::is_directory(source / "chapters" / name);
    if (name.find("..") == std::string::npos && !is_chapter && fs::is_directory(source / "tests" / name))
        return run_ctest(name);
    return {};
}

}  // namespace attn
