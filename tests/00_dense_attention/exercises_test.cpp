// The solutions of the exercises of chapter 00 are right, and each usual wrong answer fails here. The oracles work in
// double and in other loops than the solutions. "Kills:" names the wrong answers for which a test is there.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "common/tensor/random.hpp"
#include "common/tensor/shape_check.hpp"
#include "common/tensor/tensor.hpp"
#include "tests/00_dense_attention/exercises_on_device.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

template <class T, int N>
std::string index_of(const TensorView<T, N>& tensor, std::int64_t position) {
    Shape<N> index;
    for (int dimension = N - 1; dimension >= 0; --dimension) {
        index[dimension] = static_cast<int>(position % tensor.extent(dimension));
        position /= tensor.extent(dimension);
    }
    return text(index);
}

// Each element within `bound`, relative to itself or to `magnitude` (of the sum that made it), whichever is larger; NaN
// and the infinities stand in the same places.
template <std::size_t N>
void check_close(const char* name, const xt::xtensor<float, N>& result, const xt::xtensor<double, N>& expected,
                 double bound, double magnitude = 0) {
    std::int64_t misplaced = 0, wrong = 0, first = -1;
    for (std::int64_t position = 0; position < view(result).count(); ++position) {
        const double found = result.data()[position], wanted = expected.data()[position];
        bool bad;
        if (!std::isfinite(wanted) || !std::isfinite(found)) {
            bad = std::isnan(wanted) ? !std::isnan(found) : !(found == wanted);
            misplaced += bad;
        } else {
            const double error = std::abs(found - wanted);
            bad = !(error <= bound * std::max(std::abs(wanted), magnitude));
            wrong += bad;
        }
        if (bad && first < 0) first = position;
    }
    if (first < 0) {
        SUCCEED();
        return;
    }
    FAIL_CHECK(name << ": " << misplaced << " NaN or infinities misplaced, " << wrong
                    << " finite elements wrong; first " << index_of(view(result), first) << ", found "
                    << result.data()[first] << ", expected " << expected.data()[first]);
}

template <std::size_t N>
void check_equal(const char* name, const xt::xtensor<int, N>& result, const xt::xtensor<int, N>& expected) {
    for (std::int64_t position = 0; position < view(result).count(); ++position)
        if (result.data()[position] != expected.data()[position]) {
            FAIL_CHECK(name << ": first wrong at " << index_of(view(result), position) << ", found "
                            << result.data()[position] << ", expected " << expected.data()[position]);
            return;
        }
    SUCCEED();
}

// ---- row_maximum ----------------------------------------------------------------------------------------------------

void judge_row_maximum(const Tensor<float, 2>& x) {
    namespace exercise = exercises::row_maximum;
    const int rows = view(x).extent(0), columns = view(x).extent(1);
    INFO("x " << text(view(x).shape()));
    auto maximum = make_tensor<float, 1>({rows}, nan_value);
    auto index = make_tensor<int, 1>({rows}, -7);
    exercises::run(exercise::Inputs{view(x)}, exercise::Options{}, exercise::Outputs{view(maximum), view(index)});

    auto expected = make_tensor<double, 1>({rows}, -infinity);
    auto expected_index = make_tensor<int, 1>({rows}, columns);
    for (int column = columns - 1; column >= 0; --column)  // from the end, so that the first of equal ones stays
        for (int row = 0; row < rows; ++row)
            if (x(row, column) >= expected(row)) expected(row) = x(row, column), expected_index(row) = column;
    check_close("maximum", maximum, expected, 0);
    check_equal("index", index, expected_index);
}

// Kills: a tree over the threads that have a column only, or that starts or ends a step too early; one column for each
// thread; the first or last column left out; a sum or a minimum; the maximum started at 0 (all values are negative in
// odd rows); row 0 for all; the thread's number as the index; a missing barrier.
TEST_CASE("row_maximum: any number of columns", "[row_maximum]") {
    for (std::uint64_t seed = 1; seed <= 4; ++seed)
        for (int columns :
             {1, 2, 31, 33, 127, 128, 129, 255, 256, 257, 300, 511, 513, 1000, random_integer(seed, 0, 3, 700)}) {
            INFO("seed " << seed);
            auto x = make_tensor<float, 2>({random_integer(seed, 1, 1, 9), columns});
            fill_normal(view(x), seed, 3);
            for (int row = 1; row < view(x).extent(0); row += 2)
                for (int column = 0; column < columns; ++column) x(row, column) -= 100;
            judge_row_maximum(x);
        }
}

