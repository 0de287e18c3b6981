// The patterns: predicate, runs, counts and tile lists against sets that are built in another way. Beside each property
// stands the wrong answer that it kills.
#include "chapters/01_fixed_sparse/pattern.hpp"

#include <fstream>
#include <map>

#include "chapters/01_fixed_sparse/fixed_patterns.hpp"
#include "chapters/01_fixed_sparse/picture.hpp"
#include "chapters/01_fixed_sparse/tile_lists.hpp"
#include "tests/01_fixed_sparse/visible_sets.hpp"
#include "tests/support/catch.hpp"

using namespace attn;
using namespace attn::fixed_sparse;

namespace {

// The lists of a pattern against all pairs, one by one: each pair that is visible lies in exactly one visit, a tile
// without one is not visited, and "full" means that each pair is there and visible.
template <class Pattern>
void check_lists(const Pattern& pattern, const Area& area, const Tiles& tiles) {
    const TileLists lists = list_tiles(pattern, area, tiles);
    INFO("tiles of " << tiles.rows << " x " << tiles.columns << ", group " << area.group);
    REQUIRE(lists.row_tiles == (area.rows() + tiles.rows - 1) / tiles.rows);
    REQUIRE(lists.begin.size() == static_cast<std::size_t>(area.heads * lists.row_tiles + 1));
    std::int64_t pairs = 0;
    for (int head = 0; head < area.heads; ++head)
        for (int row_tile = 0; row_tile < lists.row_tiles; ++row_tile) {
            std::map<int, int> seen;  // tile of columns → visible pairs
            const int first = row_tile * tiles.rows, end = std::min(first + tiles.rows, area.rows());
            for (int row = first; row < end; ++row)
                for (int column = 0; column < area.columns; ++column)
                    if (pattern.visible(area.head(head, row), pattern.query(row / area.group), pattern.key(column)))
                        ++seen[column / tiles.columns], ++pairs;
            std::vector<ListedTile> expected;
            for (auto [tile, count] : seen) expected.push_back({tile, count != (end - first) * tiles.columns});
            const std::size_t list = static_cast<std::size_t>(head * lists.row_tiles + row_tile);
            const std::vector<ListedTile> visits(lists.visits.begin() + lists.begin[list],
                                                 lists.visits.begin() + lists.begin[list + 1]);
            REQUIRE(visits == expected);
        }
    CHECK(lists.pairs == pairs);
}

template <class Pattern>
void check_lists(const Pattern& pattern, int heads, int queries, int keys) {
    for (Tiles tiles : {Tiles{1, 1}, Tiles{4, 8}, Tiles{8, 4}, Tiles{64, 64}})
        check_lists(pattern, Area{queries, keys, 1, heads}, tiles);
}

// Predicate, runs, blindness and counts of a pattern against the set of each row.
template <class Pattern>
void check_pattern(const Pattern& pattern, int heads, int queries, int keys, bool pairs_of_all_heads,
                   const std::function<Set(int h, int i)>& set) {
    std::int64_t pairs = 0;
    for (int h = 0; h < heads; ++h)
        for (int i = 0; i < queries; ++i) {
            const Set expected = set(h, i);
            Set seen, of_runs;
            for (int j = 0; j < keys; ++j)
                if (pattern.visible(h, i, j)) seen.insert(j);
            int in_runs = 0;
            pattern.for_each_run(h, i, [&](const Run& run) {
                REQUIRE((run.count >= 1 && run.step >= 1));
                for (int t = 0; t < run.count; ++t) of_runs.insert(run.first + t * run.step), ++in_runs;
            });
            INFO("head " << h << ", query " << i);
            REQUIRE(seen == expected);
            REQUIRE(of_runs == expected);
            REQUIRE(in_runs == static_cast<int>(expected.size()));  // no key is in two runs
            REQUIRE(pattern.blind(h, i) == expected.empty());
            if constexpr (requires { pattern.longest_row(); })
                REQUIRE(static_cast<int>(expected.size()) <= pattern.longest_row());
            pairs += static_cast<std::int64_t>(expected.size());
        }
    CHECK(pattern.pairs() * (pairs_of_all_heads ? 1 : heads) == pairs);
}

int pick(std::uint64_t seed, std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); }

}  // namespace

