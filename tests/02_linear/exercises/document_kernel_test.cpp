// Judges document_kernel. The answer knows neither chunks nor a state: each token's sums go over all tokens that it
// sees, one after the other. The mistakes are made chunk by chunk.
#include "chapters/02_linear/exercises/document_kernel.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::document_kernel;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr int chunk = 32, warps = 8, warp_queries = 4;  // of the solution, and so of the mistakes

// The function is that of the mistake where it has its own, with what float makes of it.
double feature(float x, std::string_view mistake) {
    if (mistake == "elu_by_expm1") return x > 0 ? x + 1 : std::expm1(x) + 1;
    if (mistake == "exp_for_all") return std::exp(x);
    if (mistake == "one_forgotten") return x > 0 ? x : std::exp(x);
    return x > 0 ? static_cast<double>(x) + 1 : std::exp(static_cast<double>(x));
}

// Whether a document begins at token i, in the eyes of the mistake.
bool is_border(TensorView<const int, 1> document, int i, std::string_view mistake) {
    if (i == 0) return mistake != "state_of_head_before";
    if (mistake == "from_the_chapter") return false;
    if (mistake == "number_must_grow") return document(i) > document(i - 1);
    return document(i) != document(i - 1);
}

// One sequence and head.
struct Head {
    Tensor<double, 2> q, k;  // the features
    TensorView<const float, 2> v;
    TensorView<const int, 1> document;
    int N, D, Dv;

    Head(const Inputs& in, int b, int h, std::string_view mistake)
        : q(make_tensor<double, 2>({in.q.extent(2), in.q.extent(3)})),
          k(q),
          v(in.v.slice(b, h)),
          document(in.document.slice(mistake == "document_of_first" ? 0 : b)),
          N(in.q.extent(2)),
          D(in.q.extent(3)),
          Dv(in.v.extent(3)) {
        for (int i = 0; i < N; ++i)
            for (int d = 0; d < D; ++d) {
                q(i, d) = feature(in.q(b, h, i, d), mistake);
                k(i, d) = feature(in.k(b, h, i, d), mistake);
            }
    }
    double weight(int i, int j) const {
        double dot = 0;
        for (int d = D - 1; d >= 0; --d) dot += q(i, d) * k(j, d);
        return dot;
    }
};

struct Result {
    Tensor<double, 2> out, state;
    Tensor<double, 1> normalizer;
    double state_size = 0;     // the largest element of the state if all its terms were positive
    double weighted_size = 0;  // the same of the weighted values, before they are divided

    explicit Result(const Head& head)
        : out(make_tensor<double, 2>({head.N, head.Dv}, nan_value)),
          state(make_tensor<double, 2>({head.D, head.Dv})),
          normalizer(make_tensor<double, 1>({head.D})) {}
};

void keep_larger(double& largest, double found) {
    if (std::isfinite(found)) largest = std::max(largest, found);
}

Result right_result(const Head& head) {
    Result result(head);
    int begin = 0;
    for (int i = 0; i < head.N; ++i) {
        if (is_border(head.document, i, "")) begin = i;
        double sum = 0;
        std::vector<double> weighted(static_cast<std::size_t>(head.Dv));
        for (int j = i; j >= begin; --j) {
            const double weight = head.weight(i, j);
            sum += weight;
            for (int c = 0; c < head.Dv; ++c) weighted[static_cast<std::size_t>(c)] += weight * head.v(j, c);
        }
        for (int c = 0; c < head.Dv; ++c) result.out(i, c) = weighted[static_cast<std::size_t>(c)] / sum;
    }
    for (int d = 0; d < head.D; ++d) {
        for (int j = head.N - 1; j >= begin; --j) result.normalizer(d) += head.k(j, d);
        for (int c = 0; c < head.Dv; ++c) {
            double size = 0;
            for (int j = head.N - 1; j >= begin; --j) {
                result.state(d, c) += head.k(j, d) * head.v(j, c);
                size += std::abs(head.k(j, d) * head.v(j, c));
            }
            keep_larger(result.state_size, size);
        }
    }
    return result;
}

