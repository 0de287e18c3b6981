// attn trace MECHANISM: a small example, step by step.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/mechanism/mechanism.hpp"
#include "common/program/program.hpp"
#include "common/tensor/nearest.hpp"

namespace attn {

int trace_verb(const std::string& name) {
    std::vector<std::string> names;
    for (const Mechanism& mechanism : mechanisms()) {
        if (!mechanism.trace) continue;
        names.push_back(mechanism.name);
        if (mechanism.name == name) {
            mechanism.trace();
            return exit_ok;
        }
    }
    fmt::print(stderr, "attn: no trace of {}{}; there are: {}\n", in_quotes(name), did_you_mean(name, names),
               fmt::join(names, ", "));
    return exit_bad_usage;
}

}  // namespace attn
