// Judges window_kernel. The answer knows no tiles: it adds one score after the other to log_sum_exp, from the newest
// key back to the oldest that is seen, beginning with the sink; each weight is then exp(score - log_sum_exp).
#include "chapters/01_fixed_sparse/exercises/window_kernel.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::window_kernel;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int tile = 32, block_queries = 16;  // of the solution, and so of the mistakes

// log(exp(a) + exp(b))
double log_add(double a, double b) {
    if (std::isnan(a) || std::isnan(b)) return nan_value;
    const double high = std::max(a, b), low = std::min(a, b);
    return low > -infinity ? high + std::log1p(std::exp(low - high)) : high;
}

// The keys begin … end - 1.
struct Seen {
    int begin, end;
    int count() const { return end - begin; }
};

Seen seen_by_itself(const Inputs& in, int h, int i, std::string_view mistake) {
    const int Nq = in.q.extent(2), Nk = in.k.extent(2), group = in.q.extent(1) / in.k.extent(1);
    const int end = std::clamp(i + 1 + (mistake == "mask_top_left" ? 0 : Nk - Nq), 0, Nk);
    int of = h;
    if (mistake == "window_of_first_head" || mistake == "from_the_chapter") of = 0;
    if (mistake == "window_of_kv_head") of = h / group;
    int window = in.window(of) + (mistake == "window_without_own");
    if (mistake == "window_forgotten") window = Nk;
    const int begin = std::max(0, end - window);
    return {begin, mistake == "own_position_excluded" ? std::max(begin, end - 1) : end};
}

// Of query i, and of its block: from the start of a tile on.
struct Query {
    TensorView<const float, 1> q;
    TensorView<const float, 2> k, v;
    double scale, sink;
    Seen seen, of_block;
    std::vector<double> scores;  // of the keys that are seen
    double largest = 0;          // of the scores, if all products in them were positive

    Query(const Inputs& in, const Options& options, int b, int h, int i, std::string_view mistake)
        : q(in.q.slice(b, h, i)), scale(static_cast<float>(options.scale)), sink(in.sink(h)) {
        const int group = in.q.extent(1) / in.k.extent(1);
        const int g = mistake == "key_head_by_remainder" ? h % in.k.extent(1) : h / group;
        k = in.k.slice(b, g), v = in.v.slice(b, g);
        if (mistake == "sink_forgotten" || mistake == "from_the_chapter") sink = -infinity;
        if (mistake == "sink_scaled") sink *= scale;
        const int first = i / block_queries * block_queries;
        const Seen of_first = seen_by_itself(in, h, first, mistake);
        const Seen of_last = seen_by_itself(in, h, std::min(first + block_queries, in.q.extent(2)) - 1, mistake);
        seen = seen_by_itself(in, h, i, mistake);
        of_block = {of_first.begin / tile * tile, of_last.end};
        if (mistake == "edge_not_masked" && seen.end > 0) seen.begin = of_block.begin;
        if (mistake == "diagonal_not_masked" && seen.end > 0) seen.end = of_block.end;
        if (mistake == "skips_by_last_query")
            seen.begin = std::min(std::max(seen.begin, of_last.begin / tile * tile), seen.end);
        for (int key = seen.begin; key < seen.end; ++key) {
            double dot = 0, products = 0;
            for (int d = q.extent(0) - 1; d >= 0; --d) {
                const double product = static_cast<double>(q(d)) * k(key, d);
                dot += product, products += std::abs(product);
            }
            scores.push_back(scale * dot);
            largest = std::fmax(largest, scale * products);
        }
    }

    double score(int j) const { return scores[static_cast<std::size_t>(j - seen.begin)]; }
    // Tiles of which the query sees something.
    int visits() const { return seen.count() > 0 ? (seen.end - 1) / tile - seen.begin / tile + 1 : 0; }
};

struct Row {
    std::vector<double> out;
    double log_sum_exp;
};

