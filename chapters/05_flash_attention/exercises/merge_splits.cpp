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
    (void)in, (void)options, (void)out;
    throw NotImplementedYet("merge_splits");  // TODO
}

// ---- end of your code ----

}  // namespace attn::exercises::merge_splits
