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

void document_chunks(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out;
    throw NotImplementedYet("document_chunks");  // TODO
}

// ---- end of your code ----

}  // namespace attn::exercises::document_chunks