// Kills: the same where they only miss a maximum in certain columns.
TEST_CASE("row_maximum: the maximum in every column", "[row_maximum]") {
    for (int columns : {70, 259}) {
        auto x = make_tensor<float, 2>({columns, columns});
        fill_normal(view(x), 5);
        for (int row = 0; row < columns; ++row) x(row, row) = 10 + static_cast<float>(row);
        judge_row_maximum(x);
    }
}

// Kills: of equal values the last column; that of the thread with the lower number, or whichever the tree met first.
TEST_CASE("row_maximum: the first of equal values", "[row_maximum]") {
    for (std::uint64_t seed = 1; seed <= 6; ++seed)
        for (int columns : {40, 256, 700, 1025}) {
            INFO("seed " << seed);
            auto x = make_tensor<float, 2>({8, columns});
            for (std::int64_t position = 0; position < view(x).count(); ++position)  // 0 … 3, and rows of one value
                x.data()[position] = static_cast<float>(random_integer(seed, position, 0, position < columns ? 0 : 3));
            // Two equal ones in different threads, the later column in the thread with the lower number.
            x(3, columns - 1) = x(3, columns / 2) = 9;
            if (columns > 256) x(4, 255) = x(4, 256) = 9;
            if (columns > 256) x(5, 200) = x(5, 257) = 9;
            judge_row_maximum(x);
        }
}

// Kills: NaN that wins; NaN that ends a thread's part; the index 0, or none, for a row of NaN.
TEST_CASE("row_maximum: NaN does not count", "[row_maximum]") {
    for (std::uint64_t seed = 1; seed <= 6; ++seed)
        for (int columns : {5, 256, 600}) {
            INFO("seed " << seed);
            auto x = make_tensor<float, 2>({6, columns});
            fill_normal(view(x), seed);
            for (std::int64_t position = 0; position < view(x).count(); ++position)
                if (random_uniform(seed + 100, position) < 0.5) x.data()[position] = nan_value;
            for (int column = 0; column < columns; ++column) {
                x(1, column) = nan_value;                                     // NaN alone
                if (column != columns - 2) x(2, column) = nan_value;          // one number left
                x(3, column) = column % 2 ? nan_value : -infinity;            // NaN and -inf
                x(4, column) = column < columns / 2 ? nan_value : -infinity;  // -inf only behind them
            }
            x(5, 0) = nan_value;
            judge_row_maximum(x);
        }
}

// Kills: "nothing seen yet" that a real -inf cannot beat, so that the index of a row of -inf is missing.
TEST_CASE("row_maximum: infinities", "[row_maximum]") {
    auto x = make_tensor<float, 2>({4, 300}, -infinity);
    fill_normal(view(x).slice(2), 7);
    x(1, 280) = std::numeric_limits<float>::lowest();
    x(2, 270) = x(2, 40) = infinity;
    x(3, 299) = infinity;
    judge_row_maximum(x);
}

// ---- warp_reduction -------------------------------------------------------------------------------------------------

