// Judges document_chunks. The answer has no chunks: each query goes through the keys of its document in pairs, from its
// own back to the first, and each state is a sum over the tokens of a document up to there.
#include "chapters/02_linear/exercises/document_chunks.hpp"

#include "common/tensor/tensor.hpp"
#include "tests/02_linear/exercises/documents.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::documents;
using namespace attn::exercises::document_chunks;

struct Result {
    Tensor<double, 4> out, normalizers, state;
    Tensor<double, 5> states;
    Tensor<double, 3> normalizer;
    double out_magnitude = 0, state_magnitude = 0;

    explicit Result(const Outputs& shaped)
        : out(make_tensor<double, 4>(shaped.out.shape(), nan_value)),
          normalizers(make_tensor<double, 4>(shaped.normalizers.shape(), nan_value)),
          state(make_tensor<double, 4>(shaped.state.shape(), nan_value)),
          states(make_tensor<double, 5>(shaped.states.shape(), nan_value)),
          normalizer(make_tensor<double, 3>(shaped.normalizer.shape(), nan_value)) {}

    void write_states(int b, int h, int c, const State& from) {
        std::copy(from.S.begin(), from.S.end(), &states(b, h, c, 0, 0));
        std::copy(from.z.begin(), from.z.end(), &normalizers(b, h, c, 0));
        for (double element : from.S_absolute) raise(state_magnitude, element);
    }
    void write_state(int b, int h, const State& from) {
        std::copy(from.S.begin(), from.S.end(), &state(b, h, 0, 0));
        std::copy(from.z.begin(), from.z.end(), &normalizer(b, h, 0));
        for (double element : from.S_absolute) raise(state_magnitude, element);
    }
};

State initial_state(const Inputs& in, int b, int h) {
    const int D = in.q.extent(3), Dv = in.v.extent(3);
    State state(D, Dv);
    if (!in.initial_state) return state;
    for (int index = 0; index < D * Dv; ++index) {
        const double element = in.initial_state.slice(b, h).data()[index];
        state.S[static_cast<std::size_t>(index)] = element;
        state.S_absolute[static_cast<std::size_t>(index)] = std::abs(element);
    }
    for (int d = 0; d < D; ++d)
        state.z[static_cast<std::size_t>(d)] = state.z_absolute[static_cast<std::size_t>(d)] =
            in.initial_normalizer(b, h, d);
    return state;
}

// The first token of the document of token i.
int begin_of(TensorView<const int, 1> document, int i) {
    while (i > 0 && document(i - 1) == document(i)) --i;
    return i;
}

Result by_pairs(const Inputs& in, const Options& options) {
    Result result(Outputs::shaped(in, options));
    const int B = in.q.extent(0), H = in.q.extent(1), N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    for (std::int64_t index = 0; index < in.v.count(); ++index)
        raise(result.out_magnitude, std::abs(in.v.data()[index]));
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < H; ++h) {
            const State initial = initial_state(in, b, h);
            for (std::size_t index = 0; index < initial.S.size(); ++index)
                raise(result.out_magnitude,
                      initial.S_absolute[index] / initial.z[index / static_cast<std::size_t>(Dv)]);
            const auto q = in.q.slice(b, h), k = in.k.slice(b, h), v = in.v.slice(b, h);
            const auto document = in.document.slice(b);
            for (int i = 0; i < N; ++i) {
                const int begin = begin_of(document, i);
                Fraction fraction(Dv);
                for (int j = i; j >= begin; --j) {
                    double weight = 0;
                    for (int d = 0; d < D; ++d) weight += feature(q(i, d), "") * feature(k(j, d), "");
                    fraction.add(weight, v.slice(j), "");
                }
                if (begin == 0) fraction.add(q.slice(i), initial, "");
                for (int e = 0; e < Dv; ++e)
                    result.out(b, h, i, e) = fraction.numerator[static_cast<std::size_t>(e)] / fraction.denominator;
            }
            const auto state_before = [&](int place) {
                State state(D, Dv);
                const int begin = place == 0 ? 0 : begin_of(document, place - 1);
                if (begin == 0) state = initial;
                for (int j = begin; j < place; ++j) state.add(k.slice(j), v.slice(j), "");
                return state;
            };
            for (int first = 0; first < N; first += options.chunk)
                result.write_states(b, h, first / options.chunk, state_before(first));
            result.write_state(b, h, state_before(N));
        }
    return result;
}

