// Judges masked_softmax. The answer works in double, by another way than the solution: log_sum_exp by adding one logit
// after the other to it, then each weight as exp(score - log_sum_exp).
#include "chapters/00_dense_attention/exercises/masked_softmax.hpp"

#include <cmath>
#include <limits>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::masked_softmax;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

// log(exp(a) + exp(b))
double log_add(double a, double b) {
    const double high = std::max(a, b), low = std::min(a, b);
    return low > -infinity ? high + std::log1p(std::exp(low - high)) : high;
}

judge::Answer with_tolerances(const Tensor<double, 2>& weights, const Tensor<double, 1>& log_sum_exp) {
    judge::Answer result;
    result.add("weights", weights, {2e-5, 1e-30});
    result.add("log_sum_exp", log_sum_exp, {2e-6, 1});
    return result;
}

// Overflows and underflows where float does: that is what some of the mistakes are about.
double exp_as_float(double x) { return std::exp(static_cast<float>(x)); }

// Maximum, exponentials, division, with the mistake made at its place.
judge::Answer mistaken(const Inputs& in, std::string_view mistake) {
    const int rows = in.scores.extent(0), columns = in.scores.extent(1);
    const bool from_the_chapter = mistake == "from_the_chapter",
               no_sink = from_the_chapter || mistake == "sink_ignored";
    auto weights = make_tensor<double, 2>({rows, columns});
    auto log_sum_exp = make_tensor<double, 1>({rows});
    for (int i = 0; i < rows; ++i) {
        auto counts = [&](int j) {
            if (from_the_chapter || mistake == "mask_added") return true;
            if (mistake == "mask_inverted") return in.mask(i, j) == 0;
            if (mistake == "mask_equals_one") return in.mask(i, j) == 1;
            return in.mask(i, j) != 0;
        };
        auto score = [&](int j) -> double {
            return mistake == "mask_added" && in.mask(i, j) == 0 ? in.scores(i, j) - 1e9f : in.scores(i, j);
        };
        const double sink = no_sink ? -infinity : in.sink(i);
        double maximum = mistake == "maximum_without_sink" ? -infinity : sink;
        for (int j = 0; j < columns; ++j)  // NaN is never larger
            if ((counts(j) || mistake == "masked_in_maximum") && score(j) > maximum) maximum = score(j);
        if (mistake == "no_maximum") maximum = 0;

        const bool guarded = !from_the_chapter && mistake != "empty_row_is_nan";
        if (guarded && maximum == -infinity) {
            log_sum_exp(i) = sink;
        } else {
            double sum = no_sink ? 0 : exp_as_float(mistake == "sink_without_maximum" ? sink : sink - maximum);
            for (int j = 0; j < columns; ++j) {
                if (counts(j))
                    weights(i, j) = exp_as_float(score(j) - maximum);
                else if (mistake == "mask_as_factor")
                    weights(i, j) = 0 * exp_as_float(score(j) - maximum);
                sum += weights(i, j);
            }
            sum = static_cast<float>(sum);
            for (int j = 0; j < columns; ++j) weights(i, j) /= sum;
            log_sum_exp(i) = (mistake == "log_without_maximum" ? 0 : maximum) + std::log(sum);
        }
        for (int j = 0; j < columns; ++j)
            if (mistake == "masked_not_written" && !counts(j)) weights(i, j) = nan_value;  // as all outputs begin
    }
    judge::Answer result = with_tolerances(weights, log_sum_exp);
    if (mistake == "one_too_far") result.finding = judge::Answer::Finding::always;
    return result;
}

judge::Answer answer(const Inputs& in, const Options&, std::string_view mistake) {
    if (!mistake.empty()) return mistaken(in, mistake);
    const int rows = in.scores.extent(0), columns = in.scores.extent(1);
    auto weights = make_tensor<double, 2>({rows, columns});
    auto log_sum_exp = make_tensor<double, 1>({rows});
    for (int i = 0; i < rows; ++i) {
        double total = in.sink(i);
        for (int j = columns - 1; j >= 0; --j)
            if (in.mask(i, j) != 0) total = log_add(total, in.scores(i, j));
        log_sum_exp(i) = total;
        for (int j = 0; j < columns; ++j)
            if (in.mask(i, j) != 0 && total > -infinity) weights(i, j) = std::exp(in.scores(i, j) - total);
    }
    return with_tolerances(weights, log_sum_exp);
}

