// What must hold of linear attention, naive, on generated problems. Beside each property stands the wrong answer that
// it kills.
#include <fmt/format.h>

#include "chapters/02_linear/linear_attention/linear_attention_naive.hpp"
#include "common/measure/exponent.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/02_linear/linear_attention_problem.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/tensors.hpp"

using namespace attn;
using namespace attn::linear_attention;
using testing::error;
using testing::generated_linear_sizes, testing::same_bits, testing::tokens_of;
using LinearProblem = testing::LinearProblem<double>;

namespace {

LinearProblem solved(LinearProblem problem) {
    problem.clear();
    naive(problem.inputs(), problem.options, problem.outputs());
    return problem;
}
LinearProblem solved(LinearProblem problem, Form form, int chunk = 32) {
    problem.options.form = form, problem.options.chunk = chunk;
    return solved(problem);
}

Options generated_options(std::uint64_t seed) {
    Options options;
    options.causal = seed % 2 == 0;
    options.normalize = seed % 5 != 0;
    options.feature_map = options.normalize ? FeatureMap::elu_plus_one : FeatureMap::identity;
    options.epsilon = seed % 3 == 0 ? 0.01 : 0;
    return options;
}

// Σ out ∘ d_out: a number whose gradients the backward pass gives.
double loss(const LinearProblem& problem) {
    const LinearProblem result = solved(problem, Form::quadratic);
    return xt::sum(result.out * result.d_out)();
}

}  // namespace

TEST_CASE("linear: recurrent, chunked and quadratic are one function") {
    // Kills: a token that does not see itself, a chunk's border lost, a last chunk that is cut off.
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        const Options options = generated_options(seed);
        const LinearProblem problem(generated_linear_sizes(seed, options.causal), options, 10 * seed);
        const LinearProblem expected = solved(problem, Form::quadratic);
        for (int chunk : {0, 1, 2, 7, 16, 32, 1000}) {
            INFO("seed " << seed << ", chunk " << chunk << " (0: recurrent)");
            const LinearProblem result =
                chunk ? solved(problem, Form::chunked, chunk) : solved(problem, Form::recurrent);
            CHECK(error(result.out, expected.out) <= 1e-12);
            if (!options.causal) continue;
            CHECK(error(result.state, expected.state) <= 1e-13);
            CHECK(error(result.normalizer, expected.normalizer) <= 1e-13);
        }
    }
}

TEST_CASE("linear: equal to an independent formula in xtensor") {
    // Kills: whatever the three forms, which share their features and their state, have wrong together.
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        const bool causal = seed % 2 == 0;
        const LinearProblem result =
            solved(LinearProblem(generated_linear_sizes(seed, causal), {.causal = causal}, seed));
        const xt::xarray<double> q = xt::view(result.q, 0, 0), k = xt::view(result.k, 0, 0);
        const xt::xarray<double> a = xt::maximum(q, 0.0) + xt::exp(xt::minimum(q, 0.0)),
                                 c = xt::maximum(k, 0.0) + xt::exp(xt::minimum(k, 0.0));
        for (int i = 0; i < result.size.Nq; ++i) {
            xt::xarray<double> weights = xt::sum(c * xt::view(a, i), 1);
            if (causal) xt::view(weights, xt::range(i + 1, result.size.Nk)) = 0;
            weights /= xt::sum(weights)();
            const xt::xarray<double> expected =
                xt::sum(xt::view(weights, xt::all(), xt::newaxis()) * xt::view(result.v, 0, 0), 0);
            for (int d = 0; d < result.size.Dv; ++d) REQUIRE(std::abs(result.out(0, 0, i, d) - expected(d)) <= 1e-12);
        }
    }
}

TEST_CASE("linear: gradients equal finite differences") {
    // Kills: a denominator whose gradient is left out, a sum over the wrong side of the diagonal, φ' of the wrong x.
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const Options options = generated_options(seed);
        Sizes size = generated_linear_sizes(seed, options.causal);
        size.Nq = 1 + size.Nq % 9, size.Nk = options.causal ? size.Nq : 1 + size.Nk % 9, size.D = 1 + size.D % 5;
        LinearProblem problem(size, options, 10 * seed);
        problem.backward = true;
        const LinearProblem result = solved(problem);
        // Along one direction through all elements of a tensor.
        auto check = [&](Tensor<double, 4> LinearProblem::*tensor, const Tensor<double, 4>& gradient) {
            Tensor<double, 4> direction = problem.*tensor;
            fill_normal(view(direction), 7 * seed);
            constexpr double h = 1e-6;
            LinearProblem more = problem, less = problem;
            more.*tensor += h * direction, less.*tensor -= h * direction;
            const double expected = (loss(more) - loss(less)) / (2 * h), found = xt::sum(gradient * direction)();
            INFO("seed " << seed << ": " << found << ", by finite differences " << expected);
            CHECK(std::abs(found - expected) <= 1e-6 * std::max(1.0, std::abs(expected)));
        };
        check(&LinearProblem::q, result.d_q), check(&LinearProblem::k, result.d_k),
            check(&LinearProblem::v, result.d_v);
        // Out is linear in v.
        CHECK(std::abs(xt::sum(result.d_v * result.v)() - xt::sum(result.d_out * result.out)()) <=
              1e-10 * xt::sum(xt::abs(result.d_out * result.out))());
    }
}

