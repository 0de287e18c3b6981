// What must hold of RWKV's weighted mean, naive and on the device. Beside each property stands the wrong answer that it
// kills.
#include <fmt/format.h>

#include <cstring>

#include "chapters/07_beyond_attention/rwkv/rwkv_naive.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/tensors.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using namespace attn::rwkv;
using testing::error;

namespace {

template <class T>
struct MeanProblem {
    Sizes size;
    Options options;
    Tensor<T, 1> time_decay, time_first;
    Tensor<T, 3> key, value, out, state;

    MeanProblem(Sizes sizes, std::uint64_t seed) : size(sizes) {
        time_decay = make_tensor<T, 1>({{size.D}}), time_first = time_decay;
        key = make_tensor<T, 3>({size.B, size.L, size.D}), value = key;
        fill_normal(view(time_first), seed), fill_normal(view(key), seed + 1), fill_normal(view(value), seed + 2);
        for (int d = 0; d < size.D; ++d) time_decay(d) = static_cast<T>(1.0 / (1 << d % 6));
        clear();
    }
    template <class U>
    explicit MeanProblem(const MeanProblem<U>& other) : MeanProblem(other.size, 0) {
        std::copy(other.time_first.begin(), other.time_first.end(), time_first.begin());
        std::copy(other.key.begin(), other.key.end(), key.begin());
        std::copy(other.value.begin(), other.value.end(), value.begin());
    }
    void clear() {
        const T nan = static_cast<T>(std::nanf(""));
        out = make_tensor<T, 3>({size.B, size.L, size.D}, nan), state = make_tensor<T, 3>({size.B, 3, size.D}, nan);
    }
    Inputs<T> inputs() const { return {view(time_decay), view(time_first), view(key), view(value)}; }
};

template <class T>
MeanProblem<T> solved(MeanProblem<T> problem) {
    problem.clear();
    naive(problem.inputs(), problem.options, Outputs<T>{view(problem.out), view(problem.state)});
    return problem;
}
template <class T>
MeanProblem<T> solved(MeanProblem<T> problem, Form form, int chunk = 32) {
    problem.options.form = form, problem.options.chunk = chunk;
    return solved(problem);
}
// Sequential, parallel, and chunks of these lengths.
std::vector<Options> all_forms() {
    std::vector<Options> forms{{Form::sequential}, {Form::parallel}};
    for (int chunk : {1, 2, 7, 32, 1000}) forms.push_back({Form::chunked, chunk});
    return forms;
}
// Numerator and denominator relative to the same exponent as the other's, which are those of the state then.
template <class T, class U>
double state_error(const MeanProblem<T>& found, const MeanProblem<U>& expected) {
    Tensor<double, 3> rescaled = found.state;
    for (int b = 0; b < found.size.B; ++b)
        for (int d = 0; d < found.size.D; ++d)
            for (int i : {0, 1})
                rescaled(b, i, d) *= std::exp(found.state(b, 2, d) - static_cast<double>(expected.state(b, 2, d))),
                    rescaled(b, 2, d) = expected.state(b, 2, d);
    return error(rescaled, expected.state);
}
MeanProblem<float> solved(MeanProblem<float> problem, const CudaVersion& version) {
    problem.clear();
    cuda_function<CudaFunction>(version)(problem.inputs(), Options{},
                                         Outputs<float>{view(problem.out), view(problem.state)});
    return problem;
}
std::vector<CudaVersion> stages() { return cuda_versions("rwkv", ATTN_TEST_DEVICE); }

Sizes generated_sizes(std::uint64_t seed) {
    auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    return {pick(1, 1, 2), seed % 3 ? pick(2, 1, 40) : pick(2, 120, 300), pick(3, 1, 70)};
}

}  // namespace

TEST_CASE("rwkv: there are golden cases of each kind") {
    const std::vector<Case> cases = testing::golden_cases("rwkv");
    REQUIRE(cases.size() >= 15);
    CHECK(std::count_if(cases.begin(), cases.end(), [](const Case& c) { return c.inputs.at("key").shape[1] > 16; }) >=
          3);
}

TEST_CASE("rwkv: naive agrees with transformers in every precision") { testing::check_naive_on_golden_cases("rwkv"); }

TEST_CASE("rwkv: the scan agrees with transformers, in every form and precision") {
    // Kills: a key of -∞ subtracted from another, which is NaN; an exponent that is not the largest.
    const Mechanism& mechanism = *find_mechanism("rwkv");
    for (Case golden : testing::golden_cases("rwkv"))
        for (const char* params : {R"({"form": "parallel"})", R"({"form": "chunked", "chunk": 1})",
                                   R"({"form": "chunked", "chunk": 4})", R"({"form": "chunked"})"}) {
            golden.params = Params::parse(params, "test");
            INFO(params);
            testing::check_outputs(golden, mechanism.run_naive(golden, Precision::float64), 1e-10, 30);
            testing::check_outputs(golden, mechanism.run_naive(golden, Precision::float32), 2e-5, 30);
            testing::check_outputs(golden, mechanism.run_naive(golden, Precision::float16), 2e-2, 5);
            testing::check_outputs(golden, mechanism.run_naive(golden, Precision::bfloat16), 2e-2, 5);
        }
}