void judge_warp_reduction(Tensor<float, 2> x, const Tensor<int, 1>& lengths) {
    namespace exercise = exercises::warp_reduction;
    const int rows = view(x).extent(0), columns = view(x).extent(1);
    INFO("x " << text(view(x).shape()));
    auto expected_sum = make_tensor<double, 1>({rows}), expected_squares = make_tensor<double, 1>({rows});
    double largest = 0;
    for (int row = 0; row < rows; ++row) {
        const int length = lengths(row);
        for (int column = length; column < columns; ++column) x(row, column) = nan_value;  // not to be read
        for (int column = 0; column < length; ++column) expected_sum(row) += x(row, column);
        for (int column = 0; column < length; ++column)
            largest = std::max(largest, std::abs(static_cast<double>(x(row, column))));
        // Half the mean square of all differences of two elements: no mean needed.
        for (int a = 0; a < length; ++a)
            for (int b = 0; b < a; ++b) {
                const double difference = static_cast<double>(x(row, a)) - x(row, b);
                expected_squares(row) += difference * difference / length;
            }
    }
    auto sum = make_tensor<float, 1>({rows}, nan_value), squares = sum;
    exercises::run(exercise::Inputs{view(std::as_const(x)), view(lengths)}, exercise::Options{},
                   exercise::Outputs{view(sum), view(squares)});
    // A sum of at most `columns` numbers up to `largest`, each lane and each shuffle rounding once.
    check_close("sum", sum, expected_sum, 1e-6, largest * std::sqrt(columns));
    // The mean is off by a rounding or two of the largest element, which enters squared.
    check_close("squared_deviations", squares, expected_squares, 3e-5, 1e-5 * largest * largest);
}

Tensor<float, 2> around(double mean, std::uint64_t seed, int rows, int columns) {
    auto x = make_tensor<float, 2>({rows, columns});
    for (int row = 0; row < rows; ++row)
        for (int column = 0; column < columns; ++column)
            x(row, column) = static_cast<float>(
                mean + row + random_normal(seed, static_cast<std::uint64_t>(row) * columns + column));
    return x;
}

// Kills: four shuffles in the place of five, or none for the squares; a last block that reads beyond the rows, or is
// not launched; lanes without an element that sit out a shuffle, or that add mean² for what is not there; the mean in
// lane 0 only, as __shfl_down_sync leaves it; the variance in the place of the sum; deviations from 0.
TEST_CASE("warp_reduction: any number of rows and columns", "[warp_reduction]") {
    for (std::uint64_t seed = 1; seed <= 4; ++seed)
        for (int columns : {1, 2, 15, 31, 32, 33, 63, 64, 65, 100, 200, random_integer(seed, 0, 3, 300)}) {
            INFO("seed " << seed);
            const int rows = random_integer(seed, columns, 1, 11);
            judge_warp_reduction(around(3, seed, rows, columns), make_tensor<int, 1>({rows}, columns));
        }
}

// Kills: the length ignored, or that of another row; NaN multiplied by 0; the length rounded up or down to whole warps;
// the mean over `columns`; a row of length 0 that is not written.
TEST_CASE("warp_reduction: a length for each row", "[warp_reduction]") {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        INFO("seed " << seed);
        const int rows = random_integer(seed, 0, 5, 40), columns = random_integer(seed, 1, 40, 150);
        auto lengths = make_tensor<int, 1>({rows});
        for (int row = 0; row < rows; ++row) lengths(row) = random_integer(seed, 10 + row, 0, columns);
        lengths(0) = 0, lengths(1) = 1, lengths(2) = 32, lengths(3) = 33, lengths(rows - 1) = columns;
        judge_warp_reduction(around(-2, seed, rows, columns), lengths);
    }
}

// Kills: Σx² - (Σx)²/n.
TEST_CASE("warp_reduction: a large mean", "[warp_reduction]") {
    for (double mean : {500., -3000.}) judge_warp_reduction(around(mean, 9, 5, 250), make_tensor<int, 1>({5}, 250));
}

// ---- tile_transpose -------------------------------------------------------------------------------------------------

void judge_tile_transpose(const Tensor<float, 3>& x, double scale) {
    namespace exercise = exercises::tile_transpose;
    INFO("x " << text(view(x).shape()) << ", scale " << scale);
    const Shape<3> shape{view(x).extent(0), view(x).extent(2), view(x).extent(1)};
    auto out = make_tensor<float, 3>(shape, nan_value);
    exercises::run(exercise::Inputs{view(x)}, exercise::Options{scale}, exercise::Outputs{view(out)});

    auto expected = make_tensor<double, 3>(shape);
    for (int b = 0; b < shape[0]; ++b)
        for (int column = 0; column < shape[1]; ++column)
            for (int row = 0; row < shape[2]; ++row)
                expected(b, column, row) = static_cast<double>(static_cast<float>(scale)) * x(b, row, column);
    check_close("out", out, expected, 1e-7);  // one rounding
}