TEST_CASE("linear: a longer query feature changes nothing where there is a denominator") {
    // Kills: a denominator that is not of the same features. With φ the identity the gradient is orthogonal to q.
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        LinearProblem problem({1, 2, 9, 9, 3, 4}, {.feature_map = FeatureMap::identity, .causal = seed % 2 == 0}, seed);
        problem.q = xt::abs(problem.q), problem.k = xt::abs(problem.k);
        problem.backward = true;
        const LinearProblem plain = solved(problem);
        problem.q *= 5;
        CHECK(error(solved(problem).out, plain.out) <= 1e-13);
        const xt::xarray<double> products = xt::sum(plain.d_q * plain.q, 3);
        CHECK(xt::amax(xt::abs(products))() <= 1e-12 * xt::amax(xt::abs(plain.d_q))());
    }
}

TEST_CASE("linear: the order of the keys does not matter, and one vector more in all keys does") {
    // The first holds of every attention without a mask; the second separates this one from the softmax.
    const LinearProblem problem({1, 2, 5, 20, 4, 3}, {}, 3);
    const LinearProblem plain = solved(problem);
    LinearProblem turned = problem;
    for (int h = 0; h < 2; ++h)
        for (int j = 0; j < 20; ++j) {
            for (int d = 0; d < 4; ++d) turned.k(0, h, j, d) = problem.k(0, h, 19 - j, d);
            for (int d = 0; d < 3; ++d) turned.v(0, h, j, d) = problem.v(0, h, 19 - j, d);
        }
    CHECK(error(solved(turned).out, plain.out) <= 1e-13);
    LinearProblem shifted = problem;
    shifted.k += 1;
    CHECK(error(solved(shifted).out, plain.out) >= 1e-2);
}

TEST_CASE("linear: weights sum to 1") {
    LinearProblem problem({1, 1, 30, 30, 5, 3}, {.causal = true}, 3);
    problem.v.fill(1);
    const LinearProblem result = solved(problem);
    for (double one : result.out) CHECK(std::abs(one - 1) <= 1e-14);
    problem.options.epsilon = 1;
    for (double less : solved(problem).out) CHECK((less > 0 && less < 1));
}

TEST_CASE("linear: a token has the same bits alone, in a prefix and among all; later tokens may be NaN") {
    // Kills: anything that looks at the whole sequence, a mask of factors 0.
    for (std::uint64_t seed = 1; seed <= 10; ++seed)
        for (auto [form, chunk] : {std::pair{Form::recurrent, 1}, {Form::chunked, 4}, {Form::quadratic, 1}}) {
            LinearProblem problem({1, 2, 23, 23, 5, 6}, {.causal = true, .form = form, .chunk = chunk}, seed);
            const LinearProblem all = solved(problem);
            for (int count : {1, 4, 5, 22}) {
                INFO("form " << static_cast<int>(form) << ", the first " << count);
                CHECK(same_bits(solved(problem.tokens(0, count)).out, tokens_of(all.out, 0, count)));
                LinearProblem poisoned = problem;
                for (auto* tensor : {&poisoned.k, &poisoned.v, &poisoned.q})
                    xt::view(*tensor, xt::all(), xt::all(), xt::range(count, 23)) = std::nan("");
                CHECK(same_bits(tokens_of(solved(poisoned).out, 0, count), tokens_of(all.out, 0, count)));
            }
        }
}

TEST_CASE("linear: token by token with the state is the whole sequence, to the bit") {
    // Kills: a state that is read before the token is in it, or that is rounded on the way.
    const LinearProblem problem({2, 2, 19, 19, 5, 6}, {.causal = true}, 4);
    const LinearProblem all = solved(problem);
    LinearProblem before = solved(problem.tokens(0, 1));
    CHECK(same_bits(before.out, tokens_of(all.out, 0, 1)));
    for (int i = 1; i < 19; ++i) {
        const LinearProblem step = solved(problem.tokens(i, 1, &before));
        CHECK(same_bits(step.out, tokens_of(all.out, i, 1)));
        before = step;
    }
    CHECK(same_bits(before.state, all.state));
    CHECK(same_bits(before.normalizer, all.normalizer));
}

TEST_CASE("linear: a step of generation costs 2 · D · Dv + D multiply-adds, whatever came before") {
    Case step = random_case("linear_attention", 1,
                            {{"q", {1, 1, 1, 16}},
                             {"k", {1, 1, 1, 16}},
                             {"v", {1, 1, 1, 8}},
                             {"initial_state", {1, 1, 16, 8}},
                             {"initial_normalizer", {1, 1, 16}}});
    step.params = Params::parse(R"({"causal": true})", "step");
    CHECK(find_mechanism("linear_attention")->counted_costs(step).multiply_adds == 2 * 16 * 8 + 16);
}

