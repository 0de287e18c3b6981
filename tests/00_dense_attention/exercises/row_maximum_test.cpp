// Judges row_maximum. The answer goes over each row from its end, without threads or a tree. The usual mistakes are
// made in a tree of 256 threads, one after the other.
#include "chapters/00_dense_attention/exercises/row_maximum.hpp"

#include <cmath>
#include <limits>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::row_maximum;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr int threads = 256;

struct Best {
    double value;
    int column;
};

// What one block makes of row `row`.
Best mistaken_row(const TensorView<const float, 2>& x, int row, std::string_view mistake) {
    const int columns = x.extent(1);
    const bool any_equal_one = mistake == "ties_by_thread", last_equal_one = mistake == "last_of_equals";
    auto larger = [](const Best& a, const Best& b) { return a.value > b.value; };
    auto wins = [&](const Best& a, const Best& b) {
        const bool tied = a.value == b.value && (last_equal_one || (!any_equal_one && a.column < b.column));
        return larger(a, b) || tied;
    };

    std::vector<Best> best(threads, Best{-infinity, columns});
    for (int thread = 0; thread < threads; ++thread) {
        Best& mine = best[thread];
        if (mistake == "starts_at_zero") mine = {0, 0};
        if (mistake == "starts_with_first" && thread < columns) mine = {x(row, thread), thread};
        if (mistake == "index_of_thread") mine.column = thread;
        const int end = mistake == "one_column_each" ? std::min(columns, threads) : columns;
        for (int column = thread; column < end; column += threads) {
            const Best candidate = {x(row, column), mistake == "index_of_thread" ? thread : column};
            if (mistake == "minus_infinity_loses" ? larger(candidate, mine) : wins(candidate, mine)) mine = candidate;
        }
    }

    const int entries = mistake == "tree_of_columns" ? std::min(columns, threads) : threads;
    const int last_half = mistake == "tree_stops_early" ? 2 : 1;
    auto step = [&](int thread, int half) {
        if (thread < half && wins(best[thread + half], best[thread])) best[thread] = best[thread + half];
    };
    for (int half = entries / 2; half >= last_half; half /= 2)
        for (int thread = 0; thread < threads; ++thread) step(thread, half);
    return best[0];
}

// Whether the emulator ends the kernel with a finding in this case.
bool is_ended(int columns, std::string_view mistake) {
    if (mistake == "no_barrier" || mistake == "tree_without_barriers") return true;
    if (mistake == "early_return") return columns < threads;
    if (mistake == "barrier_in_loop" || mistake == "end_of_row_ignored") return columns % threads != 0;
    return false;
}

judge::Answer answer(const Inputs& in, const Options&, std::string_view mistake) {
    const int rows = in.x.extent(0), columns = in.x.extent(1);
    auto maximum = make_tensor<double, 1>({rows}, -infinity);
    auto index = make_tensor<int, 1>({rows}, columns);
    for (int row = 0; row < rows; ++row)
        if (mistake.empty() || mistake == "from_the_chapter") {
            for (int column = columns - 1; column >= 0;
                 --column)  // from the end, so that the first of equal ones stays
                if (in.x(row, column) >= maximum(row)) maximum(row) = in.x(row, column), index(row) = column;
            if (mistake == "from_the_chapter") index(row) = -1;  // as all outputs begin on the device: bits of 1
        } else {
            const Best best = mistaken_row(in.x, row, mistake);
            maximum(row) = best.value, index(row) = best.column;
        }
    judge::Answer result;
    if (is_ended(columns, mistake)) result.finding = judge::Answer::Finding::always;
    result.add("maximum", maximum);
    result.add("index", index);
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "row_maximum",
    &answer,
    {
        {"from_the_chapter",
         "has the right maxima and has not written an index, like the softmax of the chapter. Its shuffles carry one "
         "number: what must travel with it, so that the column is known at the end?"},
        {"starts_at_zero",
         "equals the answer of threads that begin with 0 at column 0. Look at rows of negative numbers: what can a "
         "thread hold that loses against every one of them?"},
        {"starts_with_first",
         "equals the answer of threads that begin with their first element whatever it is. Look at rows that hold NaN: "
         "which comparisons with NaN are true?"},
        {"one_column_each",
         "equals the answer in which each thread looks at one column only. Look at rows of more than 256 columns: who "
         "comes to the others?"},
        {"index_of_thread",
         "has the right maxima, and its index is the number of the thread that held them. The two are the same only in "
         "the first 256 columns."},
        {"ties_by_thread",
         "equals the answer in which only a larger value wins. Look at two equal maxima: in the tree, the thread with "
         "the lower number may hold the later column."},
        {"last_of_equals",
         "equals the answer in which the value looked at later wins when both are equal. Which column is asked for "
         "then? Look at both places where two values are compared."},
        {"minus_infinity_loses",
         "is right but for the index of rows of -inf. The maximum of such a row stands in a column too: does any "
         "element win against what a thread begins with?"},
        {"tree_of_columns",
         "equals the answer of a tree that begins with as many entries as there are columns. Take 5 of them: in which "
         "step is the fifth compared?"},
        {"tree_stops_early",
         "equals the answer of a tree without its last step. How many entries are left when it ends? Go through the "
         "values that its loop takes."},
        {"tree_without_barriers",
         "the emulator found a data race: a thread goes on to the next step of the tree before another has written "
         "what "
         "it takes there. What makes it wait for the others, in each step?",
         "race", "in shared memory"},
        {"no_barrier",
         "the emulator found entries of shared memory read before they were written, however long the rows. The "
         "thread that writes them had not come so far: what makes the others wait?",
         "never_written", "in shared memory"},
        {"early_return",
         "the emulator found entries of shared memory that nobody writes, in rows shorter than the block. The tree "
         "reads an entry of each of the 256 threads: what do those do that have no column?",
         "never_written", "in shared memory"},
        {"barrier_in_loop",
         "the emulator found threads of one block at different barriers. Threads go through a loop over the columns a "
         "different number of times: which barrier do they meet, and how often?",
         "barrier", "wait at different barriers"},
        {"end_of_row_ignored",
         "the emulator found a read beyond the end of x. The last round over the columns is seldom a whole one: which "
         "threads have a column in it?",
         "out_of_bounds", "reads 4 bytes"},
    }};