// Kills: x copied, not transposed; tiles transposed, but put where they came from; the bounds of loading used for
// storing, or none; rows and columns swapped in the number of tiles; edge tiles left out; the first matrix for all; the
// scale forgotten, or applied twice; the rows y + 8, y + 16, y + 24 of a tile left out; a missing barrier.
TEST_CASE("tile_transpose: any number of rows and columns", "[tile_transpose]") {
    const int sizes[][2] = {{1, 1},   {1, 40},  {40, 1},  {32, 32}, {31, 33},
                            {33, 31}, {64, 32}, {7, 100}, {100, 7}, {65, 130}};
    std::uint64_t seed = 1;
    for (auto [rows, columns] : sizes)
        for (int batch : {1, 3}) {
            INFO("seed " << seed);
            auto x = make_tensor<float, 3>({batch, rows, columns});
            fill_normal(view(x), seed++);
            judge_tile_transpose(x, 1);
            judge_tile_transpose(x, -0.3);
        }
    for (; seed < 28; ++seed) {
        INFO("seed " << seed);
        auto x = make_tensor<float, 3>(
            {random_integer(seed, 0, 1, 5), random_integer(seed, 1, 1, 90), random_integer(seed, 2, 1, 90)});
        fill_normal(view(x), seed + 1000);
        judge_tile_transpose(x, random_normal(seed, 3));
    }
}

// Kills: a scale of 0 that is a case of its own: 0 · NaN is NaN.
TEST_CASE("tile_transpose: NaN and infinities stay where they are", "[tile_transpose]") {
    auto x = make_tensor<float, 3>({2, 35, 40});
    fill_normal(view(x), 3);
    x(0, 34, 39) = nan_value, x(1, 3, 38) = infinity, x(1, 0, 0) = -infinity;
    judge_tile_transpose(x, 2);
    judge_tile_transpose(x, 0);
}

// Kills: a transposition without the tile.
TEST_CASE("tile_transpose: each element goes through shared memory", "[tile_transpose]") {
    auto x = make_tensor<float, 3>({2, 50, 70});
    fill_normal(view(x), 4);
    exercises::forget_accesses();
    judge_tile_transpose(x, 1.5);
    if (auto bytes = exercises::accesses()) {
        const std::uint64_t all = sizeof(float) * static_cast<std::uint64_t>(view(x).count());
        CHECK(bytes->loaded == all);
        CHECK(bytes->stored == all);
        CHECK(bytes->loaded_from_shared >= all);
        CHECK(bytes->stored_to_shared >= all);
    } else {
        WARN("not run: a GPU does not count its accesses");
    }
}

// ---- masked_softmax -------------------------------------------------------------------------------------------------

struct SoftmaxData {
    Tensor<float, 2> scores;
    Tensor<int, 2> mask;
    Tensor<float, 1> sink;
};

SoftmaxData softmax_data(std::uint64_t seed, int rows, int columns, double factor, double seen) {
    SoftmaxData data{make_tensor<float, 2>({rows, columns}), make_tensor<int, 2>({rows, columns}),
                     make_tensor<float, 1>({rows})};
    fill_normal(view(data.scores), seed, factor);
    fill_normal(view(data.sink), seed + 1, factor);
    for (std::int64_t position = 0; position < view(data.mask).count(); ++position)  // any value but 0 says "counts"
        data.mask.data()[position] =
            random_uniform(seed + 2, position) < seen ? random_integer(seed + 3, position, -2, 2) | 1 : 0;
    return data;
}