// Chunk by chunk, with the mistake made at its place.
Result by_chunks(const Inputs& in, const Options& options, std::string_view mistake) {
    Result result(Outputs::shaped(in, options));
    const int B = in.q.extent(0), H = in.q.extent(1), N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    const bool times_0 = mistake == "unseen_times_0";
    State state(D, Dv);
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < H; ++h) {
            const auto q = in.q.slice(b, h), k = in.k.slice(b, h), v = in.v.slice(b, h);
            const auto document = in.document.slice(mistake == "document_of_first_row" ? 0 : b);
            State initial =
                mistake == "initial_state_of_first_head" ? initial_state(in, 0, 0) : initial_state(in, b, h);
            if (mistake == "initial_state_ignored" || mistake == "from_the_chapter") initial.clear();
            if (mistake == "initial_normalizer_ignored") initial.clear_normalizer();
            if (mistake != "state_of_previous_head" || in.initial_state) state = initial;

            for (int first = 0; first < N; first += options.chunk) {
                const int end = std::min(N, first + options.chunk), c = first / options.chunk;
                if (mistake == "last_chunk_left_out" && end - first < options.chunk) break;
                const auto differs = [&](int i) { return i > 0 && document(i) != document(i - 1); };
                if (mistake == "states_of_next_document" && differs(first))
                    result.write_states(b, h, c, State(D, Dv));
                else if (mistake != "states_written_after")
                    result.write_states(b, h, c, state);

                double largest = 0;
                for (int j = first; j < end; ++j)
                    for (int d = 0; d < D; ++d) raise(largest, feature(k(j, d), mistake));
                const double factor = mistake == "maximum_of_chunk" ? 1 / largest : 1;

                int last_border = -1;
                for (int i = first; i < end; ++i)
                    if (differs(i)) last_border = i;
                int from = first;
                bool continues = true;
                const auto same_number = [&](int i, int j) { return document(i) == document(j); };
                for (int i = first; i < end; ++i) {
                    bool border = differs(i);
                    if (mistake == "from_the_chapter") border = false;
                    if (mistake == "border_where_larger") border = i > 0 && document(i) > document(i - 1);
                    if (mistake == "border_at_chunk_missed") border = border && i > first;
                    if (mistake == "first_border_of_chunk") border = border && continues;
                    if (mistake == "last_border_of_chunk") border = i == last_border;
                    if (border) from = i, continues = false;
                    if (mistake == "returning_number") continues = same_number(i, std::max(first - 1, 0));

                    Fraction of_state(Dv), of_pairs(Dv);
                    if (continues || times_0 || mistake == "state_across_border")
                        of_state.add(q.slice(i), state, mistake);
                    if (times_0 && !continues) {
                        of_state.denominator *= 0;
                        for (double& sum : of_state.numerator) sum *= 0;
                    }
                    int to = mistake == "own_token_missing" ? i : i + 1;
                    if (mistake == "future_in_chunk")
                        while (to < end && !differs(to)) ++to;
                    for (int j = first; j < end; ++j) {
                        bool seen = j >= from && j < to;
                        if (mistake == "pairs_across_border") seen = j < to;
                        if (mistake == "returning_number") seen = j < to && same_number(i, j);
                        if (!seen && !times_0) continue;
                        double weight = 0;
                        for (int d = 0; d < D; ++d)
                            weight = overflow(weight + overflow(query_feature(q(i, d), D, mistake) *
                                                                key_feature(k(j, d), mistake) * factor));
                        of_pairs.add(seen ? weight : 0 * weight, v.slice(j), mistake);
                    }

                    double denominator = of_pairs.denominator + of_state.denominator;
                    if (mistake == "state_not_used" || mistake == "normalizer_without_state")
                        denominator = of_pairs.denominator;
                    if (mistake == "epsilon") denominator += 1e-6;
                    if (mistake == "not_normalized") denominator = 1;
                    for (int d = 0; d < Dv; ++d) {
                        const auto e = static_cast<std::size_t>(d);
                        double& out = result.out(b, h, i, d);
                        out = (of_pairs.numerator[e] + of_state.numerator[e]) / denominator;
                        if (mistake == "state_not_used" || mistake == "parts_averaged")
                            out = of_pairs.numerator[e] / of_pairs.denominator;
                        if (mistake == "parts_averaged" && of_state.denominator > 0)
                            out = (out + of_state.numerator[e] / of_state.denominator) / 2;
                        of_pairs.numerator_absolute[e] += of_state.numerator_absolute[e];
                    }
                    of_pairs.denominator_absolute += of_state.denominator_absolute;
                    raise(result.out_magnitude, of_pairs.magnitude(denominator));
                }

                if (times_0) {
                    for (double& element : state.S) element *= continues;
                    for (double& element : state.z) element *= continues;
                    for (int j = first; j < from; ++j) state.add(k.slice(j), v.slice(j), mistake, 0);
                } else if (mistake == "state_of_last_chunk") {
                    state.clear();
                } else if (!continues && mistake != "state_not_reset") {
                    state.clear();
                    if (mistake == "initial_state_after_reset") state = initial;
                }
                for (int j = first; j < end; ++j) {
                    bool added = j >= from || mistake == "state_adds_whole_chunk";
                    if (mistake == "returning_number") added = same_number(j, end - 1);
                    if (added) state.add(k.slice(j), v.slice(j), mistake, factor);
                }
                if (mistake == "states_written_after") result.write_states(b, h, c, state);
            }
            result.write_state(b, h, state);
        }
    return result;
}

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    const Result result = mistake.empty() ? by_pairs(in, options) : by_chunks(in, options, mistake);
    judge::Answer answer;
    answer.add("out", result.out, {2e-5, result.out_magnitude});
    answer.add("states", result.states, {2e-5, result.state_magnitude});
    answer.add("normalizers", result.normalizers, {2e-5});
    answer.add("state", result.state, {2e-5, result.state_magnitude});
    answer.add("normalizer", result.normalizer, {2e-5});
    return answer;
}