TEST_CASE("patterns: a window sees W keys, its own included, and the sinks once") {
    // Kills: a window without the own position, or of W + 1; a sink counted twice; positions from the top left.
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        const int keys = pick(seed, 0, 1, 70), queries = seed % 3 == 0 ? pick(seed, 1, 1, 90) : keys;
        const int window = pick(seed, 2, 1, keys + 3), sinks = seed % 2 ? pick(seed, 3, 0, keys + 3) : 0;
        const WindowPattern pattern{{}, queries, keys, window, sinks};
        INFO("seed " << seed << " queries " << queries << " keys " << keys << " W " << window << " sinks " << sinks);
        check_pattern(pattern, 1, queries, keys, false,
                      [&](int, int i) { return window_set(queries, keys, window, sinks, i); });
        check_lists(pattern, 1, queries, keys);
        check_lists(pattern, Area{queries, keys, 3, 1}, Tiles{8, 8});
    }
}

TEST_CASE("patterns: Sparse Transformer, strided and fixed, each part and both") {
    // Kills: l + 1 or c + 1 columns, a key that is in both parts counted twice, a summary of a block not yet read.
    for (std::uint64_t seed = 1; seed <= 60; ++seed)
        for (Kind kind : {Kind::strided, Kind::fixed})
            for (Part part : {Part::merged, Part::first, Part::second, Part::rest}) {
                const int n = pick(seed, 0, 1, 70), l = pick(seed, 1, 1, n + 3), c = pick(seed, 2, 1, l);
                SparseTransformerPattern pattern(n, kind, l, c, part);
                INFO("seed " << seed << " n " << n << " l " << l << " c " << c << " kind " << static_cast<int>(kind)
                             << " part " << static_cast<int>(part));
                check_pattern(pattern, 1, n, n, false,
                              [&](int, int i) { return sparse_transformer_set(kind, l, c, part, i); });
                check_lists(pattern, 1, n, n);
                for (int query_step : {1, l}) {
                    pattern.key_step = l, pattern.query_step = query_step;
                    check_lists(pattern, 1, n, n);
                }
            }
}

TEST_CASE("patterns: Longformer, and its two halves") {
    // Kills: a global token inside the band counted twice, a dilation of w steps of 1, a causal global row that sees
    // all.
    for (std::uint64_t seed = 1; seed <= 60; ++seed)
        for (bool causal : {false, true}) {
            const int n = pick(seed, 0, 1, 70), w = pick(seed, 1, 0, n + 2), dilation = pick(seed, 2, 1, 5);
            Set global;
            for (int t = pick(seed, 3, 0, 4); t > 0; --t)
                global.insert(pick(seed, 3 + static_cast<std::uint64_t>(t), 0, n - 1));
            if (seed % 10 == 0)
                for (int j = 0; j < n; ++j) global.insert(j);
            const GlobalTokens tokens({global.rbegin(), global.rend()}, n);
            LongformerPattern pattern(n, w, dilation, causal, tokens);
            INFO("seed " << seed << " n " << n << " w " << w << " dilation " << dilation << " global " << global.size()
                         << " causal " << causal);
            check_pattern(pattern, 1, n, n, false,
                          [&](int, int i) { return longformer_set(n, w, dilation, global, causal, i); });
            for (int step : {1, dilation}) {
                pattern.key_step = pattern.query_step = step;
                check_lists(pattern, 1, n, n);
                check_lists(LongformerLocal(pattern), 1, n, n);
            }
            pattern.key_step = pattern.query_step = 1;
            const int rows = static_cast<int>(global.size());
            if (rows > 0) check_lists(LongformerGlobal(pattern), 1, rows, n);
            // Each row is in one of the halves.
            std::int64_t pairs = list_tiles(LongformerLocal(pattern), Area{n, n}).pairs;
            if (rows > 0) pairs += list_tiles(LongformerGlobal(pattern), Area{rows, n}).pairs;
            CHECK(pairs == pattern.pairs());
        }
}

TEST_CASE("patterns: BigBird's blocks are a set, for each head its own") {
    // Kills: a block counted twice where it is drawn and fixed, the blocks of head 0 for all, -1 as block -1.
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        const int blocks = pick(seed, 0, 1, 9), block = pick(seed, 1, 1, 8), n = blocks * block;
        const int heads = pick(seed, 2, 1, 3), r = pick(seed, 3, 1, 4);
        // Anything that a case may hold, duplicates and fixed blocks and padding among them.
        std::vector<std::int64_t> random(static_cast<std::size_t>(heads * blocks * r));
        for (std::size_t index = 0; index < random.size(); ++index)
            random[index] = pick(seed, 100 + index, -1, blocks - 1);
        const TensorView<const std::int64_t, 3> view(random.data(), {{heads, blocks, r}});
        const BigBirdPattern pattern{{}, n, block, view};
        INFO("seed " << seed << " blocks " << blocks << " of " << block << " heads " << heads << " r " << r);
        check_pattern(pattern, heads, n, n, true, [&](int h, int i) { return bigbird_set(n, block, view, h, i); });
        check_lists(pattern, heads, n, n);
    }
}

