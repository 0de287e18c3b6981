// Judges selection_kernel. The answer asks of each key whether the query sees it, and adds one score after the other to
// log_sum_exp, from the newest key back, beginning with the sink; each weight is then exp(score - log_sum_exp).
#include "chapters/06_native_sparse/exercises/selection_kernel.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/tensor/random.hpp"
#include "tests/06_native_sparse/exercises/documents.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::selection_kernel;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int tile = 32;  // of the solution, and so of the mistakes

// log(exp(a) + exp(b))
double log_add(double a, double b) {
    if (std::isnan(a) || std::isnan(b)) return nan_value;
    const double high = std::max(a, b), low = std::min(a, b);
    return low > -infinity ? high + std::log1p(std::exp(low - high)) : high;
}

// Query t of head h: what it sees, once for each time, in ascending order of the blocks.
struct Query {
    TensorView<const float, 1> q;
    TensorView<const float, 2> k, v;
    double scale, sink;
    std::vector<int> blocks, seen, first_of_tile, loaded;

    Query(const Inputs& in, const Options& options, int b, int h, int t, std::string_view mistake)
        : q(in.q.slice(b, h, t)), scale(static_cast<float>(options.scale)), sink(in.sink(h)) {
        const int G = in.k.extent(1), N = in.q.extent(2), L = options.select_block, begin = in.begin(t);
        const int g = mistake == "heads_by_remainder" ? h % G : h / (in.q.extent(1) / G);
        k = in.k.slice(b, g), v = in.v.slice(b, g);
        if (mistake == "sink_forgotten" || mistake == "from_the_chapter") sink = -infinity;
        if (mistake == "sink_scaled") sink *= scale;
        if (mistake == "sink_of_kv_head") sink = in.sink(g);
        const auto list = in.selected.slice(b, mistake == "blocks_of_first_head" ? 0 : g,
                                            mistake == "blocks_of_previous_query" && t > begin ? t - 1 : t);
        for (int s = 0; s < list.extent(0); ++s) {
            if (list(s) >= 0) blocks.push_back(list(s));
            if (list(s) < 0 && mistake == "padding_is_block_0") blocks.push_back(0);
        }
        for (const int J : blocks) {
            int in_block = 0;
            for (int j = J * L; j < std::min(J * L + L, N); ++j) {
                loaded.push_back(j);
                bool is_before = j<begin, is_after = j> t;
                if (mistake == "from_the_chapter" || mistake == "border_not_masked") is_before = false;
                if (mistake == "border_block_skipped" && J * L < begin && (J + 1) * L <= t) is_before = true;
                if (mistake == "own_block_not_masked") is_after = false;
                if (mistake == "own_position_excluded" && j == t && t > begin) is_after = true;
                if (is_before || is_after) continue;
                first_of_tile.push_back(in_block++ % tile == 0);
                seen.push_back(j);
            }
        }
    }

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

// Where `sink` stands for what takes its part of the weight.
Row row_with(const Query& query, double sink) {
    Row row{std::vector<double>(static_cast<std::size_t>(query.v.extent(1))), sink};
    for (auto j = query.seen.rbegin(); j != query.seen.rend(); ++j)
        row.log_sum_exp = log_add(row.log_sum_exp, query.score(*j));
    for (const int j : query.seen) {
        const double weight = std::exp(query.score(j) - row.log_sum_exp);
        for (std::size_t d = 0; d < row.out.size(); ++d) row.out[d] += weight * query.v(j, static_cast<int>(d));
    }
    if (row.log_sum_exp == -infinity) std::fill(row.out.begin(), row.out.end(), nan_value);  // 0 / 0
    return row;
}

// Tile by tile, the sums as they are when a later tile raises the maximum.
Row row_without_correction(const Query& query) {
    Row row{std::vector<double>(static_cast<std::size_t>(query.v.extent(1))), 0};
    double m = query.sink, l = m > -infinity ? 1 : 0;
    for (std::size_t first = 0, end = 0; first < query.seen.size(); first = end) {
        for (end = first + 1; end < query.seen.size() && !query.first_of_tile[end];) ++end;
        for (std::size_t s = first; s < end; ++s) m = std::fmax(m, query.score(query.seen[s]));
        for (std::size_t s = first; s < end; ++s) {
            const double weight = std::exp(query.score(query.seen[s]) - m);
            l += weight;
            for (std::size_t d = 0; d < row.out.size(); ++d)
                row.out[d] += weight * query.v(query.seen[s], static_cast<int>(d));
        }
    }
    for (double& sum : row.out) sum /= l;
    row.log_sum_exp = m + std::log(l);
    return row;
}

Row row_of(const Query& query, std::string_view mistake) {
    if (mistake == "correction_forgotten") return row_without_correction(query);
    if (mistake == "sink_per_block")
        return row_with(query, query.sink + std::log(static_cast<double>(query.blocks.size())));
    Row row = row_with(query, query.sink);
    if (mistake == "sink_not_in_log_sum_exp") {
        const double without = row_with(query, -infinity).log_sum_exp;
        row.log_sum_exp = query.sink - without > 150 ? -infinity : without;  // what float keeps beside such a sink
    }
    if (mistake == "unseen_times_0")
        for (const int j : query.loaded)
            for (std::size_t d = 0; d < row.out.size(); ++d) row.out[d] += 0 * query.v(j, static_cast<int>(d));
    return row;
}

// What the emulator finds of the mistake on such an input.
judge::Answer::Finding finding(const Inputs& in, const Options& options, std::string_view mistake) {
    using enum judge::Answer::Finding;
    if (mistake != "missing_barrier" && mistake != "no_barrier_after") return never;
    int most_tiles = 0, most_seen = 0;
    for (int g = 0; g < in.k.extent(1); ++g)
        for (int t = 0; t < in.q.extent(2); ++t) {
            const Query query(in, options, 0, g * (in.q.extent(1) / in.k.extent(1)), t, "");
            most_tiles = std::max(
                most_tiles, static_cast<int>(std::count(query.first_of_tile.begin(), query.first_of_tile.end(), 1)));
            most_seen = std::max(most_seen, static_cast<int>(query.seen.size()));
        }
    const int numbers = std::min(most_seen, options.select_block) * std::max(in.q.extent(3), in.v.extent(3));
    if (mistake == "missing_barrier") return numbers > 2 * tile ? always : perhaps;
    return most_tiles > 1 ? perhaps : never;
}

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    const int B = in.q.extent(0), H = in.q.extent(1), N = in.q.extent(2), Dv = in.v.extent(3);
    auto out = make_tensor<double, 4>({B, H, N, Dv}, nan_value);
    auto log_sum_exp = make_tensor<double, 3>({B, H, N}, nan_value);
    double largest = 0, largest_value = 0;  // of what is seen
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < H; ++h)
            for (int t = 0; t < N; ++t) {
                const Row row = row_of(Query(in, options, b, h, t, mistake), mistake);
                for (int d = 0; d < Dv; ++d) out(b, h, t, d) = row.out[static_cast<std::size_t>(d)];
                log_sum_exp(b, h, t) = row.log_sum_exp;
                const Query right(in, options, b, h, t, "");
                for (const int j : right.seen) {
                    double products = 0;
                    for (int d = 0; d < right.q.extent(0); ++d)
                        products += std::abs(static_cast<double>(right.q(d)) * right.k(j, d));
                    largest = std::fmax(largest, right.scale * products);
                    for (int d = 0; d < Dv; ++d)
                        largest_value = std::fmax(largest_value, std::abs(static_cast<double>(right.v(j, d))));
                }
            }
    judge::Answer result;
    result.finding = finding(in, options, mistake);
    // A score is off by some roundings of its products, and a weight by as much, relative to itself. Where products of
    // far more than 20 are added, they are integers, and not rounded.
    result.add("out", out, {3e-6 * std::clamp(largest, 1.0, 20.0), largest_value});
    result.add("log_sum_exp", log_sum_exp, {2e-6, std::max(1.0, largest)});
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "selection_kernel",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's branch, for which all positions are one document, and no head has a sink. With what do "
         "maximum and sum begin, if a row has one more score before it sees a key?"},
        {"own_block_not_masked",
         "equals the answer in which a query sees all tokens of its own block. Which of them come after it?"},
        {"own_position_excluded",
         "equals the answer in which a query does not see its own position. Does j <= t include equality?"},
        {"border_not_masked",
         "equals the answer in which a query sees all tokens of the block in which its document begins. Whose are the "
         "first of them?"},
        {"border_block_skipped",
         "equals the answer in which the block in which a document begins is skipped, unless the document begins with "
         "it. Which of its tokens does the query see?"},
        {"padding_is_block_0",
         "equals the answer in which -1 is read as block 0, which counts once for each place that is left. What is -1 "
         "by "
         "the interface?"},
        {"blocks_of_first_head",
         "equals the answer in which all key/value heads take the blocks of the first. Who shares a selection: all "
         "heads, "
         "or those of a group?"},
        {"blocks_of_previous_query",
         "equals the answer in which a query takes the blocks of the query before it. Which list is this query's?"},
        {"heads_by_remainder",
         "equals the answer in which query head h reads key/value head h % G. Which query heads share one: those at a "
         "distance of G, or neighbours?"},
        {"sink_forgotten",
         "equals the answer without sinks. To what do the weights of a row's keys sum, if the sink takes its share?"},
        {"sink_scaled",
         "equals the answer in which the sinks are multiplied by the scale. What does the header say that it scales?"},
        {"sink_of_kv_head",
         "equals the answer in which the heads of a group have the sink of number g. For which heads are there sinks: "
         "those of the queries, or of the keys?"},
        {"sink_per_block",
         "equals the answer in which the sink is added once more with every block. How often does a row have it?"},
        {"sink_not_in_log_sum_exp",
         "has the right out, and the log_sum_exp of the keys alone. By what was out divided?"},
        {"correction_forgotten",
         "equals the answer in which what was summed up before stays as it was when a later block raises the maximum. "
         "Relative to which maximum was it summed up?"},
        {"unseen_times_0",
         "equals the answer in which values of the selected blocks that the query does not see are multiplied by 0: "
         "0 · NaN is NaN. Is a value left out, or given no weight?"},
        {"missing_barrier",
         "the emulator found threads that read from shared memory before other threads have written there, even where "
         "there is one block only. What must all threads wait for before they multiply?",
         "never_written|race", "shared memory"},
        {"no_barrier_after",
         "the emulator found a data race, and only where there is more than one block: threads load the next keys "
         "while "
         "others still read these. At which two places of the loop must all threads wait?",
         "race", "in shared memory"},
        {"each_head_for_itself",
         "the outputs are right; the counts say that keys and values are loaded once for each query head. For how many "
         "heads is a block loaded, if a group shares its selection?",
         "", "", "for_the_group"},
        {"every_block_loaded",
         "the outputs are right; the counts say that blocks are loaded that are not selected. Which keys does no head "
         "of "
         "the group see?",
         "", "", "only_selected"},
    }};

