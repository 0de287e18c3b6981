// Judges grouped_window_decode. The answer goes from the newest position back to the oldest that is seen and adds one
// score after the other to log_sum_exp; each weight is then exp(score - log_sum_exp).
#include "chapters/04_head_sharing/exercises/grouped_window_decode.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::grouped_window_decode;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int tile = 32;

// The positions first … end-1.
struct Seen {
    int first, end;
    int count() const { return end - first; }
};

Seen seen(const Inputs& in, int b, int g, std::string_view mistake) {
    const int capacity = in.k.extent(2), length = in.length(mistake == "length_of_first" ? 0 : b);
    const bool first_window = mistake == "window_of_first_head" || mistake == "from_the_chapter";
    const int window = in.window(first_window ? 0 : g);
    if (mistake == "window_forgotten") return {0, length};
    const int end = mistake == "length_forgotten" || mistake == "from_the_chapter" ? capacity : length;
    if (window == 0 && mistake == "window_0_is_nothing") return {end, end};
    const int width = mistake == "window_without_own" ? window + 1 : window;
    const int first = window == 0 ? 0 : std::max(0, end - width);
    if (mistake == "own_position_excluded") return {std::min(first, std::max(0, end - 1)), std::max(0, end - 1)};
    return {first, end};
}

// One query head and what it reads.
struct Head {
    TensorView<const float, 1> q;
    TensorView<const float, 2> k, v;
    double scale;

    double score(int j, int depths) const {
        double dot = 0;
        for (int d = depths - 1; d >= 0; --d) dot += static_cast<double>(q(d)) * k(j, d);
        return scale * dot;
    }
};

struct Row {
    std::vector<double> out;
    double log_sum_exp;
};

Row right_row(const Head& head, const Seen& seen) {
    Row row{std::vector<double>(static_cast<std::size_t>(head.v.extent(1))), -infinity};
    for (int j = seen.end - 1; j >= seen.first; --j) {  // log(exp(a) + exp(b))
        const double score = head.score(j, head.q.extent(0)), high = std::max(score, row.log_sum_exp);
        row.log_sum_exp = high + std::log1p(std::exp(std::min(score, row.log_sum_exp) - high));
    }
    for (int j = seen.first; j < seen.end; ++j) {
        const double weight = std::exp(head.score(j, head.q.extent(0)) - row.log_sum_exp);
        for (int d = 0; d < head.v.extent(1); ++d) row.out[static_cast<std::size_t>(d)] += weight * head.v(j, d);
    }
    return row;
}

// By the online softmax, in tiles from the first position on.
Row mistaken_row(const Head& head, Seen seen, std::string_view mistake) {
    const int D = head.q.extent(0), depths = mistake == "rest_of_depths_left_out" ? D / 4 * 4 : D;
    const bool empty = mistake == "last_tile_left_out" ? seen.end == 0 : seen.count() == 0;
    if (mistake == "last_tile_left_out") seen.end = seen.first + seen.count() / tile * tile;
    std::vector<double> out(static_cast<std::size_t>(head.v.extent(1)));
    double maximum = -infinity, sum = 0;
    for (int start = seen.first; start < seen.end; start += tile) {
        const int end = std::min(start + tile, seen.end);
        double higher = maximum;
        for (int j = start; j < end; ++j) higher = std::max(higher, head.score(j, depths));
        const bool shrinks = mistake != "correction_forgotten" && mistake != "no_maximum";
        const double shrink = shrinks ? std::exp(maximum - higher) : 1;
        maximum = higher;
        sum *= shrink;
        for (double& element : out) element *= mistake == "values_not_corrected" ? 1 : shrink;
        for (int j = start; j < end; ++j) {
            const double score = head.score(j, depths);
            // Overflows and underflows where float does.
            const double weight = mistake == "no_maximum" ? static_cast<double>(std::exp(static_cast<float>(score)))
                                                          : std::exp(score - maximum);
            sum += weight;
            for (int d = 0; d < head.v.extent(1); ++d) {
                double& element = out[static_cast<std::size_t>(d)];
                element += weight * head.v(j, d);
                if (mistake == "no_maximum") element = static_cast<float>(element);
            }
        }
    }
    if (mistake == "no_maximum") sum = static_cast<float>(sum), maximum = 0;
    for (double& element : out) element = empty && mistake != "empty_is_nan" ? 0 : element / sum;
    if (mistake == "log_sum_exp_without_maximum") maximum = 0;
    return {out, empty && mistake != "log_sum_exp_without_maximum" ? -infinity : maximum + std::log(sum)};
}