void judge_masked_softmax(const SoftmaxData& data) {
    namespace exercise = exercises::masked_softmax;
    const int rows = view(data.scores).extent(0), columns = view(data.scores).extent(1);
    INFO("scores " << text(view(data.scores).shape()));
    auto weights = make_tensor<float, 2>({rows, columns}, nan_value);
    auto log_sum_exp = make_tensor<float, 1>({rows}, nan_value);
    exercises::run(exercise::Inputs{view(data.scores), view(data.mask), view(data.sink)}, exercise::Options{},
                   exercise::Outputs{view(weights), view(log_sum_exp)});

    // log_sum_exp by adding one logit after the other to it; then the weights as exp(score - log_sum_exp).
    auto expected = make_tensor<double, 2>({rows, columns});
    auto expected_log = make_tensor<double, 1>({rows});
    for (int row = 0; row < rows; ++row) {
        double total = data.sink(row);
        for (int column = columns - 1; column >= 0; --column) {
            if (data.mask(row, column) == 0) continue;
            const double score = data.scores(row, column), high = std::max(total, score), low = std::min(total, score);
            if (low > -infinity)
                total = high + std::log1p(std::exp(low - high));
            else
                total = high;
        }
        expected_log(row) = total;
        for (int column = 0; column < columns; ++column)
            if (data.mask(row, column) != 0 && total > -infinity)
                expected(row, column) = std::exp(data.scores(row, column) - total);
    }
    check_close("weights", weights, expected, 2e-5, 1e-30);
    check_close("log_sum_exp", log_sum_exp, expected_log, 2e-6, 1);
    for (int row = 0; row < rows; ++row)
        for (int column = 0; column < columns; ++column)
            if (data.mask(row, column) == 0 && weights(row, column) != 0) {
                FAIL_CHECK("weights(" << row << ", " << column << ") is masked and not exactly 0");
                return;
            }
}

// Kills: the sink left out, as a weight of 1, or its logit added as it is; weights that sum to 1 in spite of it; the
// mask the wrong way round, compared with 1, or only positive; a causal bound in its place; the mask or sink of row 0
// for all; masked weights that are not written; log_sum_exp without the maximum, without the sink, or in base 2.
TEST_CASE("masked_softmax: any mask", "[masked_softmax]") {
    for (std::uint64_t seed = 10; seed <= 100; seed += 10)
        for (int columns : {1, 2, 7, 64, 300}) {
            INFO("seed " << seed);
            judge_masked_softmax(softmax_data(seed, random_integer(seed, 0, 1, 8), columns, 2, 0.6));
        }
}

// Kills: no maximum, or one that starts at 0 (the rest underflows) or reads masked scores too; a maximum over the
// scores only, which a large sink overflows; exp(sink) without the maximum.
TEST_CASE("masked_softmax: large logits", "[masked_softmax]") {
    for (std::uint64_t seed = 10; seed <= 50; seed += 10) {
        INFO("seed " << seed);
        judge_masked_softmax(softmax_data(seed, 6, 50, 10000, 0.7));
        SoftmaxData data = softmax_data(seed, 6, 50, 1, 0.7);
        data.sink(0) = 10000, data.sink(1) = -10000, data.sink(2) = 200;
        for (int column = 0; column < 50; ++column) {
            data.scores(3, column) += 3000, data.scores(4, column) -= 3000, data.scores(5, column) -= 3000;
            if (data.mask(5, column) == 0) data.scores(5, column) = 20000;  // masked and larger than all
        }
        data.sink(3) = 3000, data.sink(4) = -3001, data.sink(5) = -2999;
        judge_masked_softmax(data);
    }
}

// Kills: the mask as a factor, or as -1e9 added to the score; a maximum over what is masked.
TEST_CASE("masked_softmax: what is masked may be NaN or infinite", "[masked_softmax]") {
    for (float poison : {nan_value, infinity, -infinity, 3e38f}) {
        SoftmaxData data = softmax_data(20, 5, 33, 1, 0.5);
        for (std::int64_t position = 0; position < view(data.mask).count(); ++position)
            if (data.mask.data()[position] == 0) data.scores.data()[position] = poison;
        judge_masked_softmax(data);
    }
}