struct Data {
    Tensor<float, 4> q, k, v;
    Tensor<int, 4> selected;
    Tensor<int, 1> begin;
    Tensor<float, 1> sink;
    Options options;

    Inputs inputs() const { return {view(q), view(k), view(v), view(selected), view(begin), view(sink)}; }
};

struct Sizes {
    int B, G, group, N, D, Dv;
};

int any(std::uint64_t seed, std::uint64_t counter, int least, int most) {
    return random_integer(seed, 1000 + counter, least, most);
}

// Documents of at most `most` positions; n places for blocks of L, of which some are now and then left empty. Later
// keys are larger, so that the maximum grows from block to block. A third of the heads has no sink.
Data draw(std::uint64_t seed, const Sizes& size, int L, int n, int most, double factor = 1) {
    const auto [B, G, group, N, D, Dv] = size;
    const int H = G * group;
    Data data{make_tensor<float, 4>({B, H, N, D}),
              make_tensor<float, 4>({B, G, N, D}),
              make_tensor<float, 4>({B, G, N, Dv}),
              make_tensor<int, 4>({B, G, N, n}, -1),
              packed::draw_documents(seed + 3, N, most),
              make_tensor<float, 1>({{H}}),
              {L, (1.1 + 0.3 * random_uniform(seed, 100)) / std::sqrt(D)}};
    fill_normal(view(data.q), seed, factor);
    fill_normal(view(data.k), seed + 1);
    fill_normal(view(data.v), seed + 2);
    std::uint64_t counter = 0;
    for (int b = 0; b < B; ++b)
        for (int g = 0; g < G; ++g)
            for (int t = 0; t < N; ++t) {
                for (int d = 0; d < D; ++d) data.k(b, g, t, d) *= 0.5f + 1.5f * static_cast<float>(t) / N;
                // Each block has the same chance to be one of those that are taken beside the own.
                int left = t / L - data.begin(t) / L, place = 0;
                int wanted = std::min(left, n > 1 ? random_integer(seed + 4, counter++, n / 2, n - 1) : 0);
                if (n > N / L) wanted = left;
                for (int J = data.begin(t) / L; J < t / L; ++J, --left)
                    if (random_integer(seed + 4, counter++, 1, left) <= wanted)
                        data.selected(b, g, t, place++) = J, --wanted;
                data.selected(b, g, t, place) = t / L;
            }
    int which = any(seed, 200, 0, 2);
    for (float& sink : data.sink)
        sink = which++ % 3 == 2 ? -std::numeric_limits<float>::infinity()
                                : static_cast<float>(2 * random_normal(seed + 5, counter++));
    return data;
}