// What the emulator finds of the mistake on such an input.
judge::Answer::Finding finding(const Inputs& in, std::string_view mistake) {
    using enum judge::Answer::Finding;
    if (mistake == "window_of_block" && in.k.extent(0) > 1) return always;
    int longest = 0, most_numbers = 0;
    for (int b = 0; b < in.k.extent(0); ++b)
        for (int g = 0; g < in.k.extent(1); ++g) {
            const int count = seen(in, b, g, "").count();
            longest = std::max(longest, count);
            most_numbers = std::max(most_numbers, std::min(count, tile) * std::min(in.k.extent(3), in.v.extent(3)));
        }
    // Within a warp the shuffles may make lanes wait; the others do not wait.
    if (mistake == "missing_barrier" && longest > 0) return most_numbers > tile ? always : perhaps;
    if (mistake == "no_barrier_after" && longest > tile) return perhaps;
    return never;
}

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    const int B = in.q.extent(0), H = in.q.extent(1), G = in.k.extent(1), D = in.q.extent(3), Dv = in.v.extent(3);
    auto out = make_tensor<double, 4>({B, H, 1, Dv}, nan_value);
    auto log_sum_exp = make_tensor<double, 3>({B, H, 1}, nan_value);
    const double scale = mistake == "scale_forgotten" ? 1 : static_cast<float>(options.scale);
    double largest = 0, largest_value = 0;  // of what is seen
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < H; ++h) {
            const int g = mistake == "key_head_by_remainder" ? h % G : h / (H / G);
            const Seen positions = seen(in, b, g, mistake);
            if (mistake == "heads_beyond_four" && h % (H / G) >= 4) continue;
            const Head head{in.q.slice(b, h, 0), in.k.slice(b, g), in.v.slice(b, g), scale};
            Row row = mistake.empty() ? right_row(head, positions) : mistaken_row(head, positions, mistake);
            if (mistake == "unseen_times_0")
                for (int j = positions.first / tile * tile; positions.count() > 0 && j < positions.first; ++j)
                    for (int d = 0; d < Dv; ++d) row.out[static_cast<std::size_t>(d)] += 0 * head.v(j, d);
            for (int d = 0; d < Dv; ++d)
                if (d < tile || mistake != "columns_beyond_warp")
                    out(b, h, 0, d) = row.out[static_cast<std::size_t>(d)];
            log_sum_exp(b, h, 0) = row.log_sum_exp;
            const Seen right = seen(in, b, h / (H / G), "");
            for (int j = right.first; j < right.end; ++j) {
                double products = 0;
                for (int d = 0; d < D; ++d)
                    products += std::abs(static_cast<double>(head.q(d)) * in.k(b, h / (H / G), j, d));
                largest = std::max(largest, scale * products);
                for (int d = 0; d < Dv; ++d)
                    largest_value = std::max(largest_value, std::abs(static_cast<double>(in.v(b, h / (H / G), j, d))));
            }
        }
    judge::Answer result;
    result.finding = finding(in, mistake);
    // A score is off by some roundings of its products, and a weight by as much, relative to itself. Where products of
    // far more than 20 are added, they are integers, and not rounded.
    result.add("out", out, {3e-6 * std::clamp(largest, 1.0, 20.0), largest_value});
    result.add("log_sum_exp", log_sum_exp, {2e-6, std::max(1.0, largest)});
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "grouped_window_decode",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's kernel, in which all sequences fill the cache and all heads have one window, here "
         "that of the first. What does a block need to know of its own sequence, and of its own group?"},
        {"window_forgotten",
         "equals the answer without windows. Which is the first position that a query with a window sees?"},
        {"length_forgotten",
         "equals the answer in which every sequence fills the cache. Which is the newest position of a sequence?"},
        {"window_without_own",
         "equals the answer in which a window shows one position more. Is the newest position among those that it "
         "counts?"},
        {"own_position_excluded",
         "equals the answer in which the newest position is not seen. It stands in the cache already, at length - 1."},
        {"window_0_is_nothing",
         "equals the answer in which a window of 0 shows nothing. What does the header say that 0 stands for?"},
        {"window_of_first_head",
         "equals the answer in which all key/value heads have the window of the first. Whose window does this block "
         "need?"},
        {"length_of_first",
         "equals the answer in which all sequences are as long as the first. Whose length does this block need?"},
        {"key_head_by_remainder",
         "equals the answer in which query head h reads key/value head h % G. Which query heads share one: those at "
         "a distance of G, or neighbours?"},
        {"scale_forgotten", "equals the answer with a scale of 1. Where does options.scale come in?"},
        {"no_maximum",
         "equals the answer without a maximum subtracted: exp overflows in float from 89 on, and is 0 below -104. "
         "Look at the large scores."},
        {"correction_forgotten",
         "equals the answer in which what the first tiles of 32 positions gave stays as it was when a later one has "
         "a larger maximum. Relative to which maximum was it summed up?"},
        {"values_not_corrected",
         "has the right log_sum_exp, and an out in which the sum of the values does not shrink when the maximum "
         "grows. Which sums were weighted with the old one?"},
        {"last_tile_left_out",
         "equals the answer in which the last positions are left out where they do not fill a tile of 32. How often "
         "must the loop run?"},
        {"rest_of_depths_left_out",
         "equals the answer in which D is rounded down to a multiple of 4. What becomes of the depths that are left?"},
        {"columns_beyond_warp",
         "equals the answer in which nothing is written for the columns of out from 32 on. How many columns does "
         "each lane have when Dv is 128?"},
        {"heads_beyond_four",
         "equals the answer in which only the first four query heads of a group are written. How many warps does a "
         "block need?"},
        {"log_sum_exp_without_maximum",
         "has the right out, and log(sum) as its log_sum_exp. Every term of that sum was made smaller by the same "
         "factor: what is missing in the logarithm?"},
        {"empty_is_nan", "equals the answer in which a sequence without positions is 0 / 0. What should stand there?"},
        {"unseen_times_0",
         "equals the answer in which tiles begin at multiples of 32, and values before the window are multiplied by "
         "0: 0 · NaN is NaN. Is a value left out, or given no weight?"},
        {"window_of_block",
         "the emulator found reads beyond the end of `window`, and only where there are several sequences. Which "
         "part of the block's number says which key/value head it has?",
         "out_of_bounds", "reads"},
        {"missing_barrier",
         "the emulator found threads that read from a tile before other threads have written there, even where "
         "there is one tile only. What must all threads wait for before they multiply?",
         "never_written|race", "shared memory"},
        {"no_barrier_after",
         "the emulator found a data race, and only where there is more than one tile: threads load the next one "
         "while others still read this one. At which two places of the loop must all threads wait?",
         "race", "in shared memory"},
        {"once_per_query_head",
         "the outputs are right; the counts say that keys and values are read once for every query head. How many "
         "blocks do you launch for the query heads that share a key?",
         "", "", "once_per_group"},
        {"queries_not_shared",
         "the outputs are right; the counts say that more is read than keys and values, even where one query head "
         "has them for itself. What does the innermost loop load from device memory again and again?",
         "", "", "queries_once"},
        {"whole_cache_read",
         "the outputs are right; the counts say that positions are read that nobody sees. Where does the loop over "
         "the tiles begin and end?",
         "", "", "only_seen"},
        {"lane_loads_row",
         "the outputs are right; the counts say that a warp's loads are spread over many sectors of memory. Which "
         "numbers do neighbouring threads load: neighbours, or one of each row?",
         "", "", "coalesced"},
    }};

