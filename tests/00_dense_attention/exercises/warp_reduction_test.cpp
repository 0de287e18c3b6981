// Judges warp_reduction. The answer adds up the squared differences of all pairs of elements, which needs no mean. The
// usual mistakes are made in 32 lanes.
#include "chapters/00_dense_attention/exercises/warp_reduction.hpp"

#include <array>
#include <cmath>
#include <limits>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::warp_reduction;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr int lanes = 32, warps_per_block = 4;

struct Sums {
    double sum = 0, squared_deviations = 0;
};

// Half the mean square of all differences of two elements.
Sums right_row(const TensorView<const float, 1>& x, int length) {
    Sums result;
    for (int a = length - 1; a >= 0; --a) {
        result.sum += x(a);
        for (int b = 0; b < a; ++b) {
            const double difference = static_cast<double>(x(a)) - x(b);
            result.squared_deviations += difference * difference / length;
        }
    }
    return result;
}

// What one warp makes of a row.
Sums mistaken_row(const TensorView<const float, 1>& x, int length, std::string_view mistake) {
    const int columns = x.extent(0);
    auto reduce = [&](std::array<double, lanes>& values) {
        for (int distance = lanes / 2; distance >= (mistake == "last_shuffle_missing" ? 2 : 1); distance /= 2) {
            const std::array<double, lanes> before = values;
            for (int lane = 0; lane < lanes; ++lane) {
                const int below = lane + distance < lanes ? lane + distance : lane;
                values[lane] += before[mistake == "mean_in_lane_0" ? below : lane ^ distance];
            }
        }
    };
    if (mistake == "length_ignored") length = columns;
    std::array<double, lanes> sums{}, squares{};
    for (int column = 0; column < length; ++column) sums[column % lanes] += x(column);
    reduce(sums);
    for (int column = 0; column < length; ++column) {
        const double mean = sums[column % lanes] / (mistake == "mean_over_columns" ? columns : length);
        squares[column % lanes] += (x(column) - mean) * (x(column) - mean);
    }
    if (mistake == "empty_lanes_add_mean" && length % lanes != 0) {
        const double mean = sums[0] / length;
        for (int lane = length % lanes; lane < lanes; ++lane) squares[lane] += mean * mean;
    }
    if (mistake != "squares_of_lane_0") reduce(squares);
    if (mistake == "variance") squares[0] /= length;
    return {sums[0], squares[0]};
}

// The chapter's softmax sums up exponentials.
double sum_of_exponentials(const TensorView<const float, 1>& x, int length) {
    double maximum = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int column = 0; column < length; ++column) maximum = std::max<double>(maximum, x(column));
    for (int column = 0; column < length; ++column) sum += std::exp(x(column) - maximum);
    return sum;
}

// Whether the case ends with a finding, in a row of its own or before any row.
bool is_ended(const Inputs& in, std::string_view mistake) {
    const int rows = in.x.extent(0);
    if (mistake == "mask_of_active_lanes") return true;
    if (mistake == "rows_not_checked") return rows % warps_per_block != 0;
    if (mistake == "blocks_rounded_down") return rows < warps_per_block;
    if (mistake == "lanes_return_early")
        for (int row = 0; row < rows; ++row)
            if (in.lengths(row) > 0 && in.lengths(row) < lanes) return true;
    return false;
}