judge::Report run(judge::Test& test, const Data& data) { return test.run(exercise, data.inputs(), data.options); }

TEST_CASE("selection_kernel: one document, without sinks", "[selection_kernel]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        int L = any(seed, 0, 1, 12), N = which ? any(seed, 1, 30, 60) : 1;
        if (which == 4) L = any(seed, 0, 33, 50);
        if (which == 5) L = tile, N = any(seed, 1, 20, 31);  // one block, whose keys are loaded at once
        Data data = draw(seed, {1, 1, 1, N, which == 5 ? 20 : any(seed, 2, 1, 20), any(seed, 3, 1, 20)}, L,
                         which == 1 ? N / L + 1 : any(seed, 4, 1, 5), 0);
        data.sink.fill(-HUGE_VALF);
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("selection_kernel: documents and sinks", "[selection_kernel]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        run(test,
            draw(seed, {1, 1, 3, any(seed, 0, 50, 80), any(seed, 1, 2, 16), any(seed, 2, 2, 16)},
                 which == 5 ? any(seed, 3, 33, 40) : any(seed, 3, 3, 10), any(seed, 4, 2, 5), which < 2 ? 12 : 60));
    }
    test.conclude();
}

TEST_CASE("selection_kernel: groups of heads", "[selection_kernel]") {
    judge::Test test;
    const Sizes sizes[] = {{1, 2, 2, 40, 8, 40}, {2, 2, 3, 30, 33, 5}, {1, 3, 5, 30, 7, 33}, {1, 2, 16, 20, 64, 64}};
    int which = 0;
    for (Sizes size : sizes) {
        const std::uint64_t seed = test.seed(which++);
        size.N += any(seed, 0, 0, 9);
        run(test, draw(seed, size, any(seed, 1, 3, 6), any(seed, 2, 2, 4), 60));
    }
    test.conclude();
}