// Chunk by chunk, with the mistake made at its place. `carried` is what the head before has left, its sizes included.
Result mistaken_result(const Head& head, std::string_view mistake, const Result* carried) {
    Result result(head);
    Tensor<double, 2>& state = result.state;
    Tensor<double, 2> size = state;
    Tensor<double, 1>& normalizer = result.normalizer;
    if (carried) state = carried->state, normalizer = carried->normalizer;
    for (double& element : size) element = carried ? carried->state_size : 0;
    int carried_document = head.document(0);

    for (int first = 0; first < head.N; first += chunk) {
        const int count = std::min(chunk, head.N - first);
        if (mistake == "last_chunk_left_out" && count < chunk) break;
        bool begins[chunk] = {}, any = false;
        for (int row = 0; row < count; ++row) any |= begins[row] = is_border(head.document, first + row, mistake);
        for (int row = 0; row < count; ++row) {
            if (mistake == "border_moved_to_edge") begins[row] = row == 0 && any;
            if (mistake == "border_at_edge_only") begins[row] = row == 0 && begins[0];
        }
        int from[chunk];  // the row with which its document begins; -1: before the chunk
        for (int row = 0; row < count; ++row) from[row] = begins[row] ? row : row > 0 ? from[row - 1] : -1;
        auto number = [&](int row) { return head.document(first + row); };

        auto sees = [&](int row, int j) {
            if (mistake == "number_seen_again") return j <= row && number(j) == number(row);
            if (mistake == "future_seen") return from[j] == from[row];
            if (mistake == "own_token_missing" && j == row) return false;
            return j <= row && (j >= from[row] || mistake == "borders_ignored_in_chunk");
        };
        auto sees_state = [&](int row) {
            if (mistake == "number_seen_again") return number(row) == carried_document;
            return mistake == "state_across_border" || (from[row] < 0 && mistake != "chunks_alone");
        };
        auto attend = [&] {
            for (int row = 0; row < count; ++row) {
                const int i = first + row;
                double sum = mistake == "epsilon_added" ? 1e-6f : 0;
                std::vector<double> weighted(static_cast<std::size_t>(head.Dv)), sizes = weighted;
                auto add = [&](double weight, auto value, auto value_size) {
                    sum += weight;
                    for (int c = 0; c < head.Dv; ++c) {
                        weighted[static_cast<std::size_t>(c)] += weight * value(c);
                        sizes[static_cast<std::size_t>(c)] += weight * value_size(c);
                    }
                };
                for (int j = 0; j < count; ++j) {
                    auto value = [&](int c) { return static_cast<double>(head.v(first + j, c)); };
                    auto value_size = [&](int c) { return std::abs(value(c)); };
                    if (sees(row, j))
                        add(head.weight(i, first + j), value, value_size);
                    else if (mistake == "unseen_times_0")
                        add(0, value, value_size);
                }
                if (sees_state(row))
                    for (int d = 0; d < head.D; ++d) {
                        for (int c = 0; c < head.Dv; ++c) {
                            weighted[static_cast<std::size_t>(c)] += head.q(i, d) * state(d, c);
                            sizes[static_cast<std::size_t>(c)] += head.q(i, d) * size(d, c);
                        }
                        sum += head.q(i, d) * normalizer(d);
                    }
                for (double one : sizes) keep_larger(result.weighted_size, one);
                const int last = mistake == "columns_beyond_warp" ? std::min(head.Dv, 32) : head.Dv;
                for (int c = 0; c < last; ++c)
                    result.out(i, c) =
                        weighted[static_cast<std::size_t>(c)] / (mistake == "normalizer_forgotten" ? 1 : sum);
            }
        };

        if (mistake != "state_updated_first") attend();

        const int last = count - 1;
        bool reset = from[last] >= 0;
        if (mistake == "number_seen_again") reset = first == 0 || number(last) != carried_document;
        if (mistake == "state_not_reset") reset = false;
        if (mistake == "state_of_last_chunk") reset = true;
        const bool from_first = mistake == "earlier_document_kept" || mistake == "number_seen_again";
        const int start = from_first ? 0 : std::max(from[last], 0);
        for (int d = 0; d < head.D; ++d) {
            if (reset && mistake != "normalizer_not_reset")
                normalizer(d) = mistake == "state_times_0" ? 0 * normalizer(d) : 0;
            for (int c = 0; reset && c < head.Dv; ++c) {
                state(d, c) = mistake == "state_times_0" ? 0 * state(d, c) : 0;
                size(d, c) = 0;
            }
            for (int j = start; j < count; ++j) {
                if (mistake == "number_seen_again" && number(j) != number(last)) continue;
                normalizer(d) += head.k(first + j, d);
                for (int c = 0; c < head.Dv; ++c) {
                    state(d, c) += head.k(first + j, d) * head.v(first + j, c);
                    size(d, c) += std::abs(head.k(first + j, d) * head.v(first + j, c));
                }
            }
            if (mistake == "padding_counted") normalizer(d) += chunk - count;
        }
        carried_document = number(last);

        if (mistake == "state_updated_first") attend();
    }
    for (double one : size) keep_larger(result.state_size, one);
    if (mistake == "returns_before_barrier") {  // the warps that lack a query in the last chunk
        const int left = ((head.N - 1) % chunk + 1) / warp_queries;
        for (int d = 0; d < head.D; ++d) {
            if (d / 32 >= left) normalizer(d) = nan_value;
            for (int c = 0; d % warps >= left && c < head.Dv; ++c) state(d, c) = nan_value;
        }
    }
    return result;
}

