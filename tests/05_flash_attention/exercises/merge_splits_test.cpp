// Judges merge_splits. The answer adds one split after the other to log_sum_exp, from the last one back to the first;
// each weight is then exp(log-sum-exp of the split - log_sum_exp).
#include "chapters/05_flash_attention/exercises/merge_splits.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::merge_splits;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();
const double log_of_2 = std::log(2.0);

// log(exp(a) + exp(b))
double log_add(double a, double b) {
    const double high = std::max(a, b), low = std::min(a, b);
    return low > -infinity ? high + std::log1p(std::exp(low - high)) : high;
}

// Overflows and underflows where float does: that is what some of the mistakes are about.
double exp_as_float(double x) { return std::exp(static_cast<float>(x)); }

struct Row {
    std::vector<double> out;
    double log_sum_exp;
};

Row right_row(const Inputs& in, int i, double to_natural) {
    Row row{std::vector<double>(static_cast<std::size_t>(in.part.extent(2))), -infinity};
    for (int s = in.part.extent(0) - 1; s >= 0; --s)
        row.log_sum_exp = log_add(row.log_sum_exp, to_natural * in.part_log_sum_exp(s, i));
    for (int s = 0; s < in.part.extent(0); ++s) {
        if (in.part_log_sum_exp(s, i) == -infinity) continue;
        const double weight = std::exp(to_natural * in.part_log_sum_exp(s, i) - row.log_sum_exp);
        for (std::size_t d = 0; d < row.out.size(); ++d) row.out[d] += weight * in.part(s, i, static_cast<int>(d));
    }
    return row;
}