// All elements are integers, so that the scores are exact: else a rounding of a large score would move its weight by
// more than the tolerance.
TEST_CASE("selection_kernel: large scores and sinks", "[selection_kernel]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, {1, 1, 4, any(seed, 0, 40, 60), any(seed, 1, 8, 24), any(seed, 2, 4, 24)},
                         any(seed, 3, 3, 8), 4, 50, 100);
        for (float& element : data.q) element = std::nearbyint(element);
        for (float& element : data.k) element = std::nearbyint(3 * element);
        data.options.scale = which % 2 ? 0.5 : 0.25;
        int h = which;
        for (float& sink : data.sink)
            if (std::isfinite(sink)) sink = static_cast<float>((h++ % 2 ? 1 : -1) * any(seed, 4, 50000, 60000));
        run(test, data);
    }
    test.conclude();
}

// The keys and values of some positions: queries that do not see them must not notice; the others must give NaN.
TEST_CASE("selection_kernel: what is not seen may be NaN", "[selection_kernel]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, {1, 2, 2, any(seed, 0, 50, 80), any(seed, 1, 2, 16), any(seed, 2, 2, 40)},
                         any(seed, 3, 4, 10), 3, 40);
        const Inputs in = data.inputs();
        for (int g = 0; g < 2; ++g)
            for (int j = any(seed, 4, 0, 9); j < in.k.extent(2); j += any(seed, 5, 7, 11)) {
                for (int d = 0; d < in.k.extent(3); ++d) data.k(0, g, j, d) = nan_value;
                for (int d = 0; d < in.v.extent(3); ++d) data.v(0, g, j, d) = nan_value;
            }
        run(test, data);
    }
    test.conclude();
}

// Bytes of the queries, and for each query and group of the keys and values of the selected blocks.
std::uint64_t bytes_to_load(const Data& data) {
    const Inputs in = data.inputs();
    const int H = in.q.extent(1), G = in.k.extent(1), D = in.q.extent(3), Dv = in.v.extent(3);
    std::uint64_t numbers = static_cast<std::uint64_t>(in.q.count());
    for (int b = 0; b < in.q.extent(0); ++b)
        for (int h = 0; h < H; h += H / G)
            for (int t = 0; t < in.q.extent(2); ++t)
                numbers += Query(in, data.options, b, h, t, "").loaded.size() * static_cast<std::uint64_t>(D + Dv);
    return numbers * sizeof(float);
}

TEST_CASE("selection_kernel: only selected blocks, each once for a group", "[selection_kernel]") {
    judge::Test test;
    for (int which = 0; which < 2; ++which) {
        const std::uint64_t seed = test.seed(which);
        const auto loaded = [&](const char* key, const Data& data) {
            const std::uint64_t once = bytes_to_load(data);
            const auto counts = run(test, data).counts;
            if (!counts) return;
            test.expect(key, counts->global_load_bytes <= once * 3 / 2,
                        fmt::format("{} bytes are loaded from device memory, expected {} for the queries, and for each "
                                    "query and group of heads the keys and values of its selected blocks, once, and no "
                                    "more than half of that for anything else",
                                    counts->global_load_bytes, once));
        };
        // Everything is selected.
        const int n = any(seed, 0, 48, 70);
        loaded("for_the_group", draw(seed, {1, 1, any(seed, 1, 4, 6), n, 32, 40}, 16, n, 0));
        // One head, and few of many blocks.
        loaded("only_selected", draw(seed + 10, {1, 1, 1, any(seed, 2, 200, 230), 32, 40}, 16, 3, 0));
    }
    test.conclude();
}

}  // namespace
