// Judges attention_operations. The answer asks of each key how many queries see it, where there are not too many, and
// otherwise takes the pairs that a window hides from those of the whole triangle, as for the mistakes.
#include "chapters/04_head_sharing/exercises/attention_operations.hpp"

#include <algorithm>

#include "common/tensor/random.hpp"
#include "tests/judge/judge.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;
using namespace attn::exercises::attention_operations;

std::int64_t triangle(std::int64_t n) { return n * (n + 1) / 2; }

// Pairs of one query head, right ones.
std::int64_t pairs_of_prompt(int window, int n) {
    if (n > 4096) return triangle(n) - (window == 0 || window >= n ? 0 : triangle(n - window));
    std::int64_t pairs = 0;
    for (int j = 0; j < n; ++j) pairs += window == 0 ? n - j : std::min(window, n - j);
    return pairs;
}
std::int64_t keys_of_step(int window, int n) { return window == 0 || window > n ? std::int64_t{n} + 1 : window; }

std::int64_t mistaken_prompt(int window, int n, std::string_view mistake) {
    const std::int64_t square = std::min<std::int64_t>(window == 0 ? n : window, n);
    if (mistake == "not_causal") return n * square;
    if (mistake == "half_of_the_square") return square * square / 2 + (n - square) * square;
    if (mistake == "window_full_from_the_start") return window == 0 ? triangle(n) : n * square;
    if (mistake == "window_0_is_nothing" && window == 0) return 0;
    const std::int64_t width = window == 0 ? n : window + (mistake == "window_without_own");
    return triangle(n) - (width < n ? triangle(n - width) : 0) - (mistake == "own_position_excluded" ? n : 0);
}

std::int64_t mistaken_step(int window, int n, std::string_view mistake) {
    if (mistake == "step_without_own") return window == 0 ? n : std::min(window, n);
    if (mistake == "step_without_window") return std::int64_t{n} + 1;
    if (mistake == "step_without_cache") return pairs_of_prompt(window, n + 1);
    if (mistake == "window_0_is_nothing" && window == 0) return 0;
    return keys_of_step(window == 0 ? 0 : window + (mistake == "window_without_own"), n) -
           (mistake == "own_position_excluded");
}

judge::Answer answer(const Inputs& in, const Options& options, std::string_view mistake) {
    const int layers = in.window.extent(0), G = in.window.extent(1), n = options.positions;
    auto prefill = make_tensor<std::int64_t, 1>({layers}), step = prefill;
    std::int64_t heads = options.query_heads / G, batch = options.batch;
    if (mistake == "once_per_group") heads = 1;
    if (mistake == "all_heads_for_each_window") heads = options.query_heads;
    if (mistake == "batch_forgotten") batch = 1;
    std::int64_t pair = options.head_dim + options.value_dim;
    if (mistake == "value_dim_forgotten") pair = 2 * options.head_dim;
    if (mistake == "values_forgotten") pair = options.head_dim;
    if (mistake == "flops") pair *= 2;
    for (int layer = 0; layer < layers; ++layer) {
        for (int g = 0; g < G; ++g) {
            int window =
                in.window(mistake == "window_of_first_layer" ? 0 : layer, mistake == "from_the_chapter" ? 0 : g);
            if (mistake == "windows_ignored") window = 0;
            prefill(layer) += mistake.empty() ? pairs_of_prompt(window, n) : mistaken_prompt(window, n, mistake);
            step(layer) += mistake.empty() ? keys_of_step(window, n) : mistaken_step(window, n, mistake);
        }
        prefill(layer) *= batch * heads * pair, step(layer) *= batch * heads * pair;
        if (mistake == "int_overflows") {
            prefill(layer) = static_cast<std::int32_t>(static_cast<std::uint32_t>(prefill(layer)));
            step(layer) = static_cast<std::int32_t>(static_cast<std::uint32_t>(step(layer)));
        }
    }
    judge::Answer result;
    result.add("prefill", prefill);
    result.add("step", step);
    return result;
}

