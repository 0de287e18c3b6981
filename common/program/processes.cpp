#include "common/program/processes.hpp"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <stdexcept>

namespace attn {

namespace {

constexpr std::size_t longest_output = 4 << 20;
constexpr double patience = 5;  // seconds that a command has to end once it was told to

std::runtime_error cannot_start(const std::string& program, int error) {
    return std::runtime_error("cannot start " + program + ": " + std::strerror(error));
}

// Never returns. `trouble` gets errno where the command cannot be started.
[[noreturn]] void become(const Command& command, const SignalsHeld& signals, int output, int trouble) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    signals.release();
    const int nothing = ::open("/dev/null", O_RDWR);
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(command.with_errors ? output : nothing, STDERR_FILENO);
    for (const auto& [name, value] : command.environment)
        value ? ::setenv(name.c_str(), value, 1) : ::unsetenv(name.c_str());
    const std::vector<char*> words = exec_arguments(command.words);
    if (command.folder.empty() || ::chdir(command.folder.c_str()) == 0) ::execvp(words[0], words.data());
    const int error = errno;
    [[maybe_unused]] auto written = ::write(trouble, &error, sizeof error);
    std::_Exit(127);
}

class Lines {
  public:
    explicit Lines(const std::function<void(const std::string&)>& each) : each_(each) {}
    void add(std::string_view bytes) {
        if (!each_) return;
        for (char c : bytes) {
            if (c == '\n')
                each_(line_), line_.clear();
            else
                line_ += c;
        }
    }

  private:
    const std::function<void(const std::string&)>& each_;
    std::string line_;
};

}  // namespace

bool must_end() {
    sigset_t pending;
    ::sigpending(&pending);
    for (int number : {SIGINT, SIGTERM, SIGHUP})
        if (::sigismember(&pending, number)) return true;
    return false;
}

void wait_a_little(const SignalsHeld& signals, double seconds) {
    if (must_end())
        ::usleep(static_cast<useconds_t>(seconds * 1e6));
    else if (const int signal = signals.wait(seconds); signal > 0 && signal != SIGCHLD)
        ::raise(signal);
}

Captured run_captured(const Command& command, const SignalsHeld& signals,
                      const std::function<void(const std::string& line)>& each_line) {
    int output[2], trouble[2];
    if (::pipe2(output, O_CLOEXEC) != 0 || ::pipe2(trouble, O_CLOEXEC) != 0)
        throw cannot_start(command.words[0], errno);
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) throw cannot_start(command.words[0], errno);
    if (child == 0) become(command, signals, output[1], trouble[1]);
    ::setpgid(child, child);  // both do it: whoever comes first
    ::close(output[1]), ::close(trouble[1]);
    int error = 0;
    const bool started = ::read(trouble[0], &error, sizeof error) <= 0;
    ::close(trouble[0]);

    using Clock = std::chrono::steady_clock;
    Clock::time_point told;  // to end
    Captured result;
    Lines lines(each_line);
    int status = 0;
    for (bool ended = false, open = true; !ended || open;) {
        pollfd ready = {output[0], POLLIN, 0};
        const bool is_told = told != Clock::time_point();
        const int count = open ? ::poll(&ready, 1, ended && !is_told ? 0 : 50) : (wait_a_little(signals, 0.05), 0);
        if (count > 0) {
            char bytes[65536];
            const ssize_t size = ::read(output[0], bytes, sizeof bytes);
            if (size > 0) {
                if (result.output.size() < longest_output) result.output.append(bytes, static_cast<std::size_t>(size));
                lines.add({bytes, static_cast<std::size_t>(size)});
            } else if (size == 0) {
                open = false;
            }
        } else if (ended && (!is_told || Clock::now() - told > std::chrono::duration<double>(patience))) {
            open = false;  // something that it left behind holds the pipe
        }
        if (!ended && ::waitpid(child, &status, WNOHANG) == child) ended = true;
        if (ended || !must_end()) continue;
        if (!is_told) {
            told = Clock::now();
            ::kill(-child, SIGTERM);
        } else if (Clock::now() - told > std::chrono::duration<double>(patience)) {
            ::kill(-child, SIGKILL);
        }
    }
    ::close(output[0]);
    if (!started) throw cannot_start(command.words[0], error);
    result.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return result;
}

}  // namespace attn
