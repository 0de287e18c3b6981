// The main program of every worker. The exercise's code runs in this process and may do anything to it: the judge, at
// the other end of the pipes, takes that into account.
#include "common/exercise/worker.hpp"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/exercise/not_implemented_yet.hpp"
#include "common/measure/memory_tracker.hpp"

namespace attn {

bool (*exercise_can_run)() = nullptr;
std::string (*emulator_report)() = nullptr;
void (*print_emulator_findings)(bool print) = nullptr;

namespace {

constexpr int lost_its_pipes = 113;  // exit status: the exercise has closed them

// Those of the emulator are ours, and how many a GPU's driver has is its own business.
int threads_of_the_exercise() {
    if (exercise_can_run) return 0;
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream file(entry.path() / "comm");
        std::string name;
        count += std::getline(file, name) && name != "emulator";
    }
    return count;
}

std::string one_line(std::string text) {
    for (char& c : text)
        if (c == '\n' || c == '\r') c = ' ';
    return text;
}

// The answer to the request.
std::string serve(const std::filesystem::path& input, const std::filesystem::path& out) {
    if (exercise_can_run && !exercise_can_run()) return "no GPU";
    Case input_case = read_case(input);
    std::string answer = "done";
    NamedArrays outputs;
    const int threads_before = threads_of_the_exercise();
    const auto start = std::chrono::steady_clock::now();
    MemoryTracker memory;
    try {
        outputs = run_exercise(input_case);
    } catch (const NotImplementedYet&) {
        return "not implemented";
    } catch (const std::exception& error) {
        answer = "failed: " + one_line(error.what());
    } catch (...) {
        answer = "failed: it threw something that is no std::exception";
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::string report = nlohmann::json{{"seconds", seconds.count()},
                                        {"peak_bytes", memory.peak_bytes_held()},
                                        {"threads_left", threads_of_the_exercise() - threads_before}}
                             .dump();
    if (emulator_report) report = report.substr(0, report.size() - 1) + ", " + emulator_report() + "}";
    for (const auto& [name, array] : outputs) write_npy(out / (name + ".npy"), array);
    write_file(out / "report.json", report);
    return answer;
}

int serve_requests() {
    // The exercise's own prints go with its errors; the pipes to the judge get numbers that it does not guess.
    const int requests = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 100);
    const int answers = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 100);
    const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (print_emulator_findings) print_emulator_findings(false);  // they go into the report
    if (requests < 0 || answers < 0 || nothing < 0) return 2;
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(STDERR_FILENO, STDOUT_FILENO);

    std::string line;
    char c;
    while (::read(requests, &c, 1) == 1) {
        if (c != '\n') {
            line += c;
            continue;
        }
        const std::size_t space = line.find(' ');
        if (space == std::string::npos) return 2;
        std::string answer;
        try {
            answer = serve(line.substr(0, space), line.substr(space + 1));
        } catch (const std::exception& error) {
            answer = "failed: the worker: " + one_line(error.what());
        }
        std::fflush(nullptr);
        answer += '\n';
        if (::write(answers, answer.data(), answer.size()) != static_cast<ssize_t>(answer.size()))
            ::_exit(lost_its_pipes);
        line.clear();
    }
    if (::fcntl(requests, F_GETFD) < 0) ::_exit(lost_its_pipes);
    return 0;
}

}  // namespace
}  // namespace attn

int main(int argc, char** argv) {
    if (argc == 1) return attn::serve_requests();
    if (argc != 3 || argv[1][0] == '-') {
        std::fprintf(stderr, "usage: %s [CASE OUT]\n", argv[0]);
        return 2;
    }
    try {
        std::filesystem::create_directories(argv[2]);
        std::string answer = attn::serve(argv[1], argv[2]);
        if (answer != "done") std::fprintf(stderr, "%s\n", answer.c_str());
        return answer == "done" ? 0 : answer == "not implemented" ? 3 : answer == "no GPU" ? 2 : 4;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    }
}
