// Wrong: the chapter's choice, for which all positions are one document.
#include "chapters/06_native_sparse/exercises/top_blocks.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::top_blocks {

// ---- your code ----

namespace {

// Whether the first `count` of the chosen blocks have J.
bool has(const int* chosen, int count, int J) { return std::find(chosen, chosen + count, J) != chosen + count; }

}  // namespace

void top_blocks(const Inputs& in, const Options& options, const Outputs& out) {
    const int G = in.importance.extent(0), N = in.importance.extent(1);
    for (int g = 0; g < G; ++g)
        for (int t = 0; t < N; ++t) {
            int* chosen = &out.selected(g, t, 0);
            const int own = t / options.select_block;
            int count = 0;
            for (int J : {0, own - 1, own})
                if (J >= 0 && !has(chosen, count, J)) chosen[count++] = J;
            while (count < in.budget(g) && count <= own) {
                int best = -1;
                for (int J = 0; J <= own; ++J)
                    if (!has(chosen, count, J) && (best < 0 || in.importance(g, t, best) < in.importance(g, t, J)))
                        best = J;
                chosen[count++] = best;
            }
            std::sort(chosen, chosen + count);
            std::fill(chosen + count, chosen + options.width, -1);
        }
}

// ---- end of your code ----

}  // namespace attn::exercises::top_blocks
