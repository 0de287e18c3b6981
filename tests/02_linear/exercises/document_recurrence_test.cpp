// Judges document_recurrence. The answer has no state: each query goes through the keys of its document in pairs, from
// its own back to the first. Of sequences for which that takes too long, it is the recurrence in double.
#include "chapters/02_linear/exercises/document_recurrence.hpp"

#include <map>

#include "common/tensor/tensor.hpp"
#include "tests/02_linear/exercises/documents.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::documents;
using namespace attn::exercises::document_recurrence;

constexpr int long_sequence = 300000;

struct Result {
    Tensor<double, 4> out, state;
    Tensor<double, 3> normalizer;
    double out_magnitude = 0, state_magnitude = 0, normalizer_magnitude = 0;

    explicit Result(const Outputs& shaped)
        : out(make_tensor<double, 4>(shaped.out.shape())),
          state(make_tensor<double, 4>(shaped.state.shape())),
          normalizer(make_tensor<double, 3>(shaped.normalizer.shape())) {}
};

Result by_pairs(const Inputs& in) {
    Result result(Outputs::shaped(in));
    const int B = in.q.extent(0), H = in.q.extent(1), N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    for (std::int64_t index = 0; index < in.v.count(); ++index)
        raise(result.out_magnitude, std::abs(in.v.data()[index]));
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < H; ++h) {
            for (int i = 0; i < N; ++i) {
                double sum = 0;
                for (int j = i; j >= 0 && in.document(b, j) == in.document(b, i); --j) {
                    double weight = 0;
                    for (int d = 0; d < D; ++d) weight += feature(in.q(b, h, i, d), "") * feature(in.k(b, h, j, d), "");
                    sum += weight;
                    for (int e = 0; e < Dv; ++e) result.out(b, h, i, e) += weight * in.v(b, h, j, e);
                }
                for (int e = 0; e < Dv; ++e) result.out(b, h, i, e) /= sum;
            }
            for (int d = 0; d < D; ++d)
                for (int e = -1; e < Dv; ++e) {
                    double sum = 0, absolute = 0;
                    for (int j = N - 1; j >= 0 && in.document(b, j) == in.document(b, N - 1); --j) {
                        const double term = feature(in.k(b, h, j, d), "") * (e < 0 ? 1 : in.v(b, h, j, e));
                        sum += term, absolute += std::abs(term);
                    }
                    if (e < 0)
                        result.normalizer(b, h, d) = sum;
                    else
                        result.state(b, h, d, e) = sum, raise(result.state_magnitude, absolute);
                }
        }
    return result;
}

