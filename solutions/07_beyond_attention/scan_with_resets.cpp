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

namespace {

// log(1 + exp(x)), also where exp(x) is lost beside the 1, or overflows.
float softplus(float x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }

}  // namespace

void scan_with_resets(const Inputs& in, const Options&, const Outputs& out) {
    const int B = in.u.extent(0), D = in.u.extent(1), L = in.u.extent(2), S = in.a.extent(1);
    for (int b = 0; b < B; ++b)
        for (int d = 0; d < D; ++d) {
            // The output is the state: after the last token nothing is left to do.
            const TensorView<float, 1> h = out.last.slice(b, d);
            for (int s = 0; s < S; ++s) h(s) = in.initial ? in.initial(b, d, s) : 0;
            for (int t = 0; t < L; ++t) {
                if (in.position(b, t) == 0) std::fill_n(h.data(), h.count(), 0.0f);  // set, not multiplied: NaN goes
                const float delta = softplus(in.delta(b, d, t)), u = in.u(b, d, t);
                float y = in.d(d) * u;
                for (int s = 0; s < S; ++s) {
                    h(s) = std::exp(delta * in.a(d, s)) * h(s) + delta * in.b(b, s, t) * u;
                    y += in.c(b, s, t) * h(s);
                }
                out.out(b, d, t) = y;
            }
        }
}

// ---- end of your code ----

}  // namespace attn::exercises::scan_with_resets
