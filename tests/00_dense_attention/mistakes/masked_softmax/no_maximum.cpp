// Wrong: no maximum is subtracted.
#include "chapters/00_dense_attention/exercises/masked_softmax.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::masked_softmax {

// ---- your code ----

void masked_softmax(const Inputs& in, const Options&, const Outputs& out) {
    for (int i = 0; i < in.scores.extent(0); ++i) {
        float sum = std::exp(in.sink(i));
        for (int j = 0; j < in.scores.extent(1); ++j) {
            out.weights(i, j) = in.mask(i, j) ? std::exp(in.scores(i, j)) : 0;
            sum += out.weights(i, j);
        }
        for (int j = 0; j < in.scores.extent(1); ++j) out.weights(i, j) /= sum;
        out.log_sum_exp(i) = std::log(sum);
    }
}

// ---- end of your code ----

}  // namespace attn::exercises::masked_softmax
