// Exercise online_softmax: attention of each query over the keys that it sees, which come in tiles, with a sink: one
// more score, which takes its share of the weight and gives it to no value.
//
//     weight(j) = exp(score(j) - L)      out = Σ weight(j) · v(j)      L = log(exp(sink) + Σ exp(score(j)))
//     over the keys begin(i) <= j < end(i);  score(j) = scale · q·k(j)
//
// C++, about 30 minutes, medium. Builds on: masked_softmax of chapter 00, which has all scores of a row before it
// begins; steps [19.4.5-1] to [19.4.5-6] of flash_attention_naive_forward.hpp, where no sink is and every row sees
// key 0. Learned sinks stand in OpenAI's gpt-oss; ranges of keys are documents that were packed one behind the other.
//
// What to write: for each row go through the keys once, tile by tile, of `tile` keys each, and keep three things of
// what has passed: the largest score m, the sum l of exp(score - m), and the sum O of exp(score - m) · v.
//   Memory of your own: a tile's scores and a row's state, or that of all rows, but never a number for each key. The
//   judge looks at what you allocate. It does not count your passes: a second one would give the same outputs, and read
//   every key twice, which is what the online softmax is there to avoid.
//
// Mind:
//   - Scores and sinks may be in the thousands, either the larger.
//   - A key that a row does not see, and its value, may be NaN, and 0 · NaN is NaN.
//   - A row may see nothing of the first tiles, while m is still -inf: -inf - (-inf) is NaN.
//   - A row that sees no key: out is 0, log_sum_exp the sink. Without a sink, which is then -inf, nothing else changes.
#include "chapters/05_flash_attention/exercises/online_softmax.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::online_softmax {

// ---- your code ----

void online_softmax(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out;
    throw NotImplementedYet("online_softmax");  // TODO
}

// ---- end of your code ----

}  // namespace attn::exercises::online_softmax
