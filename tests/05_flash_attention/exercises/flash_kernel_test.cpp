// Judges flash_kernel. The answer knows no tiles: it adds one score after the other to log_sum_exp, from the last key
// back to the first; each weight is then exp(score - log_sum_exp). The tanh is made of an exponential that cannot
// overflow.
#include "chapters/05_flash_attention/exercises/flash_kernel.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::flash_kernel;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int tile = 32, block_queries = 16, warp_queries = 4;  // of the solution, and so of the mistakes

// log(exp(a) + exp(b))
double log_add(double a, double b) {
    if (std::isnan(a) || std::isnan(b)) return nan_value;
    const double high = std::max(a, b), low = std::min(a, b);
    return low > -infinity ? high + std::log1p(std::exp(low - high)) : high;
}

// Overflows and underflows where float does: that is what some of the mistakes are about.
double exp_as_float(double x) { return std::exp(static_cast<float>(x)); }

// How many keys query i sees, the first that many.
int visible_keys(const Inputs& in, const Options& options, int i, std::string_view mistake) {
    const int Nq = in.q.extent(2), Nk = in.k.extent(2);
    if (!options.causal || mistake == "mask_forgotten") return Nk;
    if (mistake == "mask_top_left") return std::min(i + 1, Nk);
    const int beyond = i + Nk - Nq + (mistake == "mask_without_last" ? 0 : 1);
    return std::clamp(beyond, 0, Nk);
}

// One query and its head's keys and values.
struct Query {
    TensorView<const float, 1> q;
    TensorView<const float, 2> k, v;
    double scale, cap;
    int visible;       // keys
    int seen_by_some;  // query of the block

    double plain_score(int j) const {
        double dot = 0;
        for (int d = q.extent(0) - 1; d >= 0; --d) dot += static_cast<double>(q(d)) * k(j, d);
        return scale * dot;
    }
    double capped(double score, double by) const {
        const double shrunk = std::exp(-2 * std::abs(score) / by);
        return cap * std::copysign((1 - shrunk) / (1 + shrunk), score);
    }
    double score(int j, std::string_view mistake) const {
        const double plain = plain_score(j);
        if (mistake == "from_the_chapter") return plain;
        if (mistake == "scale_after_cap") return scale * capped(plain / scale, cap);
        if (mistake == "scale_forgotten") return capped(plain / scale, cap);
        if (mistake == "tanh_without_cap") return capped(plain, 1);
        if (mistake == "clamped") return std::fmin(std::fmax(plain, -cap), cap);
        if (mistake == "cap_after_mask" && j >= visible) return -cap;
        return capped(plain, cap);
    }
};

struct Row {
    std::vector<double> out;
    double log_sum_exp;
};

Row blind_row(const Query& query) {
    return {std::vector<double>(static_cast<std::size_t>(query.v.extent(1))), -infinity};
}

Row right_row(const Query& query, int keys, std::string_view mistake) {
    Row row = blind_row(query);
    for (int j = keys - 1; j >= 0; --j) row.log_sum_exp = log_add(row.log_sum_exp, query.score(j, mistake));
    for (int j = 0; j < keys; ++j) {
        const double weight = std::exp(query.score(j, mistake) - row.log_sum_exp);
        for (std::size_t d = 0; d < row.out.size(); ++d) row.out[d] += weight * query.v(j, static_cast<int>(d));
    }
    return row;
}

