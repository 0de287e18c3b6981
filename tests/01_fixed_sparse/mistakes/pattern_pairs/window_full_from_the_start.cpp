// Wrong: the first queries of a document have a whole window too.
#include "chapters/01_fixed_sparse/exercises/pattern_pairs.hpp"

#include <algorithm>
#include <vector>

#include "common/exercise/not_implemented_yet.hpp"

namespace attn::exercises::pattern_pairs {

// ---- your code ----

namespace {

// The keys that a window holds whose query stands `distance` behind the first position of its document. As many
// queries have a key in their window that stands so far in front of the last position.
std::int64_t in_window(std::int64_t distance, int W, int d) { return std::min<std::int64_t>(distance / d + 1, W); }

}  // namespace

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
        for (int document = 0; document < documents; ++document) {
            const int begin = begins[document], end = document + 1 < documents ? begins[document + 1] : n;
            pairs += std::int64_t{W} * (end - begin);
            const int* first = std::lower_bound(globals, globals_end, begin);
            const int* last = std::lower_bound(first, globals_end, end);
            for (const int* g = first; g < last; ++g) {
                pairs += *g - begin + 1 - in_window(*g - begin, W, d);  // of its row, what is not in its window
                pairs += end - *g - in_window(end - 1 - *g, W, d);      // of its column, what has it not in its window
                // The global tokens before it: they are in its row, and it is in their columns.
                for (const int* other = first; other < g; ++other) pairs -= !sees_in_window(*g, *other);
            }
        }
        out.pairs(h) = pairs;
    }
}

// ---- end of your code ----

}  // namespace attn::exercises::pattern_pairs