struct Data {
    Tensor<float, 4> q, k, v;
    Tensor<int, 1> length, window;
    Options options;

    Inputs inputs() const { return {view(q), view(k), view(v), view(length), view(window)}; }

    // NaN wherever nobody may look.
    void hide_unseen() {
        const Inputs in = inputs();
        for (int b = 0; b < in.k.extent(0); ++b)
            for (int g = 0; g < in.k.extent(1); ++g) {
                const Seen positions = seen(in, b, g, "");
                for (int j = 0; j < in.k.extent(2); ++j) {
                    if (j >= positions.first && j < positions.end) continue;
                    for (int d = 0; d < in.k.extent(3); ++d) k(b, g, j, d) = nan_value;
                    for (int d = 0; d < in.v.extent(3); ++d) v(b, g, j, d) = nan_value;
                }
            }
    }
};

struct Sizes {
    int B, G, group, N, D, Dv;
};

// Later keys are larger, so that the maximum grows from tile to tile. Windows and lengths are drawn; a third of the
// heads sees all positions.
Data draw(std::uint64_t seed, const Sizes& size, double factor = 1) {
    Data data{make_tensor<float, 4>({size.B, size.G * size.group, 1, size.D}),
              make_tensor<float, 4>({size.B, size.G, size.N, size.D}),
              make_tensor<float, 4>({size.B, size.G, size.N, size.Dv}),
              make_tensor<int, 1>({size.B}),
              make_tensor<int, 1>({size.G}),
              {(0.7 + 0.2 * random_uniform(seed, 100)) / std::sqrt(size.D)}};
    fill_normal(view(data.q), seed, factor);
    fill_normal(view(data.k), seed + 1);
    fill_normal(view(data.v), seed + 2);
    for (int b = 0; b < size.B; ++b)
        for (int g = 0; g < size.G; ++g)
            for (int j = 0; j < size.N; ++j)
                for (int d = 0; d < size.D; ++d) data.k(b, g, j, d) *= 0.5f + 1.5f * static_cast<float>(j) / size.N;
    std::uint64_t counter = 200;
    for (int& length : data.length) length = random_integer(seed, counter++, (size.N + 1) / 2, size.N);
    for (int& window : data.window)
        window = random_integer(seed, counter++, 0, 2) ? random_integer(seed, counter, 1, size.N) : 0, ++counter;
    return data;
}

