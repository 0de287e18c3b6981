// Wrong: each block that a compressed block touches gets its weight once.
#include "chapters/06_native_sparse/exercises/importance_map.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::importance_map {

// ---- your code ----

void importance_map(const Inputs& in, const Options& options, const Outputs& out) {
    const int H = in.scores.extent(0), N = in.scores.extent(1), C = in.scores.extent(2);
    const int l = options.compress_block, d = options.compress_stride, L = options.select_block;
    std::vector<float> weights(static_cast<std::size_t>(C));
    std::fill_n(out.importance.data(), out.importance.count(), 0.0f);
    for (int h = 0; h < H; ++h)
        for (int t = 0; t < N; ++t) {
            const int g = h / (H / options.kv_heads);
            const auto sees = [&](int i) { return in.begin(t) <= i * d && i * d + l - 1 <= t; };
            float maximum = -std::numeric_limits<float>::infinity(), sum = 0;
            for (int i = 0; i < C; ++i)
                if (sees(i)) maximum = std::max(maximum, in.scores(h, t, i));
            for (int i = 0; i < C; ++i) {
                if (!sees(i)) continue;
                weights[static_cast<std::size_t>(i)] = std::exp(in.scores(h, t, i) - maximum);
                sum += weights[static_cast<std::size_t>(i)];
            }
            for (int i = 0; i < C; ++i) {
                if (!sees(i)) continue;
                const int first = i * d, end = first + l;
                for (int J = first / L; J * L < end; ++J) {
                    out.importance(g, t, J) += weights[static_cast<std::size_t>(i)] / sum;
                }
            }
        }
}

// ---- end of your code ----

}  // namespace attn::exercises::importance_map