// A size in each of the classes that a block of 256 threads tells apart.
std::vector<int> draw_columns(std::uint64_t seed) {
    auto between = [&](int low, int high) { return random_integer(seed, 100 + high, low, high); };
    return {1,
            2,
            between(3, 8),
            between(9, 63),
            between(65, 127),
            128,
            between(129, 254),
            255,
            256,
            257,
            between(258, 511),
            512,
            between(513, 1100)};
}

TEST_CASE("row_maximum: any number of columns", "[row_maximum]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which)
        for (int columns : draw_columns(test.seed(which))) {
            const std::uint64_t seed = test.seed(1000 * which + columns);
            auto x = make_tensor<float, 2>({random_integer(seed, 0, 1, 6), columns});
            fill_normal(view(x), seed, 3);
            for (int row = 1; row < view(x).extent(0); row += 2)  // negative ones only
                for (int column = 0; column < columns; ++column) x(row, column) -= 100;
            test.run(exercise, {view(x)}, {});
        }
    test.conclude();
}

TEST_CASE("row_maximum: the maximum in every column", "[row_maximum]") {
    judge::Test test;
    constexpr int rows = 37;
    int which = 0;
    for (int columns : {random_integer(test.seed(), 0, 20, 100), random_integer(test.seed(), 1, 257, 300)})
        for (int first = 0; first < columns; first += rows) {
            const std::uint64_t seed = test.seed(which++);
            auto x = make_tensor<float, 2>({std::min(rows, columns - first), columns});
            fill_normal(view(x), seed);
            for (int row = 0; row < view(x).extent(0); ++row) x(row, first + row) = static_cast<float>(10 + row);
            test.run(exercise, {view(x)}, {});
        }
    test.conclude();
}

TEST_CASE("row_maximum: the first of equal values", "[row_maximum]") {
    judge::Test test;
    int which = 0;
    for (int repeat = 0; repeat < 4; ++repeat)
        for (int least : {3, 40, 256, 600, 1025}) {
            const std::uint64_t seed = test.seed(which++);
            const int columns = least == 256 ? 256 : random_integer(seed, 0, least, least + least / 4);
            auto x = make_tensor<float, 2>({6, columns});
            for (int row = 1; row < 6; ++row)  // and a row of one value
                for (int column = 0; column < columns; ++column)
                    x(row, column) = static_cast<float>(
                        random_integer(seed + 1, static_cast<std::uint64_t>(row) * columns + column, 0, 3));
            // Two equal ones in different threads; in a long row the later column in the thread with the lower number.
            x(3, columns - 1) = x(3, columns / 2) = 9;
            if (columns > 256) {
                const int thread = random_integer(seed, 1, 1, 255), other = random_integer(seed, 2, 0, thread - 1);
                x(4, thread) = 9;
                x(4, other + 256) = 9;
                x(5, 255) = x(5, 256) = 9;
            }
            test.run(exercise, {view(x)}, {});
        }
    test.conclude();
}

TEST_CASE("row_maximum: NaN does not count", "[row_maximum]") {
    judge::Test test;
    int which = 0;
    for (int repeat = 0; repeat < 4; ++repeat)
        for (int least : {2, 5, 60, 256, 500}) {
            const std::uint64_t seed = test.seed(which++);
            const int columns = least == 256 ? 256 : random_integer(seed, 0, least, least + least / 4);
            auto x = make_tensor<float, 2>({6, columns});
            fill_normal(view(x), seed);
            for (std::int64_t position = 0; position < view(x).count(); ++position)
                if (random_uniform(seed + 1, static_cast<std::uint64_t>(position)) < 0.5)
                    x.data()[position] = nan_value;
            const int left = random_integer(seed, 1, 0, columns - 1);
            for (int column = 0; column < columns; ++column) {
                x(1, column) = nan_value;                                     // NaN alone
                if (column != left) x(2, column) = nan_value;                 // at most one number left
                x(3, column) = column % 2 ? nan_value : -infinity;            // NaN and -inf
                x(4, column) = column < columns / 2 ? nan_value : -infinity;  // -inf only behind them
            }
            x(5, 0) = nan_value;
            test.run(exercise, {view(x)}, {});
        }
    test.conclude();
}

TEST_CASE("row_maximum: infinities", "[row_maximum]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int columns = random_integer(seed, 0, 2 + 150 * which, 10 + 200 * which);
        auto x = make_tensor<float, 2>({4, columns}, -infinity);
        fill_normal(view(x).slice(2), seed);
        fill_normal(view(x).slice(3), seed + 1);
        auto any_column = [&](std::uint64_t counter) { return random_integer(seed, counter, 0, columns - 1); };
        x(1, any_column(1)) = std::numeric_limits<float>::lowest();
        x(2, any_column(2)) = x(2, any_column(3)) = infinity;
        x(3, columns - 1) = infinity;
        test.run(exercise, {view(x)}, {});
    }
    test.conclude();
}

}  // namespace