// Tile by tile, with the mistake made at its place.
Row mistaken_row(const Query& query, std::string_view mistake) {
    const bool in_float = mistake == "no_maximum" || mistake == "maximum_before_cap";
    auto rounded = [&](double x) { return in_float ? static_cast<double>(static_cast<float>(x)) : x; };
    std::vector<double> O(static_cast<std::size_t>(query.v.extent(1)));
    double m = -infinity, l = 0;
    const int end = mistake == "last_tile_left_out" ? query.seen_by_some / tile * tile : query.visible;
    for (int first = 0; first < std::min(end, query.visible); first += tile) {
        const int last = std::min(first + tile, query.visible);
        double of_tile = -infinity;
        for (int j = first; j < last; ++j) {
            const double of_maximum = mistake == "maximum_before_cap" ? query.plain_score(j) : query.score(j, mistake);
            of_tile = std::fmax(of_tile, of_maximum);
        }
        const bool own_maximum = mistake == "maximum_of_tile", no_maximum = mistake == "no_maximum";
        const double next = no_maximum ? 0 : own_maximum ? of_tile : std::max(m, of_tile);
        const double shrink = no_maximum || own_maximum ? 1 : std::exp(m - next);
        m = next;
        if (mistake != "sum_not_rescaled") l *= shrink;
        if (mistake != "output_not_rescaled")
            for (double& sum : O) sum *= shrink;
        for (int j = first; j < last; ++j) {
            const double less = query.score(j, mistake) - m;
            const double weight = in_float ? exp_as_float(less) : std::exp(less);
            l = rounded(l + weight);
            for (std::size_t d = 0; d < O.size(); ++d) O[d] = rounded(O[d] + weight * query.v(j, static_cast<int>(d)));
        }
        if (mistake == "divided_per_tile")
            for (double& sum : O) sum /= l;
    }
    if (mistake != "divided_per_tile")
        for (double& sum : O) sum /= l;
    return {O, (mistake == "log_without_maximum" ? 0 : m) + std::log(l)};
}

