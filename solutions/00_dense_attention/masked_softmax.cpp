// Exercise masked_softmax: the weights of each row of scores [rows, columns], of which only those count whose mask is
// not 0, and with a sink: one more logit, which takes its share of the weight and gives it to no value.
//
//     weight(j) = exp(score(j) - m) / (exp(sink - m) + Σ exp(score(j') - m))      over the j' that count
//
// C++, about 20 minutes, easy. Builds on: steps [19.3-2], [19.3-3] and [19.3-4] of dense_attention_naive.hpp. A sink
// lets a head attend to nothing (Xiao et al. 2023, arXiv 2309.17453; as a learned logit in OpenAI's gpt-oss).
//
// What to write: weights, and log_sum_exp = m + log(the denominator), for each row on its own, in float.
//
// Mind:
//   - m is there so that no exponential overflows. Scores and sinks of 10000 are to be expected, either the larger.
//   - A score that is masked is not read for its value: it may be NaN or +inf. Its weight is exactly 0.
//   - A row in which nothing counts has the weights 0, and the sink as its log_sum_exp. Both may be -inf: a score that
//     counts (its weight is then 0), and the sink (there is none). -inf - (-inf) is NaN.
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
        // The sink takes part in the maximum: larger than all scores, its own exponential would overflow.
        float maximum = in.sink(i);
        for (int j = 0; j < in.scores.extent(1); ++j)
            if (in.mask(i, j)) maximum = std::max(maximum, in.scores(i, j));

        if (maximum == minus_infinity) {  // nothing counts, not even a sink: below, -inf - (-inf) would be NaN
            for (int j = 0; j < in.scores.extent(1); ++j) out.weights(i, j) = 0;
            out.log_sum_exp(i) = minus_infinity;
            continue;
        }

        float sum = std::exp(in.sink(i) - maximum);
        for (int j = 0; j < in.scores.extent(1); ++j) {
            // Chosen by the mask, not multiplied by it: 0 · NaN is NaN.
            out.weights(i, j) = in.mask(i, j) ? std::exp(in.scores(i, j) - maximum) : 0;
            sum += out.weights(i, j);
        }
        for (int j = 0; j < in.scores.extent(1); ++j) out.weights(i, j) /= sum;
        out.log_sum_exp(i) = maximum + std::log(sum);
    }
}

// ---- end of your code ----

}  // namespace attn::exercises::masked_softmax
