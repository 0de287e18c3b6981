// Judges pattern_pairs. The answer looks at each pair, where there are not too many; otherwise, and for the mistakes,
// it goes row by row and remembers of each position how many global tokens stand there and in whole steps before it.
#include "chapters/01_fixed_sparse/exercises/pattern_pairs.hpp"

#include <algorithm>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::pattern_pairs;

constexpr int many_positions = 100000;

// What the mistake takes for the pattern of a head.
struct Pattern {
    std::vector<int> begins;  // of documents
    std::vector<char> is_global;
    int n, W, d;
    std::string_view mistake;

    Pattern(const Inputs& in, int positions, int h, std::string_view of)
        : is_global(static_cast<std::size_t>(positions)),
          n(positions),
          W(in.window(h)),
          d(in.dilation(h)),
          mistake(of) {
        const bool whole = mistake == "documents_ignored" || mistake == "from_the_chapter";
        for (int document = 0; document < (whole ? 1 : in.begin.extent(0)); ++document)
            begins.push_back(in.begin(document) + (mistake == "border_late" && document > 0));
        for (int g = 0; g < in.global_tokens.extent(0); ++g)
            is_global[static_cast<std::size_t>(in.global_tokens(g))] = 1;
        if (mistake == "window_of_first_head") W = in.window(0);
        if (mistake == "window_without_own" || mistake == "from_the_chapter") ++W;
        if (mistake == "window_of_positions") W = (W - 1) / d + 1;
        if (mistake == "dilation_ignored") d = 1;
    }

    bool global(int i) const { return is_global[static_cast<std::size_t>(i)]; }
    bool in_row(int i) const { return global(i) && mistake != "global_sees_window"; }
    bool in_column(int j) const { return global(j) && mistake != "global_not_seen"; }
    bool in_window(int i, int j) const {
        return j <= i && (i - j) % d == 0 && (i - j) / d < W && (i > j || mistake != "own_position_excluded");
    }
    int document(int position) const {
        int document = 0;
        while (document + 1 < static_cast<int>(begins.size()) &&
               begins[static_cast<std::size_t>(document) + 1] <= position)
            ++document;
        return document;
    }
    bool visible(int i, int j) const {
        if (j > i && mistake != "future_of_global") return false;
        const bool together = document(i) == document(j);
        if (mistake == "global_in_all_documents" && in_column(j)) return true;
        return together && (in_window(i, j) || in_column(j) || in_row(i));
    }
    std::int64_t pairs_one_by_one() const {
        std::int64_t pairs = 0;
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) pairs += visible(i, j);
        return pairs;
    }

    std::int64_t pairs_by_rows() const {
        std::int64_t pairs = 0, before = 0;                      // global tokens of earlier documents
        std::vector<int> in_steps(static_cast<std::size_t>(n));  // global tokens at i, i - d, i - 2d … of the document
        for (std::size_t document = 0; document < begins.size(); ++document) {
            const int begin = begins[document], end = document + 1 < begins.size() ? begins[document + 1] : n;
            int all = 0, so_far = 0;
            for (int i = begin; i < end; ++i) all += global(i);
            for (int i = begin; i < end; ++i) {
                const std::size_t own = static_cast<std::size_t>(i), steps = static_cast<std::size_t>(d);
                in_steps[own] = global(i) + (i - d >= begin ? in_steps[own - steps] : 0);
                so_far += global(i);
                std::int64_t keys = mistake == "window_full_from_the_start" ? W : std::min((i - begin) / d + 1, W);
                const std::int64_t beyond = i - std::int64_t{W} * d;  // the first step that is not in the window
                int others = so_far - in_steps[own];
                if (beyond >= begin) others += in_steps[static_cast<std::size_t>(beyond)];
                if (mistake == "global_key_twice") others = so_far;
                if (mistake == "future_of_global") others += all - so_far;
                if (mistake == "own_position_excluded") keys -= !global(i);
                std::int64_t row = keys + (mistake == "global_not_seen" ? 0 : others);
                if (in_row(i)) row = mistake == "future_of_global" ? end - begin : i - begin + 1;
                if (in_row(i) && mistake == "global_pair_twice") row += others;
                if (in_row(i) && mistake == "window_full_from_the_start") row += W - std::min((i - begin) / d + 1, W);
                if (mistake == "global_in_all_documents") row += before;
                pairs += row;
            }
            before += all;
        }
        if (mistake == "int_overflows") pairs = static_cast<std::int32_t>(static_cast<std::uint32_t>(pairs));
        return pairs;
    }
};

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    const int n = options.positions, H = in.window.extent(0), P = in.query.extent(0);
    auto visible = make_tensor<int, 2>({H, P});
    auto pairs = make_tensor<std::int64_t, 1>({H});
    for (int h = 0; h < H; ++h) {
        const Pattern pattern(in, n, h, mistake);
        for (int p = 0; p < P; ++p) visible(h, p) = pattern.visible(in.query(p), in.key(p));
        pairs(h) = mistake.empty() && n <= 400 ? pattern.pairs_one_by_one() : pattern.pairs_by_rows();
    }
    judge::Answer result;
    result.add("visible", visible);
    result.add("pairs", pairs);
    if (mistake == "every_pair" && n >= many_positions) result.finding = judge::Answer::Finding::perhaps;
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "pattern_pairs",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's Longformer pattern, causal, with W as its radius: there all positions are one document, "
         "and a radius does not count the query's own key. Which key is the first that a query may see?"},
        {"documents_ignored",
         "equals the answer in which all positions are one document. Which key is the first that a query may see?"},
        {"border_late",
         "equals the answer in which a document begins one position late: its first token is counted to the document "
         "before. Is `begin` the first position of a document, or the last of the one before?"},
        {"window_of_first_head",
         "equals the answer in which all heads have the window of the first, each with its own dilation. Which index "
         "has a window?"},
        {"window_without_own",
         "equals the answer in which a window holds one key more. Is the query's own key among those that W counts?"},
        {"own_position_excluded",
         "equals the answer in which a query does not see its own key, unless it is global. Is t = 0 one of the steps "
         "of a window?"},
        {"window_of_positions",
         "equals the answer in which a window reaches back W positions, of which a dilated head then sees every d-th. "
         "What does W count: positions, or keys?"},
        {"dilation_ignored",
         "equals the answer without a dilation. Which keys does a query see between i - d and i, beside the global "
         "ones?"},
        {"window_full_from_the_start",
         "has the right predicate, and a number of pairs in which the first queries of a document see a whole window. "
         "How many keys stand before them?"},
        {"global_sees_window",
         "equals the answer in which a global token sees what any token at its place would. What is in its row?"},
        {"global_not_seen",
         "equals the answer in which global tokens are seen by those alone in whose window they are. What is in the "
         "column of one?"},
        {"future_of_global",
         "equals the answer in which global tokens see what comes after them, and are seen by what came before. Does "
         "j <= i hold for them too?"},
        {"global_in_all_documents",
         "equals the answer in which a global token is seen in later documents as well. Whose token is it?"},
        {"global_key_twice",
         "has the right predicate, and a number of pairs in which a global key counts twice where it is in the window. "
         "How many pairs do this query and this key make?"},
        {"global_pair_twice",
         "has the right predicate, and a number of pairs in which those of two global tokens count twice where they "
         "are not in a window. In whose row is such a pair, and in whose column?"},
        {"int_overflows",
         "equals the right answer in its last 32 bits: somewhere a product or a sum is an int. What is the largest "
         "number that an int can hold?"},
        {"every_pair",
         "the answers for short sequences are right; a long one takes too long: each pair is looked at, or each key of "
         "a window. How many keys does query i see in its window? That needs no look at them.",
         "timed_out"},
    },
    false};

