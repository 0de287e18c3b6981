// Judges online_softmax. The answer knows no tiles: it adds one score after the other to log_sum_exp, from the last key
// back to the first, and the sink at the end; each weight is then exp(score - log_sum_exp).
#include "chapters/05_flash_attention/exercises/online_softmax.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::online_softmax;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

// log(exp(a) + exp(b))
double log_add(double a, double b) {
    if (std::isnan(a) || std::isnan(b)) return nan_value;
    const double high = std::max(a, b), low = std::min(a, b);
    return low > -infinity ? high + std::log1p(std::exp(low - high)) : high;
}

// Overflows and underflows where float does: that is what some of the mistakes are about.
double exp_as_float(double x) { return std::exp(static_cast<float>(x)); }

// One query, its head's keys and values, and what it sees of them.
struct Query {
    TensorView<const float, 1> q;
    TensorView<const float, 2> k, v;
    int begin, end, tile;
    double scale, sink;

    int keys() const { return k.extent(0); }
    double score(int j) const {
        double dot = 0;
        for (int d = q.extent(0) - 1; d >= 0; --d) dot += static_cast<double>(q(d)) * k(j, d);
        return scale * dot;
    }
};

struct Row {
    std::vector<double> out;
    double log_sum_exp;
};

Row right_row(const Query& query) {
    Row row{std::vector<double>(static_cast<std::size_t>(query.v.extent(1))), -infinity};
    for (int j = query.end - 1; j >= query.begin; --j) row.log_sum_exp = log_add(row.log_sum_exp, query.score(j));
    row.log_sum_exp = log_add(row.log_sum_exp, query.sink);
    for (int j = query.begin; j < query.end; ++j) {
        const double weight = std::exp(query.score(j) - row.log_sum_exp);
        for (std::size_t d = 0; d < row.out.size(); ++d) row.out[d] += weight * query.v(j, static_cast<int>(d));
    }
    return row;
}