const judge::Exercise<Inputs, Options> exercise = {
    "masked_softmax",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's softmax, in which every score counts and there is no sink. Which of its steps must look "
         "at the mask, and which at one logit more?"},
        {"sink_ignored",
         "equals the answer without a sink. It is a logit of its row like the others: follow it through the maximum, "
         "the sum and log_sum_exp."},
        {"sink_without_maximum",
         "equals the answer with exp(sink) in the denominator, of the sink as it is. The other terms of that sum are "
         "exponentials of something else."},
        {"maximum_without_sink",
         "equals the answer in which only the scores take part in the maximum. A sink far above all of them overflows "
         "then: what is it that no exponent may exceed?"},
        {"no_maximum",
         "equals the answer without a maximum subtracted: exp overflows in float from 89 on, and is 0 below -104. Look "
         "at the rows with large logits."},
        {"masked_in_maximum",
         "equals the answer in which masked scores take part in the maximum. Look at a row whose largest score is "
         "masked: what is left of the exponentials of the others?"},
        {"mask_as_factor",
         "equals the answer in which masked exponentials are multiplied by 0. Look at masked scores that are NaN or "
         "overflow: what is 0 times that?"},
        {"mask_added",
         "equals the answer in which masked scores are lowered by 1e9. Look at masked scores that are NaN or infinite, "
         "and at rows in which nothing counts: they have weights."},
        {"mask_inverted",
         "equals the answer with the mask read the other way round. Look again at what the header says of a mask that "
         "is not 0."},
        {"mask_equals_one",
         "equals the answer in which a mask counts only where it is 1. Look at the other values in it: -1 and 3 are "
         "not 0 either."},
        {"masked_not_written",
         "equals the answer with nothing written where the mask is 0. Outputs do not begin as 0: whose task is it to "
         "make them so?"},
        {"empty_row_is_nan",
         "equals the answer that subtracts a maximum of -inf from -inf. Look at the rows in which nothing counts and "
         "there is no sink."},
        {"log_without_maximum",
         "equals the answer with log_sum_exp = log(sum). Every term of that sum was made smaller "
         "by the same factor: what is missing in the logarithm?"},
        {"one_too_far",
         "the check of TensorView found an index outside of the tensor, and ended the program. Look at the first and "
         "the "
         "last value of each loop's variable.",
         "crashed", "index < shape_[dimension]"},
    },
    false};

struct Data {
    Tensor<float, 2> scores;
    Tensor<int, 2> mask;
    Tensor<float, 1> sink;

    Inputs inputs() const { return {view(scores), view(mask), view(sink)}; }
};

// Logits of size `factor`, of which the share `seen` counts.
Data draw(std::uint64_t seed, int rows, int columns, double factor, double seen) {
    Data data{make_tensor<float, 2>({rows, columns}), make_tensor<int, 2>({rows, columns}),
              make_tensor<float, 1>({rows})};
    fill_normal(view(data.scores), seed, factor);
    fill_normal(view(data.sink), seed + 1, factor);
    for (std::int64_t position = 0; position < view(data.mask).count(); ++position)  // any value but 0 says "counts"
        data.mask.data()[position] =
            random_uniform(seed + 2, position) < seen ? random_integer(seed + 3, position, -2, 2) | 1 : 0;
    return data;
}

TEST_CASE("masked_softmax: any mask", "[masked_softmax]") {
    judge::Test test;
    int which = 0;
    for (int columns : {1, 2, 3, 7, 64, 300})
        for (int repeat = 0; repeat < 6; ++repeat) {
            const std::uint64_t seed = test.seed(which++);
            const int drawn = columns + (columns > 2 ? random_integer(seed, 1, 0, 3) : 0);
            test.run(exercise, draw(seed, random_integer(seed, 0, 1, 8), drawn, 2, 0.6).inputs(), {});
        }
    test.conclude();
}

TEST_CASE("masked_softmax: large logits", "[masked_softmax]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int columns = random_integer(seed, 0, 3 + 8 * which, 10 + 10 * which);
        test.run(exercise, draw(seed, 6, columns, 10000, 0.7).inputs(), {});
        Data data = draw(seed, 6, columns, 1, 0.7);
        data.sink(0) = 10000, data.sink(1) = -10000, data.sink(2) = 200;
        for (int column = 0; column < columns; ++column) {
            data.scores(3, column) += 3000, data.scores(4, column) -= 3000, data.scores(5, column) -= 3000;
            if (data.mask(5, column) == 0) data.scores(5, column) = 20000;  // masked and larger than all
        }
        data.sink(3) = 3000, data.sink(4) = -3001, data.sink(5) = -2999;
        test.run(exercise, data.inputs(), {});
    }
    test.conclude();
}

TEST_CASE("masked_softmax: what is masked may be NaN or infinite", "[masked_softmax]") {
    judge::Test test;
    int which = 0;
    for (int columns : {4, 25})
        for (float poison : {nan_value, infinity, -infinity, 3e38f}) {
            const std::uint64_t seed = test.seed(which++);
            Data data = draw(seed, 5, random_integer(seed, 0, columns, 2 * columns), 1, 0.5);
            for (std::int64_t position = 0; position < view(data.mask).count(); ++position)
                if (data.mask.data()[position] == 0) data.scores.data()[position] = poison;
            test.run(exercise, data.inputs(), {});
        }
    test.conclude();
}

TEST_CASE("masked_softmax: rows in which nothing counts, and no sink", "[masked_softmax]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int columns = random_integer(seed, 0, 2 + 8 * which, 10 + 8 * which);
        Data data = draw(seed, 8, columns, 1, 0.5);
        for (int column = 0; column < columns; ++column) {
            data.mask(0, column) = data.mask(1, column) = 0;  // nothing counts, with a sink and without
            data.mask(2, column) = data.mask(3, column) = 1;  // everything, and all of it is -inf
            data.scores(2, column) = data.scores(3, column) = -infinity;
            if (column % 3 == 0) data.mask(4, column) = 1, data.scores(4, column) = -infinity;
            data.mask(6, column) = column == 0;  // one key and no sink: its weight is 1
        }
        data.sink(0) = 1.5f, data.sink(3) = -2;
        data.sink(1) = data.sink(2) = data.sink(5) = data.sink(6) = -infinity;
        test.run(exercise, data.inputs(), {});
    }
    test.conclude();
}

}  // namespace