// Kills: NaN from -inf - (-inf) or 0/0 where nothing counts; weights not written there; log_sum_exp = -inf where the
// sink is left.
TEST_CASE("masked_softmax: rows in which nothing counts, and no sink", "[masked_softmax]") {
    SoftmaxData data = softmax_data(30, 8, 20, 1, 0.5);
    for (int column = 0; column < 20; ++column) {
        data.mask(0, column) = data.mask(1, column) = 0;  // nothing counts, with a sink and without
        data.mask(2, column) = 1, data.scores(2, column) = -infinity;
        data.mask(3, column) = 1, data.scores(3, column) = -infinity;
        if (column % 3 == 0) data.mask(4, column) = 1, data.scores(4, column) = -infinity;
    }
    data.sink(0) = 1.5f, data.sink(1) = -infinity, data.sink(2) = -infinity, data.sink(3) = -2,
    data.sink(5) = -infinity;
    data.mask(6, 0) = 1, data.sink(6) = -infinity;
    for (int column = 1; column < 20; ++column) data.mask(6, column) = 0;  // one key: its weight is 1
    judge_masked_softmax(data);
}

// ---- scores_kernel --------------------------------------------------------------------------------------------------

struct ScoreSizes {
    int B, H, G, Nq, Nk, D;
};

struct ScoreData {
    Tensor<float, 4> q, k;
    exercises::scores_kernel::Options options;
};

ScoreData score_data(std::uint64_t seed, const ScoreSizes& size, double factor = 1) {
    ScoreData data{make_tensor<float, 4>({size.B, size.H, size.Nq, size.D}),
                   make_tensor<float, 4>({size.B, size.G, size.Nk, size.D}),
                   {false, 1 / std::sqrt(size.D), 2.0}};
    fill_normal(view(data.q), seed, factor);
    fill_normal(view(data.k), seed + 1, 1);
    for (int d = 0; d < size.D; ++d) data.k(0, 0, size.Nk / 2, d) *= 5;  // an outlier
    return data;
}

void judge_scores_kernel(const ScoreData& data) {
    namespace exercise = exercises::scores_kernel;
    const auto [causal, scale, cap] = data.options;
    const Shape<4> q = view(data.q).shape(), k = view(data.k).shape(), shape{q[0], q[1], q[2], k[2]};
    INFO("q " << text(q) << ", k " << text(k) << ", causal " << causal << ", scale " << scale << ", cap " << cap);
    auto scores = make_tensor<float, 4>(shape, nan_value);
    exercises::run(exercise::Inputs{view(data.q), view(data.k)}, data.options, exercise::Outputs{view(scores)});

    auto expected = make_tensor<double, 4>(shape, -infinity);
    for (int g = 0; g < k[1]; ++g)
        for (int member = 0; member < q[1] / k[1]; ++member)
            for (int b = 0; b < q[0]; ++b)
                for (int j = 0; j < k[2]; ++j)
                    for (int i = causal ? std::max(0, j + q[2] - k[2]) : 0; i < q[2]; ++i) {  // the queries that see j
                        const int h = g * (q[1] / k[1]) + member;
                        double dot = 0;
                        for (int d = q[3] - 1; d >= 0; --d)
                            dot += static_cast<double>(data.q(b, h, i, d)) * data.k(b, g, j, d);
                        const double grown = std::exp(-2 * std::abs(scale * dot) / cap);
                        expected(b, h, i, j) = std::copysign(cap * (1 - grown) / (1 + grown), scale * dot);
                    }
    double largest = 0;  // of the sums behind the scores
    for (std::int64_t position = 0; position < view(data.q).count(); ++position)
        if (std::isfinite(data.q.data()[position]))
            largest = std::max(largest, std::abs(static_cast<double>(data.q.data()[position])));
    check_close("scores", scores, expected, 3e-6, std::min(cap, scale * largest * q[3]));
}

