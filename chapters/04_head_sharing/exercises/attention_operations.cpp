// Exercise attention_operations: the multiply-adds of causal attention, for a whole prompt and for the one token that
// is generated after it, layer by layer, where each group of query heads has a window of its own.
//
//     query i sees the keys j with  i - window < j <= i   (0 <= j; without a window all j <= i)
//
// C++, about 25 minutes, easy to medium. Builds on: kv_cache_bytes, and pairs in grouped_query.hpp, where all heads
// have one window.
//
// What to write: for each layer, summed over the B sequences and the H query heads, the products that are added to a
// sum. A query head that sees a key multiplies and adds D numbers for the score, and Dv for the weighted value.
//   prefill  of the queries at positions 0 … n-1, all of them at once
//   step     of the query at position n, the next one, which finds the n positions before in the KV cache, and its own
//
// Mind:
//   - The first queries see less than a window: there are not that many positions before them.
//   - A window may be longer than the sequence.
//   - n may be 1000000: n² is more than an int can count, and a loop over n² pairs is too slow. A formula is asked for.
//   - When it works, put the same window into all groups: which of H and G is left in the answer?
#include "chapters/04_head_sharing/exercises/attention_operations.hpp"

#include <algorithm>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::attention_operations {

// ---- your code ----

void attention_operations(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out;
    throw NotImplementedYet("attention_operations");  // TODO
}

// ---- end of your code ----

}  // namespace attn::exercises::attention_operations
