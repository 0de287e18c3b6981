// Judges top_blocks. In the answer each candidate has a rank, which orders it before or after any other; the first n
// are taken.
#include "chapters/06_native_sparse/exercises/top_blocks.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "common/tensor/random.hpp"
#include "tests/06_native_sparse/exercises/documents.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::top_blocks;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

// 0 to 2: forced; 3: not. Of the others, whether it is NaN, what it lacks in importance, and its index.
using Rank = std::tuple<int, bool, double, int>;

struct Query {
    TensorView<const float, 1> importance;
    int begin, own, L, budget;
    std::string_view mistake;

    int forced_rank(int J) const {
        const int first = mistake == "first_of_sequence" ? 0 : first_block();
        const bool by_index = mistake == "forced_by_index";
        if (J == own) return by_index && own > first ? 2 : 0;
        if (mistake == "own_alone_forced") return 3;
        if (J == first && by_index) return 0;
        if (J == own - 1 && mistake != "previous_not_forced") return 1;
        return J == first && mistake != "first_not_forced" ? 2 : 3;
    }
    int first_block() const { return mistake == "border_block_left_out" ? (begin + L - 1) / L : begin / L; }

    std::vector<Rank> ranks() const {
        std::vector<Rank> ranks;
        for (int J = 0; J < importance.extent(0); ++J) {
            bool is_candidate = std::max(begin, J * L) < std::min(J * L + L, (own + 1) * L) && J <= own;
            if (mistake == "border_block_left_out" && J * L < begin) is_candidate = false;
            if (mistake == "first_of_sequence" && J == 0) is_candidate = true;
            if (mistake == "other_documents" && J < own - 1) is_candidate = true;
            if (mistake == "later_blocks" && J > own) is_candidate = true;
            if (!is_candidate) continue;
            const float x = importance(J);
            const bool is_nan = std::isnan(x) == (mistake != "nan_first");
            const Rank by_importance{3, is_nan, std::isnan(x) ? 0 : -x,
                                     mistake == "ties_to_higher" && !std::isnan(x) ? -J : J};
            const int forced = forced_rank(J);
            if (forced < 3) ranks.push_back({forced, false, 0, J});
            if (forced == 3 || mistake == "forced_twice") ranks.push_back(by_importance);
        }
        std::sort(ranks.begin(), ranks.end());
        return ranks;
    }
    std::vector<int> selected() const {
        const std::vector<Rank> all = ranks();
        const auto forced = static_cast<int>(
            std::count_if(all.begin(), all.end(), [](const Rank& rank) { return std::get<0>(rank) < 3; }));
        int n = budget;
        if (mistake == "forced_on_top") n += forced;
        if (mistake == "forced_beyond_budget") n = std::max(n, forced);
        std::vector<int> blocks;
        for (const Rank& rank : all)
            if (static_cast<int>(blocks.size()) < n) blocks.push_back(std::abs(std::get<3>(rank)));
        if (mistake != "not_sorted") std::sort(blocks.begin(), blocks.end());
        return blocks;
    }

    // One after the other, each time the best of those that are left; the beginning of the document is not asked for.
    std::vector<int> selected_by_chapter() const {
        std::vector<int> blocks;
        const auto has = [&](int J) { return std::count(blocks.begin(), blocks.end(), J) > 0; };
        for (int J : {0, own - 1, own})
            if (J >= 0 && !has(J)) blocks.push_back(J);
        while (static_cast<int>(blocks.size()) < std::min(budget, own + 1)) {
            int best = -1;
            for (int J = 0; J <= own; ++J)
                if (!has(J) && (best < 0 || importance(best) < importance(J))) best = J;
            blocks.push_back(best);
        }
        std::sort(blocks.begin(), blocks.end());
        return blocks;
    }
};

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    auto selected = make_tensor<std::int32_t, 3>(Outputs::shaped(in, options).selected.shape());
    selected.fill(mistake == "padded_with_0" ? 0 : -1);
    for (int g = 0; g < in.importance.extent(0); ++g)
        for (int t = 0; t < in.importance.extent(1); ++t) {
            const Query query{in.importance.slice(g, t),
                              in.begin(t),
                              t / options.select_block,
                              options.select_block,
                              in.budget(mistake == "budget_of_first_head" ? 0 : g),
                              mistake};
            const std::vector<int> blocks =
                mistake == "from_the_chapter" ? query.selected_by_chapter() : query.selected();
            std::copy(blocks.begin(), blocks.end(), &selected(g, t, 0));
        }
    judge::Answer answer;
    answer.add("selected", selected);
    return answer;
}

