// Exercise merge_splits: attention to many keys was computed in splits, each on its own; puts the partial results of a
// row together.
//
//     weight(s) = exp(L(s) - L)      out = Σ weight(s) · out(s)      L = log Σ exp(L(s))      over the splits s
//     out(s) and L(s): the output and the log-sum-exp of the keys of split s alone
//
// C++, about 20 minutes, easy to medium. Builds on: step [19.4.5-7], merge in flash_attention_naive_forward.hpp, which
// has the unfinished sums of two parts; here they are divided already, and log-sum-exps are all that is known of them.
// Flash-Decoding ends like this; FlashInfer hands its log-sum-exp on in base 2, FlashAttention in base e.
//
// What to write: out and log_sum_exp of each row, in float.
//
// Mind:
//   - A split in which the row saw no key has the log-sum-exp -inf. Its output is 0 / 0, NaN, and must not be added,
//     not even times 0. Where all splits are like that, out is 0 and log_sum_exp -inf.
//   - With `base_two` the splits' log-sum-exps are log2 of the sums: the logarithm with the base 2 of the same numbers.
//     The output log_sum_exp is natural in any case.
//   - Log-sum-exps may be in the thousands.
#include "chapters/05_flash_attention/exercises/merge_splits.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::merge_splits {

// ---- your code ----

void merge_splits(const Inputs& in, const Options& options, const Outputs& out) {
    constexpr float minus_infinity = -std::numeric_limits<float>::infinity();
    const int splits = in.part.extent(0), rows = in.part.extent(1), Dv = in.part.extent(2);
    const float to_natural = options.base_two ? 0.693147180559945f : 1;  // log2(x) · log(2) = log(x)
    for (int i = 0; i < rows; ++i) {
        float maximum = minus_infinity, sum = 0;
        for (int s = 0; s < splits; ++s) maximum = std::max(maximum, to_natural * in.part_log_sum_exp(s, i));
        for (int d = 0; d < Dv; ++d) out.out(i, d) = 0;
        for (int s = 0; s < splits; ++s) {
            const float log_sum_exp = to_natural * in.part_log_sum_exp(s, i);
            if (log_sum_exp == minus_infinity) continue;  // its output is NaN
            const float weight = std::exp(log_sum_exp - maximum);
            sum += weight;
            for (int d = 0; d < Dv; ++d) out.out(i, d) += weight * in.part(s, i, d);
        }
        for (int d = 0; d < Dv && sum > 0; ++d) out.out(i, d) /= sum;
        out.log_sum_exp(i) = sum > 0 ? maximum + std::log(sum) : minus_infinity;
    }
}

// ---- end of your code ----

}  // namespace attn::exercises::merge_splits
