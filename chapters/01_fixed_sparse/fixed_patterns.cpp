// What tiles cost: for each pattern at a usual size, the visible pairs and those that a kernel computes which visits
// whole tiles. With a folder as argument: the pictures of README.md instead.
#include "chapters/01_fixed_sparse/fixed_patterns.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

using namespace attn::fixed_sparse;

namespace {

constexpr int n = 16384;

template <class Pattern>
void print_row(const char* name, const Pattern& pattern) {
    const TileLists square = list_tiles(pattern, Area{n, n}), tall = list_tiles(pattern, Area{n, n}, Tiles{128, 64});
    const auto partial = std::count_if(square.visits.begin(), square.visits.end(),
                                       [](const ListedTile& visit) { return visit.partial != 0; });
    const auto ratio = [](const TileLists& lists) {
        return static_cast<double>(lists.computed_pairs()) / static_cast<double>(lists.pairs);
    };
    fmt::print("{:<46}{:>12}{:>8.2f}{:>9}{:>9}{:>9.2f}{:>9.2f}\n", name, square.pairs,
               100.0 * static_cast<double>(square.pairs) / n / n, square.visits.size(), partial, ratio(square),
               ratio(tall));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2) {
        std::filesystem::create_directories(argv[1]);
        for (const auto& [name, svg] : chapter_pictures())
            std::ofstream(std::filesystem::path(argv[1]) / (name + ".svg")) << svg;
        return 0;
    }
    const GlobalTokens none({}, n), first({0}, n);
    const std::vector<std::int64_t> random = attn::bigbird::draw_random_blocks(1, n / 64, 3, 1);
    const auto rest = [](Kind kind, int key_step, int query_step) {
        SparseTransformerPattern pattern(n, kind, 128, 8, Part::rest);
        pattern.key_step = key_step, pattern.query_step = query_step;
        return pattern;
    };
    fmt::print("n = {}, one head. Visits: tiles of 64 x 64; computed: pairs in visited tiles over visible pairs.\n\n",
               n);
    fmt::print("{:<46}{:>12}{:>8}{:>9}{:>9}{:>9}{:>9}\n", "", "visible", "% of", "visits", "partial", "computed",
               "128 x 64");
    fmt::print("{:<46}{:>12}{:>8}\n", "", "pairs", "n²");
    print_row("causal dense", WindowPattern{{}, n, n, n, 0});
    print_row("sliding window, W = 4096", WindowPattern{{}, n, n, 4096, 0});
    print_row("sliding window, W = 512, 4 sinks", WindowPattern{{}, n, n, 512, 4});
    print_row("Longformer, w = 512, no global token", LongformerPattern(n, 512, 1, false, none));
    print_row("Longformer, w = 256, token 0 global", LongformerPattern(n, 256, 1, false, first));
    print_row("BigBird, blocks of 64, 3 random", BigBirdPattern{{}, n, 64, {random.data(), {{1, n / 64, 3}}}});
    print_row("Sparse Transformer, strided, l = 128", SparseTransformerPattern(n, Kind::strided, 128, 8, Part::merged));
    print_row("  its first part", SparseTransformerPattern(n, Kind::strided, 128, 8, Part::first));
    print_row("  the rest, positions in order", rest(Kind::strided, 1, 1));
    print_row("  the rest, positions sorted by remainder", rest(Kind::strided, 128, 128));
    print_row("Sparse Transformer, fixed, l = 128, c = 8",
              SparseTransformerPattern(n, Kind::fixed, 128, 8, Part::merged));
    print_row("  its first part", SparseTransformerPattern(n, Kind::fixed, 128, 8, Part::first));
    print_row("  the rest, keys in order", rest(Kind::fixed, 1, 1));
    print_row("  the rest, keys sorted by remainder", rest(Kind::fixed, 128, 1));
}
