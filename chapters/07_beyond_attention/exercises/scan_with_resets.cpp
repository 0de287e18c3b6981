// Exercise scan_with_resets: the selective scan, one token after the other, of several documents that are packed into
// one sequence. Each document begins with an empty state.
//
//     h(t) = exp(Δ(t) A) h(t-1) + Δ(t) B(t) u(t)      S numbers for each channel; h(t-1) is 0 where a document begins
//     out(t) = C(t) · h(t) + D u(t)                   Δ(t) = log(1 + exp(delta(t))), the softplus
//
// C++, about 25 minutes, easy to medium. Builds on: the selective scan of chapter 07 (Gu and Dao 2023, arXiv
// 2312.00752), whose sequence is one document. Positions that say where documents begin are how packed training feeds
// it (Xu et al. 2024, arXiv 2408.03865).
//
// What to write: out for each token, and the state after the last one, in float.
//   Memory of your own: S numbers, whatever L is; the judge looks at what you allocate. The work for a token does not
//   depend on how many came before: a sequence of 300000 tokens is a matter of milliseconds.
//
// Mind:
//   - Each channel and each number of its state fades at a rate of its own; B, C and the positions are those of the
//     sequence.
//   - A sequence may go on with a document that was begun before it: then its first position is not 0, and the state
//     is `initial`. It may also begin one.
//   - A document may have NaN in it, which its own tokens keep from there on. The next document must not: 0 · NaN is
//     NaN.
//   - delta may be -30, where 1 + exp(delta) is 1 in float, and in the hundreds, where exp overflows.
#include "chapters/07_beyond_attention/exercises/scan_with_resets.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::scan_with_resets {

// ---- your code ----

void scan_with_resets(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out;
    throw NotImplementedYet("scan_with_resets");  // TODO
}

// ---- end of your code ----

}  // namespace attn::exercises::scan_with_resets
