// Wrong: all heads have the sink of the first.
#include "chapters/05_flash_attention/exercises/online_softmax.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::online_softmax {

// ---- your code ----

void online_softmax(const Inputs& in, const Options& options, const Outputs& out) {
    constexpr float minus_infinity = -std::numeric_limits<float>::infinity();
    const int H = in.q.extent(0), Nq = in.q.extent(1), D = in.q.extent(2), Nk = in.k.extent(1), Dv = in.v.extent(2);
    const float scale = static_cast<float>(options.scale);
    std::vector<float> weights(static_cast<std::size_t>(std::min(options.tile, Nk)));  // before that: scores
    std::vector<float> O(static_cast<std::size_t>(Dv));
    for (int h = 0; h < H; ++h)
        for (int i = 0; i < Nq; ++i) {
            // The state that a row begins with is that of one key, the sink, whose value is 0.
            float m = in.sink(0), l = m > minus_infinity ? 1 : 0;
            std::fill(O.begin(), O.end(), 0.0f);
            for (int first = 0; first < Nk; first += options.tile) {
                // Of the tile, the keys that the row sees.
                const int from = std::max(first, in.begin(i)), to = std::min({first + options.tile, in.end(i), Nk});
                if (from >= to) continue;  // the state stays

                float next = m;
                for (int j = from; j < to; ++j) {
                    float dot = 0;
                    for (int d = 0; d < D; ++d) dot += in.q(h, i, d) * in.k(h, j, d);
                    const float score = scale * dot;
                    weights[static_cast<std::size_t>(j - first)] = score;
                    next = std::max(next, score);
                }
                const float shrink = std::exp(m - next);  // 0 where there was nothing before
                m = next;
                l *= shrink;
                for (float& sum : O) sum *= shrink;
                for (int j = from; j < to; ++j) {
                    const float weight = std::exp(weights[static_cast<std::size_t>(j - first)] - m);
                    l += weight;
                    for (int d = 0; d < Dv; ++d) O[static_cast<std::size_t>(d)] += weight * in.v(h, j, d);
                }
            }
            for (int d = 0; d < Dv; ++d) out.out(h, i, d) = l == 0 ? 0 : O[static_cast<std::size_t>(d)] / l;
            out.log_sum_exp(h, i) = l == 0 ? minus_infinity : m + std::log(l);
        }
}

// ---- end of your code ----

}  // namespace attn::exercises::online_softmax