judge::Report run(judge::Test& test, const Data& data) { return test.run(exercise, data.inputs(), data.options); }

TEST_CASE("grouped_window_decode: any sizes", "[grouped_window_decode]") {
    judge::Test test;
    const struct {
        int B, G, group, N[2], D[2], Dv[2];  // from, to
    } sizes[] = {{1, 1, 1, {1, 1}, {1, 1}, {1, 1}},          {1, 1, 1, {2, 9}, {2, 5}, {2, 5}},
                 {1, 1, 1, {8, 31}, {8, 8}, {8, 8}},         {1, 1, 1, {32, 32}, {16, 16}, {16, 16}},
                 {1, 2, 2, {33, 50}, {5, 15}, {17, 31}},     {1, 2, 4, {64, 64}, {32, 32}, {32, 32}},
                 {2, 1, 8, {20, 70}, {33, 40}, {9, 20}},     {3, 2, 3, {70, 90}, {9, 20}, {33, 64}},
                 {2, 3, 5, {40, 60}, {30, 50}, {65, 100}},   {1, 1, 8, {100, 140}, {128, 128}, {128, 128}},
                 {2, 4, 1, {65, 100}, {64, 64}, {128, 128}}, {2, 2, 7, {33, 64}, {101, 127}, {3, 7}}};
    int which = 0;
    for (const auto& [B, G, group, N, D, Dv] : sizes)
        for (bool full : {true, false}) {
            const std::uint64_t seed = test.seed(which++);
            Data data = draw(seed, {B, G, group, random_integer(seed, 0, N[0], N[1]),
                                    random_integer(seed, 1, D[0], D[1]), random_integer(seed, 2, Dv[0], Dv[1])});
            if (full) {  // one group's worth of ordinary attention
                std::fill(data.window.begin(), data.window.end(), 0);
                std::fill(data.length.begin(), data.length.end(), data.inputs().k.extent(2));
            }
            run(test, data);
        }
    test.conclude();
}

