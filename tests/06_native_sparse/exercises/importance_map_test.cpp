// Judges importance_map. The answer goes from token to token: a compressed block is seen where all of its tokens are,
// and what two blocks share is counted. Each weight is exp(score - log_sum_exp).
#include "chapters/06_native_sparse/exercises/importance_map.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/tensor/random.hpp"
#include "tests/06_native_sparse/exercises/documents.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::importance_map;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

struct Blocks {
    int l, d, L;

    explicit Blocks(const Options& options)
        : l(options.compress_block), d(options.compress_stride), L(options.select_block) {}

    bool seen(int i, int begin, int t, std::string_view mistake) const {
        int before = 0, after = 0;  // of its tokens: before the document, after the query
        for (int token = i * d; token < i * d + l; ++token) before += token<begin, after += token> t;
        if (mistake == "from_the_chapter") before = 0;
        if (mistake == "block_over_border") before = before == l ? l : 0;
        if (mistake == "block_incomplete") after = after == l ? l : 0;
        if (mistake == "block_late") after += i * d + l - 1 == t;
        return before == 0 && after == 0;
    }

    // By how much block J counts the weight of compressed block i.
    int shared(int i, int J, int begin, std::string_view mistake) const {
        const int shift = mistake == "grid_of_document" ? begin : 0;
        int tokens = 0;
        for (int token = i * d; token < i * d + l; ++token)
            tokens += token - shift >= J * L && token - shift < J * L + L;
        if (mistake == "whole_weight") return tokens > 0;
        if (mistake == "first_block_only") return i * d / L == J ? l / d : 0;
        if (mistake == "tokens_not_strides") return tokens;
        if (mistake == "printed_index") {
            int times = 0;
            for (int m = 0; m < L / d; ++m)
                for (int n = 0; n < l / d; ++n) times += i == L / d * J - m - n;
            return times;
        }
        return tokens / d;
    }
};

// The weights of one row: of what is not seen, 0.
std::vector<double> weights_of(const Inputs& in, const Blocks& blocks, int h, int t, std::string_view mistake) {
    const int C = in.scores.extent(2);
    std::vector<double> weights(static_cast<std::size_t>(C));
    double maximum = -HUGE_VAL, sum = 0;
    const auto sees = [&](int i) { return blocks.seen(i, in.begin(t), t, mistake); };
    bool is_blind = true;
    for (int i = 0; i < C; ++i)
        if (sees(i)) maximum = std::max(maximum, static_cast<double>(in.scores(h, t, i))), is_blind = false;
    if (is_blind) return weights;
    const bool in_float = mistake == "exp_without_maximum";
    for (int i = 0; i < C; ++i) {
        double& weight = weights[static_cast<std::size_t>(i)];
        if (sees(i)) weight = in_float ? std::exp(in.scores(h, t, i)) : std::exp(in.scores(h, t, i) - maximum);
        if (!sees(i) && mistake == "unseen_times_0") weight = 0 * in.scores(h, t, i);
        sum = in_float ? static_cast<float>(sum + weight) : sum + weight;
    }
    if (mistake == "not_normalised") return weights;
    for (double& weight : weights) weight /= sum;
    return weights;
}

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    const int H = in.scores.extent(0), N = in.scores.extent(1), C = in.scores.extent(2), group = H / options.kv_heads;
    const Blocks blocks(options);
    auto importance = make_tensor<double, 3>(Outputs::shaped(in, options).importance.shape());
    importance.fill(0);
    for (int h = H - 1; h >= 0; --h)
        for (int t = 0; t < N; ++t) {
            const int g = mistake == "heads_by_remainder" ? h % options.kv_heads : h / group;
            if (mistake == "last_head_alone" && h % group != group - 1) continue;
            const std::vector<double> weights = weights_of(in, blocks, h, t, mistake);
            for (int J = 0; J < view(importance).extent(2); ++J)
                for (int i = 0; i < C; ++i) {
                    const int shared = blocks.shared(i, J, in.begin(t), mistake);
                    if (shared > 0 && (blocks.seen(i, in.begin(t), t, mistake) || mistake == "unseen_times_0"))
                        importance(g, t, J) +=
                            shared * weights[static_cast<std::size_t>(i)] / (mistake == "mean_of_heads" ? group : 1);
                }
        }
    judge::Answer answer;
    answer.add("importance", importance, {1e-5, static_cast<double>(group) * blocks.l / blocks.d});
    return answer;
}

