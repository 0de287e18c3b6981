// Judges tile_kinds. The answer looks at each pair, where there are not too many; otherwise, and for the mistakes, it
// adds up what the runs of each row have in each tile.
#include "chapters/01_fixed_sparse/exercises/tile_kinds.hpp"

#include <algorithm>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::tile_kinds;

constexpr int many_positions = 20000;

// What the mistake takes for the pattern of a head, and for a tile that is full.
struct Pattern {
    std::vector<int> begins;
    Options o;
    int W;
    std::string_view mistake;

    Pattern(const Inputs& in, const Options& options, int h, std::string_view of)
        : begins(in.begin.data(), in.begin.data() + in.begin.count()), o(options), W(in.window(h)), mistake(of) {
        if (mistake == "documents_ignored" || mistake == "from_the_chapter") begins.resize(1);
        if (mistake == "window_of_first_head") W = in.window(0);
        if (mistake == "window_without_own") ++W;
        if (mistake == "sinks_forgotten") o.sinks = 0;
    }

    int position(int i) const { return mistake == "mask_top_left" ? i : i + o.keys - o.queries; }

    // The formula, without a mistake.
    bool visible(int i, int j) const {
        const int p = position(i);
        if (p < 0 || j > p) return false;
        int b = 0;  // of the document
        for (int begin : begins)
            if (begin <= p) b = begin;
        return j >= b && (p - j < W || j - b < o.sinks);
    }

    struct Run {
        int begin, end;
        int within(int first, int last) const { return std::max(0, std::min(end, last) - std::max(begin, first)); }
    };
    struct Row {
        Run sinks{0, 0}, window{0, 0};
    };
    // Of a row in the tile of the rows first … last - 1.
    Row row(int i, int first, int last) const {
        const int p = position(i);
        if (p < 0) return {};
        const auto next = std::upper_bound(begins.begin(), begins.end(), p);
        const int b = *(next - 1), document_end = next == begins.end() ? o.keys : *next;
        const int start = std::max(b, (mistake == "edge_not_masked" ? position(first) : p) - W + 1);
        Row result{{b, std::min(b + o.sinks, start)}, {start, p + 1}};
        if (mistake == "own_position_excluded") result.window.end = p;
        if (mistake == "diagonal_not_masked") result.window.end = position(last - 1) + 1;
        if (mistake == "sinks_not_causal") result.window.end = std::max(p + 1, std::min(b + o.sinks, document_end));
        if (mistake == "sinks_of_sequence") result.sinks = {0, std::min(o.sinks, start)};
        if (mistake == "sink_twice") result.sinks.end = std::min(b + o.sinks, p + 1);
        return result;
    }

    int by_corners(int first, int last, int begin, int end) const {
        const int seen =
            visible(first, begin) + visible(first, end - 1) + visible(last - 1, begin) + visible(last - 1, end - 1);
        return seen == 0 ? empty : seen == 4 ? full : partial;
    }