// Tile by tile, with the mistake made at its place.
Row mistaken_row(const Query& query, std::string_view mistake) {
    const bool no_maximum = mistake == "no_maximum", own_maximum = mistake == "maximum_of_tile";
    const bool late_sink = mistake == "sink_forgotten" || mistake == "sink_not_in_log_sum_exp" ||
                           mistake == "sink_per_tile" || mistake == "sink_without_maximum";
    const double sink = mistake == "sink_scaled" ? query.scale * query.sink : query.sink;
    std::vector<double> O(static_cast<std::size_t>(query.v.extent(1)));
    double m = late_sink ? -infinity : sink, l = m > -infinity;
    if (mistake == "sink_not_in_log_sum_exp") m = sink;
    if (no_maximum) m = 0, l = exp_as_float(sink);
    int tiles = 0;
    for (int first = 0; first < query.keys(); first += query.tile) {
        const int last = std::min(first + query.tile, query.keys());
        if (mistake == "last_tile_left_out" && last - first < query.tile) continue;
        const int from = std::max(first, query.begin), to = std::min(last, query.end);
        if (from >= to) {
            if (mistake == "minus_infinity_minus_itself" && m == -infinity) l = nan_value;
            continue;
        }
        double of_tile = -infinity, sum_of_tile = sink;
        for (int j = from; j < to; ++j) of_tile = std::max(of_tile, query.score(j));
        for (int j = from; j < to; ++j) sum_of_tile = log_add(sum_of_tile, query.score(j));
        ++tiles;
        const double next = no_maximum                   ? 0
                            : own_maximum                ? of_tile
                            : mistake == "sink_per_tile" ? std::max({m, of_tile, sink})
                                                         : std::max(m, of_tile);
        const double shrink = no_maximum || own_maximum ? 1 : std::exp(m - next);
        m = next;
        if (mistake != "sum_not_rescaled") l *= shrink;
        if (mistake != "output_not_rescaled" && mistake != "tiles_averaged")
            for (double& sum : O) sum *= shrink;
        if (mistake == "sink_per_tile") l += std::exp(sink - m);
        for (int j = from; j < to; ++j) {
            const double score = query.score(j), less = no_maximum ? score : score - m;
            const bool underflows = no_maximum || mistake == "sink_not_in_log_sum_exp";
            const double weight = underflows ? exp_as_float(less) : std::exp(less);
            l += weight;
            for (std::size_t d = 0; d < O.size(); ++d) {
                O[d] += (mistake == "tiles_averaged" ? std::exp(score - sum_of_tile) : weight) *
                        query.v(j, static_cast<int>(d));
                if (no_maximum) O[d] = static_cast<float>(O[d]);
            }
        }
        if (mistake == "unseen_times_0")
            for (int j = first; j < last; ++j)
                for (std::size_t d = 0; d < O.size() && (j < from || j >= to); ++d)
                    O[d] += 0 * query.v(j, static_cast<int>(d));
        if (mistake == "divided_per_tile")
            for (double& sum : O) sum /= l;
    }
    if (no_maximum) l = static_cast<float>(l);
    double divisor = l;
    if (mistake == "sink_not_in_log_sum_exp" && sink > -infinity) divisor += exp_as_float(sink - m);
    if (mistake == "sink_twice" && sink > -infinity) divisor = l += std::exp(sink - m);
    if (mistake == "sink_without_maximum") {
        if (l == 0) m = 0;
        divisor = l += exp_as_float(sink);
    }
    if (mistake == "divided_per_tile") divisor = 1;
    if (mistake == "tiles_averaged") divisor = tiles;
    for (double& sum : O) sum = divisor == 0 && mistake != "empty_row_is_nan" ? 0 : sum / divisor;
    if (std::isnan(l)) std::fill(O.begin(), O.end(), nan_value);
    return {O, l == 0 ? -infinity : (mistake == "log_without_maximum" ? 0 : m) + std::log(l)};
}

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    const int H = in.q.extent(0), Nq = in.q.extent(1), Nk = in.k.extent(1), Dv = in.v.extent(2);
    auto out = make_tensor<double, 3>({H, Nq, Dv});
    auto log_sum_exp = make_tensor<double, 2>({H, Nq});
    double largest = 1, largest_value = 0;  // of what is seen
    for (int h = 0; h < H; ++h)
        for (int i = 0; i < Nq; ++i) {
            Query query{
                in.q.slice(h, i), in.k.slice(h), in.v.slice(h), in.begin(i),
                in.end(i),        options.tile,  options.scale, in.sink(mistake == "sink_of_first_head" ? 0 : h)};
            for (int j = query.begin; j < query.end; ++j) {
                largest = std::max(largest, std::abs(query.score(j)));
                for (int d = 0; d < Dv; ++d)
                    largest_value = std::max(largest_value, std::abs(static_cast<double>(in.v(h, j, d))));
            }
            Row row;
            if (mistake == "from_the_chapter") {
                query.begin = 0, query.end = Nk, query.sink = -infinity;
                row = right_row(query);
            } else {
                const bool right = mistake.empty() || mistake == "sink_of_first_head" || mistake == "all_scores_held";
                row = right ? right_row(query) : mistaken_row(query, mistake);
            }
            for (int d = 0; d < Dv; ++d) out(h, i, d) = row.out[static_cast<std::size_t>(d)];
            log_sum_exp(h, i) = row.log_sum_exp;
        }
    judge::Answer result;
    const double of_sums = 1e-8 * Nk;  // of that many numbers, in float
    result.add("out", out, {2e-5 + of_sums, largest_value});
    result.add("log_sum_exp", log_sum_exp, {2e-6 + of_sums, largest});
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "online_softmax",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's online softmax, in which every row sees every key and there is no sink. Which of its "
         "steps must look at begin(i) and end(i), and what does a row know before its first key?"},
        {"sink_forgotten",
         "equals the answer without a sink. It is a score like the others, without a value: what are m and l of a row "
         "that has seen nothing but its sink?"},
        {"sink_not_in_log_sum_exp",
         "has the right out, and a log_sum_exp of the scores alone. The sum that out is divided by has one term more."},
        {"sink_per_tile",
         "equals the answer in which every tile adds the sink once more. To how many tiles does it belong?"},
        {"sink_twice",
         "equals the answer in which the sink counts twice, however many tiles there are. Is it in the state that a "
         "row begins with, and added at the end as well?"},
        {"sink_scaled",
         "equals the answer with scale · sink. What is the scale there for, and is the sink a product q·k?"},
        {"sink_without_maximum",
         "equals the answer with exp(sink) added to l, of the sink as it is. The other terms of l are relative to "
         "something."},
        {"sink_of_first_head", "equals the answer in which all heads have the sink of head 0. Whose is this row's?"},
        {"output_not_rescaled",
         "has the right log_sum_exp, and an out in which O stays as it was when a later tile raises the maximum. "
         "Relative to which maximum was it summed up?"},
        {"sum_not_rescaled",
         "equals the answer in which l stays as it was when a later tile raises the maximum, while O shrinks. Which "
         "two sums are relative to m?"},
        {"maximum_of_tile",
         "equals the answer in which each tile subtracts its own maximum, and the sums of all tiles are added as they "
         "are. What has to happen to a sum before another one with another maximum can be added?"},
        {"no_maximum",
         "equals the answer without a maximum subtracted: exp overflows in float from 89 on, and is 0 below -104. "
         "Look at the large scores and sinks."},
        {"divided_per_tile",
         "equals the answer in which O is divided by l after every tile. What is O then, when the next tile's values "
         "are added to it? One of two ways: divide once at the end, or undo it first."},
        {"tiles_averaged",
         "equals the average of what each tile would give on its own. A tile with large scores must weigh more: how "
         "much more?"},
        {"last_tile_left_out",
         "equals the answer in which the last keys are left out where they do not fill a tile. How often must the "
         "loop over the tiles run?"},
        {"minus_infinity_minus_itself",
         "is NaN in rows without a sink that see nothing of the first tile. What is m after that tile, and what is "
         "the exponential of m - m then?"},
        {"empty_row_is_nan",
         "is NaN in rows that see no key and have no sink, and right elsewhere. What are O and l there at the end?"},
        {"unseen_times_0",
         "equals the answer in which values that a row does not see are multiplied by a weight of 0: 0 · NaN is NaN. "
         "Is a value left out, or given no weight?"},
        {"log_without_maximum",
         "has the right out, and log(l) as its log_sum_exp. Every term of l was made smaller by the same factor."},
        {"all_scores_held",
         "the outputs are right; you allocate memory for every key of a row. Of how many keys do you need the scores "
         "at one time?",
         "", "", "memory"},
    },
    false};