TEST_CASE("rwkv: both CUDA stages agree with transformers") { testing::check_cuda_on_golden_cases("rwkv", 2); }

TEST_CASE("rwkv: the sum of all weighted values over the sum of all weights, in xtensor") {
    // Kills: a decay of the previous token, which has none; a bonus that stays in the state.
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        const auto p = solved(MeanProblem<double>({1, 12, 5}, seed));
        for (int d = 0; d < 5; ++d)
            for (int t = 0; t < 12; ++t) {
                double sum = 0, weights = 0;
                for (int i = 0; i <= t; ++i) {
                    const double exponent =
                        i == t ? p.key(0, i, d) + p.time_first(d) : p.key(0, i, d) - (t - 1 - i) * p.time_decay(d);
                    sum += std::exp(exponent) * p.value(0, i, d), weights += std::exp(exponent);
                }
                CHECK(std::abs(p.out(0, t, d) - sum / weights) <= 1e-13);
            }
    }
}

TEST_CASE("rwkv: sequential, chunked and parallel are one function") {
    // Kills: a right side that fades instead of the left, by one token instead of all; what was before the chunk lost,
    // or merged behind it; a short last chunk.
    for (std::uint64_t seed = 1; seed <= 24; ++seed) {
        MeanProblem<double> problem(generated_sizes(seed), 10 * seed);
        if (seed % 4 == 1) problem.time_decay *= 100;  // only the last tokens count
        if (seed % 4 == 2) problem.time_decay *= 1e-6;
        if (seed % 4 == 3) problem.key *= 300;  // most weights are 0
        const auto expected = solved(problem);
        for (const Options& options : all_forms()) {
            INFO("seed " << seed << ", form " << static_cast<int>(options.form) << ", chunk " << options.chunk);
            const auto result = solved(problem, options.form, options.chunk);
            CHECK(error(result.out, expected.out) <= 1e-11);
            CHECK(state_error(result, expected) <= 1e-11);
        }
    }
}

TEST_CASE("rwkv: elements may be merged in any grouping, but not in any order; nothing on the left changes nothing") {
    // Kills: a merge that counts the tokens of one side only, or fades by those of the left.
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        auto drawn = [&](std::uint64_t which) {
            return Element<double>{static_cast<double>(random_integer(seed, which, 1, 9)),
                                   random_normal(seed, 10 + which), random_uniform(seed, 20 + which) + 0.1,
                                   20 * random_normal(seed, 30 + which)};
        };
        const Element<double> a = drawn(0), b = drawn(1), c = drawn(2);
        const double w = 2 * random_uniform(seed, 40);
        auto same = [](const Element<double>& x, const Element<double>& y) {
            return x.tokens == y.tokens && std::abs(x.exponent - y.exponent) <= 1e-12 * (1 + std::abs(y.exponent)) &&
                   std::abs(x.numerator - y.numerator) <= 1e-12 && std::abs(x.denominator - y.denominator) <= 1e-12;
        };
        CAPTURE(seed);
        CHECK(same(merge(merge(a, b, w), c, w), merge(a, merge(b, c, w), w)));
        CHECK(!same(merge(a, b, w), merge(b, a, w)));
        const Element<double> unchanged = merge(nothing<double>(), a, w);
        CHECK((unchanged.numerator == a.numerator && unchanged.denominator == a.denominator &&
               unchanged.exponent == a.exponent && unchanged.tokens == a.tokens));
    }
}

TEST_CASE("rwkv: one number more in all keys changes nothing, and nothing overflows, in any form") {
    const MeanProblem<float> plain({2, 30, 6}, 3);
    MeanProblem<float> shifted = plain;
    shifted.key += 512;  // exp(512) is infinite
    const auto expected = solved(plain);
    for (const Options& options : all_forms())
        CHECK(error(solved(shifted, options.form, options.chunk).out, expected.out) <= 1e-4);  // the keys lose digits
    for (const CudaVersion& version : stages()) CHECK(error(solved(shifted, version).out, expected.out) <= 1e-4);
}

TEST_CASE("rwkv: outputs are means: of equal values their value, of others between the least and the greatest so far") {
    // Kills: weights that do not sum to 1, one that is negative, a value that is read too early.
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        const MeanProblem<double> problem(generated_sizes(seed), 10 * seed);
        MeanProblem<double> constant = problem;
        constant.value.fill(3);
        for (const Options& options : all_forms()) {
            INFO("seed " << seed << ", form " << static_cast<int>(options.form) << ", chunk " << options.chunk);
            for (double x : solved(constant, options.form, options.chunk).out) REQUIRE(std::abs(x - 3) <= 1e-13);
            const auto result = solved(problem, options.form, options.chunk);
            for (int b = 0; b < problem.size.B; ++b)
                for (int d = 0; d < problem.size.D; ++d) {
                    double least = INFINITY, most = -INFINITY;
                    CHECK(result.out(b, 0, d) == problem.value(b, 0, d));
                    for (int t = 0; t < problem.size.L; ++t) {
                        least = std::min(least, problem.value(b, t, d)), most = std::max(most, problem.value(b, t, d));
                        REQUIRE(result.out(b, t, d) >= least - 1e-13);
                        REQUIRE(result.out(b, t, d) <= most + 1e-13);
                    }
                }
        }
    }
}