TEST_CASE("grouped_window_decode: windows and lengths", "[grouped_window_decode]") {
    judge::Test test;
    int which = 0;
    for (int window : {1, 2, 31, 32, 33, 60, 200}) {
        const std::uint64_t seed = test.seed(which++);
        const int B = random_integer(seed, 0, 2, 3), G = random_integer(seed, 1, 2, 3);
        Data data = draw(seed, {B, G, random_integer(seed, 2, 1, 4), random_integer(seed, 3, 70, 110),
                                random_integer(seed, 4, 3, 20), random_integer(seed, 5, 3, 20)});
        data.window(0) = window, data.window(1) = which % 2 ? 0 : window + random_integer(seed, 6, 1, 20);
        data.length(0) = std::min(data.inputs().k.extent(2), window + which % 3 - 1);
        if (window == 1) data.length(0) = 1;
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("grouped_window_decode: what is not seen may be NaN", "[grouped_window_decode]") {
    judge::Test test;
    for (int which = 0; which < 5; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, {2, 2, random_integer(seed, 0, 1, 4), random_integer(seed, 1, 80, 120),
                                random_integer(seed, 2, 3, 20), random_integer(seed, 3, 3, 40)});
        data.window(0) = random_integer(seed, 4, 20, 50), data.length(1) = data.inputs().k.extent(2) - 7;
        data.hide_unseen();
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("grouped_window_decode: sequences that have not begun", "[grouped_window_decode]") {
    judge::Test test;
    for (int which = 0; which < 3; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, {2 + which, 2, random_integer(seed, 0, 1, 3), random_integer(seed, 1, 5, 60),
                                random_integer(seed, 2, 3, 20), random_integer(seed, 3, 3, 40)});
        data.length(which) = 0;
        data.window(0) = 0;
        run(test, data);
    }
    test.conclude();
}

// All elements are integers, so that the scores are exact: else a rounding of a large score would move its weight by
// more than the tolerance.
TEST_CASE("grouped_window_decode: large scores", "[grouped_window_decode]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed,
                         {1, 2, random_integer(seed, 0, 1, 4), random_integer(seed, 1, 40, 90),
                          random_integer(seed, 2, 8, 24), random_integer(seed, 3, 4, 24)},
                         100);
        for (float& element : data.q) element = std::nearbyint(element);
        for (float& element : data.k) element = std::nearbyint(3 * element);
        data.options.scale = which % 2 ? 0.5 : 0.25;
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("grouped_window_decode: what is seen is read once for its group", "[grouped_window_decode]") {
    judge::Test test;
    auto all_seen = [](Data& data) {
        std::fill(data.window.begin(), data.window.end(), 0);
        std::fill(data.length.begin(), data.length.end(), data.inputs().k.extent(2));
    };
    // Bytes of the keys and values that are seen, each once.
    auto bytes_seen = [](const Data& data) {
        std::uint64_t numbers = 0;
        const Inputs in = data.inputs();
        for (int b = 0; b < in.k.extent(0); ++b)
            for (int g = 0; g < in.k.extent(1); ++g)
                numbers += static_cast<std::uint64_t>(seen(in, b, g, "").count() * (in.k.extent(3) + in.v.extent(3)));
        return numbers * sizeof(float);
    };
    for (int which = 0; which < 2; ++which) {
        const std::uint64_t seed = test.seed(which);
        bool lean = true;  // else the others would fail by the same loads
        auto bytes_expected = [&](const char* key, const Data& data, const char* what) {
            const std::uint64_t once = bytes_seen(data);
            const auto counts = run(test, data).counts;
            if (!counts || !lean) return true;
            const bool holds = counts->global_load_bytes <= once * 3 / 2;
            test.expect(key, holds,
                        fmt::format("{} bytes are loaded from device memory, expected {} for the keys and values that "
                                    "are seen, each once{}, and no more than half of that for anything else",
                                    counts->global_load_bytes, once, what));
            return holds;
        };
        Data one_head = draw(seed, {random_integer(seed, 0, 1, 2), 2, 1, random_integer(seed, 1, 150, 220), 96, 16});
        all_seen(one_head);
        lean = bytes_expected("queries_once", one_head, "");

        Data group = draw(seed + 1, {random_integer(seed, 2, 1, 2), random_integer(seed, 3, 1, 2),
                                     random_integer(seed, 4, 3, 8), random_integer(seed, 5, 150, 220), 32, 64});
        all_seen(group);
        bytes_expected("once_per_group", group, " for its group");

        Data windows = draw(seed + 2, {1, random_integer(seed, 6, 2, 3), 1, random_integer(seed, 7, 300, 400), 64, 64});
        for (int& window : windows.window) window = 60 + random_integer(seed, 8, 0, 30);
        windows.length(0) = windows.inputs().k.extent(2) - random_integer(seed, 9, 30, 60);
        bytes_expected("only_seen", windows, "");

        Data rows = draw(seed + 3, {1, random_integer(seed, 10, 1, 2), 1, random_integer(seed, 11, 100, 150),
                                    8 * random_integer(seed, 12, 6, 12), 8 * random_integer(seed, 13, 6, 12)});
        all_seen(rows);
        const std::uint64_t least = bytes_seen(rows) / 32;
        if (const auto counts = run(test, rows).counts)
            test.expect("coalesced", !lean || counts->global_load_sectors <= 2 * least,
                        fmt::format("{} sectors of 32 bytes are loaded from device memory, expected {} or less: keys "
                                    "and values fill {}",
                                    counts->global_load_sectors, 2 * least, least));
    }
    test.conclude();
}

}  // namespace