const judge::Exercise<Inputs, Options> exercise = {
    "importance_map",
    &answer,
    {
        {"from_the_chapter",
         "equals the answer of the chapter, for which all positions are one document. Which compressed blocks does a "
         "query see that begin before its document?"},
        {"block_over_border",
         "equals the answer in which a compressed block counts as soon as one of its tokens is in the query's "
         "document. Of which tokens was its key made?"},
        {"block_incomplete",
         "equals the answer in which a compressed block is seen from its first token on. Which of its tokens are "
         "later than the query then?"},
        {"block_late",
         "equals the answer in which a compressed block is seen one token too late. Which position has its last "
         "token, and does <= include it?"},
        {"grid_of_document",
         "equals the answer in which blocks of l' are counted from the beginning of the document. Which positions "
         "has block J, by the interface?"},
        {"whole_weight",
         "equals the answer in which each block that a compressed block touches gets its weight once. How many strides "
         "of d tokens do the two share?"},
        {"first_block_only",
         "equals the answer in which all of a compressed block's weight goes to the block in which it begins. Where "
         "does it end?"},
        {"tokens_not_strides",
         "equals the answer in which the tokens that two blocks share are counted. In which unit does the formula "
         "count "
         "them?"},
        {"printed_index",
         "equals the paper's equation 9 as it is printed, p[l'/d · J - m - n], with J and the index from 0. Which "
         "compressed blocks share tokens with block 0?"},
        {"heads_by_remainder",
         "equals the answer in which query head h belongs to key/value head h % G. Which heads are a group: "
         "neighbours, or those at a distance of G?"},
        {"last_head_alone",
         "equals the answer in which only the last head of a group counts. What becomes of what the heads before it "
         "have added?"},
        {"mean_of_heads",
         "equals the answer divided by the number of heads of a group. Is it their sum or their mean?"},
        {"exp_without_maximum",
         "equals the answer in which exp is taken of the scores as they are: infinite above 88, 0 below -104. What may "
         "be subtracted from all scores of a row first?"},
        {"not_normalised",
         "equals the answer in which the weights of a row are not divided by their sum. To what do the weights of a "
         "softmax add up?"},
        {"unseen_times_0", "equals the answer in which scores that are not seen are multiplied by 0. What is 0 · NaN?"},
    },
    false};

struct Data {
    Tensor<float, 3> scores;
    Tensor<int, 1> begin;
    Options options;
};

struct Sizes {
    int G, group, N;
};

// l = β d, l' = α d, documents of at most `most` positions.
Data draw(std::uint64_t seed, const Sizes& size, int d, int beta, int alpha, int most, double factor = 1.5) {
    const int C = std::max((size.N - beta * d) / d + 1, 1);
    Data data{make_tensor<float, 3>({size.G * size.group, size.N, C}),
              packed::draw_documents(seed + 1, size.N, most),
              {beta * d, d, alpha * d, size.G}};
    fill_normal(view(data.scores), seed, factor);
    return data;
}

void run(judge::Test& test, const Data& data) {
    test.run(exercise, Inputs{view(data.scores), view(data.begin)}, data.options);
}

int any(std::uint64_t seed, std::uint64_t counter, int least, int most) {
    return random_integer(seed, 1000 + counter, least, most);
}

TEST_CASE("importance_map: blocks of one size, one document", "[importance_map]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int d = any(seed, 0, 2, 5);
        run(test, draw(seed, {1, 1, which == 0 ? d + 1 : any(seed, 1, 5 * d, 60)}, d, 1, 1, 0));
    }
    test.conclude();
}

TEST_CASE("importance_map: blocks that overlap", "[importance_map]") {
    judge::Test test;
    const int sizes[][2] = {{2, 4}, {3, 4}, {2, 2}, {1, 3}, {4, 2}, {3, 5}};  // l/d, l'/d
    int which = 0;
    for (const auto& [beta, alpha] : sizes) {
        const std::uint64_t seed = test.seed(which++);
        run(test, draw(seed, {1, 1, any(seed, 0, 50, 90)}, any(seed, 1, 2, 4), beta, alpha, 0));
    }
    test.conclude();
}

TEST_CASE("importance_map: several documents", "[importance_map]") {
    judge::Test test;
    for (int which = 0; which < 8; ++which) {
        const std::uint64_t seed = test.seed(which);
        run(test, draw(seed, {1, 1, any(seed, 0, 60, 100)}, any(seed, 1, 2, 3), any(seed, 2, 2, 3), any(seed, 3, 2, 4),
                       which < 2 ? 8 : 40));
    }
    test.conclude();
}

TEST_CASE("importance_map: heads of a group", "[importance_map]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        run(test, draw(seed, {any(seed, 0, 2, 3), any(seed, 1, 2, 4), any(seed, 2, 40, 60)}, any(seed, 3, 2, 3), 2, 3,
                       which % 2 ? 30 : 0));
    }
    test.conclude();
}

TEST_CASE("importance_map: large scores", "[importance_map]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, {1, 2, any(seed, 0, 40, 60)}, 2, 2, 4, which % 2 ? 30 : 0);
        const auto shift = static_cast<float>((which % 2 ? 1 : -1) * any(seed, 1, 500, 2000));
        for (float& score : data.scores) score = shift + std::nearbyint(4 * score) / 4;  // exact in float
        run(test, data);
    }
    test.conclude();
}

TEST_CASE("importance_map: what is not seen may be NaN", "[importance_map]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, {2, any(seed, 0, 1, 2), any(seed, 1, 40, 70)}, any(seed, 2, 2, 3), 2, 4, 30);
        const Blocks blocks(data.options);
        const auto [H, N, C] = view(data.scores).shape().extent;
        for (int h = 0; h < H; ++h)
            for (int t = 0; t < N; ++t)
                for (int i = 0; i < C; ++i)
                    if (!blocks.seen(i, data.begin(t), t, "")) data.scores(h, t, i) = which % 2 ? nan_value : HUGE_VALF;
        run(test, data);
    }
    test.conclude();
}

}  // namespace