struct Data {
    Tensor<float, 3> q, k, v;
    Tensor<int, 1> begin, end;
    Tensor<float, 1> sink;
    Options options;

    Inputs inputs() const { return {view(q), view(k), view(v), view(begin), view(end), view(sink)}; }
};

struct Sizes {
    int H, Nq, Nk, D, Dv, tile;
};

// Later keys are larger, so that the maximum grows from tile to tile. Half of the rows see a part of the keys, the
// others all of them.
Data draw(std::uint64_t seed, const Sizes& size, double factor = 1) {
    Data data{make_tensor<float, 3>({size.H, size.Nq, size.D}),
              make_tensor<float, 3>({size.H, size.Nk, size.D}),
              make_tensor<float, 3>({size.H, size.Nk, size.Dv}),
              make_tensor<int, 1>({size.Nq}),
              make_tensor<int, 1>({size.Nq}),
              make_tensor<float, 1>({size.H}),
              {(1.1 + 0.3 * random_uniform(seed, 100)) / std::sqrt(size.D), size.tile}};
    fill_normal(view(data.q), seed, factor);
    fill_normal(view(data.k), seed + 1);
    fill_normal(view(data.v), seed + 2);
    fill_normal(view(data.sink), seed + 3, 2);
    for (int h = 0; h < size.H; ++h)
        for (int j = 0; j < size.Nk; ++j)
            for (int d = 0; d < size.D; ++d) data.k(h, j, d) *= 0.5f + 1.5f * static_cast<float>(j) / size.Nk;
    std::uint64_t counter = 200;
    for (int i = 0; i < size.Nq; ++i) {
        data.begin(i) = random_integer(seed, counter++, 0, 1) ? random_integer(seed, counter, 0, size.Nk - 1) : 0;
        data.end(i) = data.begin(i) ? random_integer(seed, counter + 1, data.begin(i) + 1, size.Nk) : size.Nk;
        counter += 2;
    }
    return data;
}

judge::Report run(judge::Test& test, const Data& data) { return test.run(exercise, data.inputs(), data.options); }

TEST_CASE("online_softmax: any sizes", "[online_softmax]") {
    judge::Test test;
    int which = 0;
    for (int tile : {1, 2, 5, 16, 33, 64, 200})
        for (int keys : {1, 7, 30, 100}) {
            const std::uint64_t seed = test.seed(which++);
            run(test, draw(seed, {random_integer(seed, 0, 1, 3), random_integer(seed, 1, 1, 6),
                                  keys + (keys > 1 ? random_integer(seed, 2, 0, 20) : 0),
                                  random_integer(seed, 3, 1, 16), random_integer(seed, 4, 1, 16), tile}));
        }
    test.conclude();
}

