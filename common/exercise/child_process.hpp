// What programs need that start others: signals held until there is nothing left to clean up, and temporary folders.
#pragma once

#include <signal.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

namespace attn {

// The words as execv wants them, which points into them.
inline std::vector<char*> exec_arguments(const std::vector<std::string>& words) {
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    return arguments;
}

// A folder that is removed with everything in it.
class TemporaryFolder {
  public:
    TemporaryFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "attn-XXXXXX").string();
        if (!::mkdtemp(name.data())) throw std::runtime_error("cannot make a folder like " + name);
        path_ = name;
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

// Holds back the signals that end a program while it lives: what was begun is finished or cleaned up, then they have
// their usual effect. Those that the caller ignores (nohup) stay ignored.
class SignalsHeld {
  public:
    SignalsHeld() {
        ::signal(SIGCHLD, SIG_DFL);  // inherited as ignored, it would hide how the child ended
        ::sigemptyset(&held_);
        ::sigaddset(&held_, SIGCHLD);
        for (int number : {SIGINT, SIGTERM, SIGHUP}) {
            struct sigaction inherited;
            ::sigaction(number, nullptr, &inherited);
            if (inherited.sa_handler != SIG_IGN) ::sigaddset(&held_, number);
        }
        ::sigprocmask(SIG_BLOCK, &held_, &before_);
    }
    ~SignalsHeld() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
    SignalsHeld(const SignalsHeld&) = delete;

    // The signal that came, SIGCHLD among them; -1 where none came in time.
    int wait(double seconds) const {
        auto whole = static_cast<std::time_t>(seconds);
        timespec duration = {whole, static_cast<long>((seconds - static_cast<double>(whole)) * 1e9)};
        return ::sigtimedwait(&held_, nullptr, &duration);
    }

    // In a child that shall end by them.
    void release() const { ::sigprocmask(SIG_UNBLOCK, &held_, nullptr); }

  private:
    sigset_t held_, before_;
};

}  // namespace attn
