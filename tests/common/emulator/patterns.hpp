// Kernels whose requests, sectors and wavefronts can be counted by hand.
#pragma once

#include <vector>

#include "common/emulator/emulator.hpp"

namespace attn::test {

struct Pattern {
    const char* name;
    // Of one launch.
    std::uint64_t load_requests, load_sectors, store_requests, store_sectors;
    std::uint64_t load_wavefronts, store_wavefronts, bank_conflicts;
};

struct Run {
    Pattern expected;
    emulator::LaunchProfile profile;
};

std::vector<Run> run_patterns();

}  // namespace attn::test