const judge::Exercise<Inputs, Options> exercise = {
    "document_chunks",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's chunks, for which all tokens are one document that begins with token 0. Which of its "
         "three parts, pairs, state and update, must look at the borders, and what is in the state before them?"},
        {"state_not_used",
         "has the right states, and an out of the pairs of the chunk alone. What does a token see that goes on with "
         "the document of the chunk before?"},
        {"state_of_last_chunk",
         "equals the answer in which a chunk's sums take the place of the state. What becomes of the chunks before "
         "it, in a document that is longer than two?"},
        {"normalizer_without_state",
         "equals the answer in which only the numerator takes the state, and out is divided by the pairs' sum of "
         "weights. What do the weights of the tokens in the state sum to?"},
        {"parts_averaged",
         "equals the average of two outputs, that of the state and that of the pairs, each divided on its own. A part "
         "with large weights must count for more: when is there to be divided?"},
        {"not_normalized", "has the right states, and an out that is not divided. What do the weights sum to?"},
        {"own_token_missing",
         "equals the answer in which a query does not see its own token. The sums are over j <= i."},
        {"future_in_chunk",
         "equals the answer in which a query sees all of its document that is in the chunk, what comes after it too. "
         "Where does the sum over the pairs end?"},
        {"pairs_across_border",
         "equals the answer in which pairs are made with all tokens from the start of the chunk. Where in the chunk "
         "does the document of this query begin?"},
        {"state_across_border",
         "equals the answer in which every query of a chunk sees the state. Which of them do so no more once a "
         "document has begun in the chunk?"},
        {"border_at_chunk_missed",
         "equals the answer in which a document that begins with the first token of a chunk goes on with the one "
         "before. With which token is the first one of a chunk to be compared?"},
        {"first_border_of_chunk",
         "equals the answer in which only the first border of a chunk counts. What happens at the second one?"},
        {"last_border_of_chunk",
         "equals the answer in which only the last border of a chunk counts. It is the one that matters for the state "
         "after the chunk; which one matters for a query before it?"},
        {"border_where_larger",
         "equals the answer in which a document begins only where the number rises. Are the numbers of documents in "
         "any order?"},
        {"returning_number",
         "equals the answer in which tokens with the same number belong together, whatever is between them. What does "
         "the interface say of a number that returns?"},
        {"state_not_reset",
         "equals the answer in which the sums of the last document are added to the state that was there, although a "
         "document has begun in the chunk. What is left of the old state then?"},
        {"state_adds_whole_chunk",
         "equals the answer in which all tokens of a chunk go into the state. Which of them belong to the document of "
         "its last token?"},
        {"states_written_after",
         "has the right out, and in states and normalizers what stands after each chunk. When is it to be written?"},
        {"states_of_next_document",
         "has the right out, and 0 in states and normalizers where a document begins with the chunk. Whose state does "
         "the interface want there?"},
        {"last_chunk_left_out",
         "equals the answer in which the last tokens are left out where they do not fill a chunk. How often must the "
         "loop over the chunks run?"},
        {"initial_state_ignored",
         "equals the answer in which the first document begins at 0. What came before token 0?"},
        {"initial_normalizer_ignored",
         "equals the answer in which the first document begins with initial_state and a normalizer of 0. Which two "
         "sums make a state?"},
        {"initial_state_after_reset",
         "equals the answer in which the state goes back to the initial one where a document has begun. Which document "
         "is that state of?"},
        {"initial_state_of_first_head",
         "equals the answer in which all heads begin with the state of head 0 of sequence 0. Whose is this one's?"},
        {"state_of_previous_head",
         "equals the answer in which, without an initial state, a head begins with what the one before it has left. "
         "What does the state begin with where initial_state is absent?"},
        {"document_of_first_row",
         "equals the answer in which all sequences have the documents of sequence 0. Which one is this?"},
        {"unseen_times_0",
         "equals the answer in which what a query does not see is multiplied by 0: 0 · NaN is NaN. Is it left out, or "
         "given no weight?"},
        {"expm1_plus_1",
         "equals the answer with (exp(x) - 1) + 1 as the feature of negative elements. How much of exp(-20) is left "
         "in float when it is added to -1?"},
        {"exp_everywhere",
         "equals the answer with exp(x) as the feature of positive elements too. Which function do they have?"},
        {"relu",
         "equals the answer with max(x, 0) as the feature. What becomes of a query all of whose elements are "
         "negative, and what is phi of them?"},
        {"branches_blended",
         "is NaN where an element is larger than 88: both branches of phi are multiplied by 0 or 1 and added. What is "
         "exp of such an element in float, and 0 times that?"},
        {"phi_of_value",
         "equals the answer in which the values go through phi as well. Which tensors does phi turn into weights?"},
        {"phi_of_query_missing",
         "equals the answer in which the queries do not go through phi: weights may then be negative, and their sum 0. "
         "What has phi in the formula?"},
        {"query_scaled",
         "equals the answer with phi(q / sqrt(D)). There is no scale in the formula, and phi does not let one pass "
         "that would cancel."},
        {"epsilon",
         "equals the answer with 1e-6 added to what out is divided by. How large is that where all elements are -20, "
         "and can it ever be 0?"},
        {"maximum_of_chunk",
         "equals the answer in which the features of a chunk's keys are divided by the largest of them. Sums of "
         "several chunks can only be added if all have the same factor, and phi needs none."},
    },
    false};