TEST_CASE("patterns: pairs that were counted elsewhere") {
    CHECK(WindowPattern{{}, 10, 10, 4, 0}.pairs() == 34);
    CHECK(WindowPattern{{}, 10, 10, 4, 2}.pairs() == 45);
    const auto sparse = [](Kind kind, Part part) { return SparseTransformerPattern(100, kind, 8, 2, part).pairs(); };
    CHECK(sparse(Kind::strided, Part::first) == 772);
    CHECK(sparse(Kind::strided, Part::second) == 676);
    CHECK(sparse(Kind::strided, Part::merged) == 1348);
    CHECK(sparse(Kind::fixed, Part::first) == 442);
    CHECK(sparse(Kind::fixed, Part::second) == 1188);
    CHECK(sparse(Kind::fixed, Part::merged) == 1594);
    const auto longformer = [](int dilation, bool causal, const std::vector<int>& global) {
        const GlobalTokens tokens(global, 17);
        return LongformerPattern(17, 3, dilation, causal, tokens).pairs();
    };
    CHECK(longformer(1, false, {}) == 107);
    CHECK(longformer(2, false, {}) == 95);
    CHECK(longformer(2, true, {}) == 56);
    CHECK(longformer(1, false, {0, 9}) == 151);
    CHECK(longformer(1, true, {0, 9}) == 84);
    // 64 blocks of 64, 3 random ones: 622 pairs of blocks, 15.2 % of all.
    const std::vector<std::int64_t> random = bigbird::draw_random_blocks(1, 64, 3, 1);
    CHECK(BigBirdPattern{{}, 4096, 64, {random.data(), {{1, 64, 3}}}}.pairs() == 622 * 64 * 64);
}

TEST_CASE("patterns: large ones are listed without looking at n² pairs, and their counts are the closed forms") {
    constexpr int n = 16384;
    const GlobalTokens none({}, n), first({0}, n);
    // A window of 512 to each side: tiles of 128 queries x 64 keys compute at most 19 % more pairs than there are.
    const LongformerPattern band(n, 512, 1, false, none);
    const TileLists lists = list_tiles(band, Area{n, n}, Tiles{128, 64});
    CHECK(lists.pairs == band.pairs());
    CHECK(static_cast<double>(lists.computed_pairs()) <= 1.19 * static_cast<double>(lists.pairs));
    CHECK(lists.computed_pairs() == std::int64_t{128} * 64 * (128 * 18 - 2 * (8 + 6 + 4 + 2)));

    const LongformerPattern with_global(n, 256, 1, false, first);
    CHECK(list_tiles(with_global, Area{n, n}).pairs == with_global.pairs());
    const WindowPattern window{{}, n, n, 4096, 4};
    CHECK(list_tiles(window, Area{n, n}).pairs == window.pairs());
    SparseTransformerPattern strided(n, Kind::strided, 128, 1, Part::merged);
    CHECK(list_tiles(strided, Area{n, n}).pairs == strided.pairs());
    const SparseTransformerPattern fixed(n, Kind::fixed, 128, 8, Part::merged);
    CHECK(list_tiles(fixed, Area{n, n}).pairs == fixed.pairs());
}

TEST_CASE("patterns: sorted by remainder, every l-th position is a neighbour") {
    constexpr int n = 16384, l = 128;
    SparseTransformerPattern second(n, Kind::strided, l, 1, Part::second);
    const std::int64_t in_order = list_tiles(second, Area{n, n}).computed_pairs();
    second.key_step = second.query_step = l;
    const TileLists sorted = list_tiles(second, Area{n, n});
    CHECK(sorted.pairs == second.pairs());
    CHECK(sorted.computed_pairs() * 40 < in_order);
    for (int length : {1, 5, 12, 13, 100})
        for (int step : {1, 2, 5, 12, 40}) {
            const ByRemainder order{length, step, step};
            Set seen;
            for (int place = 0; place < length; ++place) {
                seen.insert(order.query(place));
                CHECK(order.column(order.key(place)) == place);
            }
            CHECK((*seen.begin() == 0 && *seen.rbegin() == length - 1 && static_cast<int>(seen.size()) == length));
        }
}