// What the emulator finds of the mistake on such an input.
judge::Answer::Finding finding(const Inputs& in, const Options& options, std::string_view mistake) {
    using enum judge::Answer::Finding;
    const int Nq = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    const int most = visible_keys(in, options, Nq - 1, ""), numbers = std::min(most, tile) * std::max(D, Dv);
    if (mistake == "missing_barrier" && most > 0) return numbers > tile ? always : perhaps;
    if (mistake == "no_barrier_after" && most > tile) return perhaps;
    if (mistake == "barrier_skipped" && most > tile) return perhaps;
    if (mistake == "returns_before_barrier") {
        const int warps = (Nq % block_queries + warp_queries - 1) / warp_queries;  // of the last block, with a query
        if (warps > 0 && warps < block_queries / warp_queries && numbers > 32 * warps) return always;
    }
    return never;
}

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    const int B = in.q.extent(0), H = in.q.extent(1), G = in.k.extent(1), Nq = in.q.extent(2), Nk = in.k.extent(2);
    const int Dv = in.v.extent(3);
    auto out = make_tensor<double, 4>({B, H, Nq, Dv}, nan_value);
    auto log_sum_exp = make_tensor<double, 3>({B, H, Nq}, nan_value);
    double largest = 0, largest_value = 0;  // of what is seen
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < H; ++h)
            for (int i = 0; i < Nq; ++i) {
                const int last = std::min(i / block_queries * block_queries + block_queries, Nq) - 1;
                const int g = mistake == "key_head_by_remainder" ? h % G : h / (H / G);
                const Query query{in.q.slice(b, h, i),
                                  in.k.slice(b, g),
                                  in.v.slice(b, g),
                                  static_cast<float>(options.scale),
                                  static_cast<float>(options.cap),
                                  visible_keys(in, options, mistake == "mask_of_block" ? last : i, mistake),
                                  visible_keys(in, options, last, mistake)};
                static const std::string_view rowwise[] = {
                    "no_maximum",          "maximum_before_cap", "maximum_of_tile",    "sum_not_rescaled",
                    "output_not_rescaled", "divided_per_tile",   "last_tile_left_out", "log_without_maximum"};
                Row row = blind_row(query);
                if (query.visible > 0) {
                    if (std::find(std::begin(rowwise), std::end(rowwise), mistake) != std::end(rowwise))
                        row = mistaken_row(query, mistake);
                    else
                        row = right_row(query, mistake == "cap_after_mask" ? Nk : query.visible, mistake);
                    if (mistake == "log_sum_exp_without_cap")
                        row.log_sum_exp = right_row(query, query.visible, "from_the_chapter").log_sum_exp;
                    if (mistake == "unseen_times_0")
                        for (int j = query.visible; j < query.seen_by_some; ++j)
                            for (int d = 0; d < Dv; ++d) row.out[static_cast<std::size_t>(d)] += 0 * query.v(j, d);
                } else if (mistake == "blind_row_is_nan") {
                    std::fill(row.out.begin(), row.out.end(), nan_value);
                }
                for (int d = 0; d < (mistake == "columns_beyond_warp" ? std::min(Dv, 32) : Dv); ++d)
                    out(b, h, i, d) = row.out[static_cast<std::size_t>(d)];
                log_sum_exp(b, h, i) = row.log_sum_exp;
                for (int j = 0; j < query.visible; ++j) {
                    largest = std::fmax(largest, std::abs(query.plain_score(j)));
                    for (int d = 0; d < Dv; ++d) largest_value = std::fmax(largest_value, std::abs(query.v(j, d)));
                }
            }
    const double rounding = std::min(largest, options.cap);  // of a score, in units of the last place
    judge::Answer result;
    result.add("out", out, {2e-5 + 5e-7 * rounding, largest_value});
    result.add("log_sum_exp", log_sum_exp, {2e-6, std::max(1.0, rounding)});
    result.finding = finding(in, options, mistake);
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "flash_kernel",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's FlashAttention, which has no cap. Between which two of its steps does the tanh belong, "
         "if what is not seen is to stay at -inf?"},
        {"scale_after_cap",
         "equals the answer in which the products are capped first and scaled then. What is it that must not exceed "
         "the cap?"},
        {"scale_forgotten", "equals the answer with a scale of 1. Where does options.scale come in?"},
        {"tanh_without_cap",
         "equals the answer with cap · tanh(score). Small scores must stay nearly what they are: what is cap · tanh(x) "
         "for a small x?"},
        {"clamped",
         "equals the answer in which scores are cut off at the cap. The cap is a soft one: what happens to a score "
         "of half the cap?"},
        {"cap_after_mask",
         "equals the answer in which the mask is under the cap: keys that are not seen have the score -cap, and a "
         "weight. Which of the two comes last?"},
        {"maximum_before_cap",
         "equals the answer in which the maximum is that of the scores before the cap. How large is exp(score - "
         "maximum) where one is 5 and the other 2000?"},
        {"log_sum_exp_without_cap",
         "has the right out, and the log_sum_exp of the scores before the cap. Of which scores is out the softmax?"},
        {"no_maximum",
         "equals the answer without a maximum subtracted: exp overflows in float from 89 on, and is 0 below -104. The "
         "cap bounds the scores, but look how large it may be."},
        {"output_not_rescaled",
         "has the right log_sum_exp, and an out in which the sum of the values stays as it is when a later tile raises "
         "the maximum. Relative to which maximum was it summed up?"},
        {"sum_not_rescaled",
         "equals the answer in which the sum of the weights stays as it is when a later tile raises the maximum. Which "
         "sums are relative to it?"},
        {"maximum_of_tile",
         "equals the answer in which each tile subtracts its own maximum, and the sums of all tiles are added as they "
         "are. What does a warp have to remember of the tiles before?"},
        {"divided_per_tile",
         "has the right log_sum_exp, and an out that is divided by the sum after every tile of 32 keys. How often does "
         "each value get divided then?"},
        {"log_without_maximum",
         "has the right out, and log(sum) as its log_sum_exp. Every term of that sum was made smaller by the same "
         "factor."},
        {"mask_forgotten", "equals the answer without a mask. Which keys does query i see where `causal` is set?"},
        {"mask_top_left",
         "equals the answer in which query i sees the keys up to i. Look at cases with more keys than queries, or "
         "fewer: the last query sees all keys."},
        {"mask_without_last",
         "equals the answer in which a query does not see the last of its keys. Does j <= i + Nk - Nq include "
         "equality?"},
        {"mask_of_block",
         "equals the answer in which all of 16 queries see what the last of them sees. Up to where is a tile loaded, "
         "and up to where does each query read it?"},
        {"last_tile_left_out",
         "equals the answer in which the last keys are left out where they do not fill a tile of 32. How often must "
         "the loop over the tiles run?"},
        {"key_head_by_remainder",
         "equals the answer in which query head h reads key/value head h % G. Which query heads share one: those at a "
         "distance of G, or neighbours?"},
        {"columns_beyond_warp",
         "equals the answer in which nothing is written for the columns of out from 32 on. How many columns does each "
         "lane have when Dv is 64?"},
        {"blind_row_is_nan", "is 0 / 0 for queries that see no key, and right elsewhere. What should stand there?"},
        {"unseen_times_0",
         "equals the answer in which values that a query does not see, and another one of its block does, are "
         "multiplied by 0: 0 · NaN is NaN. Is a value left out, or given no weight?"},
        {"missing_barrier",
         "the emulator found threads that read from shared memory before other threads have written there, even where "
         "there is one tile only. What must all threads wait for before they multiply?",
         "never_written|race", "shared memory"},
        {"no_barrier_after",
         "the emulator found a data race, and only where there is more than one tile: threads load the next one while "
         "others still read this one. At which two places of the loop must all threads wait?",
         "race", "in shared memory"},
        {"returns_before_barrier",
         "the emulator found reads of a tile where nothing was loaded, and only where the last block has fewer "
         "queries than warps. Which threads had already returned, and what should they have loaded for others?",
         "never_written", "shared memory"},
        {"barrier_skipped",
         "the emulator found threads that wait at different barriers. A warp that has nothing to do with a tile goes "
         "on "
         "to the next one: which barrier do the others still wait at?",
         "barrier", "different barriers"},
        {"matrix_in_memory",
         "the outputs are right; the counts say that more is written to device memory than the outputs, or held there. "
         "Where are the scores of a tile, and how long are they needed?",
         "", "", "no_matrix"},
        {"keys_not_shared",
         "the outputs are right; the counts say that the keys are loaded too often from device memory, and the values "
         "not. From where does the loop over D read them?",
         "", "", "keys_once"},
        {"values_not_shared",
         "the outputs are right; the counts say that the values are loaded too often from device memory, and the keys "
         "not. From where does the last loop of a tile read them?",
         "", "", "values_once"},
        {"few_queries_in_block",
         "the outputs are right; the counts say that keys and values are both loaded too often from device memory. For "
         "how many queries is a tile loaded?",
         "", "", "sixteen_queries"},
        {"unseen_tiles_loaded",
         "the outputs are right; the counts say that with a mask as much is loaded as without. Which tiles does no "
         "query of the block see?",
         "", "", "only_seen"},
    }};