struct Data {
    Tensor<float, 4> q, k, v;
    Tensor<int, 2> document;
    bool has_initial;
    Tensor<float, 4> initial_state;
    Tensor<float, 3> initial_normalizer;
    Options options;

    Inputs inputs() const {
        Inputs in{view(q), view(k), view(v), view(document), {}, {}};
        if (has_initial) in.initial_state = view(initial_state), in.initial_normalizer = view(initial_normalizer);
        return in;
    }
};

struct Sizes {
    int B, H, N, D, Dv, chunk;
};

Sizes draw_sizes(std::uint64_t seed, int least, int most, int chunk) {
    return {random_integer(seed, 1, 1, 3),  random_integer(seed, 2, 1, 3),  random_integer(seed, 3, least, most),
            random_integer(seed, 4, 1, 16), random_integer(seed, 5, 1, 16), chunk};
}

// All but the documents, which set_documents draws.
Data draw(std::uint64_t seed, const Sizes& size, bool has_initial) {
    Data data{make_tensor<float, 4>({size.B, size.H, size.N, size.D}),
              make_tensor<float, 4>({size.B, size.H, size.N, size.D}),
              make_tensor<float, 4>({size.B, size.H, size.N, size.Dv}),
              make_tensor<int, 2>({size.B, size.N}),
              has_initial,
              make_tensor<float, 4>({size.B, size.H, size.D, size.Dv}),
              make_tensor<float, 3>({size.B, size.H, size.D}),
              {size.chunk}};
    fill_normal(view(data.q), seed), fill_normal(view(data.k), seed + 1), fill_normal(view(data.v), seed + 2);
    fill_normal(view(data.initial_state), seed + 3), fill_normal(view(data.initial_normalizer), seed + 4, 4);
    for (float& element : data.initial_normalizer) element = 0.5f + std::abs(element);
    for (int b = 0; b < size.B; ++b)
        for (int h = 0; h < size.H; ++h)
            for (int d = 0; d < size.D; ++d)
                for (int e = 0; e < size.Dv; ++e) data.initial_state(b, h, d, e) *= data.initial_normalizer(b, h, d);
    return data;
}

