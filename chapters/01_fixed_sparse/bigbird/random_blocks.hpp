// Which blocks a BigBird row sees at random. Drawn once, for the life of a model: they are part of the pattern.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/tensor/random.hpp"

namespace attn::bigbird {

// random_blocks [heads, blocks, count]: for each head and each row of blocks but the first and the last, `count`
// different ones out of those that it does not see anyway, all equally likely; -1 where there are not that many, and in
// the first and the last row. A pure function of its arguments: each draw has its own place in a counter-based
// generator.
//
// first_blocks: only blocks below that number are drawn. 0: all. The released code does the former: with r random
// blocks only the first 2r + 5 are in question, at the usual lengths only those of the first 1024 tokens, so that no
// position hears of a late one by chance.
inline std::vector<std::int64_t> draw_random_blocks(int heads, int blocks, int count, std::uint64_t seed,
                                                    int first_blocks = 0) {
    std::vector<std::int64_t> drawn(static_cast<std::size_t>(heads) * blocks * count, -1);
    const int limit = first_blocks > 0 ? std::min(first_blocks, blocks - 1) : blocks - 1;
    for (int h = 0; h < heads; ++h)
        for (int I = 1; I < blocks - 1; ++I) {
            std::vector<std::int64_t> candidates;
            for (int J = 1; J < limit; ++J)
                if (J < I - 1 || J > I + 1) candidates.push_back(J);
            const std::uint64_t row = static_cast<std::uint64_t>(h) * blocks + I;
            const int most = std::min(count, static_cast<int>(candidates.size()));
            for (int t = 0; t < most; ++t) {  // Fisher-Yates: the t-th is swapped with one of those behind it
                const int other = random_integer(seed, row * count + t, t, static_cast<int>(candidates.size()) - 1);
                std::swap(candidates[static_cast<std::size_t>(t)], candidates[static_cast<std::size_t>(other)]);
            }
            candidates.resize(static_cast<std::size_t>(most));
            std::sort(candidates.begin(), candidates.end());
            std::copy(candidates.begin(), candidates.end(), drawn.begin() + static_cast<std::ptrdiff_t>(row * count));
        }
    return drawn;
}

}  // namespace attn::bigbird
