// Exercise importance_map: which blocks of a document matter to a query, judged by the compressed keys alone, where
// several documents are packed into one sequence.
//
//     query t sees compressed block i  where  begin(t) <= i d  and  i d + l - 1 <= t
//     p_h(t, i) = softmax of scores(h, t, i), over the i that it sees
//     importance(g, t, J) = Σ_h Σ_i p_h(t, i) · (tokens that compressed block i shares with block J) / d
//                           over the query heads h of key/value head g
//
// C++, about 30 minutes, medium. Builds on: steps [19.4.6-2] and [19.4.6-3], where all positions are one document, and
// l is at most l' (Yuan et al. 2025, arXiv 2502.11089, section 3.3.2; of its equation 9 see "Equation 9 counts from 1"
// in the chapter's README).
//
// What to write: importance, for each key/value head, query and block of l', in float.
//
// Mind:
//   - Blocks lie where they lie: a compressed block may begin in one document and end in the next. Nobody sees it.
//   - A block of l' may have tokens of two documents. What counts in it are the compressed blocks that are seen.
//   - Before a query's document has a complete compressed block, no block matters: 0, not NaN.
//   - A score that is not seen may be NaN or infinite: 0 · NaN is NaN. Scores that are seen may be in the thousands.
//   - The importance of all blocks adds up to l/d for each head.
#include "chapters/06_native_sparse/exercises/importance_map.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::importance_map {

// ---- your code ----

void importance_map(const Inputs& in, const Options& options, const Outputs& out) {
    const int H = in.scores.extent(0), N = in.scores.extent(1), C = in.scores.extent(2);
    const int l = options.compress_block, d = options.compress_stride, L = options.select_block;
    std::vector<float> weights(static_cast<std::size_t>(C));
    std::fill_n(out.importance.data(), out.importance.count(), 0.0f);
    for (int h = 0; h < H; ++h)
        for (int t = 0; t < N; ++t) {
            const int g = h / (H / options.kv_heads);
            const auto sees = [&](int i) { return in.begin(t) <= i * d && i * d + l - 1 <= t; };
            float maximum = -std::numeric_limits<float>::infinity(), sum = 0;
            for (int i = 0; i < C; ++i)
                if (sees(i)) maximum = std::max(maximum, in.scores(h, t, i));
            for (int i = 0; i < C; ++i) {
                if (!sees(i)) continue;
                weights[static_cast<std::size_t>(i)] = std::exp(in.scores(h, t, i) - maximum);
                sum += weights[static_cast<std::size_t>(i)];
            }
            for (int i = 0; i < C; ++i) {
                if (!sees(i)) continue;
                const int first = i * d, end = first + l;
                for (int J = first / L; J * L < end; ++J) {
                    const int shared = std::min(end, J * L + L) - std::max(first, J * L);
                    out.importance(g, t, J) +=
                        weights[static_cast<std::size_t>(i)] / sum * static_cast<float>(shared / d);
                }
            }
        }
}

// ---- end of your code ----

}  // namespace attn::exercises::importance_map
