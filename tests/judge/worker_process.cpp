#include "tests/judge/worker_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "common/exercise/child_process.hpp"

namespace attn::judge {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t longest_answer = 4096, shown_prints = 4096;

struct Pipe {
    int ends[2];
    Pipe() {
        if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error(std::string("no pipe: ") + std::strerror(errno));
    }
};

void limit(int resource, std::int64_t value) {
    if (value <= 0) return;
    rlimit bound{static_cast<rlim_t>(value), static_cast<rlim_t>(value)};
    ::setrlimit(resource, &bound);
}

}  // namespace

WorkerProcess::WorkerProcess(const std::vector<std::string>& command, const std::filesystem::path& folder,
                             const WorkerLimits& limits)
    : limits_(limits) {
    ::signal(SIGPIPE, SIG_IGN);  // a worker that is gone is seen when it does not answer
    const std::vector<char*> arguments = exec_arguments(command);
    Pipe requests, answers, prints;
    const pid_t judge = ::getpid();
    process_ = ::fork();
    if (process_ < 0) throw std::runtime_error(std::string("cannot start a worker: ") + std::strerror(errno));
    if (process_ == 0) {
        ::setpgid(0, 0);
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != judge) ::_exit(127);
        ::signal(SIGPIPE, SIG_DFL);
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        limit(RLIMIT_AS, limits.address_bytes);
        limit(RLIMIT_FSIZE, limits.file_bytes);
        rlimit no_core{0, 0};
        ::setrlimit(RLIMIT_CORE, &no_core);
        ::dup2(requests.ends[0], STDIN_FILENO);
        ::dup2(answers.ends[1], STDOUT_FILENO);
        ::dup2(prints.ends[1], STDERR_FILENO);
        ::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);  // nothing that we were given is given on
        if (::chdir(folder.c_str()) == 0) ::execvp(arguments[0], arguments.data());
        const std::string message = std::string("cannot run ") + arguments[0] + ": " + std::strerror(errno) + "\n";
        [[maybe_unused]] auto ignored = ::write(STDERR_FILENO, message.data(), message.size());
        ::_exit(127);
    }
    ::setpgid(process_, process_);  // here too: whichever of the two comes first
    for (int end : {requests.ends[0], answers.ends[1], prints.ends[1]}) ::close(end);
    requests_ = requests.ends[1], answers_ = answers.ends[0], prints_ = prints.ends[0];
    for (int end : {requests_, answers_, prints_}) ::fcntl(end, F_SETFL, O_NONBLOCK);
}

WorkerProcess::~WorkerProcess() { end(); }

int WorkerProcess::end() {
    if (process_ < 0) return 0;
    int status = 0;
    // It may be ending by itself just now, which tells more than our SIGKILL.
    const auto patience = Clock::now() + std::chrono::milliseconds(200);
    if (requests_ >= 0) ::close(requests_);
    requests_ = -1;
    pid_t ended = 0;
    while ((ended = ::waitpid(process_, &status, WNOHANG)) == 0 && Clock::now() < patience) ::usleep(1000);
    ::kill(-process_, SIGKILL);  // what it has started goes with it
    if (ended == 0) ::waitpid(process_, &status, 0);
    for (int* descriptor : {&answers_, &prints_}) {
        if (*descriptor >= 0) ::close(*descriptor);
        *descriptor = -1;
    }
    process_ = -1;
    return status;
}

void WorkerProcess::read_printed(std::string& printed) {
    char buffer[1 << 16];
    ssize_t count;
    while (printed_bytes_ <= limits_.printed_bytes && (count = ::read(prints_, buffer, sizeof buffer)) > 0) {
        printed_bytes_ += count;
        printed.append(buffer, static_cast<std::size_t>(count));
        if (printed.size() > shown_prints) printed.erase(0, printed.size() - shown_prints);
    }
}

Reply WorkerProcess::request(const std::string& line) {
    Reply reply;
    const std::string text = line + "\n";
    const auto deadline = Clock::now() + std::chrono::duration<double>(limits_.seconds);
    bool open = ::write(requests_, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    bool answered = false, in_time = true;
    while (open && !answered && in_time) {
        const double left = std::chrono::duration<double>(deadline - Clock::now()).count();
        in_time = left > 0;
        pollfd waiting[] = {{answers_, POLLIN, 0}, {prints_, POLLIN, 0}};
        ::poll(waiting, prints_ < 0 ? 1 : 2, static_cast<int>(std::clamp(left * 1000, 1., 100.)));
        read_printed(reply.printed);
        if (printed_bytes_ > limits_.printed_bytes) break;
        if (waiting[1].revents & POLLHUP && !(waiting[1].revents & POLLIN)) {
            ::close(prints_);  // the exercise has closed it
            prints_ = -1;
        }
        char c;
        ssize_t count = -1;
        while (!answered && reply.answer.size() < longest_answer && (count = ::read(answers_, &c, 1)) == 1) {
            answered = c == '\n';
            if (!answered) reply.answer += c;
        }
        if (reply.answer.size() >= longest_answer) {  // no worker of ours says so much
            printed_bytes_ = limits_.printed_bytes + 1;
            break;
        }
        // Gone, be it that something it has started keeps the pipe open.
        siginfo_t gone{};
        ::waitid(P_PID, static_cast<id_t>(process_), &gone, WEXITED | WNOHANG | WNOWAIT);
        open = answered || ((count > 0 || (count < 0 && errno == EAGAIN)) && gone.si_pid == 0);
    }
    if (answered) return reply;
    const bool too_much = printed_bytes_ > limits_.printed_bytes;
    if (!too_much && in_time) {  // it hung up: what it still had to say
        read_printed(reply.printed);
    } else {
        ::kill(-process_, SIGKILL);
    }
    const int status = end();
    if (too_much) {
        reply.end = Reply::End::printed_too_much;
    } else if (!in_time) {
        reply.end = Reply::End::timed_out;
    } else if (WIFSIGNALED(status)) {
        reply.end = Reply::End::signalled;
        reply.status = WTERMSIG(status);
    } else {
        reply.end = Reply::End::exited;
        reply.status = WEXITSTATUS(status);
    }
    return reply;
}

}  // namespace attn::judge