// What the emulator finds of the mistake on such an input.
judge::Answer::Finding finding(const Inputs& in, std::string_view mistake) {
    using enum judge::Answer::Finding;
    const int B = in.q.extent(0), N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    if (mistake == "missing_barrier") return N > 4 || N * std::max(D, Dv) > 32 ? always : perhaps;
    bool goes_on = false;   // a document, from one chunk to the next
    bool overlaps = false;  // a row that is overwritten, with one that is read to bring the state up to date
    for (int b = 0; b < B; ++b) {
        int begin = 0;
        for (int i = 0; i < N; ++i) {
            const bool border = is_border(in.document.slice(b), i, "");
            if (i > 0 && i % chunk == 0) {
                goes_on |= !border;
                const int from = std::max(begin - (i - chunk), 0);
                overlaps |= std::min(chunk, N - i) > from;
            }
            if (border) begin = i;
        }
    }
    // In one warp alone the shuffles may make lanes wait.
    if (mistake == "no_barrier_before_update" && goes_on) return D > 1 ? always : perhaps;
    if (mistake == "no_barrier_after_update" && N > chunk) return overlaps && D > 1 ? always : perhaps;
    return never;
}

judge::Answer answer(const Inputs& in, const Options&, std::string_view mistake) {
    const int B = in.q.extent(0), H = in.q.extent(1), N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    auto out = make_tensor<double, 4>({B, H, N, Dv});
    auto state = make_tensor<double, 4>({B, H, D, Dv});
    auto normalizer = make_tensor<double, 3>({B, H, D});
    double largest_value = 0, state_size = 0;
    for (const float* value = in.v.data(); value < in.v.data() + in.v.count(); ++value)
        keep_larger(largest_value, std::abs(*value));
    for (int b = 0; b < B; ++b) {
        std::optional<Result> before;
        for (int h = 0; h < H; ++h) {
            const Head head(in, b, h, mistake);
            const Result* carried = mistake == "state_of_head_before" && before ? &*before : nullptr;
            Result result = mistake.empty() ? right_result(head) : mistaken_result(head, mistake, carried);
            for (int i = 0; i < N; ++i)
                for (int c = 0; c < Dv; ++c) out(b, h, i, c) = result.out(i, c);
            for (int d = 0; d < D; ++d) {
                normalizer(b, h, d) = result.normalizer(d);
                for (int c = 0; c < Dv; ++c) state(b, h, d, c) = result.state(d, c);
            }
            state_size = std::max(state_size, result.state_size);
            if (mistake == "normalizer_forgotten") largest_value = std::max(largest_value, result.weighted_size);
            before = std::move(result);
        }
    }
    // All weights and features are positive: only values can cancel.
    judge::Answer result;
    result.add("out", out, {1e-5, largest_value});
    result.add("state", state, {1e-5, state_size});
    result.add("normalizer", normalizer, {1e-5, 0});
    result.finding = finding(in, mistake);
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "document_kernel",
    &answer,
    {
        {"from_the_chapter",
         "equals causal linear attention without documents. From which token on does a query see keys, and what must a "
         "new document find in the state?"},
        {"state_updated_first",
         "equals the answer in which a chunk's tokens are in the state already when its queries read it: their own "
         "keys count twice. Which tokens may S hold when a chunk begins?"},
        {"own_token_missing",
         "equals the answer in which a token does not see itself. Does j <= i include equality? The first token of a "
         "document sees nothing else."},
        {"normalizer_forgotten",
         "equals the weighted sum of the values, not divided by the sum of the weights. What is out if all values are "
         "1?"},
        {"normalizer_not_reset",
         "has the right state, and a normalizer that goes on over the borders. Both of them belong to one document."},
        {"state_not_reset",
         "equals the answer in which state and normalizer go on over the borders: a document that reaches into a next "
         "chunk sees there all documents before it. What becomes of S where a chunk holds a border?"},
        {"border_moved_to_edge",
         "equals the answer in which a chunk with a border in it belongs to one document from its first token on. "
         "Borders stand between any two tokens: which of the chunk's tokens belong to which document?"},
        {"border_at_edge_only",
         "equals the answer in which a border is seen only where it is at the first token of a chunk of 32. Do you "
         "compare every token with the one before it?"},
        {"borders_ignored_in_chunk",
         "has the right state, and an out in which queries see all earlier keys of their chunk, those of other "
         "documents among them. The mask within the chunk has two conditions: which one is missing?"},
        {"state_across_border",
         "equals the answer in which all queries of a chunk see the state of before, those behind a border in the "
         "chunk "
         "as well. Whose keys does S hold when the chunk begins?"},
        {"earlier_document_kept",
         "equals the answer in which all tokens of a chunk are added to the state, where they should be those of its "
         "last document. With which token does the loop over the chunk begin?"},
        {"state_of_last_chunk",
         "equals the answer in which the state holds nothing but the chunk before, as if each chunk began a document. "
         "When is S added to, and when replaced?"},
        {"chunks_alone",
         "has the right state, and an out in which a query sees only what stands in its own chunk. Where do S and z "
         "come in when out is computed?"},
        {"future_seen",
         "equals the answer in which a query sees later tokens of its document, as far as they stand in its chunk. The "
         "mask within the chunk has two conditions: which one is missing?"},
        {"unseen_times_0",
         "equals the answer in which all values of a chunk are multiplied by weights, and those that are not seen by "
         "0: "
         "0 · NaN is NaN. Is a value left out, or given no weight?"},
        {"state_times_0",
         "equals the answer in which the state is reset by multiplying it by 0: 0 · NaN is NaN. How does S become 0, "
         "whatever it held?"},
        {"last_chunk_left_out",
         "equals the answer in which the last tokens are left out where they do not fill a chunk of 32. How often must "
         "the loop over the chunks run?"},
        {"padding_counted",
         "has the right out and state, and a normalizer with 1 too much for each token that the last chunk lacks. What "
         "is φ(0)?"},
        {"elu_by_expm1",
         "equals the answer with expm1f(x) + 1 for φ: below -17 that is 0 in float, and above it has lost digits. What "
         "else gives elu(x) + 1 for x <= 0?"},
        {"exp_for_all", "equals the answer with exp(x) for φ, also where x is above 0. What is φ(x) there?"},
        {"one_forgotten",
         "equals the answer with φ(x) = x for x > 0. elu(x) + 1 has no step at 0: what does it tend to from the left?"},
        {"epsilon_added",
         "equals the answer in which 0.000001 is added to the sum of the weights. A query sees itself, so that the sum "
         "is never 0; how small may it be where all elements are -25?"},
        {"state_of_head_before",
         "equals the answer in which a head begins with the state that the head before it has left. What must be in S "
         "and z when a head's first chunk is computed?"},
        {"document_of_first",
         "equals the answer in which all sequences have the documents of the first. Whose row of `document` does this "
         "block need?"},
        {"number_seen_again",
         "equals the answer in which tokens with the same number are of one document, wherever they stand. What does "
         "the header say of a number that occurred earlier?"},
        {"number_must_grow",
         "equals the answer in which a document begins only where the number is larger than the one before. What does "
         "the header say of the numbers?"},
        {"columns_beyond_warp",
         "equals the answer in which nothing is written for the columns of out from 32 on. How many columns does each "
         "lane have when Dv is 64?"},
        {"returns_before_barrier",
         "has the right out, and a state of which some rows were never written where the last chunk does not fill all "
         "warps. Which threads have returned, and what had they still to do?"},
        {"missing_barrier",
         "the emulator found threads that read from shared memory before other threads have written there, even where "
         "there is one chunk only. What must all threads wait for before they multiply?",
         "never_written|race", "shared memory"},
        {"no_barrier_before_update",
         "the emulator found a data race, and only where a document goes on in a next chunk: threads bring the state "
         "up to date while others still read what it was. What must all threads have done before?",
         "race", "in shared memory"},
        {"no_barrier_after_update",
         "the emulator found a data race, and only where there is more than one chunk: threads load the next one while "
         "others still add this one to the state. Where must all threads wait once more?",
         "race", "in shared memory"},
        {"state_in_memory",
         "the outputs are right; the counts say that more is written to device memory than the outputs, or held there. "
         "Where is the state between two chunks?",
         "", "", "state_on_chip"},
        {"all_from_the_start",
         "the outputs are right; the counts say that keys and values are both loaded too often from device memory. "
         "What of the chunks before does a chunk need, if it has the state?",
         "", "", "chunks_once"},
        {"keys_not_shared",
         "the outputs are right; the counts say that queries or keys are loaded too often from device memory, and the "
         "values not. From where does the loop over D read them?",
         "", "", "keys_once"},
        {"values_not_shared",
         "the outputs are right; the counts say that the values are loaded too often from device memory, and the keys "
         "not. From where does the loop over the keys of a chunk read them?",
         "", "", "values_once"},
        {"lane_loads_row",
         "the outputs are right; the counts say that a warp's loads are spread over many sectors of memory. Which "
         "numbers do neighbouring threads load: neighbours, or one of each row?",
         "", "", "coalesced"},
        {"rows_in_one_bank",
         "the outputs are right; the counts say that lanes wait for each other at the banks of shared memory. In which "
         "bank is number d of key x, if a row has 64 numbers?",
         "", "", "banks"},
    }};

