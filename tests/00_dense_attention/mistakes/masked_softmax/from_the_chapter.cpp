// Wrong: the softmax of the chapter (dense_attention_naive.hpp), where every key is visible.
#include "chapters/00_dense_attention/exercises/masked_softmax.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::masked_softmax {

// ---- your code ----

void masked_softmax(const Inputs& in, const Options&, const Outputs& out) {
    constexpr float minus_infinity = -std::numeric_limits<float>::infinity();
    for (int i = 0; i < in.scores.extent(0); ++i) {
        const int visible = in.scores.extent(1);

        // [19.3-2] row maximum: subtracted below, so that no exponential overflows
        float maximum = minus_infinity;
        for (int j = 0; j < visible; ++j)
            if (maximum < in.scores(i, j)) maximum = in.scores(i, j);

        // [19.3-3] exponentials and their sum
        float sum = 0;
        for (int j = 0; j < visible; ++j) {
            out.weights(i, j) = std::exp(in.scores(i, j) - maximum);
            sum += out.weights(i, j);
        }

        // [19.3-4] weights: the softmax of the row, they sum to 1
        for (int j = 0; j < visible; ++j) out.weights(i, j) = out.weights(i, j) / sum;
        out.log_sum_exp(i) = visible > 0 ? maximum + std::log(sum) : minus_infinity;
    }
}

// ---- end of your code ----

}  // namespace attn::exercises::masked_softmax