// Where `sink` stands for what takes its part of the weight.
Row row_with(const Query& query, double sink) {
    Row row{std::vector<double>(static_cast<std::size_t>(query.v.extent(1))), sink};
    for (int j = query.seen.end - 1; j >= query.seen.begin; --j)
        row.log_sum_exp = log_add(row.log_sum_exp, query.score(j));
    for (int j = query.seen.begin; j < query.seen.end; ++j) {
        const double weight = std::exp(query.score(j) - row.log_sum_exp);
        for (std::size_t d = 0; d < row.out.size(); ++d) row.out[d] += weight * query.v(j, static_cast<int>(d));
    }
    return row;
}

// Tile by tile, the sums as they are when a later tile raises the maximum.
Row row_without_correction(const Query& query) {
    Row row{std::vector<double>(static_cast<std::size_t>(query.v.extent(1))), 0};
    double m = query.sink, l = m > -infinity ? 1 : 0;
    for (int first = query.of_block.begin; first < query.seen.end; first += tile) {
        const int from = std::max(first, query.seen.begin), to = std::min(first + tile, query.seen.end);
        for (int j = from; j < to; ++j) m = std::fmax(m, query.score(j));
        for (int j = from; j < to; ++j) {
            const double weight = std::exp(query.score(j) - m);
            l += weight;
            for (std::size_t d = 0; d < row.out.size(); ++d) row.out[d] += weight * query.v(j, static_cast<int>(d));
        }
    }
    for (double& sum : row.out) sum /= l;
    row.log_sum_exp = m + std::log(l);
    return row;
}

Row row_of(const Query& query, std::string_view mistake) {
    Row row = row_with(query, query.sink);
    const std::size_t Dv = row.out.size();
    const bool is_blind = query.seen.count() == 0, has_sink = query.sink > -infinity;
    if (is_blind && !has_sink) {
        if (mistake == "blind_row_is_nan") row = {std::vector<double>(Dv, nan_value), -infinity};
        return row;
    }
    if (mistake == "correction_forgotten") return row_without_correction(query);
    if (mistake == "sink_per_tile") return row_with(query, query.sink + std::log(1 + query.visits()));
    if (mistake == "sink_not_in_log_sum_exp") {  // of which nothing is left in float beside a sink that is far larger
        const double without = row_with(query, -infinity).log_sum_exp;
        row.log_sum_exp = query.sink - without > 150 ? -infinity : without;
    }
    if (mistake == "sink_without_maximum" && has_sink && !std::isnan(row.log_sum_exp)) {
        double largest = -infinity;
        for (int j = query.seen.begin; j < query.seen.end; ++j) largest = std::fmax(largest, query.score(j));
        if (is_blind) row.log_sum_exp = nan_value;  // -inf + inf
        if (!is_blind && query.sink - largest > 88.8) row.log_sum_exp = infinity;
    }
    if (mistake == "minus_infinity_minus_itself" && !has_sink && query.seen.begin >= query.of_block.begin + tile)
        row = {std::vector<double>(Dv, nan_value), nan_value};
    if (mistake == "unseen_times_0")
        for (int j = query.of_block.begin; j < query.of_block.end; ++j)
            for (std::size_t d = 0; d < Dv; ++d) row.out[d] += 0 * query.v(j, static_cast<int>(d));
    return row;
}