struct Data {
    Tensor<float, 4> q, k, v;
    Options options;

    Inputs inputs() const { return {view(q), view(k), view(v)}; }
};

struct Sizes {
    int B, G, group, Nq, Nk, D, Dv;
};

// Later keys are larger, so that the maximum grows from tile to tile.
Data draw(std::uint64_t seed, const Sizes& size, bool causal, double factor = 1) {
    Data data{make_tensor<float, 4>({size.B, size.G * size.group, size.Nq, size.D}),
              make_tensor<float, 4>({size.B, size.G, size.Nk, size.D}),
              make_tensor<float, 4>({size.B, size.G, size.Nk, size.Dv}),
              {causal, (1.5 + 0.5 * random_uniform(seed, 100)) / std::sqrt(size.D), 3 + 4 * random_uniform(seed, 101)}};
    fill_normal(view(data.q), seed, factor);
    fill_normal(view(data.k), seed + 1);
    fill_normal(view(data.v), seed + 2);
    for (int b = 0; b < size.B; ++b)
        for (int g = 0; g < size.G; ++g)
            for (int j = 0; j < size.Nk; ++j)
                for (int d = 0; d < size.D; ++d) data.k(b, g, j, d) *= 0.5f + 1.5f * static_cast<float>(j) / size.Nk;
    return data;
}

judge::Report run(judge::Test& test, const Data& data) { return test.run(exercise, data.inputs(), data.options); }