// Maximum, weights, division, with the mistake made at its place.
Row mistaken_row(const Inputs& in, int i, double to_natural, std::string_view mistake) {
    const bool no_maximum = mistake == "no_maximum";
    const bool adds_nan = mistake == "empty_times_0" || mistake == "from_the_chapter";
    Row row{std::vector<double>(static_cast<std::size_t>(in.part.extent(2))), -infinity};
    double maximum = -infinity, sum = 0, count = 0;
    for (int s = 0; s < in.part.extent(0); ++s) maximum = std::max(maximum, to_natural * in.part_log_sum_exp(s, i));
    for (int s = 0; s < in.part.extent(0); ++s) {
        const double log_sum_exp = to_natural * in.part_log_sum_exp(s, i);
        if (log_sum_exp == -infinity) {
            if (mistake == "ends_at_empty") break;
            if (adds_nan) std::fill(row.out.begin(), row.out.end(), nan_value);
            continue;
        }
        const double weight = exp_as_float(no_maximum ? log_sum_exp : log_sum_exp - maximum);
        sum += weight, count += 1;
        for (std::size_t d = 0; d < row.out.size(); ++d) {
            const double part = in.part(s, i, static_cast<int>(d));
            if (mistake == "largest_alone")
                row.out[d] = log_sum_exp == maximum ? part : row.out[d];
            else
                row.out[d] += mistake == "average" ? part : weight * part;
            if (mistake == "divided_per_split") row.out[d] /= sum;
        }
    }
    double divisor = sum;
    if (mistake == "average") divisor = count;
    if (mistake == "largest_alone" || mistake == "weights_not_divided" || mistake == "divided_per_split") divisor = 1;
    for (double& element : row.out)
        if (sum > 0 || mistake == "empty_row_is_nan") element /= divisor;
    if (mistake == "log_without_maximum" || no_maximum) maximum = 0;
    if (sum > 0) row.log_sum_exp = maximum + (mistake == "maximum_for_log_sum_exp" ? 0 : std::log(sum));
    if (sum == 0 && mistake == "minus_infinity_minus_itself") row.log_sum_exp = nan_value;
    return row;
}

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    const int splits = in.part.extent(0), rows = in.part.extent(1), Dv = in.part.extent(2);
    auto out = make_tensor<double, 2>({rows, Dv});
    auto log_sum_exp = make_tensor<double, 1>({rows});
    double to_natural = options.base_two ? log_of_2 : 1;
    if (mistake == "base_ignored" || mistake == "from_the_chapter") to_natural = 1;
    if (mistake == "base_the_wrong_way" && options.base_two) to_natural = 1 / log_of_2;
    if (mistake == "always_base_two") to_natural = log_of_2;
    const bool only_base = mistake.starts_with("base_") || mistake == "always_base_two";
    double largest = 1, largest_value = 0;
    for (int i = 0; i < rows; ++i) {
        const Row row =
            mistake.empty() || only_base ? right_row(in, i, to_natural) : mistaken_row(in, i, to_natural, mistake);
        for (int d = 0; d < Dv; ++d) out(i, d) = row.out[static_cast<std::size_t>(d)];
        log_sum_exp(i) = row.log_sum_exp;
        double maximum = -infinity;
        for (int s = 0; s < splits; ++s) {
            if (in.part_log_sum_exp(s, i) == -infinity) continue;
            maximum = std::max(maximum, static_cast<double>(in.part_log_sum_exp(s, i)));
            largest = std::max(largest, std::abs(static_cast<double>(in.part_log_sum_exp(s, i))));
            for (int d = 0; d < Dv; ++d)
                largest_value = std::max(largest_value, std::abs(static_cast<double>(in.part(s, i, d))));
        }
        if (maximum == -infinity) continue;
        if (mistake == "base_of_result") log_sum_exp(i) /= to_natural;
        if (mistake == "base_of_sum_alone") log_sum_exp(i) += maximum - to_natural * maximum;
    }
    judge::Answer result;
    // Where a base is changed before the maximum is subtracted, each exponent has the rounding of a large number.
    result.add("out", out, {2e-5 + 3e-7 * largest, largest_value});
    result.add("log_sum_exp", log_sum_exp, {2e-6, largest});
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "merge_splits",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's merge of a split that has l = 1: all log-sum-exps are natural, and the output of an "
         "empty split is multiplied by 0. What else may a log-sum-exp be, and what is 0 · NaN?"},
        {"average",
         "has the right log_sum_exp, and an out in which all splits that have keys weigh the same. How much more do "
         "keys with large scores weigh?"},
        {"largest_alone",
         "has the right log_sum_exp, and the out of the split with the largest one. What becomes of the others?"},
        {"weights_not_divided",
         "has the right log_sum_exp, and an out that is not divided by the sum of the weights. Do they sum to 1?"},
        {"divided_per_split",
         "has the right log_sum_exp, and an out that is divided by the sum so far after every split. How often is the "
         "first split's output divided then?"},
        {"base_ignored",
         "equals the answer in which all log-sum-exps are natural. What does options.base_two say of them?"},
        {"base_of_result", "has the right out, and with base_two a log_sum_exp in base 2. In which base is it wanted?"},
        {"base_of_sum_alone",
         "has the right out, and with base_two a log_sum_exp that is the sum of a logarithm in base 2 and a natural "
         "one. Which of the two must be multiplied, and by what?"},
        {"base_the_wrong_way",
         "equals the answer in which the change of base goes the wrong way. log2(8) is 3: is log(8) larger or "
         "smaller?"},
        {"always_base_two",
         "equals the answer in which all log-sum-exps are in base 2. What does options.base_two say of them?"},
        {"no_maximum",
         "equals the answer without a maximum subtracted: exp overflows in float from 89 on, and is 0 below -104. Look "
         "at the large log-sum-exps."},
        {"empty_times_0",
         "equals the answer in which the output of an empty split is multiplied by 0, and 0 · NaN is NaN. Is it given "
         "no weight, or left out?"},
        {"empty_row_is_nan",
         "is 0 / 0 in out, and right in log_sum_exp, where all splits are empty. By what is divided there?"},
        {"minus_infinity_minus_itself",
         "is NaN in log_sum_exp where all splits are empty. What is the maximum there, and what is it minus itself?"},
        {"ends_at_empty",
         "equals the answer in which nothing comes after the first empty split. Where masks have gaps, what may stand "
         "behind an empty split?"},
        {"log_without_maximum",
         "has the right out, and log(sum) as its log_sum_exp. Every term of that sum was made smaller by the same "
         "factor."},
        {"maximum_for_log_sum_exp",
         "has the right out, and the largest of the log-sum-exps as its own. What do the other splits add to it?"},
    },
    false};

