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
    (void)in, (void)options, (void)out;
    throw NotImplementedYet("top_blocks");  // TODO
}

// ---- end of your code ----

}  // namespace attn::exercises::top_blocks