struct Data {
    Tensor<int, 1> begin, window, dilation, query, key, global_tokens;
    Options options;

    Inputs inputs() const {
        Inputs in{view(begin), view(window), view(dilation), view(query), view(key), {}};
        if (!global_tokens.size()) return in;
        in.global_tokens = view(global_tokens);
        return in;
    }
};

Tensor<int, 1> to_tensor(const std::vector<int>& numbers) {
    auto tensor = make_tensor<int, 1>({static_cast<int>(numbers.size())});
    std::copy(numbers.begin(), numbers.end(), tensor.begin());
    return tensor;
}

// `count` different numbers from `least` on and below n, ascending.
std::vector<int> draw_places(std::uint64_t seed, int count, int least, int n) {
    std::vector<int> places;
    for (std::uint64_t counter = 0; static_cast<int>(places.size()) < std::min(count, n - least);) {
        while (static_cast<int>(places.size()) < count) places.push_back(random_integer(seed, counter++, least, n - 1));
        std::sort(places.begin(), places.end());
        places.erase(std::unique(places.begin(), places.end()), places.end());
    }
    places.resize(static_cast<std::size_t>(std::min(count, n - least)));
    return places;
}

struct Sizes {
    int n, heads, documents, globals, window, dilation;  // the last two: at most
};

