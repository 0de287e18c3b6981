// Wrong: the pattern of the chapter (pattern.hpp): one document, and a radius in the place of a window.
#include "chapters/01_fixed_sparse/exercises/pattern_pairs.hpp"

#include <algorithm>
#include <vector>

#include "chapters/01_fixed_sparse/pattern.hpp"
#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::pattern_pairs {

// ---- your code ----

void pattern_pairs(const Inputs& in, const Options& options, const Outputs& out) {
    const int n = options.positions, H = in.window.extent(0);
    const int* globals = in.global_tokens.data();
    const fixed_sparse::GlobalTokens global({globals, globals + in.global_tokens.extent(0)}, n);
    for (int h = 0; h < H; ++h) {
        const fixed_sparse::LongformerPattern pattern(n, in.window(h), in.dilation(h), true, global);
        for (int p = 0; p < in.query.extent(0); ++p) out.visible(h, p) = pattern.visible(h, in.query(p), in.key(p));
        out.pairs(h) = pattern.pairs();
    }
}

// ---- end of your code ----

}  // namespace attn::exercises::pattern_pairs
