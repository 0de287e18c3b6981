// Wrong: looks at each pair.
#include "chapters/01_fixed_sparse/exercises/pattern_pairs.hpp"

#include <algorithm>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::pattern_pairs {

// ---- your code ----

void pattern_pairs(const Inputs& in, const Options& options, const Outputs& out) {
    const int n = options.positions, H = in.window.extent(0), documents = in.begin.extent(0);
    const int *begins = in.begin.data(), *globals = in.global_tokens.data(),
              *globals_end = globals + in.global_tokens.extent(0);
    auto document_of = [&](int position) { return std::upper_bound(begins, begins + documents, position) - begins; };
    auto is_global = [&](int position) { return std::binary_search(globals, globals_end, position); };
    for (int h = 0; h < H; ++h) {
        const int W = in.window(h), d = in.dilation(h);
        auto sees_in_window = [&](int i, int j) { return (i - j) % d == 0 && (i - j) / d < W; };
        for (int p = 0; p < in.query.extent(0); ++p) {
            const int i = in.query(p), j = in.key(p);
            out.visible(h, p) =
                j <= i && document_of(i) == document_of(j) && (sees_in_window(i, j) || is_global(j) || is_global(i));
        }

        std::int64_t pairs = 0;
        for (int i = 0; i < n; ++i)
            for (int j = 0; j <= i; ++j)
                pairs += document_of(i) == document_of(j) && (sees_in_window(i, j) || is_global(j) || is_global(i));
        out.pairs(h) = pairs;
    }
}

// ---- end of your code ----

}  // namespace attn::exercises::pattern_pairs
