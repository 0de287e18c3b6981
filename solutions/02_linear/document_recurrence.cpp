// Exercise document_recurrence: causal linear attention, one token after the other, to several documents that are
// packed into one sequence. A query sees the keys of its own document, up to its own.
//
//     out(i) = Σ (phi(q(i)) · phi(k(j))) v(j) / Σ phi(q(i)) · phi(k(j))      over the j <= i of the document of token i
//     phi(x) = x + 1 where x > 0, exp(x) elsewhere, for each element
//
// C++, about 30 minutes, easy to medium. Builds on: the recurrence of chapter 02, whose sequence is one document. As
// phi(q(i)) does not depend on j, it can be taken out of both sums (Katharopoulos et al. 2020, arXiv 2006.16236): what
// is left are a matrix and a vector which grow by one term with each token, and in which nothing tells any more which
// token a term came from.
//
// What to write: out for each token, and state and normalizer as they are after the last token, in float.
//   Memory of your own: a state of D · Dv numbers and some vectors, whatever N is; the judge looks at what you
//   allocate. The work for a token does not depend on how many came before: a sequence of 300000 tokens is a matter
//   of milliseconds, and of minutes in pairs.
//
// Mind:
//   - A document begins where its number differs from that of the token before. Nothing else counts: numbers may fall,
//     be negative, and return later for another document.
//   - A document may have NaN in it, which its own queries see from there on: phi(NaN) is NaN. The next document must
//     not: 0 · NaN is NaN.
//   - Elements of -20 … -30 are to be expected in all of q and k at once. Their features are small, down to 1e-13, but
//     what they are divided by is just as small. exp(x) - 1, and the 1 added again, is 0 in float below -17.
//   - Elements may be in the hundreds, where exp overflows in float.
#include "chapters/02_linear/exercises/document_recurrence.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::document_recurrence {

// ---- your code ----

namespace {

float phi(float x) { return x > 0 ? x + 1 : std::exp(x); }

}  // namespace

void document_recurrence(const Inputs& in, const Options&, const Outputs& out) {
    const int B = in.q.extent(0), H = in.q.extent(1), N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    std::vector<float> numerator(static_cast<std::size_t>(Dv));
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < H; ++h) {
            // The outputs are the state: after the last token nothing is left to do.
            const TensorView<float, 2> S = out.state.slice(b, h);
            const TensorView<float, 1> z = out.normalizer.slice(b, h);
            for (int i = 0; i < N; ++i) {
                if (i == 0 || in.document(b, i) != in.document(b, i - 1)) {
                    // Set, not multiplied by 0: the last document may have left NaN.
                    std::fill_n(S.data(), S.count(), 0.0f);
                    std::fill_n(z.data(), z.count(), 0.0f);
                }

                // The token's own key first: a query sees it.
                for (int d = 0; d < D; ++d) {
                    const float feature = phi(in.k(b, h, i, d));
                    z(d) += feature;
                    for (int e = 0; e < Dv; ++e) S(d, e) += feature * in.v(b, h, i, e);
                }

                float denominator = 0;
                std::fill(numerator.begin(), numerator.end(), 0.0f);
                for (int d = 0; d < D; ++d) {
                    const float feature = phi(in.q(b, h, i, d));
                    denominator += feature * z(d);
                    for (int e = 0; e < Dv; ++e) numerator[static_cast<std::size_t>(e)] += feature * S(d, e);
                }
                for (int e = 0; e < Dv; ++e) out.out(b, h, i, e) = numerator[static_cast<std::size_t>(e)] / denominator;
            }
        }
}

// ---- end of your code ----

}  // namespace attn::exercises::document_recurrence