struct Data {
    Tensor<float, 3> part;
    Tensor<float, 2> part_log_sum_exp;
    Options options;

    Inputs inputs() const { return {view(part), view(part_log_sum_exp)}; }

    void empty(int s, int i) {
        part_log_sum_exp(s, i) = -infinity;
        for (int d = 0; d < inputs().part.extent(2); ++d) part(s, i, d) = nan_value;
    }
};

Data draw(std::uint64_t seed, int splits, int rows, int Dv, bool base_two) {
    Data data{make_tensor<float, 3>({splits, rows, Dv}), make_tensor<float, 2>({splits, rows}), {base_two}};
    fill_normal(view(data.part), seed);
    fill_normal(view(data.part_log_sum_exp), seed + 1, 2);
    for (float& element : data.part_log_sum_exp) element += 4;
    return data;
}

void run(judge::Test& test, const Data& data) { test.run(exercise, data.inputs(), data.options); }

TEST_CASE("merge_splits: natural log-sum-exps", "[merge_splits]") {
    judge::Test test;
    int which = 0;
    for (int splits : {1, 2, 3, 5, 17}) {
        const std::uint64_t seed = test.seed(which++);
        run(test, draw(seed, splits, random_integer(seed, 0, 1, 12), random_integer(seed, 1, 1, 12), false));
    }
    test.conclude();
}

TEST_CASE("merge_splits: log-sum-exps in base 2", "[merge_splits]") {
    judge::Test test;
    int which = 0;
    for (int splits : {1, 2, 3, 5, 17}) {
        const std::uint64_t seed = test.seed(which++);
        run(test, draw(seed, splits, random_integer(seed, 0, 1, 12), random_integer(seed, 1, 1, 12), true));
    }
    test.conclude();
}

TEST_CASE("merge_splits: empty splits", "[merge_splits]") {
    judge::Test test;
    for (int which = 0; which < 8; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int splits = which < 2 ? 1 : random_integer(seed, 0, 3, 9);
        Data data = draw(seed, splits, 7, random_integer(seed, 1, 1, 12), which % 2);
        for (int s = 0; s < splits; ++s) {
            data.empty(s, 0);                                                   // all
            if (s != random_integer(seed, 2, 0, splits - 1)) data.empty(s, 1);  // all but one
            if (random_integer(seed, 10 + s, 0, 1)) data.empty(s, 2);           // some, perhaps
        }
        data.empty(0, 3);
        data.empty(splits - 1, 4);
        data.empty(splits / 2, 5);
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("merge_splits: large log-sum-exps", "[merge_splits]") {
    judge::Test test;
    for (int which = 0; which < 8; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int splits = random_integer(seed, 0, 3, 9);
        Data data = draw(seed, splits, 6, random_integer(seed, 1, 1, 12), which % 2);
        for (int i = 0; i < 6; ++i)
            for (int s = 0; s < splits; ++s) {
                float& element = data.part_log_sum_exp(s, i);
                element = std::nearbyint(element) / 2 + (i % 2 ? 2000 : -2000) * (which / 2 % 2 + 1);
                if (i >= 4 && s % 3 == 1) element -= 1000;  // no weight, but not empty
            }
        if (which >= 4) data.empty(splits - 1, 1);
        run(test, data);
    }
    test.conclude();
}

}  // namespace