const judge::Exercise<Inputs, Options> exercise = {
    "attention_operations",
    &answer,
    {
        {"from_the_chapter",
         "equals the chapter's pairs for all H query heads, with the window of the layer's first key/value head. "
         "Whose window do the query heads of another group have?"},
        {"windows_ignored",
         "equals the answer in which every query sees all positions up to its own. Which of them does a window hide "
         "from it?"},
        {"not_causal",
         "has the right steps, and a prompt in which every query sees as many keys as the last. How many does the "
         "first one see?"},
        {"half_of_the_square",
         "has the right steps, and half of a square for the triangle of a prompt. How many pairs are there with "
         "three queries: 1 + 2 + 3?"},
        {"window_full_from_the_start",
         "has the right steps, and a prompt whose first queries see a whole window. How many positions stand before "
         "query 0?"},
        {"window_0_is_nothing",
         "equals the answer in which a window of 0 sees nothing. What does the header say that 0 stands for?"},
        {"own_position_excluded",
         "equals the answer in which no query sees its own position. Read the formula at the top: does j reach i?"},
        {"window_without_own",
         "equals the answer in which a window holds one position more. Is the query's own position among those that "
         "its window counts?"},
        {"step_without_own",
         "has the right prompt, and a step that sees the prompt alone. Which key is written into the cache before "
         "the query looks at it?"},
        {"step_without_window",
         "has the right prompt, and a step that sees all positions. Does the window end with the prompt?"},
        {"step_without_cache",
         "has the right prompt, and a step that computes the whole sequence again. What is a KV cache for?"},
        {"once_per_group",
         "equals the answer in which a key is multiplied once for its group. It is read once, perhaps: with how "
         "many queries is it multiplied?"},
        {"all_heads_for_each_window",
         "equals the answer in which all H query heads see the keys of each of the G groups. How many query heads "
         "has a group?"},
        {"window_of_first_layer",
         "equals the answer in which all layers have the windows of the first. Which two indices does a window have?"},
        {"value_dim_forgotten",
         "equals the answer in which a value has as many numbers as a key. Which option says how many it has?"},
        {"values_forgotten", "equals the multiply-adds of the scores alone. What is done with the weights?"},
        {"flops",
         "is twice the right answer: a multiply-add counts as one here, though it is two floating-point operations."},
        {"batch_forgotten", "equals the answer for a single sequence. Where does options.batch come in?"},
        {"int_overflows",
         "equals the right answer in its last 32 bits: somewhere a product or a sum is an int. What is the largest "
         "number that an int can hold?"},
    },
    false};

struct Data {
    Tensor<int, 2> window;
    Options options;

    Inputs inputs() const { return {view(window)}; }
};

// A third of the groups sees everything; a window may be longer than the prompt.
Data draw(std::uint64_t seed, int layers, int G, int n, int longest_window) {
    Data data{make_tensor<int, 2>({layers, G}), {}};
    std::uint64_t counter = 100;
    for (int& window : data.window)
        window = random_integer(seed, counter++, 0, 2) ? random_integer(seed, counter, 1, longest_window) : 0,
        ++counter;
    data.options = {random_integer(seed, 0, 2, 4), G * random_integer(seed, 1, 2, 8), n,
                    random_integer(seed, 2, 1, 100), random_integer(seed, 3, 101, 200)};
    return data;
}

TEST_CASE("attention_operations: no windows", "[attention_operations]") {
    judge::Test test;
    for (int which = 0; which < 6; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data =
            draw(seed, 2, random_integer(seed, 10, 1, 4), which < 4 ? 1 + which : random_integer(seed, 11, 5, 500), 1);
        std::fill(data.window.begin(), data.window.end(), 0);
        test.run(exercise, data.inputs(), data.options);
    }
    test.conclude();
}

TEST_CASE("attention_operations: a window for each group", "[attention_operations]") {
    judge::Test test;
    for (int which = 0; which < 12; ++which) {
        const std::uint64_t seed = test.seed(which);
        const int n = random_integer(seed, 11, 2, 400);
        const Data data = draw(seed, random_integer(seed, 12, 1, 5), random_integer(seed, 10, 2, 6), n, n + n / 2);
        test.run(exercise, data.inputs(), data.options);
    }
    test.conclude();
}

TEST_CASE("attention_operations: windows about as long as the prompt", "[attention_operations]") {
    judge::Test test;
    int which = 0;
    for (int n : {1, 2, 9, 60})
        for (int more : {-1, 0, 1, 2, 50}) {
            const std::uint64_t seed = test.seed(which++);
            const int drawn = n + (n > 2 ? random_integer(seed, 11, 0, 8) : 0);
            Data data = draw(seed, 1, 3, drawn, drawn);
            data.window(0, 0) = std::max(1, drawn + more), data.window(0, 1) = 1, data.window(0, 2) = 0;
            test.run(exercise, data.inputs(), data.options);
        }
    test.conclude();
}

TEST_CASE("attention_operations: long prompts of large models", "[attention_operations]") {
    judge::Test test;
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t seed = test.seed(which);
        Data data = draw(seed, 60 + which, 8, random_integer(seed, 11, 500000, 1000000), 100000);
        data.options.query_heads = 64, data.options.head_dim = 128, data.options.value_dim = 192;
        data.window(0, 0) = 0, data.window(0, 1) = 4096;
        test.run(exercise, data.inputs(), data.options);
    }
    test.conclude();
}

}  // namespace