    void fill(TensorView<int, 2> kind) const {
        std::vector<std::int64_t> seen(static_cast<std::size_t>(kind.extent(1)));
        const bool one_by_one = mistake.empty() && o.keys < many_positions;
        for (int row_tile = 0; row_tile < kind.extent(0); ++row_tile) {
            const int first = row_tile * o.rows, last = std::min(first + o.rows, o.queries);
            std::fill(seen.begin(), seen.end(), 0);
            int rows = last - first;
            for (int i = first; i < last; ++i) {
                rows -= mistake == "blind_rows_ignored" && position(i) < 0;
                const Row both = row(i, first, last);
                for (const Run& run : {both.sinks, both.window})
                    for (int tile = run.begin / o.columns; !one_by_one && tile * o.columns < std::min(run.end, o.keys);
                         ++tile)
                        seen[static_cast<std::size_t>(tile)] +=
                            run.within(tile * o.columns, std::min((tile + 1) * o.columns, o.keys));
                for (int j = 0; one_by_one && j < o.keys; ++j)
                    seen[static_cast<std::size_t>(j / o.columns)] += visible(i, j);
            }
            if (mistake == "ragged_never_full") rows = o.rows;
            for (int tile = 0; tile < kind.extent(1); ++tile) {
                const int begin = tile * o.columns, end = std::min(begin + o.columns, o.keys);
                const bool whole = mistake == "ragged_never_full" || mistake == "from_the_chapter";
                const std::int64_t all = std::int64_t{rows} * (whole ? o.columns : end - begin);
                const std::int64_t found = seen[static_cast<std::size_t>(tile)];
                kind(row_tile, tile) = found == 0 ? empty : found == all ? full : partial;
                if (mistake == "corners_decide") kind(row_tile, tile) = by_corners(first, last, begin, end);
            }
        }
    }
};

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    auto kind = make_tensor<int, 3>(
        {in.window.extent(0), (options.queries - 1) / options.rows + 1, (options.keys - 1) / options.columns + 1});
    for (int h = 0; h < in.window.extent(0); ++h)
        Pattern(in, options, h, mistake == "every_pair" ? "" : mistake).fill(view(kind).slice(h));
    judge::Answer result;
    result.add("kind", kind);
    if (mistake == "every_pair" && options.keys >= many_positions) result.finding = judge::Answer::Finding::perhaps;
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "tile_kinds",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's tile lists, head by head: all positions are one document, and tiles with fewer columns "
         "are always partial. What does a row need to know of its document, and which pairs of a tile are there?"},
        {"documents_ignored",
         "equals the answer in which all positions are one document. Which key is the first that a query may see?"},
        {"window_of_first_head",
         "equals the answer in which all heads have the window of the first. Whose tiles are these?"},
        {"window_without_own",
         "equals the answer in which a window shows one key more. Is the query's own key among those that W counts?"},
        {"own_position_excluded",
         "equals the answer in which a query does not see its own key. Does j <= p include equality?"},
        {"mask_top_left",
         "equals the answer in which query i stands at position i. Look at cases with more keys than queries, or "
         "fewer: the last query stands at the last key."},
        {"diagonal_not_masked",
         "equals the answer in which all rows of a tile see up to the position of its last row: what is above the "
         "diagonal of such a tile counts as visible. Up to where does each row see?"},
        {"edge_not_masked",
         "equals the answer in which the windows of all rows of a tile begin where that of its first row does. By how "
         "much does the window move from row to row?"},
        {"corners_decide",
         "equals the answer in which a tile's four corners decide. What may lie between two corners: a document, a "
         "whole window, a border?"},
        {"ragged_never_full",
         "equals the answer in which the last tiles are never full where they have fewer rows or columns. Which pairs "
         "of such a tile are there?"},
        {"blind_rows_ignored",
         "equals the answer in which rows that see nothing are left out when it is told whether all is seen. Of how "
         "many pairs is a tile made that such a row is in?"},
        {"sinks_forgotten", "equals the answer without sinks. Which keys does a query see beside those of its window?"},
        {"sinks_of_sequence",
         "equals the answer in which the first keys of the sequence are the sinks of all documents. To which document "
         "does a sink belong?"},
        {"sinks_not_causal",
         "equals the answer in which a query sees all sinks of its document, those too that come after it. Does j <= p "
         "hold for them?"},
        {"sink_twice",
         "equals the answer in which a sink that is in the window as well is counted twice, so that the sum of a tile "
         "is too large, or by chance the right one. Where must the sinks end if the window begins among them?"},
        {"every_pair",
         "the answers for short sequences are right; a long one takes too long: the work grows with the square of n. "
         "How many keys of a tile are in a run from `begin` to `end`? That needs no look at them.",
         "timed_out"},
    },
    false};

struct Data {
    Tensor<int, 1> begin, window;
    Options options;

    Inputs inputs() const { return {view(begin), view(window)}; }
};