TEST_CASE("rwkv: w so large that nothing is left: a token and the one before it, in any form") {
    // Kills: a decay of the previous token; a scan that divides by what has faded.
    MeanProblem<double> p({1, 50, 3}, 6);
    p.time_decay.fill(1e6);
    for (const Options& options : all_forms()) {
        const auto result = solved(p, options.form, options.chunk);
        INFO("form " << static_cast<int>(options.form) << ", chunk " << options.chunk);
        for (int d = 0; d < 3; ++d)
            for (int t = 1; t < 50; ++t) {
                const double before = std::exp(p.key(0, t - 1, d)), own = std::exp(p.key(0, t, d) + p.time_first(d));
                const double mean = (before * p.value(0, t - 1, d) + own * p.value(0, t, d)) / (before + own);
                REQUIRE(std::abs(result.out(0, t, d) - mean) <= 1e-13);
            }
    }
}

TEST_CASE("rwkv: a token has the same bits in a prefix and among all, in any form; later ones may be NaN") {
    // Kills: a scan that multiplies what it should not see by 0.
    const MeanProblem<double> problem({2, 40, 3}, 7);
    for (const Options& options : all_forms()) {
        const auto all = solved(problem, options.form, options.chunk);
        for (int count : {1, 7, 31, 32, 33}) {
            INFO("form " << static_cast<int>(options.form) << ", chunk " << options.chunk << ", the first " << count);
            auto poisoned = problem;
            for (auto* tensor : {&poisoned.key, &poisoned.value})
                xt::view(*tensor, xt::all(), xt::range(count, 40)) = std::nan("");
            const auto among_nan = solved(poisoned, options.form, options.chunk);
            MeanProblem<double> prefix({2, count, 3}, 0);
            prefix.time_decay = problem.time_decay, prefix.time_first = problem.time_first;
            prefix.key = xt::view(problem.key, xt::all(), xt::range(0, count));
            prefix.value = xt::view(problem.value, xt::all(), xt::range(0, count));
            const auto alone = solved(prefix, options.form, options.chunk);
            for (int b = 0; b < 2; ++b)
                for (int t = 0; t < count; ++t)
                    for (int d = 0; d < 3; ++d) {
                        REQUIRE(among_nan.out(b, t, d) == all.out(b, t, d));
                        REQUIRE(alone.out(b, t, d) == all.out(b, t, d));
                    }
        }
    }
}

TEST_CASE("rwkv: costs by formula equal the counts, in every form, on every golden case and on generated ones") {
    const Mechanism& mechanism = *find_mechanism("rwkv");
    auto check = [&](Case input, const char* form, std::uint64_t chunk) {
        input.params = Params::parse(fmt::format(R"({{"form": "{}", "chunk": {}}})", form, chunk), "generated");
        INFO(input.folder << " " << form << " " << chunk);
        CHECK(mechanism.counted_costs(input) == mechanism.predicted_costs(input));
    };
    for (const char* form : {"sequential", "parallel", "chunked"}) {
        for (const Case& golden : testing::golden_cases("rwkv")) check(golden, form, 4);
        for (std::uint64_t seed = 1; seed <= 16; ++seed) {
            const Sizes s = generated_sizes(seed);
            check(random_case("rwkv", s.L,
                              {{"time_decay", {s.D}},
                               {"time_first", {s.D}},
                               {"key", {s.B, s.L, s.D}},
                               {"value", {s.B, s.L, s.D}}}),
                  form, 1 + seed % 40);
        }
    }
}

TEST_CASE("rwkv, on the device: every stage equals double; a token has the same bits in a prefix and among all") {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        const MeanProblem<float> problem(generated_sizes(seed), 10 * seed);
        const auto exact = solved(MeanProblem<double>(problem));
        for (const CudaVersion& version : stages()) {
            const auto result = solved(problem, version);
            INFO("seed " << seed << " " << version.name << " L" << problem.size.L << " D" << problem.size.D);
            CHECK(error(result.out, exact.out) <= 5e-6);
            CHECK(error(result.state, exact.state) <= 5e-6);
            auto poisoned = problem;
            const int count = (problem.size.L + 1) / 2;
            for (auto* tensor : {&poisoned.key, &poisoned.value})
                xt::view(*tensor, xt::all(), xt::range(count, problem.size.L)) = std::nanf("");
            const auto prefix = solved(poisoned, version);
            for (int t = 0; t < count; ++t)
                for (int d = 0; d < problem.size.D; ++d) REQUIRE(prefix.out(0, t, d) == result.out(0, t, d));
        }
    }
}