TEST_CASE("linear: two sequences' states add up to that of both") {
    const LinearProblem both({1, 1, 30, 30, 4, 5}, {.causal = true}, 9);
    const LinearProblem all = solved(both), first = solved(both.tokens(0, 13)), second = solved(both.tokens(13, 17));
    const Tensor<double, 4> sum = first.state + second.state;
    CHECK(error(sum, all.state) <= 1e-14);
}

TEST_CASE("linear: features far below 0 are not lost") {
    // Kills: elu(x) + 1 as expm1(x) + 1, which is 0 in float below -17, and the denominator with it.
    testing::LinearProblem<float> problem({1, 1, 8, 8, 4, 3}, {.causal = true}, 5);
    problem.k = problem.k - 25.0f, problem.q = problem.q - 22.0f;
    testing::LinearProblem<double> exact(problem);
    naive(problem.inputs(), problem.options, problem.outputs());
    naive(exact.inputs(), exact.options, exact.outputs());
    CHECK(error(problem.out, exact.out) <= 1e-6);
}

TEST_CASE("linear: costs by formula equal the counts, in every form") {
    // Kills: work that grows with n² in a form that claims not to, memory that grows with n.
    for (std::uint64_t seed = 1; seed <= 24; ++seed)
        for (const char* form : {"recurrent", "chunked", "quadratic"}) {
            const bool causal = seed % 2 == 0;
            const Sizes s = generated_linear_sizes(seed, causal);
            Case input = random_case(
                "linear_attention", s.Nq,
                {{"q", {s.B, s.H, s.Nq, s.D}}, {"k", {s.B, s.H, s.Nk, s.D}}, {"v", {s.B, s.H, s.Nk, s.Dv}}});
            input.params = Params::parse(
                fmt::format(R"({{"causal": {}, "form": "{}", "chunk": {}, "normalize": {}, "feature_map": "{}"}})",
                            causal, form, 1 + seed % 40, seed % 3 != 0, seed % 4 ? "elu_plus_one" : "identity"),
                "generated");
            const Mechanism& mechanism = *find_mechanism("linear_attention");
            INFO("seed " << seed << " " << form);
            CHECK(mechanism.counted_costs(input) == mechanism.predicted_costs(input));
        }
}

TEST_CASE("linear: work grows as n, and memory not at all; by pairs both grow as n²") {
    const Mechanism& mechanism = *find_mechanism("linear_attention");
    for (const char* form : {"recurrent", "chunked", "quadratic"}) {
        std::vector<double> n, work, memory;
        for (int size : {256, 512, 1024, 2048}) {
            Case input = mechanism.sized_case(size);
            input.params = Params::parse(fmt::format(R"({{"causal": true, "form": "{}"}})", form), "sized");
            const Costs costs = mechanism.counted_costs(input);
            n.push_back(size), work.push_back(static_cast<double>(costs.multiply_adds));
            memory.push_back(static_cast<double>(costs.bytes_held));
        }
        const bool quadratic = form == std::string("quadratic");
        INFO(form);
        CHECK(std::abs(fitted_exponent(n, work) - (quadratic ? 2 : 1)) <= (quadratic ? 0.05 : 1e-9));
        CHECK(std::abs(fitted_exponent(n, memory) - (quadratic ? 2 : 0)) <= (quadratic ? 0.1 : 1e-9));
    }
}

TEST_CASE("linear: what contradicts is refused by name") {
    auto refusal_of = [](const char* params, std::vector<std::pair<std::string, std::vector<std::int64_t>>> tensors) {
        Case input = random_case("linear_attention", 4, tensors);
        input.params = Params::parse(params, "case.json");
        return testing::refusal([&] { find_mechanism("linear_attention")->check(input); });
    };
    using Shape4 = std::vector<std::int64_t>;
    const Shape4 four{1, 1, 4, 2}, five{1, 1, 5, 2}, state{1, 1, 2, 2};
    auto contains = [](const std::string& text, const char* part) {
        INFO(text);
        CHECK(text.find(part) != text.npos);
    };
    contains(refusal_of(R"({"causal": true})", {{"q", four}, {"k", five}, {"v", five}}), "4 positions");
    contains(refusal_of("{}", {{"q", four}, {"k", {1, 1, 4, 3}}, {"v", four}}), "k.npy");
    contains(refusal_of("{}", {{"q", four}, {"k", four}, {"v", five}}), "v.npy");
    contains(refusal_of("{}", {{"q", four}, {"k", four}, {"v", four}, {"initial_state", state}}), "without causal");
    contains(refusal_of(R"({"causal": true})", {{"q", four}, {"k", four}, {"v", four}, {"initial_state", state}}),
             "initial_normalizer");
    contains(refusal_of(R"({"scale": 1})", {{"q", four}, {"k", four}, {"v", four}}), "scale");
    contains(refusal_of(R"({"chunk": 0})", {{"q", four}, {"k", four}, {"v", four}}), "chunk");
    contains(refusal_of(R"({"feature_map": "relu"})", {{"q", four}, {"k", four}, {"v", four}}), "elu_plus_one");
}
