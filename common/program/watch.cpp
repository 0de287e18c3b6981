// attn watch: judges an exercise each time its file is saved.
#include <errno.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <optional>
#include <tuple>

#include "common/exercise/project.hpp"
#include "common/program/exercise_names.hpp"
#include "common/program/hint.hpp"
#include "common/program/progress.hpp"
#include "common/program/terminal.hpp"
#include "common/program/test.hpp"

namespace attn {

namespace {

constexpr int poll_milliseconds = 150;

// What changes when a file is saved, in place or by renaming another one over it. Nothing while there is no file.
using Stamp = std::optional<std::tuple<ino_t, off_t, time_t, long>>;

Stamp stamp_of(const ExerciseInfo& info) {
    struct stat status;
    if (::stat((project_folder() / info.file).c_str(), &status) != 0) return {};
    return std::make_tuple(status.st_ino, status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

// Keys one by one, unseen, while it lives. Also a stop (Ctrl-Z) gives the terminal back as it was.
class KeyMode {
  public:
    KeyMode() {
        ::tcgetattr(STDIN_FILENO, &before_);
        keys_ = before_;
        keys_.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
        keys_.c_cc[VMIN] = 1;
        keys_.c_cc[VTIME] = 0;
        keys_.c_cc[VQUIT] = _POSIX_VDISABLE;  // it would end the program without a word
        struct sigaction on_stop = {};
        on_stop.sa_handler = &stop;
        ::sigaction(SIGTSTP, &on_stop, &stop_before_);
        enter();
    }
    ~KeyMode() {
        if (is_in_foreground()) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
        ::sigaction(SIGTSTP, &stop_before_, nullptr);
    }
    KeyMode(const KeyMode&) = delete;

    // A shell that continues a program may have set the terminal as it likes.
    static void enter() {
        if (is_in_foreground()) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &keys_);
    }

    // From the background the terminal must not be touched: that stops the program.
    static bool is_in_foreground() { return ::tcgetpgrp(STDIN_FILENO) == ::getpgrp(); }

  private:
    // Only calls that a signal handler may make.
    static void stop(int) {
        const int error = errno;
        if (is_in_foreground()) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
        struct sigaction usual = {}, own;
        usual.sa_handler = SIG_DFL;
        ::sigaction(SIGTSTP, &usual, &own);
        sigset_t stop_signal, mask;
        ::sigemptyset(&stop_signal);
        ::sigaddset(&stop_signal, SIGTSTP);
        ::raise(SIGTSTP);
        ::sigprocmask(SIG_UNBLOCK, &stop_signal, &mask);  // it stops here
        ::sigprocmask(SIG_SETMASK, &mask, nullptr);
        ::sigaction(SIGTSTP, &own, nullptr);
        enter();
        errno = error;
    }

    static inline termios before_, keys_;
    struct sigaction stop_before_;
};

class Watch {
  public:
    Watch(const ExerciseInfo& exercise, const SignalsHeld& signals) : exercise_(&exercise), signals_(signals) {
        if (::isatty(STDIN_FILENO) && ::isatty(STDOUT_FILENO)) keys_.emplace();
    }

    int run() {
        judge_now();
        while (!must_end() && !quit_) {
            if (keys_)
                read_keys();
            else
                wait_a_little(signals_, poll_milliseconds / 1000.0);
            const Stamp now = stamp_of(*exercise_);
            if (!must_end() && !quit_ && now && now != judged_) judge_now();
        }
        return exit_ok;
    }

  private:
    void judge_now() {
        judged_ = stamp_of(*exercise_);  // taken before: a save from now on is noticed
        if (keys_) fmt::print("\033[H\033[2J");
        const Judgement judgement = judge_and_print(*exercise_, {}, signals_);
        passed_ = judgement.status == exit_ok;
        if (!must_end()) print_keys();
    }

    void print_keys() {
        if (keys_)
            fmt::print("\nWatching {}\n{}\n", exercise_->file.string(),
                       dim(passed_ ? "n or Enter next exercise   r run again   l list   q quit"
                                   : "save to judge again   h hint   l list   n next   r run again   q quit"));
        std::fflush(stdout);
    }

    void read_keys() {
        KeyMode::enter();
        if (!KeyMode::is_in_foreground()) return wait_a_little(signals_, poll_milliseconds / 1000.0);
        pollfd ready = {STDIN_FILENO, POLLIN, 0};
        if (::poll(&ready, 1, poll_milliseconds) <= 0) return;
        char key = 0;
        const ssize_t size = ::read(STDIN_FILENO, &key, 1);
        if (size == 0 || (size < 0 && errno != EINTR)) quit_ = true;  // the terminal is gone
        if (size == 1) react(key);
    }

    void react(char key) {
        switch (key) {
            case 'q': quit_ = true; return;
            case 'r': return judge_now();
            case 'n': return go_on();
            case '\n':
            case '\r':
                if (passed_) go_on();
                return;
            case 'h': print_hint(*exercise_); break;
            case 'l': list_verb(); break;
            case '?': break;  // what the keys do is said after each of them
            default: return;
        }
        print_keys();
    }

    void go_on() {
        const ExerciseInfo* next = next_exercise(read_progress(), passed_ ? nullptr : exercise_);
        if (!next) {
            fmt::print("All exercises are done.\n");
            quit_ = true;
        } else if (next == exercise_) {
            fmt::print("{} is the only one that is not done.\n", exercise_->name);
            print_keys();
        } else {
            exercise_ = next;
            judge_now();
        }
    }

    const ExerciseInfo* exercise_;
    const SignalsHeld& signals_;
    std::optional<KeyMode> keys_;  // on a terminal
    Stamp judged_;
    bool passed_ = false, quit_ = false;
};

}  // namespace

int watch_verb(const std::string& name) {
    const ExerciseInfo* exercise = exercise_or_current(name);
    if (!exercise) {
        fmt::print("All exercises are done. ./attn watch EXERCISE watches one of them.\n");
        return exit_ok;
    }
    SignalsHeld signals;
    return Watch(*exercise, signals).run();
}

}  // namespace attn
