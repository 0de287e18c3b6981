// Exercise top_blocks: the blocks that a query attends to, where several documents are packed into one sequence and
// each key/value head has a budget of its own.
//
//     candidates   the blocks of l' that have positions of the query's document up to the query itself
//     forced       the query's own block; the one before it; the document's first. As far as they are candidates
//     the others   by importance, the largest first; of equal ones the lower block first; NaN after all numbers
//
// A query takes n of these, n = budget(g), in this order: the forced ones, then the others. It takes all candidates
// where there are no more than n.
//
// C++, about 25 minutes, easy to medium. Builds on: importance_map; step [19.4.6-4], where all positions are one
// document, all heads have the same n, at least 3, and where NaN comes first or last by where it stands (Yuan et al.
// 2025, arXiv 2502.11089, section 3.3.2: one initial and two local blocks, counted in n).
//
// What to write: selected, for each key/value head and query, in ascending order, the places that are left -1.
//
// Mind:
//   - A document begins anywhere in a block. That block is its first, although it has tokens of another document.
//   - Own, previous and first block may be the same, or two of them: each is taken once, and counts once.
//   - n may be 1 or 2.
//   - Blocks after the query, and of other documents, have an importance too. It says nothing.
//   - Equal importances are common: blocks of which no compressed key is seen have all 0. What does std::sort do with
//     them, and what with a comparison that NaN makes inconsistent?
#include "chapters/06_native_sparse/exercises/top_blocks.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::top_blocks {

// ---- your code ----

void top_blocks(const Inputs& in, const Options& options, const Outputs& out) {
    const int G = in.importance.extent(0), N = in.importance.extent(1), L = options.select_block;
    std::fill_n(out.selected.data(), out.selected.count(), -1);
    std::vector<int> chosen;
    for (int g = 0; g < G; ++g)
        for (int t = 0; t < N; ++t) {
            const int first = in.begin(t) / L, own = t / L;
            chosen.clear();
            for (int J : {own, own - 1, first})
                if (first <= J && J <= own && std::count(chosen.begin(), chosen.end(), J) == 0) chosen.push_back(J);
            const auto forced = static_cast<std::ptrdiff_t>(chosen.size());
            for (int J = first + 1; J < own - 1; ++J) chosen.push_back(J);
            std::stable_sort(chosen.begin() + forced, chosen.end(), [&](int one, int other) {
                const float x = in.importance(g, t, one), y = in.importance(g, t, other);
                return std::isnan(x) || std::isnan(y) ? std::isnan(y) && !std::isnan(x) : x > y;
            });
            const std::size_t budget = static_cast<std::size_t>(in.budget(g));
            if (chosen.size() > budget) chosen.resize(budget);
            std::sort(chosen.begin(), chosen.end());
            std::copy(chosen.begin(), chosen.end(), &out.selected(g, t, 0));
        }
}

// ---- end of your code ----

}  // namespace attn::exercises::top_blocks