// What the emulator finds of the mistake on such an input.
judge::Answer::Finding finding(const Inputs& in, const Options& options, std::string_view mistake) {
    using enum judge::Answer::Finding;
    if (mistake != "missing_barrier" && mistake != "no_barrier_after") return never;
    int most = 0;  // keys that a block loads
    for (int h = 0; h < in.q.extent(1); ++h)
        for (int i = 0; i < in.q.extent(2); ++i) {
            const Query query(in, options, 0, h, i, "");
            if (query.seen.count() > 0) most = std::max(most, query.of_block.count());
        }
    const int numbers = std::min(most, tile) * std::max(in.q.extent(3), in.v.extent(3));
    if (mistake == "missing_barrier" && most > 0) return numbers > tile ? always : perhaps;
    return mistake == "no_barrier_after" && most > tile ? perhaps : never;
}

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    const int B = in.q.extent(0), H = in.q.extent(1), Nq = in.q.extent(2), Dv = in.v.extent(3);
    auto out = make_tensor<double, 4>({B, H, Nq, Dv}, nan_value);
    auto log_sum_exp = make_tensor<double, 3>({B, H, Nq}, nan_value);
    double largest = 0, largest_value = 0;
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < H; ++h)
            for (int i = 0; i < Nq; ++i) {
                const Query query(in, options, b, h, i, mistake);
                const Row row = row_of(query, mistake);
                for (int d = 0; d < Dv; ++d) out(b, h, i, d) = row.out[static_cast<std::size_t>(d)];
                log_sum_exp(b, h, i) = row.log_sum_exp;
                largest = std::fmax(largest, query.largest);
            }
    for (const float* value = in.v.data(); value < in.v.data() + in.v.count(); ++value)
        largest_value = std::fmax(largest_value, std::abs(*value));
    judge::Answer result;
    result.finding = finding(in, options, mistake);
    // A score is off by some roundings of its products, and a weight by as much, relative to itself. Where products of
    // far more than 20 are added, they are integers, and not rounded.
    result.add("out", out, {3e-6 * std::clamp(largest, 1.0, 20.0), largest_value});
    result.add("log_sum_exp", log_sum_exp, {2e-6, std::max(1.0, largest)});
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "window_kernel",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's kernel, in which all heads have one window, here that of the first, and none has a "
         "sink. With what do maximum and sum begin, if a row has one more score before it sees a key?"},
        {"window_of_first_head",
         "equals the answer in which all heads have the window of the first. Whose window does this block need?"},
        {"window_of_kv_head",
         "equals the answer in which query head h has window number h / (H/G). For which heads are there windows: "
         "those of the queries, or of the keys?"},
        {"window_forgotten",
         "equals the answer in which every query sees all keys up to its own. Which is the first key of a window?"},
        {"window_without_own",
         "equals the answer in which a window shows one key more. Is the key at the query's own position among those "
         "that it counts?"},
        {"own_position_excluded",
         "equals the answer in which a query does not see the key at its own position. Does j <= p include equality?"},
        {"mask_top_left",
         "equals the answer in which query i stands at position i. Look at cases with more keys than queries, or "
         "fewer: the last query stands at the last key."},
        {"edge_not_masked",
         "equals the answer in which a query sees all of its block's first tile that is before its own position. What "
         "of that tile is older than its window?"},
        {"diagonal_not_masked",
         "equals the answer in which all 16 queries of a block see up to the position of the last of them: the block "
         "on the diagonal is not masked. Up to where does each query see?"},
        {"skips_by_last_query",
         "equals the answer in which a block begins with the tile in which the window of its last query begins: the "
         "others lose keys. Whose window reaches back farthest?"},
        {"key_head_by_remainder",
         "equals the answer in which query head h reads key/value head h % G. Which query heads share one: those at a "
         "distance of G, or neighbours?"},
        {"sink_forgotten",
         "equals the answer without sinks. To what do the weights of a row's keys sum, if the sink takes its share?"},
        {"sink_scaled",
         "equals the answer in which the sinks are multiplied by the scale. What does the header say that it scales?"},
        {"sink_per_tile",
         "equals the answer in which the sink is added once more with every tile. How often does a row have it?"},
        {"sink_not_in_log_sum_exp",
         "has the right out, and the log_sum_exp of the keys alone. By what was out divided?"},
        {"sink_without_maximum",
         "equals the answer in which the sink does not take part in the maximum: where it is larger than the scores, "
         "exp(sink - maximum) overflows, and where there is no score there is no maximum. How large may a sink be?"},
        {"correction_forgotten",
         "equals the answer in which what was summed up before stays as it was when a later tile of 32 keys raises the "
         "maximum. Relative to which maximum was it summed up?"},
        {"minus_infinity_minus_itself",
         "is NaN for queries without a sink that see nothing of their block's first tile. What is their maximum then, "
         "and exp(maximum - maximum)?"},
        {"blind_row_is_nan",
         "is 0 / 0 for queries that see no key and have no sink, and right elsewhere. What should stand there?"},
        {"unseen_times_0",
         "equals the answer in which values that a query does not see, and its block has loaded, are multiplied by 0: "
         "0 · NaN is NaN. Is a value left out, or given no weight?"},
        {"missing_barrier",
         "the emulator found threads that read from shared memory before other threads have written there, even where "
         "there is one tile only. What must all threads wait for before they multiply?",
         "never_written|race", "shared memory"},
        {"no_barrier_after",
         "the emulator found a data race, and only where there is more than one tile: threads load the next one while "
         "others still read this one. At which two places of the loop must all threads wait?",
         "race", "in shared memory"},
        {"few_queries_in_block",
         "the outputs are right; the counts say that keys and values are loaded too often from device memory, windows "
         "or not. For how many queries is a tile loaded?",
         "", "", "sixteen_queries"},
        {"every_tile_loaded",
         "the outputs are right; the counts say that all keys are loaded, whatever the windows. Which tiles does no "
         "query of the block see?",
         "", "", "only_seen"},
        {"tiles_before_window",
         "the outputs are right; the counts say that tiles are loaded that are older than all windows of the block. "
         "Which is the first key that its first query sees, and in which tile does it stand?",
         "", "", "from_window"},
        {"tiles_after_diagonal",
         "the outputs are right; the counts say that tiles are loaded that come after all queries of the block. Which "
         "is the last key that its last query sees?",
         "", "", "to_diagonal"},
        {"widest_window",
         "the outputs are right; the counts say that each head loads what the widest window of all heads shows. Whose "
         "tiles does a block have to visit?",
         "", "", "own_window"},
    }};