// Token by token, with the mistake made at its place; without any where there is none.
Result by_recurrence(const Inputs& in, std::string_view mistake) {
    Result result(Outputs::shaped(in));
    const int B = in.q.extent(0), H = in.q.extent(1), N = in.q.extent(2), D = in.q.extent(3), Dv = in.v.extent(3);
    State state(D, Dv);
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < H; ++h) {
            if (mistake != "state_of_previous_head") state.clear();
            const auto document = in.document.slice(mistake == "document_of_first_row" ? 0 : b);
            const auto q = in.q.slice(b, h), k = in.k.slice(b, h), v = in.v.slice(b, h);
            double largest = 0;
            for (std::int64_t index = 0; index < k.count(); ++index) raise(largest, feature(k.data()[index], mistake));
            const double factor = mistake == "keys_by_maximum" ? 1 / largest : 1;
            std::map<int, State> left;
            int tokens = 0;
            for (int i = 0; i < N; ++i) {
                const int number = document(i), previous = document(std::max(i - 1, 0));
                bool border = number != previous;
                if (mistake == "from_the_chapter") border = false;
                if (mistake == "border_where_smaller") border = number < previous;
                if (mistake == "border_where_larger") border = number > previous;
                if (mistake == "compares_with_first") border = number != document(0);
                if (mistake == "reset_early") border = i + 1 < N && document(i + 1) != number;
                if (mistake == "returning_number" && border) {
                    left.insert_or_assign(previous, state);
                    const auto found = left.find(number);
                    state = found == left.end() ? State(D, Dv) : found->second;
                } else if (border && mistake == "reset_times_0") {
                    for (double& element : state.S) element *= 0;
                    for (double& element : state.z) element *= 0;
                } else if (border && mistake != "reset_late") {
                    if (mistake != "state_not_reset") state.clear_state();
                    if (mistake != "normalizer_not_reset") state.clear_normalizer();
                }
                tokens = border ? 1 : tokens + 1;

                const bool whole = mistake == "whole_document";
                if (whole && (i == 0 || border))
                    for (int j = i; j < N && document(j) == number; ++j) state.add(k.slice(j), v.slice(j), mistake);
                if (!whole && mistake != "own_token_missing") state.add(k.slice(i), v.slice(i), mistake, factor);

                Fraction fraction(Dv);
                fraction.add(q.slice(i), state, mistake);
                double denominator = fraction.denominator;
                if (mistake == "not_normalized") denominator = 1;
                if (mistake == "divided_by_count") denominator = tokens;
                if (mistake == "epsilon") denominator += 1e-6;
                if (mistake == "normalizer_without_query") {
                    denominator = 0;
                    for (double element : state.z) denominator += element;
                }
                for (int e = 0; e < Dv; ++e)
                    result.out(b, h, i, e) = fraction.numerator[static_cast<std::size_t>(e)] / denominator;
                raise(result.out_magnitude, fraction.magnitude(denominator));
                if (mistake == "own_token_missing") state.add(k.slice(i), v.slice(i), mistake);
                if (mistake == "reset_late" && border) state.clear();
            }
            std::copy(state.S.begin(), state.S.end(), &result.state(b, h, 0, 0));
            std::copy(state.z.begin(), state.z.end(), &result.normalizer(b, h, 0));
            for (double element : state.S_absolute) raise(result.state_magnitude, element);
            for (double element : state.z_absolute) raise(result.normalizer_magnitude, element);
        }
    if (mistake != "phi_of_key_missing") result.normalizer_magnitude = 0;  // nothing cancels
    return result;
}

judge::Answer answer(const Inputs& in, const Options&, std::string_view mistake) {
    const int N = in.q.extent(2);
    const bool right = mistake.empty() || mistake == "all_tokens_held" || mistake == "pairs";
    const Result result = right && N < 1000 ? by_pairs(in) : by_recurrence(in, right ? "" : mistake);
    judge::Answer answer;
    const double relative = 2e-5 + 1e-8 * N;  // of sums of that many numbers, in float
    answer.add("out", result.out, {relative, result.out_magnitude});
    answer.add("state", result.state, {relative, result.state_magnitude});
    answer.add("normalizer", result.normalizer, {relative, result.normalizer_magnitude});
    if (mistake == "pairs" && N >= long_sequence) answer.finding = judge::Answer::Finding::perhaps;
    return answer;
}

