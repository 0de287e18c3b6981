// Exercise pattern_pairs: the predicate of a fixed pattern, and how many pairs it lets through. Causal windows, of
// which each head has its own width and dilation, and global tokens, over documents that are packed one behind the
// other:
//
//     query i sees key j where  j <= i, both are of one document, and one of these holds:
//         i - j = t · d with 0 <= t < W      (the window of head h: W = window(h), d = dilation(h))
//         j is a global token                (it is seen by all that come after it)
//         i is a global token                (it sees all that came before it)
//
// C++, about 35 minutes, medium. Builds on: pattern.hpp, where all heads have one window and dilation, and there is one
// document. Longformer has a dilation for each head (arXiv 2004.05150, section 3.1).
//
// What to write: for each head
//   visible  whether query(p) sees key(p), for each of the P pairs that are asked for
//   pairs    how many pairs are visible in all, among them the n of a query with its own key. With a million positions
//            nobody looks at each pair: the keys in the windows of a document are a formula, and the global tokens,
//            which are few, add to it what is not in a window. n steps for each head are few enough, n² or n · W are
//            not, nor is one step for each position and global token. Pairs of global tokens may be looked at.
//
// Mind:
//   - A window counts keys, not positions: with W = 3 and d = 4 they are i, i - 4 and i - 8.
//   - The first queries of a document see less than a window.
//   - A key counts once: it may be in the window and global, and the pair of two global tokens is in a row and in a
//     column.
//   - A global token belongs to its document like any other.
//   - A million positions make more pairs than an int can count.
#include "chapters/01_fixed_sparse/exercises/pattern_pairs.hpp"

#include <algorithm>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::pattern_pairs {

// ---- your code ----

void pattern_pairs(const Inputs& in, const Options& options, const Outputs& out) {
    (void)in, (void)options, (void)out;
    throw NotImplementedYet("pattern_pairs");  // TODO
}

// ---- end of your code ----

}  // namespace attn::exercises::pattern_pairs
