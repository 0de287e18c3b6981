// Scans by doubling: what stands at distances 1, 2, 4, … is put together, in log2(n) rounds.
#pragma once

#include <cstdint>

namespace attn {

// How often two things are put together when n of them are scanned.
constexpr std::int64_t doubling_combinations(std::int64_t n) {
    std::int64_t count = 0;
    for (std::int64_t distance = 1; distance < n; distance *= 2) count += n - distance;
    return count;
}

}  // namespace attn
