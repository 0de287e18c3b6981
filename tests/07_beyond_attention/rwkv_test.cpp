// What must hold of RWKV's weighted mean, naive and on the device. Beside each property stands the wrong answer that it
// kills.
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
    naive(problem.inputs(), Options{}, Outputs<T>{view(problem.out), view(problem.state)});
    return problem;
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

TEST_CASE("rwkv: one number more in all keys changes nothing, and nothing overflows; outputs are means") {
    const MeanProblem<float> plain({2, 30, 6}, 3);
    MeanProblem<float> shifted = plain;
    shifted.key += 512;  // exp(512) is infinite
    const auto expected = solved(plain), found = solved(shifted);
    CHECK(error(found.out, expected.out) <= 1e-4);  // the keys lose digits
    for (const CudaVersion& version : stages()) CHECK(error(solved(shifted, version).out, expected.out) <= 1e-4);
    MeanProblem<double> constant({1, 20, 4}, 4);
    constant.value.fill(3);
    for (double x : solved(constant).out) CHECK(std::abs(x - 3) <= 1e-14);
    const auto first = solved(MeanProblem<double>({1, 1, 4}, 5));
    for (int d = 0; d < 4; ++d) CHECK(first.out(0, 0, d) == first.value(0, 0, d));
}

TEST_CASE("rwkv: costs by formula equal the counts on every golden case") {
    for (const Case& golden : testing::golden_cases("rwkv")) {
        INFO(golden.folder);
        CHECK(find_mechanism("rwkv")->counted_costs(golden) == find_mechanism("rwkv")->predicted_costs(golden));
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