struct Data {
    Tensor<float, 4> q, k, v;
    Tensor<int, 1> window;
    Tensor<float, 1> sink;
    Options options;

    Inputs inputs() const { return {view(q), view(k), view(v), view(window), view(sink)}; }
};

struct Sizes {
    int B, G, group, Nq, Nk, D, Dv;
};

// Later keys are larger, so that the maximum grows from tile to tile. A third of the heads has no sink.
Data draw(std::uint64_t seed, const Sizes& size, int longest_window, double factor = 1) {
    const int H = size.G * size.group;
    Data data{make_tensor<float, 4>({size.B, H, size.Nq, size.D}),
              make_tensor<float, 4>({size.B, size.G, size.Nk, size.D}),
              make_tensor<float, 4>({size.B, size.G, size.Nk, size.Dv}),
              make_tensor<int, 1>({H}),
              make_tensor<float, 1>({H}),
              {(1.1 + 0.3 * random_uniform(seed, 100)) / std::sqrt(size.D)}};
    fill_normal(view(data.q), seed, factor);
    fill_normal(view(data.k), seed + 1);
    fill_normal(view(data.v), seed + 2);
    for (int b = 0; b < size.B; ++b)
        for (int g = 0; g < size.G; ++g)
            for (int j = 0; j < size.Nk; ++j)
                for (int d = 0; d < size.D; ++d) data.k(b, g, j, d) *= 0.5f + 1.5f * static_cast<float>(j) / size.Nk;
    std::uint64_t counter = 200;
    for (int& window : data.window) window = random_integer(seed, counter++, 1, longest_window);
    int which = random_integer(seed, counter++, 0, 2);
    for (float& sink : data.sink)
        sink = which++ % 3 == 2 ? -std::numeric_limits<float>::infinity()
                                : static_cast<float>(2 * random_normal(seed, counter++));
    return data;
}

void no_sinks(Data& data) { std::fill(data.sink.begin(), data.sink.end(), -std::numeric_limits<float>::infinity()); }

judge::Report run(judge::Test& test, const Data& data) { return test.run(exercise, data.inputs(), data.options); }