const judge::Exercise<Inputs, Options> exercise = {
    "top_blocks",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's choice, for which all positions are one document. Which is the first block that a query "
         "of a later document may have?"},
        {"forced_on_top",
         "equals the answer in which the forced blocks are added on top of n. How many blocks may a query have in "
         "all?"},
        {"forced_twice",
         "equals the answer in which forced blocks are chosen once more by their importance: a block stands there "
         "twice. "
         "Which blocks are left for the choice once the forced ones are taken?"},
        {"forced_beyond_budget",
         "equals the answer in which all forced blocks are taken even where n is smaller. How many does a query with "
         "n = 1 have?"},
        {"forced_by_index",
         "equals the answer in which a small n takes the forced blocks of the lower index. In which order does the "
         "header name them?"},
        {"own_alone_forced",
         "equals the answer in which only the query's own block is forced. Which two others does the header name?"},
        {"previous_not_forced",
         "equals the answer in which the block before the query's own is not forced. Of which block does a query see "
         "the "
         "last tokens, if it stands at the beginning of its own?"},
        {"first_not_forced",
         "equals the answer in which the document's first block is not forced. Which blocks does the header name?"},
        {"first_of_sequence",
         "equals the answer in which the sequence's first block is forced for all documents. Whose tokens are in it?"},
        {"other_documents",
         "equals the answer in which blocks of the documents before can be chosen. Which is the lowest candidate?"},
        {"later_blocks",
         "equals the answer in which blocks after the query's own can be chosen. Who knows their tokens?"},
        {"border_block_left_out",
         "equals the answer in which a document's first block is the first that begins in it. Who else has its first "
         "tokens, if it begins within a block?"},
        {"ties_to_higher",
         "equals the answer in which the higher of two blocks of equal importance comes first. Which one does the "
         "header "
         "ask for?"},
        {"nan_first",
         "equals the answer in which NaN comes before all numbers. What do comparisons with NaN give, and where does "
         "the "
         "header put it?"},
        {"not_sorted",
         "has the right blocks, in the order in which they were chosen. In which order does the interface want them?"},
        {"budget_of_first_head",
         "equals the answer in which all heads have the budget of the first. Whose budget is this?"},
        {"padded_with_0",
         "has the right blocks, and 0 in the places that are left: that is a block. What does the interface want "
         "there?"},
    },
    false};

struct Data {
    Tensor<float, 3> importance;
    Tensor<int, 1> begin, budget;
    Options options;
};

int any(std::uint64_t seed, std::uint64_t counter, int least, int most) {
    return random_integer(seed, 1000 + counter, least, most);
}

// Documents of at most `most` positions; budgets of least … least + 5. Places for three more than the largest.
Data draw(std::uint64_t seed, int G, int N, int L, int most, int least = 3) {
    Data data{make_tensor<float, 3>({G, N, (N - 1) / L + 1}),
              packed::draw_documents(seed + 1, N, most),
              make_tensor<int, 1>({{G}}),
              {L, 0}};
    fill_normal(view(data.importance), seed);
    for (float& importance : data.importance) importance = std::abs(importance);
    for (int g = 0; g < G; ++g)
        data.budget(g) = g > 0 && data.budget(g - 1) == least
                             ? least + 2
                             : any(seed, 50 + static_cast<std::uint64_t>(g), least, least + 5);
    data.options.width = *std::max_element(data.budget.begin(), data.budget.end()) + 3;
    return data;
}

void run(judge::Test& test, const Data& data) {
    test.run(exercise, Inputs{view(data.importance), view(data.begin), view(data.budget)}, data.options);
}

TEST_CASE("top_blocks: one document", "[top_blocks]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int L = any(seed, 0, 1, 5);
        run(test, draw(seed, 1, which == 0 ? any(seed, 1, 1, 3) : any(seed, 1, 12 * L, 20 * L), L, 0));
    }
    test.conclude();
}

TEST_CASE("top_blocks: several documents", "[top_blocks]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int L = any(seed, 0, 2, 5);
        run(test, draw(seed, 1, any(seed, 1, 25 * L, 35 * L), L, which < 2 ? 2 * L : 25 * L));
    }
    test.conclude();
}

TEST_CASE("top_blocks: a budget for each head", "[top_blocks]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int L = any(seed, 0, 2, 4);
        run(test, draw(seed, any(seed, 1, 2, 4), any(seed, 2, 20 * L, 30 * L), L, 20 * L));
    }
    test.conclude();
}

TEST_CASE("top_blocks: budgets of one and two blocks", "[top_blocks]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int L = any(seed, 0, 2, 4);
        Data data = draw(seed, 2, any(seed, 2, 20 * L, 30 * L), L, 20 * L);
        data.budget(0) = 1 + which % 2, data.budget(1) = 2 - which % 2;
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("top_blocks: equal importances", "[top_blocks]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int L = any(seed, 0, 2, 4);
        Data data = draw(seed, 1, any(seed, 1, 60 * L, 80 * L), L, which ? 60 * L : 0);
        for (float& importance : data.importance) importance = which == 3 ? 0 : std::floor(2 * importance);
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("top_blocks: NaN", "[top_blocks]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int L = any(seed, 0, 2, 4);
        Data data = draw(seed, 2, any(seed, 1, 30 * L, 50 * L), L, 40 * L);
        std::uint64_t counter = 0;
        for (float& importance : data.importance) {
            const int what = random_integer(seed + 9, counter++, 0, which < 2 ? 4 : 1);
            if (what == 0) importance = nan_value;
            if (what == 2) importance = -importance;
            if (what == 3) importance = random_integer(seed + 9, counter, 0, 1) ? HUGE_VALF : -HUGE_VALF;
        }
        run(test, data);
    }
    test.conclude();
}

}  // namespace
