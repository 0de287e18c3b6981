// Exercise document_chunks: the attention of document_recurrence in chunks. Within a chunk the tokens are taken in
// pairs, as attention does; all that came before it is in the state. Documents begin anywhere, and the first one goes
// on from an earlier sequence.
//
//     out(i) = (phi(q(i)) S + Σ weight(i, j) v(j)) / (phi(q(i)) · z + Σ weight(i, j))
//     weight(i, j) = phi(q(i)) · phi(k(j)), over the j <= i of the chunk which belong to the document of token i
//     S, z: the state before the chunk, where it belongs to the document of token i; otherwise 0
//     phi(x) = x + 1 where x > 0, exp(x) elsewhere, for each element
//
// C++, about 45 minutes, medium. Builds on: document_recurrence, and the chunked form of chapter 02, which has neither
// documents nor a state to begin with. This is how linear attention is trained: the pairs of a chunk are products of
// matrices, and only the chunks have to wait for one another.
//
// What to write: out for each token; states and normalizers as they stand before each chunk; state and normalizer
// after the last token; all in float. The interface says whose state it is where a document begins with a chunk.
//
// Mind:
//   - No, one or many documents begin in a chunk, at its first token, at its last, or at every one.
//   - Of a chunk, only what follows the last border goes into the state; and what the state held goes too.
//   - The initial state belongs to the document of token 0, and to no other. It may be absent.
//   - What a query does not see may be NaN, be it later in the chunk, another document's, or in the state: 0 · NaN is
//     NaN. What it sees may be so too: phi(NaN) is NaN.
//   - Elements of -20 … -30 in all of q and k at once, and elements in the hundreds, as in document_recurrence.
#include "chapters/02_linear/exercises/document_chunks.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::document_chunks {

// ---- your code ----

namespace {

float phi(float x) { return x > 0 ? x + 1 : std::exp(x); }

}  // namespace

void document_chunks(const Inputs& in, const Options& options, const Outputs& out) {
    const int B = in.q.extent(0), H = in.q.extent(1), N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    std::vector<float> numerator(static_cast<std::size_t>(Dv));
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < H; ++h) {
            // The outputs are the state: after the last token nothing is left to do.
            const TensorView<float, 2> S = out.state.slice(b, h);
            const TensorView<float, 1> z = out.normalizer.slice(b, h);
            for (int d = 0; d < D; ++d) {
                z(d) = in.initial_normalizer ? in.initial_normalizer(b, h, d) : 0;
                for (int e = 0; e < Dv; ++e) S(d, e) = in.initial_state ? in.initial_state(b, h, d, e) : 0;
            }
            for (int first = 0; first < N; first += options.chunk) {
                const int end = std::min(N, first + options.chunk), c = first / options.chunk;
                for (int d = 0; d < D; ++d) {
                    out.normalizers(b, h, c, d) = z(d);
                    for (int e = 0; e < Dv; ++e) out.states(b, h, c, d, e) = S(d, e);
                }

                int from = first;       // where in the chunk the keys begin that token i sees
                bool continues = true;  // the document of token i is that of the state
                for (int i = first; i < end; ++i) {
                    if (i > 0 && in.document(b, i) != in.document(b, i - 1)) {
                        from = i;
                        continues = false;
                    }
                    float denominator = 0;
                    std::fill(numerator.begin(), numerator.end(), 0.0f);
                    for (int d = 0; d < D && continues; ++d) {
                        const float feature = phi(in.q(b, h, i, d));
                        denominator += feature * z(d);
                        for (int e = 0; e < Dv; ++e) numerator[static_cast<std::size_t>(e)] += feature * S(d, e);
                    }
                    for (int j = from; j <= i; ++j) {
                        float weight = 0;
                        for (int d = 0; d < D; ++d) weight += phi(in.q(b, h, i, d)) * phi(in.k(b, h, j, d));
                        denominator += weight;
                        for (int e = 0; e < Dv; ++e)
                            numerator[static_cast<std::size_t>(e)] += weight * in.v(b, h, j, e);
                    }
                    for (int e = 0; e < Dv; ++e)
                        out.out(b, h, i, e) = numerator[static_cast<std::size_t>(e)] / denominator;
                }

                // `from` and `continues` are now those of the chunk's last token.
                if (!continues) {
                    std::fill_n(S.data(), S.count(), 0.0f);
                    std::fill_n(z.data(), z.count(), 0.0f);
                }
                for (int j = from; j < end; ++j)
                    for (int d = 0; d < D; ++d) {
                        const float feature = phi(in.k(b, h, j, d));
                        z(d) += feature;
                        for (int e = 0; e < Dv; ++e) S(d, e) += feature * in.v(b, h, j, e);
                    }
            }
        }
}

// ---- end of your code ----

}  // namespace attn::exercises::document_chunks