TEST_CASE("window_kernel: causal, without windows and sinks", "[window_kernel]") {
    judge::Test test;
    const struct {
        int B, G, group, N[2], D[2], Dv[2];  // from, to
    } sizes[] = {{1, 1, 1, {1, 1}, {1, 1}, {1, 1}},      {1, 1, 1, {2, 9}, {2, 5}, {2, 5}},
                 {1, 1, 1, {32, 32}, {8, 8}, {8, 8}},    {1, 2, 2, {33, 50}, {5, 15}, {17, 31}},
                 {2, 1, 2, {17, 40}, {33, 63}, {9, 20}}, {1, 2, 1, {65, 80}, {3, 7}, {33, 63}},
                 {1, 1, 1, {40, 50}, {64, 64}, {64, 64}}};
    int which = 0;
    for (const auto& [B, G, group, N, D, Dv] : sizes) {
        const std::uint64_t seed = test.seed(which++);
        const int n = random_integer(seed, 0, N[0], N[1]);
        Data data = draw(
            seed, {B, G, group, n, n, random_integer(seed, 1, D[0], D[1]), random_integer(seed, 2, Dv[0], Dv[1])}, n);
        std::fill(data.window.begin(), data.window.end(), n + which);
        no_sinks(data);
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("window_kernel: a window for each head", "[window_kernel]") {
    judge::Test test;
    for (int which = 0; which < 5; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int n = random_integer(seed, 0, 70, 110);
        Data data = draw(seed, {1, 2, 2, n, n, random_integer(seed, 1, 2, 12), random_integer(seed, 2, 2, 36)}, 60);
        data.window(0) = 1 + which % 3, data.window(1) = tile + which % 3 - 1;
        no_sinks(data);
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("window_kernel: more or fewer keys than queries", "[window_kernel]") {
    judge::Test test;
    const int sizes[][2] = {{1, 40}, {16, 20}, {50, 90}, {20, 100}, {70, 30}, {40, 5}};  // Nq, Nk, at least
    int which = 0;
    for (const auto& [queries, keys] : sizes) {
        const std::uint64_t seed = test.seed(which++);
        const int more = random_integer(seed, 0, 0, 9);
        Data data = draw(seed,
                         {random_integer(seed, 1, 1, 2), random_integer(seed, 2, 1, 2), random_integer(seed, 3, 2, 3),
                          queries == 1 ? 1 : queries + more, keys + more, random_integer(seed, 4, 2, 20),
                          random_integer(seed, 5, 2, 40)},
                         40);
        data.sink(which % 2) = -std::numeric_limits<float>::infinity();  // not the other one
        data.sink(1 - which % 2) = static_cast<float>(random_normal(seed, 300));
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("window_kernel: sinks", "[window_kernel]") {
    judge::Test test;
    for (int which = 0; which < 5; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int n = random_integer(seed, 0, 40, 80);
        run(test, draw(seed,
                       {1, 2, random_integer(seed, 1, 1, 3), n, n, random_integer(seed, 2, 2, 12),
                        random_integer(seed, 3, 2, 36)},
                       60));
    }
    test.conclude();
}

// All elements are integers, so that the scores are exact: else a rounding of a large score would move its weight by
// more than the tolerance.
TEST_CASE("window_kernel: large scores and sinks", "[window_kernel]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int n = random_integer(seed, 0, 40, 70);
        Data data =
            draw(seed, {1, 2, 2, n, n, random_integer(seed, 1, 8, 24), random_integer(seed, 2, 4, 24)}, 50, 100);
        for (float& element : data.q) element = std::nearbyint(element);
        for (float& element : data.k) element = std::nearbyint(3 * element);
        data.options.scale = which % 2 ? 0.5 : 0.25;
        int h = which;
        for (float& sink : data.sink)
            if (std::isfinite(sink))
                sink = static_cast<float>((h++ % 2 ? 1 : -1) * random_integer(seed, 3, 50000, 60000));
        run(test, data);
    }
    test.conclude();
}

// The keys and values of some positions in the middle, or the last ones: the queries before see none of it, nor do
// those whose windows begin later; the others must give NaN.
TEST_CASE("window_kernel: what is not seen may be NaN", "[window_kernel]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int keys = random_integer(seed, 0, 80, 120), queries = keys - which % 2 * random_integer(seed, 1, 5, 30);
        Data data = draw(seed,
                         {1, 2, random_integer(seed, 2, 1, 2), queries, keys, random_integer(seed, 3, 2, 20),
                          random_integer(seed, 4, 2, 40)},
                         35);
        const int first = which < 2 ? keys - random_integer(seed, 5, 1, 10) : random_integer(seed, 5, 25, 40);
        for (int g = 0; g < 2; ++g)
            for (int j = first; j < std::min(keys, first + 10); ++j) {
                for (int d = 0; d < data.inputs().k.extent(3); ++d) data.k(0, g, j, d) = nan_value;
                for (int d = 0; d < data.inputs().v.extent(3); ++d) data.v(0, g, j, d) = nan_value;
            }
        run(test, data);
    }
    test.conclude();
}

// Bytes of the queries, once, and for each 16 of them of the keys and values from the first tile on that they see.
std::uint64_t bytes_to_load(const Data& data) {
    const Inputs in = data.inputs();
    const int Nq = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    std::uint64_t numbers = 0;
    for (int h = 0; h < in.q.extent(1); ++h) {
        numbers += static_cast<std::uint64_t>(Nq * D);
        for (int first = 0; first < Nq; first += block_queries)
            numbers += static_cast<std::uint64_t>(Query(in, data.options, 0, h, first, "").of_block.count() * (D + Dv));
    }
    return static_cast<std::uint64_t>(in.q.extent(0)) * numbers * sizeof(float);
}

TEST_CASE("window_kernel: only tiles that are seen, each once for 16 queries", "[window_kernel]") {
    judge::Test test;
    struct Loaded {
        bool holds = true;
        std::string text;
    };
    auto loaded = [&](const Data& data) -> Loaded {
        const std::uint64_t once = bytes_to_load(data);
        const auto counts = run(test, data).counts;
        if (!counts) return {};
        std::string windows;
        for (int window : data.window) windows += fmt::format(" {}", window);
        return {counts->global_load_bytes <= once * 3 / 2,
                fmt::format("{} bytes are loaded from device memory for {} queries and {} keys with windows of{}, "
                            "expected {}: the queries, once, and for each 16 of them the keys and values from the "
                            "first tile of 32 on that they see; and no more than half of that for anything else",
                            counts->global_load_bytes, data.inputs().q.extent(2), data.inputs().k.extent(2), windows,
                            once)};
    };
    for (int which = 0; which < 2; ++which) {
        const std::uint64_t seed = test.seed(which);
        const auto any = [&](std::uint64_t counter, int least, int most) {
            return random_integer(seed, counter, least, most);
        };
        auto with_windows = [](Data data, int window) {
            std::fill(data.window.begin(), data.window.end(), window);
            return data;
        };
        // Windows so wide that tiles of 64 keys, which waste more at the edges, are not too many.
        const int past = any(0, 280, 310), narrow = any(2, 60, 90);
        const Loaded sixteen = loaded(with_windows(draw(seed, {1, 1, 1, 32, 32 + past, 16, 16}, 1), 1000));
        test.expect("sixteen_queries", sixteen.holds, sixteen.text);
        if (!sixteen.holds) continue;  // the others would fail by the same loads

        const Loaded windows = loaded(with_windows(draw(seed + 1, {1, 1, 2, 16, 16 + past, 16, 16}, 1), narrow));
        const int n = any(3, 200, 230);
        const Loaded diagonal = loaded(with_windows(draw(seed + 2, {1, 1, 1, n, n, 16, 16}, 1), 1000));
        if (!windows.holds && !diagonal.holds)
            test.expect("only_seen", false, windows.text);
        else if (!windows.holds)
            test.expect("from_window", false, windows.text);
        else
            test.expect("to_diagonal", diagonal.holds, diagonal.text);

        Data mixed = with_windows(draw(seed + 3, {1, 2, 2, 16, 16 + past, 16, 16}, 1), narrow);
        mixed.window(any(4, 0, 3)) = 1000;
        const Loaded own = loaded(mixed);
        if (windows.holds && diagonal.holds) test.expect("own_window", own.holds, own.text);
    }
    test.conclude();
}

}  // namespace