const judge::Exercise<Inputs, Options> exercise = {
    "document_recurrence",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's recurrence, for which all tokens are one document. What must state and normalizer be "
         "before the first token of the next document?"},
        {"own_token_missing",
         "equals the answer in which a query does not see its own token: the state is updated after it is used. The "
         "sums are over j <= i."},
        {"not_normalized",
         "has the right state and normalizer, and an out that is not divided. What do the weights of a query sum to?"},
        {"normalizer_without_query",
         "equals the answer in which out is divided by the sum of the normalizer's elements. The denominator is a sum "
         "of phi(q) · phi(k): what is left of phi(q) in it?"},
        {"divided_by_count",
         "equals the answer in which out is divided by the number of tokens that are seen. What do the weights of a "
         "query sum to?"},
        {"state_not_reset",
         "equals the answer in which only the normalizer begins at 0 with a new document. Which two sums does an "
         "output take?"},
        {"normalizer_not_reset",
         "equals the answer in which only the state begins at 0 with a new document. Which two sums does an output "
         "take?"},
        {"reset_late",
         "equals the answer in which state and normalizer are set to 0 one token late: the first token of a document "
         "is added to the document before, and lost to its own. In which order do reset, update and use come?"},
        {"reset_early",
         "equals the answer in which state and normalizer are set to 0 one token early: the last token of a document "
         "is counted to the next one. With which neighbour is a token's number to be compared?"},
        {"border_where_smaller",
         "equals the answer in which a document begins only where the number falls. What else can a number do from "
         "one document to the next?"},
        {"border_where_larger",
         "equals the answer in which a document begins only where the number rises. Are the numbers of documents in "
         "any order?"},
        {"compares_with_first",
         "equals the answer in which each number is compared with that of token 0: in later documents every token "
         "then begins one, and where the first number returns no border is seen. Whose number tells that a document "
         "begins?"},
        {"returning_number",
         "equals the answer in which a number that returns goes on with the document that had it before. What does "
         "the interface say of such a number?"},
        {"reset_times_0",
         "equals the answer in which state and normalizer are multiplied by 0 where a document begins. What is "
         "0 · NaN?"},
        {"whole_document",
         "equals the answer in which each query sees its whole document, what comes after it too. When may a token be "
         "added to the state?"},
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
        {"phi_of_key_missing",
         "equals the answer in which the keys do not go through phi: weights may then be negative, and their sum 0. "
         "What has phi in the formula?"},
        {"query_scaled",
         "equals the answer with phi(q / sqrt(D)). There is no scale in the formula, and phi does not let one pass "
         "that would cancel."},
        {"epsilon",
         "equals the answer with 1e-6 added to what out is divided by. How large is that where all elements are -20, "
         "and can it ever be 0?"},
        {"keys_by_maximum",
         "has the right out; in state and normalizer all features are divided by the largest of the sequence. That "
         "cancels in out, but the tokens to come are not known when a state is handed on, and phi needs no maximum."},
        {"state_of_previous_head",
         "equals the answer in which a head, or sequence, begins with what the one before it has left. Is token 0 a "
         "border?"},
        {"document_of_first_row",
         "equals the answer in which all sequences have the documents of sequence 0. Which one is this?"},
        {"all_tokens_held",
         "the outputs are right; you allocate memory for every token of the sequence. How many states are needed at "
         "one time?",
         "", "", "memory"},
        {"pairs",
         "the outputs of short sequences are right; a long one takes too long: the work grows with the square of N. "
         "What can be taken out of the sum over j, so that the next token finds the sum ready?",
         "timed_out"},
    },
    false};

struct Data {
    Tensor<float, 4> q, k, v;
    Tensor<int, 2> document;

    Inputs inputs() const { return {view(q), view(k), view(v), view(document)}; }
};

struct Sizes {
    int B, H, N, D, Dv;
};

// Documents of `mean` tokens, about; with a mean of 0 a single one. Each sequence has another kind of numbers.
Data draw(std::uint64_t seed, const Sizes& size, int mean, int kind = 0) {
    Data data{make_tensor<float, 4>({size.B, size.H, size.N, size.D}),
              make_tensor<float, 4>({size.B, size.H, size.N, size.D}),
              make_tensor<float, 4>({size.B, size.H, size.N, size.Dv}), make_tensor<int, 2>({size.B, size.N})};
    fill_normal(view(data.q), seed), fill_normal(view(data.k), seed + 1), fill_normal(view(data.v), seed + 2);
    for (int b = 0; b < size.B; ++b) {
        const std::uint64_t row = seed + 10 + static_cast<std::uint64_t>(b);
        const std::vector<int> borders = mean ? draw_borders(row, size.N, mean) : std::vector<int>{0};
        number_documents(view(data.document).slice(b), borders, row + 100, (kind + b) % 4);
    }
    return data;
}

Sizes draw_sizes(std::uint64_t seed, int least, int most) {
    return {random_integer(seed, 1, 1, 3), random_integer(seed, 2, 1, 3), random_integer(seed, 3, least, most),
            random_integer(seed, 4, 1, 16), random_integer(seed, 5, 1, 16)};
}

judge::Report run(judge::Test& test, const Data& data) { return test.run(exercise, data.inputs(), {}); }