struct Data {
    Tensor<float, 4> q, k, v;
    Tensor<int, 2> document;

    Inputs inputs() const { return {view(q), view(k), view(v), view(document)}; }

    // Sequence b gets documents that begin at token 0 and at these.
    void set_borders(std::uint64_t seed, int b, const std::vector<int>& borders) {
        std::uint64_t counter = 1000;
        int number = random_integer(seed, counter++, -2, 2);
        for (int i = 0; i < static_cast<int>(document.shape()[1]); ++i) {
            if (std::find(borders.begin(), borders.end(), i) != borders.end()) {  // numbers come again
                const int other = random_integer(seed, counter++, -2, 1);
                number = other < number ? other : other + 1;
            }
            document(b, i) = number;
        }
    }
    // Documents of 1 to `longest` tokens.
    void draw_borders(std::uint64_t seed, int longest) {
        for (int b = 0; b < static_cast<int>(document.shape()[0]); ++b) {
            std::uint64_t counter = 500;
            const std::uint64_t own = seed + static_cast<std::uint64_t>(b);
            std::vector<int> borders;
            for (int i = 0; i < static_cast<int>(document.shape()[1]);)
                borders.push_back(i += random_integer(own, counter++, 1, longest));
            set_borders(own, b, borders);
        }
    }
};