TEST_CASE("flash_kernel: any sizes", "[flash_kernel]") {
    judge::Test test;
    const struct {
        int B, G, group, Nq[2], Nk[2], D[2], Dv[2];  // from, to
    } sizes[] = {{1, 1, 1, {1, 1}, {1, 1}, {1, 1}, {1, 1}},         {1, 1, 1, {2, 9}, {2, 9}, {2, 5}, {2, 5}},
                 {1, 1, 1, {16, 16}, {32, 32}, {8, 8}, {8, 8}},     {1, 2, 2, {10, 16}, {33, 50}, {5, 15}, {17, 31}},
                 {1, 2, 3, {17, 40}, {64, 64}, {32, 32}, {32, 32}}, {2, 1, 2, {1, 3}, {70, 100}, {33, 63}, {9, 20}},
                 {2, 2, 2, {30, 50}, {65, 90}, {3, 7}, {33, 63}},   {1, 1, 1, {60, 70}, {40, 60}, {64, 64}, {64, 64}},
                 {1, 4, 1, {20, 28}, {97, 130}, {16, 16}, {40, 64}}};
    int which = 0;
    for (const auto& [B, G, group, Nq, Nk, D, Dv] : sizes) {
        const std::uint64_t seed = test.seed(which++);
        run(test, draw(seed,
                       {B, G, group, random_integer(seed, 0, Nq[0], Nq[1]), random_integer(seed, 1, Nk[0], Nk[1]),
                        random_integer(seed, 2, D[0], D[1]), random_integer(seed, 3, Dv[0], Dv[1])},
                       false));
    }
    test.conclude();
}

TEST_CASE("flash_kernel: causal, with more or fewer keys than queries", "[flash_kernel]") {
    judge::Test test;
    const int sizes[][2] = {{1, 40}, {block_queries, 16}, {35, 35}, {50, 90}, {20, 100}, {70, 30},
                            {40, 5}};  // Nq, Nk, at least
    int which = 0;
    for (const auto& [queries, keys] : sizes) {
        const std::uint64_t seed = test.seed(which++);
        const int more = random_integer(seed, 0, 0, 9);
        run(test, draw(seed,
                       {random_integer(seed, 1, 1, 2), random_integer(seed, 2, 1, 2), random_integer(seed, 3, 1, 2),
                        queries == 1 || queries == block_queries ? queries : queries + more, keys + more,
                        random_integer(seed, 4, 2, 20), random_integer(seed, 5, 2, 40)},
                       true));
    }
    test.conclude();
}

// All elements are integers, so that the scores before the cap are exact: else a rounding of a large one would move its
// weight by more than the tolerance. Every query sees 20 keys or more.
TEST_CASE("flash_kernel: large scores under small and large caps", "[flash_kernel]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int queries = random_integer(seed, 0, 5, 30);
        Data data = draw(seed,
                         {1, 1, 2, queries, queries + random_integer(seed, 1, 20, 60), random_integer(seed, 2, 8, 24),
                          random_integer(seed, 3, 4, 40)},
                         which % 2, 1000);
        for (float& element : data.q) element = std::nearbyint(element);
        for (float& element : data.k) element = std::nearbyint(3 * element);
        data.options.scale = which % 2 ? 0.5 : 0.25;
        data.options.cap = which / 2 ? 200 + random_integer(seed, 4, 0, 400) : 4 + random_uniform(seed, 4);
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("flash_kernel: what is not seen may be NaN", "[flash_kernel]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int keys = random_integer(seed, 0, 40, 70), queries = random_integer(seed, 1, 20, keys);
        Data data = draw(seed,
                         {1, 2, random_integer(seed, 2, 1, 2), queries, keys, random_integer(seed, 3, 2, 20),
                          random_integer(seed, 4, 2, 40)},
                         true);
        // The queries before the one that stands there see none of it; the others must give NaN.
        const int first = keys - random_integer(seed, 5, 1, 10);
        for (int g = 0; g < 2; ++g)
            for (int j = first; j < keys; ++j) {
                for (int d = 0; d < data.inputs().k.extent(3); ++d) data.k(0, g, j, d) = nan_value;
                for (int d = 0; d < data.inputs().v.extent(3); ++d) data.v(0, g, j, d) = nan_value;
            }
        run(test, data);
    }
    test.conclude();
}