// Documents of `mean` positions, about; 0: a single one.
Data draw(std::uint64_t seed, const Options& options, int heads, int longest_window, int mean) {
    std::vector<int> begins{0};
    for (int p = 1; mean > 0 && p < options.keys; ++p)
        if (random_integer(seed, static_cast<std::uint64_t>(1000 + p), 1, mean) == 1) begins.push_back(p);
    Data data{make_tensor<int, 1>({static_cast<int>(begins.size())}), make_tensor<int, 1>({heads}), options};
    std::copy(begins.begin(), begins.end(), data.begin.begin());
    std::uint64_t counter = 100;
    for (int& window : data.window) window = random_integer(seed, counter++, 1, longest_window);
    return data;
}

void run(judge::Test& test, const Data& data) { test.run(exercise, data.inputs(), data.options); }

TEST_CASE("tile_kinds: whole tiles of one document", "[tile_kinds]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int rows = random_integer(seed, 0, 1, 8), columns = random_integer(seed, 1, 1, 8);
        const int n = rows * columns * random_integer(seed, 2, 2, 4);
        run(test, draw(seed, {n, n, rows, columns, 0}, random_integer(seed, 3, 2, 4), n, 0));
    }
    test.conclude();
}

TEST_CASE("tile_kinds: last tiles with fewer rows and columns", "[tile_kinds]") {
    judge::Test test;
    for (int which = 0; which < 9; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int rows = random_integer(seed, 0, 2, 9), columns = random_integer(seed, 1, 2, 9);
        int n = random_integer(seed, 2, 20, 80);
        if (which % 3 == 0) n = n / rows * rows + 1;  // one row left: the last, which sees the last keys too
        Data data = draw(seed, {n, n, rows, columns, 0}, random_integer(seed, 3, 2, 3), n, 0);
        data.window(1) = n;
        run(test, data);
    }
    run(test, draw(test.seed(9), {1, 1, 3, 4, 0}, 2, 3, 0));
    test.conclude();
}

TEST_CASE("tile_kinds: more or fewer keys than queries", "[tile_kinds]") {
    judge::Test test;
    for (int which = 0; which < 8; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int rows = random_integer(seed, 0, 2, 6), columns = which % 4 ? random_integer(seed, 1, 1, 4) : 1;
        const int keys = random_integer(seed, 2, 8, 50);
        // With fewer keys than queries there is a tile of rows of which some, not all, see nothing.
        const int queries = which % 2
                                ? std::max(1, keys - random_integer(seed, 3, 5, 40))
                                : keys + rows * random_integer(seed, 3, 0, 5) + random_integer(seed, 4, 1, rows - 1);
        Data data = draw(seed, {queries, keys, rows, columns, 0}, 3, keys, 0);
        data.window(2) = keys;
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("tile_kinds: documents", "[tile_kinds]") {
    judge::Test test;
    for (int which = 0; which < 8; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int n = random_integer(seed, 0, 60, 150), rows = random_integer(seed, 1, 2, 9);
        const int mean = which % 2 ? 30 : 5;  // or several within a tile
        run(test, draw(seed, {n - which % 3 * 7, n, rows, random_integer(seed, 2, 2, 9), 0}, 3, n / 2, mean));
    }
    test.conclude();
}

TEST_CASE("tile_kinds: sinks", "[tile_kinds]") {
    judge::Test test;
    for (int which = 0; which < 10; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int n = random_integer(seed, 0, 60, 150), columns = random_integer(seed, 1, 1, 8);
        const int sinks = which % 2 ? random_integer(seed, 2, 1, 5) : columns * random_integer(seed, 2, 1, 2);
        Data data = draw(seed, {n, n, random_integer(seed, 3, 2, 8), columns, sinks}, 3, n / 3, which % 3 ? 40 : 0);
        data.window(1) = n / 2;
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("tile_kinds: 60000 positions", "[tile_kinds]") {
    judge::Test test;
    const std::uint64_t seed = test.seed();
    const int n = random_integer(seed, 0, 55000, 60000);
    run(test, draw(seed, {n, n, 64, 64, random_integer(seed, 1, 1, 100)}, 3, 4000, 5000));
    test.conclude();
}

}  // namespace