// Kills: no cap; a clamp in its place; tanh without "/ cap" or without "cap ·"; the scale after the cap, or forgotten;
// q and k swapped; a remainder of D left out, or read beyond the row; edge tiles of queries or keys left out, or read
// beyond the end; threads at the edge that return before they have loaded for others; scores stored transposed; query
// head h with key head h % G, or h; batch 0 for all; a missing barrier, first or second; always causal.
TEST_CASE("scores_kernel: any sizes", "[scores_kernel]") {
    const ScoreSizes sizes[] = {{1, 1, 1, 1, 1, 1},   {1, 1, 1, 16, 16, 16}, {2, 4, 2, 17, 33, 19},
                                {1, 6, 2, 5, 40, 7},  {2, 3, 1, 40, 5, 33},  {1, 2, 2, 15, 31, 64},
                                {3, 2, 1, 1, 50, 16}, {1, 8, 4, 20, 1, 3}};
    std::uint64_t seed = 100;
    for (const ScoreSizes& size : sizes) {
        INFO("seed " << seed);
        judge_scores_kernel(score_data(seed += 10, size));
    }
    for (; seed < 260; seed += 10) {
        INFO("seed " << seed);
        const int G = random_integer(seed, 0, 1, 3);
        ScoreData data = score_data(
            seed, {random_integer(seed, 1, 1, 2), G * random_integer(seed, 2, 1, 3), G, random_integer(seed, 3, 1, 40),
                   random_integer(seed, 4, 1, 40), random_integer(seed, 5, 1, 50)});
        data.options.causal = seed % 20 == 0;
        data.options.cap = 1 + 4 * random_uniform(seed, 6);
        judge_scores_kernel(data);
    }
}

// Kills: the mask aligned top left (Nq and Nk differ), or shifted the other way; j < i, or j >= i; a mask that tanh
// makes -cap; 0 or -1e9 for -inf, or nothing written; no mask; the bound of a tile for all of its rows.
TEST_CASE("scores_kernel: causal", "[scores_kernel]") {
    std::uint64_t seed = 300;
    for (auto [Nq, Nk] : {std::pair{20, 20}, {5, 37}, {37, 5}, {1, 20}, {20, 1}, {33, 32}, {16, 48}, {48, 16}}) {
        INFO("seed " << seed);
        ScoreData data = score_data(seed += 10, {2, 4, 2, Nq, Nk, 10});
        data.options.causal = true;
        judge_scores_kernel(data);
    }
}

// Kills: a mask that is added, so that NaN stays NaN.
TEST_CASE("scores_kernel: what is not seen may be NaN", "[scores_kernel]") {
    ScoreData data = score_data(400, {1, 2, 1, 40, 22, 20});
    data.options.causal = true;
    for (int h = 0; h < 2; ++h)
        for (int i = 0; i < 40 - 22; ++i)  // queries that see no key
            for (int d = 0; d < 20; ++d) data.q(0, h, i, d) = i % 2 ? nan_value : infinity;
    judge_scores_kernel(data);
}

// Kills: an exponential that overflows in a tanh of one's own. All elements are integers, so that the sums are exact: a
// rounding of a large sum would move a score near 0 by more than the bound.
TEST_CASE("scores_kernel: large logits", "[scores_kernel]") {
    ScoreData data = score_data(500, {1, 2, 1, 18, 35, 24}, 500);
    for (std::int64_t position = 0; position < view(data.q).count(); ++position)
        data.q.data()[position] = std::nearbyint(data.q.data()[position]);
    for (std::int64_t position = 0; position < view(data.k).count(); ++position)
        data.k.data()[position] = std::nearbyint(3 * data.k.data()[position]);
    data.options = {true, 1, 50};
    judge_scores_kernel(data);
}

// Kills: a kernel without the tiles, where each thread reads its row of q and k from device memory.
TEST_CASE("scores_kernel: a block loads each element once", "[scores_kernel]") {
    const ScoreSizes size{2, 4, 2, 32, 48, 40};
    exercises::forget_accesses();
    judge_scores_kernel(score_data(600, size));
    if (auto bytes = exercises::accesses()) {
        const int blocks = size.B * size.H * (size.Nq / 16) * (size.Nk / 16);
        CHECK(bytes->loaded <= sizeof(float) * static_cast<std::uint64_t>(blocks) * 2 * 16 * size.D);
    } else {
        WARN("not run: a GPU does not count its accesses");
    }
}

}  // namespace