TEST_CASE("work: every visit is in one part, no part is longer than asked for, the longest come first") {
    const GlobalTokens tokens({3, 40}, 200);
    const LongformerPattern pattern(200, 5, 1, false, tokens);
    const TileLists lists = list_tiles(pattern, Area{200, 200}, Tiles{8, 8});
    for (int most : {1, 2, 7, 100}) {
        const Plan plan = plan_work(lists, most);
        std::map<int, int> covered;
        std::map<std::pair<int, int>, std::vector<int>> parts;
        int before = most;
        for (const Work& work : plan.work) {
            CHECK(work.end - work.begin <= before);
            before = work.end - work.begin;
            for (int visit = work.begin; visit < work.end; ++visit) ++covered[visit];
            if (work.part >= 0) parts[{work.head, work.row_tile}].push_back(work.part);
        }
        CHECK(covered.size() == lists.visits.size());
        for (auto [visit, times] : covered) CHECK(times == 1);
        CHECK(plan.joints.size() == parts.size());
        int all = 0;
        for (const Joint& joint : plan.joints) {
            CHECK(static_cast<int>(parts[{joint.head, joint.row_tile}].size()) == joint.parts);
            CHECK(joint.first_part == all);
            all += joint.parts;
        }
        CHECK(plan.parts == all);
        if (most == 100) CHECK(all == 0);
        if (most == 7) CHECK(all == 8);  // two rows of 25 tiles
    }
}

TEST_CASE("BigBird's own sampler: different blocks that are not fixed, all equally likely, a pure function") {
    // Kills: a block drawn twice, one that is seen anyway, the released code's preference for the first blocks.
    constexpr int heads = 200, blocks = 12, r = 3;
    const std::vector<std::int64_t> drawn = bigbird::draw_random_blocks(heads, blocks, r, 5);
    CHECK(drawn == bigbird::draw_random_blocks(heads, blocks, r, 5));
    CHECK(drawn != bigbird::draw_random_blocks(heads, blocks, r, 6));
    std::vector<int> times(blocks);
    for (int h = 0; h < heads; ++h)
        for (int I = 0; I < blocks; ++I) {
            const std::int64_t* row = drawn.data() + (h * blocks + I) * r;
            if (I == 0 || I == blocks - 1) {
                CHECK((row[0] == -1 && row[1] == -1 && row[2] == -1));
                continue;
            }
            CHECK((row[0] < row[1] && row[1] < row[2] && row[0] >= 1 && row[2] <= blocks - 2));
            for (int t = 0; t < r; ++t) CHECK(std::abs(row[t] - I) > 1);
            if (I == 6)
                for (int t = 0; t < r; ++t) ++times[static_cast<std::size_t>(row[t])];
        }
    // Row 6 draws 3 of the 7 blocks 1 … 4 and 8 … 10: each in 3/7 of the heads. χ² of 6 degrees of freedom, at 0.1 %.
    double chi_square = 0;
    for (int J : {1, 2, 3, 4, 8, 9, 10}) {
        const double expected = heads * 3.0 / 7;
        chi_square += (times[static_cast<std::size_t>(J)] - expected) *
                      (times[static_cast<std::size_t>(J)] - expected) / expected;
    }
    CHECK(chi_square < 22.5);
    for (std::int64_t J : bigbird::draw_random_blocks(4, 40, 3, 1, 11)) CHECK(J < 11);
    CHECK(bigbird::draw_random_blocks(1, 5, 4, 1)[2 * 4 + 1] == -1);  // nothing is left to draw
}

TEST_CASE("pictures: drawn from the predicate") {
    CHECK(terminal_picture(WindowPattern{{}, 3, 4, 2, 1}, 0, 3, 4) == "    ■ ■ · ·\n    ■ ■ ■ ·\n    ■ · ■ ■\n");
    // Four pairs on the diagonal; two partial tiles of 2 x 2.
    const std::string svg = svg_picture(WindowPattern{{}, 4, 4, 1, 0}, 4, 2);
    CHECK_THAT(svg, Catch::Contains("d=\"M0 0h4v4h-4zM5 5h4v4h-4zM10 10h4v4h-4zM15 15h4v4h-4z\""));
    CHECK_THAT(svg, Catch::Contains("d=\"M0 0h9v9h-9zM10 10h9v9h-9z\""));
}

TEST_CASE("pictures: those of the README are what the program draws") {
    const auto pictures = chapter_pictures();
    CHECK(pictures.size() == 6);
    for (const auto& [name, svg] : pictures) {
        std::ifstream file(ATTN_SOURCE_FOLDER "/chapters/01_fixed_sparse/pictures/" + name + ".svg");
        const std::string committed{std::istreambuf_iterator<char>(file), {}};
        INFO(name);
        CHECK((committed == svg));
    }
}
