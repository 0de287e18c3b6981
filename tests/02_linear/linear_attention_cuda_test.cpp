// The kernels of linear attention on generated problems. Beside each property stands the wrong answer that it kills.
#include "chapters/02_linear/linear_attention/linear_attention_naive.hpp"
#include "common/mechanism/cuda_versions.hpp"
#include "tests/02_linear/linear_attention_problem.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/property.hpp"

using namespace attn;
using namespace attn::linear_attention;
using testing::generated_linear_sizes, testing::relative_error, testing::same_bits, testing::tokens_of;
using Problem = testing::LinearProblem<float>;

namespace {

std::vector<CudaVersion> stages() { return cuda_versions("linear_attention", ATTN_TEST_DEVICE); }

Problem solved(Problem problem, const CudaVersion& version) {
    problem.clear();
    cuda_function<CudaFunction>(version)(problem.inputs(), problem.options, problem.outputs());
    return problem;
}

void check_against_double(const Problem& problem, double bound) {
    testing::LinearProblem<double> exact(problem);
    naive_forward(exact.inputs(), exact.options, exact.outputs());
    for (const CudaVersion& version : stages()) {
        const Problem result = solved(problem, version);
        const Sizes& s = problem.size;
        INFO(version.name << " B" << s.B << " H" << s.H << " Nq" << s.Nq << " Nk" << s.Nk << " D" << s.D << " Dv"
                          << s.Dv);
        CHECK(relative_error(view(result.out), view(exact.out)) <= bound);
        if (!problem.options.causal) continue;
        CHECK(relative_error(view(result.state), view(exact.state)) <= bound);
        CHECK(relative_error(view(result.normalizer), view(exact.normalizer)) <= bound);
    }
}

}  // namespace

TEST_CASE("linear, on the device: every stage equals double") {
    // Kills: tokens behind the end that count (φ(0) = 1), a chunk that sees its own state, columns of one tile only.
    for (std::uint64_t seed = 1; seed <= 24; ++seed) {
        Options options;
        options.causal = seed % 2 == 0;
        options.normalize = seed % 5 != 0;
        options.feature_map = options.normalize ? FeatureMap::elu_plus_one : FeatureMap::identity;
        options.epsilon = seed % 4 == 0 ? 0.1 : 0;
        INFO("seed " << seed);
        check_against_double(Problem(generated_linear_sizes(seed, options.causal), options, 10 * seed), 3e-6);
    }
}

TEST_CASE("linear, on the device: from a state on, by any number of tokens") {
    for (int count : {1, 2, 32, 45}) {
        const Problem whole({2, 2, 90, 90, 20, 36}, {.causal = true}, 3);
        for (const CudaVersion& version : stages()) {
            const Problem before = solved(whole.tokens(0, 90 - count), version);
            check_against_double(whole.tokens(90 - count, count, &before), 3e-6);
        }
    }
}

TEST_CASE("linear, on the device: states that do not fit into shared memory") {
    // All columns do not fit; the features alone do not fit.
    check_against_double(Problem({1, 1, 40, 40, 128, 600}, {.causal = true}, 1), 3e-6);
    check_against_double(Problem({1, 1, 40, 40, 1400, 8}, {.causal = true}, 2), 3e-6);
    check_against_double(Problem({1, 1, 20, 50, 1400, 8}, {.causal = false}, 3), 3e-6);
}

TEST_CASE("linear, on the device: a token has the same bits in a prefix and among all; later tokens may be NaN") {
    // Kills: a pair that is multiplied by 0, where 0 · NaN is NaN; anything that looks at later tokens.
    for (const CudaVersion& version : stages()) {
        const Problem problem({1, 2, 100, 100, 20, 36}, {.causal = true}, 5);
        const Problem all = solved(problem, version);
        for (int count : {1, 31, 32, 33, 70, 99}) {
            INFO(version.name << ", the first " << count);
            CHECK(same_bits(solved(problem.tokens(0, count), version).out, tokens_of(all.out, 0, count)));
            Problem poisoned = problem;
            for (auto* tensor : {&poisoned.k, &poisoned.v, &poisoned.q})
                xt::view(*tensor, xt::all(), xt::all(), xt::range(count, 100)) = std::nanf("");
            CHECK(same_bits(tokens_of(solved(poisoned, version).out, 0, count), tokens_of(all.out, 0, count)));
        }
    }
}

TEST_CASE("linear, on the device: chunks that begin where chunks begin give the same bits") {
    for (const CudaVersion& version : stages()) {
        const Problem problem({1, 2, 100, 100, 20, 36}, {.causal = true}, 6);
        const Problem all = solved(problem, version), first = solved(problem.tokens(0, 64), version);
        const Problem second = solved(problem.tokens(64, 36, &first), version);
        INFO(version.name);
        CHECK(same_bits(second.out, tokens_of(all.out, 64, 36)));
        CHECK(same_bits(second.state, all.state));
    }
}

TEST_CASE("linear, on the device: features far below 0 are not lost") {
    Problem problem({1, 1, 40, 40, 8, 8}, {.causal = true}, 5);
    problem.k = problem.k - 25.0f, problem.q = problem.q - 12.0f;
    check_against_double(problem, 3e-6);
}
