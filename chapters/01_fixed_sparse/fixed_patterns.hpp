// The pictures of README.md, by name: what fixed_patterns.cpp writes.
#pragma once

#include <map>

#include "chapters/01_fixed_sparse/bigbird/random_blocks.hpp"
#include "chapters/01_fixed_sparse/picture.hpp"

namespace attn::fixed_sparse {

// 48 positions in tiles of 8.
inline std::map<std::string, std::string> chapter_pictures() {
    constexpr int n = 48, tile = 8;
    const GlobalTokens none({}, n), two({0, 29}, n);
    const std::vector<std::int64_t> random = bigbird::draw_random_blocks(1, n / 4, 2, 1);
    return {
        {"sliding_window", svg_picture(WindowPattern{{}, n, n, 12, 2}, n, tile)},
        {"longformer", svg_picture(LongformerPattern(n, 5, 1, false, two), n, tile)},
        {"longformer_dilated", svg_picture(LongformerPattern(n, 4, 3, true, none), n, tile)},
        {"bigbird", svg_picture(BigBirdPattern{{}, n, 4, {random.data(), {{1, n / 4, 2}}}}, n, tile)},
        {"strided", svg_picture(SparseTransformerPattern(n, Kind::strided, 7, 1, Part::merged), n, tile)},
        {"fixed", svg_picture(SparseTransformerPattern(n, Kind::fixed, 8, 2, Part::merged), n, tile)},
    };
}

}  // namespace attn::fixed_sparse
