// Wrong: the online softmax of the chapter (flash_attention_naive_forward.hpp), where rows see all keys, and no sink.
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
    const int Dv = in.v.extent(2);
    std::vector<float> scores(static_cast<std::size_t>(options.tile)), O(static_cast<std::size_t>(Dv));
    for (int h = 0; h < in.q.extent(0); ++h)
        for (int i = 0; i < in.q.extent(1); ++i) {
            float m = minus_infinity, l = 0;
            std::fill(O.begin(), O.end(), 0.0f);
            for (int first = 0; first < in.k.extent(1); first += options.tile) {
                const int n = std::min(options.tile, in.k.extent(1) - first);

                // [19.4.5-1] scores of the tile
                for (int c = 0; c < n; ++c) {
                    float dot = 0;
                    for (int d = 0; d < in.q.extent(2); ++d) dot += in.q(h, i, d) * in.k(h, first + c, d);
                    scores[static_cast<std::size_t>(c)] = static_cast<float>(options.scale) * dot;
                }

                // [19.4.5-2] running maximum
                float maximum = m;
                for (int c = 0; c < n; ++c) maximum = std::max(maximum, scores[static_cast<std::size_t>(c)]);

                // [19.4.5-3] rescaling
                const float factor = std::exp(m - maximum);
                m = maximum;
                l = factor * l;
                for (float& sum : O) sum = factor * sum;

                // [19.4.5-4] [19.4.5-5] weights of the tile, their sum, and the weighted values
                for (int c = 0; c < n; ++c) {
                    float& weight = scores[static_cast<std::size_t>(c)];
                    weight = std::exp(weight - m);
                    l += weight;
                    for (int d = 0; d < Dv; ++d) O[static_cast<std::size_t>(d)] += weight * in.v(h, first + c, d);
                }
            }
            // [19.4.5-6] division
            for (int d = 0; d < Dv; ++d) out.out(h, i, d) = O[static_cast<std::size_t>(d)] / l;
            out.log_sum_exp(h, i) = m + std::log(l);
        }
}

// ---- end of your code ----

}  // namespace attn::exercises::online_softmax