// Bytes of the queries, once, and for each 16 of them of the keys and values that these see.
std::uint64_t bytes_to_load(const Data& data) {
    const Inputs in = data.inputs();
    const int Nq = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    std::uint64_t numbers = static_cast<std::uint64_t>(Nq) * static_cast<std::uint64_t>(D);
    for (int first = 0; first < Nq; first += block_queries) {
        const int keys = visible_keys(in, data.options, std::min(first + block_queries, Nq) - 1, "");
        numbers += static_cast<std::uint64_t>(keys) * static_cast<std::uint64_t>(D + Dv);
    }
    return static_cast<std::uint64_t>(in.q.extent(0) * in.q.extent(1)) * numbers * sizeof(float);
}

TEST_CASE("flash_kernel: no matrix in memory, and each tile loaded once for 16 queries", "[flash_kernel]") {
    judge::Test test;
    for (int which = 0; which < 2; ++which) {
        const std::uint64_t seed = test.seed(which);
        bool lean = true;  // else the others would fail by the same loads
        const Data small =
            draw(seed, {1, 1, 2, random_integer(seed, 0, 60, 90), random_integer(seed, 1, 150, 200), 4, 3}, false);
        Inputs in = small.inputs();
        std::uint64_t given = 0, results = 0;
        in.visit([&](const char*, const auto& view) { given += static_cast<std::uint64_t>(view.count()) * 4; });
        Outputs::shaped(in).visit(
            [&](const char*, const auto& view) { results += static_cast<std::uint64_t>(view.count()) * 4; });
        const std::uint64_t matrix = static_cast<std::uint64_t>(in.q.extent(1) * in.q.extent(2) * in.k.extent(2)) * 4;
        const judge::Report report = run(test, small);
        if (report.counts) {
            lean = report.counts->global_store_bytes <= 2 * results &&
                   report.peak_device_bytes <= given + results + matrix / 4;
            test.expect(
                "no_matrix", lean,
                fmt::format("{} bytes are written to device memory, where the outputs have {}, and {} held there "
                            "at one time, where inputs and outputs have {}; a matrix of scores would have {}",
                            report.counts->global_store_bytes, results, report.peak_device_bytes, given + results,
                            matrix));
        }

        struct Loaded {
            bool holds = true;
            std::string text;
        };
        auto loaded = [&](const Data& data) -> Loaded {
            const std::uint64_t once = bytes_to_load(data);
            const auto counts = run(test, data).counts;
            if (!counts || !lean) return {};
            return {
                counts->global_load_bytes <= once * 3 / 2,
                fmt::format("{} bytes are loaded from device memory, expected {} for the queries, once, and for each "
                            "16 of them the keys and values that they see, and no more than half of that for "
                            "anything else",
                            counts->global_load_bytes, once)};
        };
        const Loaded keys = loaded(draw(
            seed + 1, {1, 1, 1, 16 * random_integer(seed, 2, 2, 4), random_integer(seed, 3, 70, 120), 64, 1}, false));
        const Loaded values = loaded(draw(
            seed + 2, {1, 1, 1, 16 * random_integer(seed, 4, 2, 4), random_integer(seed, 5, 70, 120), 1, 64}, false));
        const bool both = !keys.holds && !values.holds;
        if (both)
            test.expect("sixteen_queries", false, values.text);
        else if (!keys.holds)
            test.expect("keys_once", false, keys.text);
        else
            test.expect("values_once", values.holds, values.text);
        lean = lean && keys.holds && values.holds;

        const int queries = 16 * random_integer(seed, 6, 7, 9);
        const Loaded masked = loaded(draw(seed + 3, {1, 1, 1, queries, queries, 16, 16}, true));
        test.expect("only_seen", masked.holds, masked.text);
    }
    test.conclude();
}

}  // namespace