TEST_CASE("online_softmax: sinks, and none", "[online_softmax]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(
            seed, {4, random_integer(seed, 0, 3, 6), random_integer(seed, 1, 20, 60), random_integer(seed, 2, 2, 16),
                   random_integer(seed, 3, 2, 16), random_integer(seed, 4, 3, 12)});
        data.begin(0) = 0, data.end(0) = data.inputs().k.extent(1);
        data.sink(0) = -infinity;
        data.sink(1) = 20;
        data.sink(2) = -20;
        run(test, data);
    }
    test.conclude();
}

// All elements are integers, so that the scores are exact: else a rounding of a large score would move its weight by
// more than the tolerance.
TEST_CASE("online_softmax: large scores and sinks", "[online_softmax]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data =
            draw(seed,
                 {4, random_integer(seed, 0, 3, 6), random_integer(seed, 1, 20, 80), random_integer(seed, 2, 4, 16),
                  random_integer(seed, 3, 2, 16), random_integer(seed, 4, 5, 30)},
                 100);
        for (float& element : data.q) element = std::nearbyint(element);
        for (float& element : data.k) element = std::nearbyint(3 * element);
        data.options.scale = which % 2 ? 0.5 : 0.25;
        data.sink(0) = -3000, data.sink(1) = 5000, data.sink(2) = 40;
        if (which % 3 == 0) data.sink(3) = -infinity;
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("online_softmax: rows that see nothing, or nothing for some tiles", "[online_softmax]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int tile = random_integer(seed, 0, 2, 9), keys = random_integer(seed, 1, 4 * tile + 1, 8 * tile - 1);
        Data data = draw(seed, {3, 6, keys, random_integer(seed, 2, 2, 16), random_integer(seed, 3, 2, 16), tile});
        data.begin(0) = data.end(0) = random_integer(seed, 4, 0, keys);  // nothing but the sink
        data.begin(1) = data.end(1) = 0;
        data.begin(2) = keys - 1, data.end(2) = keys;  // the last key
        data.begin(3) = 2 * tile, data.end(3) = 3 * tile;
        data.begin(4) = tile + 1, data.end(4) = keys - tile;
        data.sink(0) = -infinity;
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("online_softmax: what is not seen may be NaN", "[online_softmax]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int tile = random_integer(seed, 0, 4, 12), keys = random_integer(seed, 1, 4 * tile, 8 * tile);
        Data data = draw(seed, {2, 4, keys, random_integer(seed, 2, 2, 16), random_integer(seed, 3, 2, 16), tile});
        const int first = tile / 2 + random_integer(seed, 4, 1, tile), last = keys - random_integer(seed, 5, 1, tile);
        for (int i = 0; i < 4; ++i) {
            data.begin(i) = random_integer(seed, 10 + i, first, last - 1);
            data.end(i) = random_integer(seed, 20 + i, data.begin(i) + 1, last);
        }
        for (int h = 0; h < 2; ++h)
            for (int j = 0; j < keys; ++j) {
                if (j >= first && j < last) continue;
                for (int d = 0; d < data.inputs().k.extent(2); ++d) data.k(h, j, d) = nan_value;
                for (int d = 0; d < data.inputs().v.extent(2); ++d) data.v(h, j, d) = nan_value;
            }
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("online_softmax: memory for a tile, not for all keys", "[online_softmax]") {
    judge::Test test;
    for (int which = 0; which < 3; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int keys = random_integer(seed, 0, 3000, 5000);
        const Data data = draw(seed, {1, 2, keys, 1, 1, random_integer(seed, 1, 16, 100)});
        std::int64_t given = 0;  // what the worker holds for the inputs and outputs
        Inputs in = data.inputs();
        in.visit([&]<class T, int N>(const char*, TensorView<const T, N>& view) {
            given += view.count() * static_cast<std::int64_t>(sizeof(T));
        });
        Outputs::shaped(in).visit([&]<class T, int N>(const char*, TensorView<T, N>& view) {
            given += 2 * view.count() * static_cast<std::int64_t>(sizeof(T));
        });
        const judge::Report report = run(test, data);
        if (!report.right) continue;
        const std::int64_t own = static_cast<std::int64_t>(report.peak_bytes) - given;
        test.expect("memory", own <= 2 * std::int64_t{keys},
                    fmt::format("{} bytes are held beside inputs and outputs, where a number for each of the {} keys "
                                "takes {}; expected the scores of a tile of {} keys, and the state of the rows",
                                own, keys, 4 * keys, data.options.tile));
    }
    test.conclude();
}

}  // namespace