// Each sequence has another kind of numbers.
template <class Borders>
void set_documents(Data& data, std::uint64_t seed, int kind, Borders borders) {
    for (int b = 0; b < data.inputs().q.extent(0); ++b) {
        const std::uint64_t row = seed + 10 + static_cast<std::uint64_t>(b);
        number_documents(view(data.document).slice(b), borders(row), row + 100, (kind + b) % 4);
    }
}

void set_documents(Data& data, std::uint64_t seed, int kind, int mean) {
    set_documents(data, seed, kind,
                  [&](std::uint64_t row) { return draw_borders(row, data.inputs().q.extent(2), mean); });
}

void run(judge::Test& test, const Data& data) { test.run(exercise, data.inputs(), data.options); }

TEST_CASE("document_chunks: one document", "[document_chunks]") {
    judge::Test test;
    int which = 0;
    for (int chunk : {1, 2, 5, 16, 64, 200})
        for (int tokens : {1, 6, 60}) {
            const std::uint64_t seed = test.seed(which);
            Data data = draw(seed, draw_sizes(seed, tokens, tokens + tokens / 4, chunk), false);
            set_documents(data, seed, which++, [](auto) { return std::vector<int>{0}; });
            run(test, data);
        }
    test.conclude();
}

TEST_CASE("document_chunks: several documents", "[document_chunks]") {
    judge::Test test;
    int which = 0;
    for (int chunk : {1, 2, 5, 8, 16, 64, 200})
        for (int mean : {3, 12}) {
            const std::uint64_t seed = test.seed(which);
            Sizes size = draw_sizes(seed, 25, 60, chunk);
            if (which % 3 == 0) size.B = 2 + which % 2;
            Data data = draw(seed, size, false);
            set_documents(data, seed, which++, mean);
            run(test, data);
        }
    test.conclude();
}

