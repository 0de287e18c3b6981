// Commands that the program runs.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "common/exercise/child_process.hpp"

namespace attn {

// Whether a signal that ends the program came while it was held. It is not taken: it has its effect once it is no
// longer held.
bool must_end();

// Lets time pass, less where a signal comes; one that ends the program is not taken.
void wait_a_little(const SignalsHeld& signals, double seconds);

struct Command {
    std::vector<std::string> words;
    std::filesystem::path folder;                                  // where it runs; empty: here
    std::vector<std::pair<std::string, const char*>> environment;  // null: unset
    bool with_errors = false;                                      // what it writes to standard error counts as output
};

struct Captured {
    int status = 0;      // of the exit; 128 + the number of the signal that ended it
    std::string output;  // the first 4 MiB
};

// Runs a command without input, in a process group of its own, so that it is this process that decides what a signal
// means: the command gets it, is waited for, and the signal stays for the caller (must_end). Throws
// std::runtime_error where the command cannot be started.
Captured run_captured(const Command& command, const SignalsHeld& signals,
                      const std::function<void(const std::string& line)>& each_line = {});

}  // namespace attn