TEST_CASE("document_recurrence: one document", "[document_recurrence]") {
    judge::Test test;
    int which = 0;
    for (int tokens : {1, 2, 5, 20, 70}) {
        const std::uint64_t seed = test.seed(which++);
        run(test, draw(seed, draw_sizes(seed, tokens, tokens + tokens / 4), 0, which));
    }
    test.conclude();
}

TEST_CASE("document_recurrence: several documents", "[document_recurrence]") {
    judge::Test test;
    for (int which = 0; which < 12; ++which) {
        const std::uint64_t seed = test.seed(which);
        Sizes size = draw_sizes(seed, 12, 60);
        if (which % 3 == 0) size.B = 2 + which % 2;
        run(test, draw(seed, size, 2 + which % 6, which));
    }
    test.conclude();
}

TEST_CASE("document_recurrence: documents of one token", "[document_recurrence]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        run(test, draw(seed, draw_sizes(seed, 2, 20), 1, which));
    }
    test.conclude();
}

TEST_CASE("document_recurrence: elements of -20 to -30", "[document_recurrence]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, draw_sizes(seed, 5, 30), which == 0 ? 0 : 5, which);
        std::uint64_t counter = 1000;
        for (float& element : data.q) element = -20 - 10 * static_cast<float>(random_uniform(seed, counter++));
        for (float& element : data.k) element = -20 - 10 * static_cast<float>(random_uniform(seed, counter++));
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("document_recurrence: elements in the hundreds", "[document_recurrence]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, draw_sizes(seed, 5, 30), which == 0 ? 0 : 5, which);
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

// From some token of a document on, values, keys or both are NaN until it ends; the document after it has none.
TEST_CASE("document_recurrence: what is not seen may be NaN", "[document_recurrence]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        const Sizes size = draw_sizes(seed, 20, 50);
        Data data = draw(seed, size, 6, which);
        std::uint64_t counter = 1000;
        for (int b = 0; b < size.B; ++b)
            for (int i = 0, place = 0, spoiled = which % 2; i < size.N; ++i) {
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

TEST_CASE("document_recurrence: memory for a state, not for all tokens", "[document_recurrence]") {
    judge::Test test;
    for (int which = 0; which < 3; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int tokens = random_integer(seed, 0, 3000, 5000);
        const Data data = draw(seed, {1, 1, tokens, 8, 1}, which * 50, which);
        // What the worker holds for the inputs and outputs. Afterwards it holds the outputs twice: of what is allocated
        // by the student, as much as one of them cannot be told from that.
        std::int64_t given = 0, outputs = 0;
        Inputs in = data.inputs();
        in.visit([&]<class T, int N>(const char*, TensorView<const T, N>& view) {
            given += view.count() * static_cast<std::int64_t>(sizeof(T));
        });
        Outputs::shaped(in).visit([&]<class T, int N>(const char*, TensorView<T, N>& view) {
            outputs += view.count() * static_cast<std::int64_t>(sizeof(T));
        });
        const judge::Report report = run(test, data);
        if (!report.right) continue;
        const std::int64_t own = static_cast<std::int64_t>(report.peak_bytes) - given - outputs;
        test.expect("memory", own <= outputs + 2 * std::int64_t{tokens},
                    fmt::format("{} bytes are held beside inputs and outputs, where the keys of the {} tokens take {}; "
                                "expected a state, which does not grow with them",
                                own, tokens, 4 * 8 * tokens));
    }
    test.conclude();
}

TEST_CASE("document_recurrence: a long sequence", "[document_recurrence]") {
    judge::Test test;
    const std::uint64_t seed = test.seed();
    Data data = draw(seed, {1, 1, long_sequence, 1, 1}, 0);
    for (float& element : data.q) element = 0.5f + std::abs(element);
    for (float& element : data.k) element = 0.5f + std::abs(element);
    for (int i = 0, first = random_integer(seed, 1, 50, 200); i < first; ++i) data.document(0, i) = 3;
    run(test, data);
    test.conclude();
}

}  // namespace