TEST_CASE("document_chunks: documents that begin with a chunk, or with its last token", "[document_chunks]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int chunk = random_integer(seed, 0, 3, 9);
        Data data = draw(seed, draw_sizes(seed, 4 * chunk, 6 * chunk + 1, chunk), which % 2);
        const int N = data.inputs().q.extent(2);
        set_documents(data, seed, which, [&](std::uint64_t row) {
            std::vector<int> borders{0};
            for (int i = 1; i < N; ++i) {
                const bool is_first = i % chunk == 0 && which % 3 != 1;
                const bool is_last = i % chunk == chunk - 1 && which % 3 != 0;
                if ((is_first || is_last) && random_integer(row, static_cast<std::uint64_t>(i), 0, 2))
                    borders.push_back(i);
            }
            return borders;
        });
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("document_chunks: documents of one token", "[document_chunks]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, draw_sizes(seed, 2, 20, random_integer(seed, 0, 1, 8)), which % 2);
        set_documents(data, seed, which, 1);
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("document_chunks: an initial state", "[document_chunks]") {
    judge::Test test;
    for (int which = 0; which < 8; ++which) {
        const std::uint64_t seed = test.seed(which);
        Sizes size = draw_sizes(seed, 15, 40, random_integer(seed, 0, 1, 12));
        size.H = std::max(size.H, 2);
        Data data = draw(seed, size, true);
        if (which < 2)
            set_documents(data, seed, which, [](auto) { return std::vector<int>{0}; });
        else
            set_documents(data, seed, which, 10);
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("document_chunks: elements of -20 to -30", "[document_chunks]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, draw_sizes(seed, 8, 30, random_integer(seed, 0, 2, 8)), which % 2);
        set_documents(data, seed, which, 6);
        std::uint64_t counter = 1000;
        for (float& element : data.q) element = -20 - 10 * static_cast<float>(random_uniform(seed, counter++));
        for (float& element : data.k) element = -20 - 10 * static_cast<float>(random_uniform(seed, counter++));
        for (float& element : data.initial_state) element *= 1e-10f;
        for (float& element : data.initial_normalizer) element *= 1e-10f;
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("document_chunks: elements in the hundreds", "[document_chunks]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, draw_sizes(seed, 8, 30, random_integer(seed, 0, 2, 8)), which % 2);
        set_documents(data, seed, which, 6);
        std::uint64_t counter = 1000;
        for (Tensor<float, 4>* tensor : {&data.q, &data.k})
            for (float& element : *tensor)
                if (random_integer(seed, counter++, 0, 3) == 0)
                    element = 100 + 800 * static_cast<float>(random_uniform(seed, counter));
        data.k(0, 0, 0, 0) = 300;
        run(test, data);
    }
    test.conclude();
}

// From some token of a document on, values, keys or both are NaN until it ends; the document after it has none. In
// some cases the initial state is NaN too.
TEST_CASE("document_chunks: what is not seen may be NaN", "[document_chunks]") {
    judge::Test test;
    for (int which = 0; which < 8; ++which) {
        const std::uint64_t seed = test.seed(which);
        const Sizes size = draw_sizes(seed, 25, 50, random_integer(seed, 0, 2, 20));
        Data data = draw(seed, size, which % 2);
        set_documents(data, seed, which, 6);
        if (which % 4 == 1) {
            data.initial_state.fill(nan_value);
            if (which == 1) data.initial_normalizer.fill(nan_value);
        }
        std::uint64_t counter = 1000;
        for (int b = 0; b < size.B; ++b)
            for (int i = 0, place = 0, spoiled = which / 2 % 2; i < size.N; ++i) {
                if (i == 0 || data.document(b, i) != data.document(b, i - 1))
                    spoiled = !spoiled, place = i + random_integer(seed, counter++, 0, 3);
                const int what = random_integer(seed, counter++, 0, 2);
                if (!spoiled || i < place) continue;
                for (int h = 0; h < size.H; ++h) {
                    for (int d = 0; d < size.D && what != 0; ++d) data.k(b, h, i, d) = nan_value;
                    for (int e = 0; e < size.Dv && what != 1; ++e) data.v(b, h, i, e) = nan_value;
                    for (int d = 0; d < size.D && what == 2; ++d) data.q(b, h, i, d) = nan_value;
                }
            }
        run(test, data);
    }
    test.conclude();
}

}  // namespace