// Of the pairs that are asked for most are near an edge of a window, of a document, or at a global token.
Data draw(std::uint64_t seed, const Sizes& size) {
    Data data;
    const int n = size.n;
    data.options.positions = n;
    std::vector<int> begins = draw_places(seed + 1, size.documents - 1, 1, n);
    begins.insert(begins.begin(), 0);
    const std::vector<int> globals = draw_places(seed + 2, size.globals, 0, n);
    data.begin = to_tensor(begins), data.global_tokens = to_tensor(globals);
    data.window = data.dilation = make_tensor<int, 1>({size.heads});
    std::uint64_t counter = 100;
    for (int& window : data.window) window = random_integer(seed, counter++, 1, size.window);
    for (int& dilation : data.dilation) dilation = random_integer(seed, counter++, 1, size.dilation);
    std::vector<int> queries, keys;
    const auto any = [&](int least, int most) { return random_integer(seed, counter++, least, most); };
    const auto one_of = [&](const std::vector<int>& places) {
        return places[static_cast<std::size_t>(any(0, static_cast<int>(places.size()) - 1))];
    };
    for (int p = 0; p < 150; ++p) {
        int i = any(0, n - 1), j = any(0, n - 1);
        const int h = any(0, size.heads - 1), what = p % 5;
        if (what == 0) j = i - (data.window(h) + any(-2, 1)) * data.dilation(h);
        if (what == 1) j = i - any(0, data.window(h)) * data.dilation(h) + any(-1, 1);
        if (what == 2) j = i - any(0, 2);
        if (what == 3) i = one_of(begins) + any(0, 2), j = i - any(-1, 3);
        if (what == 4 && !globals.empty()) (p % 2 ? i : j) = one_of(globals);
        queries.push_back(std::clamp(i, 0, n - 1)), keys.push_back(std::clamp(j, 0, n - 1));
    }
    data.query = to_tensor(queries), data.key = to_tensor(keys);
    return data;
}

void run(judge::Test& test, const Data& data) { test.run(exercise, data.inputs(), data.options); }

TEST_CASE("pattern_pairs: one document, windows alone", "[pattern_pairs]") {
    judge::Test test;
    int which = 0;
    for (int n : {1, 2, 7, 40, 150}) {
        const std::uint64_t seed = test.seed(which++);
        const int least = n > 2 ? n + random_integer(seed, 0, 0, n / 2) : n;
        run(test, draw(seed, {least, random_integer(seed, 1, 2, 4), 1, 0, std::max(1, n / 3), 1}));
        run(test, draw(seed + 1, {least, random_integer(seed, 2, 2, 4), 1, 0, std::max(1, n / 3), std::min(n, 5)}));
    }
    test.conclude();
}

TEST_CASE("pattern_pairs: one document, with global tokens", "[pattern_pairs]") {
    judge::Test test;
    for (int which = 0; which < 8; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int n = random_integer(seed, 0, 20, 120);
        Data data = draw(seed, {n, random_integer(seed, 1, 2, 4), 1, random_integer(seed, 2, 1, 9), n / 4, 4});
        if (which % 3 == 0) data.global_tokens(0) = 0;
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("pattern_pairs: several documents", "[pattern_pairs]") {
    judge::Test test;
    for (int which = 0; which < 8; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int n = random_integer(seed, 0, 60, 200), documents = random_integer(seed, 1, 3, 6);
        run(test, draw(seed, {n, random_integer(seed, 2, 2, 4), documents, which % 2 ? 3 * documents : 0,
                              std::max(2, n / documents / 3), 3}));
    }
    test.conclude();
}

TEST_CASE("pattern_pairs: documents shorter than windows, and than a step", "[pattern_pairs]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int n = random_integer(seed, 0, 30, 90), documents = random_integer(seed, 1, n / 4, n / 2);
        run(test, draw(seed, {n, 3, documents, which % 2 ? n / 3 : 0, 2 * n, random_integer(seed, 2, 2, n)}));
    }
    Data data = draw(test.seed(6), {random_integer(test.seed(6), 0, 5, 30), 2, 1, 0, 4, 2});
    const int n = data.options.positions;  // documents of one position, all of them global
    std::vector<int> all(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) all[static_cast<std::size_t>(i)] = i;
    data.begin = data.global_tokens = to_tensor(all);
    run(test, data);
    test.conclude();
}

TEST_CASE("pattern_pairs: a million positions", "[pattern_pairs]") {
    judge::Test test;
    for (int which = 0; which < 2; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int n = which ? random_integer(seed, 0, 350000, 400000) : random_integer(seed, 0, 900000, 1000000);
        Data data = draw(seed, {n, 2, which ? 5 : 1, which ? 10000 : 6000, 300000, 2000});
        data.window(0) = random_integer(seed, 1, 100000, 300000), data.dilation(0) = 1 + which;
        run(test, data);
    }
    test.conclude();
}

}  // namespace