struct Sizes {
    int B, H, N, D, Dv;
};

Data draw(std::uint64_t seed, const Sizes& size) {
    Data data{make_tensor<float, 4>({size.B, size.H, size.N, size.D}),
              make_tensor<float, 4>({size.B, size.H, size.N, size.D}),
              make_tensor<float, 4>({size.B, size.H, size.N, size.Dv}), make_tensor<int, 2>({size.B, size.N})};
    fill_normal(view(data.q), seed, 1.5);
    fill_normal(view(data.k), seed + 1, 1.5);
    fill_normal(view(data.v), seed + 2);
    return data;
}

judge::Report run(judge::Test& test, const Data& data) { return test.run(exercise, data.inputs(), {}); }

TEST_CASE("document_kernel: any sizes", "[document_kernel]") {
    judge::Test test;
    const struct {
        int B, H, N[2], D[2], Dv[2], longest;  // from, to
    } sizes[] = {{1, 1, {1, 1}, {1, 1}, {1, 1}, 1},        {1, 1, {2, 9}, {2, 5}, {2, 5}, 5},
                 {1, 1, {32, 32}, {8, 8}, {8, 8}, 20},     {1, 2, {33, 50}, {5, 15}, {17, 31}, 25},
                 {1, 3, {64, 64}, {32, 32}, {32, 32}, 50}, {2, 2, {70, 100}, {9, 20}, {33, 63}, 40},
                 {3, 1, {65, 90}, {33, 63}, {3, 9}, 60},   {1, 1, {97, 130}, {64, 64}, {64, 64}, 90},
                 {2, 2, {40, 60}, {3, 7}, {40, 64}, 30}};
    int which = 0;
    for (const auto& [B, H, N, D, Dv, longest] : sizes) {
        const std::uint64_t seed = test.seed(which++);
        Data data = draw(seed, {B, H, random_integer(seed, 0, N[0], N[1]), random_integer(seed, 1, D[0], D[1]),
                                random_integer(seed, 2, Dv[0], Dv[1])});
        data.draw_borders(seed, longest);
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("document_kernel: one document", "[document_kernel]") {
    judge::Test test;
    int which = 0;
    for (int N : {5, 31, 32, 33, 64, 75, 120}) {
        const std::uint64_t seed = test.seed(which++);
        Data data = draw(seed, {random_integer(seed, 0, 1, 2), random_integer(seed, 1, 1, 2),
                                N + (N > 64 ? random_integer(seed, 2, 0, 15) : 0), random_integer(seed, 3, 2, 20),
                                random_integer(seed, 4, 2, 40)});
        for (int b = 0; b < data.inputs().q.extent(0); ++b)
            data.set_borders(seed + static_cast<std::uint64_t>(b), b, {});
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("document_kernel: borders anywhere", "[document_kernel]") {
    judge::Test test;
    const std::vector<int> borders[] = {
        {32, 64, 96},         {31, 33, 63, 65, 95, 97},           {32},
        {40, 45, 46, 47, 60}, {3, 4, 20, 31, 32, 33, 70, 85, 96}, {1, 2, 3, 5, 8, 13, 21, 34, 55, 89},
        {16, 48, 80}};
    int which = 0;
    for (const std::vector<int>& first : borders) {
        const std::uint64_t seed = test.seed(which++);
        Data data = draw(seed, {2, random_integer(seed, 0, 1, 2), random_integer(seed, 1, 98, 125),
                                random_integer(seed, 2, 2, 20), random_integer(seed, 3, 2, 40)});
        data.draw_borders(seed, 50);
        data.set_borders(seed, 0, first);
        if (first.size() == 3 && first[0] == chunk) data.set_borders(seed + 1, 1, first);  // no document goes on
        run(test, data);
    }
    for (int last : {0, 1}) {  // every token, and the last one alone
        const std::uint64_t seed = test.seed(which++);
        Data data = draw(seed, {1, 2, random_integer(seed, 0, 40, 70), random_integer(seed, 1, 2, 20),
                                random_integer(seed, 2, 2, 40)});
        std::vector<int> all;
        for (int i = last ? data.inputs().q.extent(2) - 1 : 1; i < data.inputs().q.extent(2); ++i) all.push_back(i);
        data.set_borders(seed, 0, all);
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("document_kernel: very negative elements", "[document_kernel]") {
    judge::Test test;
    for (int which = 0; which < 5; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, {1, random_integer(seed, 0, 1, 2), random_integer(seed, 1, 40, 90),
                                random_integer(seed, 2, 2, 20), random_integer(seed, 3, 2, 40)});
        data.draw_borders(seed, 40);
        std::uint64_t counter = 10;
        auto lower = [&](float& element) { element = static_cast<float>(-20 - 10 * random_uniform(seed, counter++)); };
        if (which != 1) std::for_each(data.q.begin(), data.q.end(), lower);
        if (which != 0) std::for_each(data.k.begin(), data.k.end(), lower);
        if (which > 2)  // and some others among them
            for (int place = 0; place < data.inputs().q.count(); place += random_integer(seed, counter++, 1, 60))
                (which == 3 ? data.q : data.k).data()[place] = static_cast<float>(random_uniform(seed, counter++));
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("document_kernel: large elements", "[document_kernel]") {
    judge::Test test;
    for (int which = 0; which < 3; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, {1, random_integer(seed, 0, 1, 2), random_integer(seed, 1, 40, 90),
                                random_integer(seed, 2, 2, 20), random_integer(seed, 3, 2, 40)});
        data.draw_borders(seed, 40);
        std::uint64_t counter = 10;
        for (Tensor<float, 4>* tensor : {&data.q, &data.k})
            for (float& element : *tensor)
                if (random_uniform(seed, counter++) < 0.3)
                    element = static_cast<float>(100 + 3000 * random_uniform(seed, counter++));
        if (which == 2)
            for (float& element : data.v) element *= 1000;
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("document_kernel: what is not seen may be NaN", "[document_kernel]") {
    judge::Test test;
    for (int which = 0; which < 5; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, {1, random_integer(seed, 0, 1, 2), random_integer(seed, 1, 100, 120),
                                random_integer(seed, 2, 2, 20), random_integer(seed, 3, 2, 40)});
        const std::vector<int> borders = {random_integer(seed, 4, 5, 15), random_integer(seed, 5, 20, 27),
                                          random_integer(seed, 6, 36, 44), random_integer(seed, 7, 50, 60),
                                          random_integer(seed, 8, 66, 85)};
        data.set_borders(seed, 0, borders);
        // The tokens before see none of it; those of the document from there on must give NaN.
        const int N = data.inputs().q.extent(2);
        const int first = which % 2 ? N - random_integer(seed, 9, 1, 10) : random_integer(seed, 9, borders[1], 31);
        const int end = which % 2 ? N : borders[2];
        for (int h = 0; h < data.inputs().q.extent(1); ++h)
            for (int i = first; i < end; ++i) {
                for (int d = 0; d < data.inputs().q.extent(3); ++d) data.q(0, h, i, d) = data.k(0, h, i, d) = nan_value;
                for (int c = 0; c < data.inputs().v.extent(3); ++c) data.v(0, h, i, c) = nan_value;
            }
        run(test, data);
    }
    test.conclude();
}

// Bytes of the inputs, `document` once for each head.
std::uint64_t bytes_to_load(const Data& data) {
    const Inputs in = data.inputs();
    return 4 * static_cast<std::uint64_t>(in.q.count() + in.k.count() + in.v.count() +
                                          in.document.count() * in.q.extent(1));
}

TEST_CASE("document_kernel: everything loaded once, and the state kept on chip", "[document_kernel]") {
    judge::Test test;
    for (int which = 0; which < 2; ++which) {
        const std::uint64_t seed = test.seed(which);
        // Whole sequences of one document, one with a border.
        auto large = [&](std::uint64_t own, int least, int D, int Dv) {
            Data data = draw(own, {1, random_integer(own, 0, 1, 2), random_integer(own, 1, least, least + 60), D, Dv});
            data.set_borders(own, 0, which ? std::vector<int>{random_integer(own, 2, 3, 30)} : std::vector<int>{});
            return data;
        };
        const Data wide = large(seed, 160, 8 * random_integer(seed, 3, 6, 7), 64);
        Inputs in = wide.inputs();
        std::uint64_t given = 0, results = 0;
        in.visit([&](const char*, const auto& view) { given += static_cast<std::uint64_t>(view.count()) * 4; });
        Outputs::shaped(in).visit(
            [&](const char*, const auto& view) { results += static_cast<std::uint64_t>(view.count()) * 4; });
        const std::uint64_t state = static_cast<std::uint64_t>(in.q.extent(1) * in.q.extent(3) * in.v.extent(3)) * 4;
        const judge::Report report = run(test, wide);
        bool lean = true;  // else the others would fail by the same accesses
        if (report.counts) {
            lean = report.counts->global_store_bytes <= results * 9 / 8 &&
                   report.peak_device_bytes <= given + results + state / 2;
            test.expect("state_on_chip", lean,
                        fmt::format("{} bytes are written to device memory, where the outputs have {}, and {} held "
                                    "there at one time, where inputs and outputs have {}; the states of all heads have "
                                    "{}",
                                    report.counts->global_store_bytes, results, report.peak_device_bytes,
                                    given + results, state));
        }

        struct Loaded {
            bool holds = true;
            std::string text;
        };
        auto loaded = [&](const Data& data) -> Loaded {
            const std::uint64_t once = bytes_to_load(data);
            const auto counts = run(test, data).counts;
            if (!counts || !lean) return {};
            return {counts->global_load_bytes <= once * 3 / 2,
                    fmt::format("{} bytes are loaded from device memory, expected {} for the inputs, each once, and no "
                                "more than half of that for anything else",
                                counts->global_load_bytes, once)};
        };
        const Loaded keys = loaded(large(seed + 1, 160, 64, 1)), values = loaded(large(seed + 2, 160, 1, 64));
        if (!keys.holds && !values.holds)
            test.expect("chunks_once", false, values.text);
        else if (!keys.holds)
            test.expect("keys_once", false, keys.text);
        else
            test.expect("values_once", values.holds, values.text);
        lean = lean && keys.holds && values.holds;

        const Data rows = large(seed + 3, 96, 64, 64);
        const std::uint64_t least = bytes_to_load(rows) / 32;
        if (const auto counts = run(test, rows).counts; counts && lean) {
            const bool coalesced = counts->global_load_sectors <= 2 * least;
            test.expect("coalesced", coalesced,
                        fmt::format("{} sectors of 32 bytes are loaded from device memory, expected {} or less: the "
                                    "inputs fill {}",
                                    counts->global_load_sectors, 2 * least, least));
            const std::uint64_t wavefronts = counts->shared_load_wavefronts + counts->shared_store_wavefronts;
            if (coalesced)
                test.expect("banks", 3 * counts->bank_conflicts <= wavefronts,
                            fmt::format("{} of {} wavefronts of shared memory are there because lanes want different "
                                        "words of one bank, expected a third at most",
                                        counts->bank_conflicts, wavefronts));
        }
    }
    test.conclude();
}

}  // namespace