judge::Answer answer(const Inputs& in, const Options&, std::string_view mistake) {
    const int rows = in.x.extent(0), columns = in.x.extent(1);
    auto sum = make_tensor<double, 1>({rows}), squares = make_tensor<double, 1>({rows});
    double largest = 0, largest_square_sum = 0;
    for (int row = 0; row < rows; ++row) {
        const TensorView<const float, 1> x = in.x.slice(row);
        const int length = in.lengths(row);
        double square_sum = 0;
        for (int column = 0; column < length; ++column) {
            largest = std::max(largest, std::abs(static_cast<double>(x(column))));
            square_sum += static_cast<double>(x(column)) * x(column);
        }
        largest_square_sum = std::max(largest_square_sum, square_sum);

        const Sums found = mistake.empty() ? right_row(x, length) : mistaken_row(x, length, mistake);
        sum(row) = found.sum, squares(row) = found.squared_deviations;
        if (mistake == "from_the_chapter") sum(row) = sum_of_exponentials(x, length), squares(row) = nan_value;
        const bool not_written =
            ((mistake == "empty_row_not_written" || mistake == "lanes_return_early") && length == 0) ||
            (mistake == "blocks_rounded_down" && row >= rows / warps_per_block * warps_per_block);
        if (not_written) sum(row) = squares(row) = nan_value;  // as outputs begin
    }
    judge::Answer result;
    if (is_ended(in, mistake)) result.finding = judge::Answer::Finding::always;
    // A sum of at most `columns` numbers up to `largest`, each lane and each shuffle rounding once.
    result.add("sum", sum, {1e-6, largest * std::sqrt(columns)});
    // The mean is off by a rounding or two of the largest element, which enters squared.
    judge::Tolerance tolerance = {3e-5, 1e-5 * largest * largest};
    // Σx² - (Σx)²/n is off by some of its roundings, each up to 2^-24 of Σx².
    if (mistake == "one_pass") tolerance.magnitude = std::max(tolerance.magnitude, 0.05 * largest_square_sum);
    // Where the deviations that are added do not cancel, the roundings of the mean enter as they are, not squared.
    if (mistake == "squares_of_lane_0" || mistake == "mean_in_lane_0")
        tolerance.magnitude = std::max(tolerance.magnitude, 0.02 * columns * largest);
    result.add("squared_deviations", squares, tolerance);
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "warp_reduction",
    &answer,
    {
        {"from_the_chapter",
         "equals what the softmax of the chapter does with its warps: a sum of exponentials, and nothing written for "
         "the squares. Which of its steps do you need, and how often?"},
        {"length_ignored",
         "equals the answer over all columns of each row. Look at rows that are shorter, with NaN behind their length: "
         "where do your loops end?"},
        {"mean_over_columns",
         "has the right sums, and deviations from the sum divided by the number of columns. Look at rows that are "
         "shorter: over how many elements is the mean?"},
        {"mean_in_lane_0",
         "has the right sums, and deviations from a mean that only lane 0 has. After __shfl_down_sync the other lanes "
         "hold less than the whole sum: which shuffle gives it to all of them, or how do they get it?"},
        {"last_shuffle_missing",
         "equals the answer of four shuffles in the place of five: lane 0 has only the even lanes. Go through the "
         "distances that your loop takes."},
        {"squares_of_lane_0",
         "has the right sums, and of the squared deviations those of lane 0 alone. What brought the sums of all lanes "
         "together?"},
        {"empty_lanes_add_mean",
         "has the right sums, and too large a squared deviation where the length is no multiple of 32: by mean² for "
         "each element that is not there. What does a lane without an element add?"},
        {"one_pass",
         "is right up to the roundings of Σx² - (Σx)²/n. Look at rows with a large mean: two large numbers are "
         "subtracted, and of float's seven digits none is left. Which smaller numbers could be squared?"},
        {"variance",
         "has the right sums, and squared deviations divided by the length. Look again at what the header asks for, "
         "and at rows of length 0."},
        {"empty_row_not_written",
         "is right, but rows of length 0 are not written. Outputs do not begin as 0, and a row without an element has "
         "a sum."},
        {"blocks_rounded_down",
         "has nothing in the last rows, where their number is no multiple of 4. How many blocks are launched for 5 "
         "rows, and how many for 3?",
         "launch_limit", "blocks"},
        {"lanes_return_early",
         "the emulator found a shuffle that reads from a lane that has returned. Look at rows shorter than a warp: "
         "what does a lane without an element do, and who still needs it?",
         "warp_collective", "has returned"},
        {"mask_of_active_lanes",
         "the emulator found a shuffle that reads from a lane outside of its own mask. The mask says which lanes must "
         "take part, not which happen to be there: of this sum, which are they?",
         "warp_collective", "is not in the mask"},
        {"rows_not_checked",
         "the emulator found an access outside of a tensor, by a warp whose row does not exist. Look at the last "
         "block, where the number of rows is no multiple of 4.",
         "out_of_bounds", "reads 4 bytes"},
    }};

struct Data {
    Tensor<float, 2> x;
    Tensor<int, 1> lengths;

    Inputs inputs() const { return {view(x), view(lengths)}; }
};

// Numbers around mean, mean + 1, …, row by row.
Data draw(std::uint64_t seed, double mean, int rows, int columns) {
    Data data{make_tensor<float, 2>({rows, columns}), make_tensor<int, 1>({rows}, columns)};
    for (int row = 0; row < rows; ++row)
        for (int column = 0; column < columns; ++column)
            data.x(row, column) = static_cast<float>(
                mean + row + random_normal(seed, static_cast<std::uint64_t>(row) * columns + column));
    return data;
}

TEST_CASE("warp_reduction: any number of rows and columns", "[warp_reduction]") {
    judge::Test test;
    int which = 0;
    for (int repeat = 0; repeat < 4; ++repeat) {
        auto between = [&](int low, int high) { return random_integer(test.seed(1000 + repeat), high, low, high); };
        for (int columns : {1, 2, between(3, 15), 31, 32, 33, between(34, 62), 63, 64, 65, between(66, 127), 128,
                            between(129, 300)}) {
            const std::uint64_t seed = test.seed(which++);
            test.run(exercise, draw(seed, 3, random_integer(seed, 1, 1, 11), columns).inputs(), {});
        }
    }
    test.conclude();
}

TEST_CASE("warp_reduction: a length for each row", "[warp_reduction]") {
    judge::Test test;
    for (int which = 0; which < 8; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int rows = random_integer(seed, 1, 5, 8 + 4 * which),
                  columns = random_integer(seed, 2, 35, 40 + 15 * which);
        Data data = draw(seed, -2, rows, columns);
        for (int row = 0; row < rows; ++row) data.lengths(row) = random_integer(seed, 10 + row, 0, columns);
        data.lengths(0) = 0, data.lengths(1) = 1, data.lengths(2) = 32, data.lengths(3) = 33;
        data.lengths(rows - 1) = columns;
        for (int row = 0; row < rows; ++row)  // not to be read
            for (int column = data.lengths(row); column < columns; ++column) data.x(row, column) = nan_value;
        test.run(exercise, data.inputs(), {});
    }
    test.conclude();
}

TEST_CASE("warp_reduction: a large mean", "[warp_reduction]") {
    judge::Test test;
    int which = 0;
    for (double mean : {500., -3000.})
        for (int repeat = 0; repeat < 2; ++repeat) {
            const std::uint64_t seed = test.seed(which++);
            test.run(exercise,
                     draw(seed, mean, random_integer(seed, 1, 4, 8), random_integer(seed, 2, 200, 260)).inputs(), {});
        }
    test.conclude();
}

}  // namespace
