// What must hold of retention, naive and on the device, on generated problems. Beside each property stands the wrong
// answer that it kills.
#include <fmt/format.h>

#include <cstring>

#include "chapters/07_beyond_attention/retention/retention_naive.hpp"
#include "chapters/07_beyond_attention/retention/retention_norm.hpp"
#include "common/mechanism/run_case.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/tensors.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using namespace attn::retention;
using testing::error, testing::same_bits;

namespace {

template <class T>
struct RetentionProblem {
    Sizes size;
    Options options;
    Tensor<T, 4> q, k, v, out, state, initial_state;
    Tensor<T, 1> decay;
    bool continues = false;

    RetentionProblem(Sizes sizes, std::uint64_t seed) : size(sizes) {
        q = make_tensor<T, 4>({size.B, size.H, size.N, size.D}), k = q;
        v = make_tensor<T, 4>({size.B, size.H, size.N, size.Dv});
        initial_state = make_tensor<T, 4>({size.B, size.H, size.D, size.Dv});
        decay = make_tensor<T, 1>({{size.H}});
        fill_normal(view(q), seed), fill_normal(view(k), seed + 1), fill_normal(view(v), seed + 2);
        fill_normal(view(initial_state), seed + 3);
        for (int h = 0; h < size.H; ++h)  // a float in both precisions; one head does not forget
            decay(h) = h == 1 ? 1 : static_cast<float>(0.5 + 0.5 * random_uniform(seed, 100 + h));
        clear();
    }
    template <class U>
    explicit RetentionProblem(const RetentionProblem<U>& other) : RetentionProblem(other.size, 0) {
        std::copy(other.q.begin(), other.q.end(), q.begin()), std::copy(other.k.begin(), other.k.end(), k.begin());
        std::copy(other.v.begin(), other.v.end(), v.begin());
        std::copy(other.decay.begin(), other.decay.end(), decay.begin());
        std::copy(other.initial_state.begin(), other.initial_state.end(), initial_state.begin());
        options = other.options, continues = other.continues;
    }
    void clear() {
        const T nan = static_cast<T>(std::nanf(""));
        out = make_tensor<T, 4>({size.B, size.H, size.N, size.Dv}, nan);
        state = make_tensor<T, 4>({size.B, size.H, size.D, size.Dv}, nan);
    }
    Inputs<T> inputs() const {
        Inputs<T> in{view(q), view(k), view(v), view(decay), {}};
        if (continues) in.initial_state = view(initial_state);
        return in;
    }
    // The tokens first … first + count - 1 alone, beginning where `before` has ended.
    RetentionProblem tokens(int first, int count, const RetentionProblem* before = nullptr) const {
        RetentionProblem part({size.B, size.H, count, size.D, size.Dv}, 0);
        part.options = options, part.decay = decay;
        part.q = xt::view(q, xt::all(), xt::all(), xt::range(first, first + count));
        part.k = xt::view(k, xt::all(), xt::all(), xt::range(first, first + count));
        part.v = xt::view(v, xt::all(), xt::all(), xt::range(first, first + count));
        if (before) part.continues = true, part.initial_state = before->state;
        return part;
    }
};

template <class T>
RetentionProblem<T> solved(RetentionProblem<T> problem) {
    problem.clear();
    naive(problem.inputs(), problem.options, Outputs<T>{view(problem.out), view(problem.state)});
    return problem;
}
RetentionProblem<double> solved(RetentionProblem<double> problem, Form form, int chunk = 32) {
    problem.options.form = form, problem.options.chunk = chunk;
    return solved(problem);
}
RetentionProblem<float> solved(RetentionProblem<float> problem, const CudaVersion& version) {
    problem.clear();
    cuda_function<CudaFunction>(version)(problem.inputs(), problem.options,
                                         Outputs<float>{view(problem.out), view(problem.state)});
    return problem;
}
std::vector<CudaVersion> stages() { return cuda_versions("retention", ATTN_TEST_DEVICE); }

template <class T>
Tensor<T, 4> tokens_of(const Tensor<T, 4>& tensor, int first, int count) {
    return xt::view(tensor, xt::all(), xt::all(), xt::range(first, first + count));
}
Sizes generated_sizes(std::uint64_t seed) {
    auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    Sizes size{pick(1, 1, 2), pick(2, 1, 3), pick(3, 1, 80), pick(4, 1, 70), pick(5, 1, 70)};
    constexpr int usual[] = {16, 32, 64, 128};
    if (seed % 3 == 0) size.D = usual[seed % 4], size.Dv = usual[seed / 3 % 4];
    return size;
}

}  // namespace

TEST_CASE("retention: there are golden cases of each kind") {
    const std::vector<Case> cases = testing::golden_cases("retention");
    REQUIRE(cases.size() >= 15);
    auto count = [&](auto is_kind) { return std::count_if(cases.begin(), cases.end(), is_kind); };
    for (const char* form : {"parallel", "recurrent", "chunked"})
        CHECK(count([&](const Case& c) {
                  return c.params.choice("form", {"parallel", "recurrent", "chunked"}, "parallel") == form;
              }) >= 3);
    CHECK(count([](const Case& c) { return c.inputs.count("initial_state") > 0; }) >= 3);
    CHECK(count([](const Case& c) { return c.inputs.at("k").shape[2] > 32; }) >= 3);
}

TEST_CASE("retention: naive agrees with other people's in every precision") {
    testing::check_naive_on_golden_cases("retention");
}

TEST_CASE("retention: both CUDA stages agree with other people's") {
    testing::check_cuda_on_golden_cases("retention", 2);
}

TEST_CASE("retention: parallel, recurrent and chunked are one function") {
    // Kills: a state that fades once too often or too rarely, a last chunk that fades as a whole one.
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        RetentionProblem<double> problem(generated_sizes(seed), 10 * seed);
        problem.continues = seed % 3 == 0;
        problem.options.scale = seed % 4 ? 1 : 0.3;
        const auto expected = solved(problem, Form::recurrent);
        for (int chunk : {0, 1, 2, 7, 32, 1000}) {
            INFO("seed " << seed << ", chunk " << chunk << " (0: parallel)");
            const auto result = chunk ? solved(problem, Form::chunked, chunk) : solved(problem, Form::parallel);
            CHECK(error(result.out, expected.out) <= 1e-12);
            CHECK(error(result.state, expected.state) <= 1e-12);
        }
    }
}

TEST_CASE("retention: equal to all pairs, weighted by γ to the power of their distance, in xtensor") {
    // Kills: whatever the forms have wrong together.
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        const auto p = solved(RetentionProblem<double>(generated_sizes(seed), seed));
        for (int h = 0; h < p.size.H; ++h)
            for (int n = 0; n < p.size.N; ++n) {
                xt::xarray<double> expected = xt::zeros<double>({p.size.Dv});
                for (int m = 0; m <= n; ++m)
                    expected += std::pow(p.decay(h), n - m) *
                                xt::sum(xt::view(p.q, 0, h, n) * xt::view(p.k, 0, h, m))() * xt::view(p.v, 0, h, m);
                for (int d = 0; d < p.size.Dv; ++d) REQUIRE(std::abs(p.out(0, h, n, d) - expected(d)) <= 1e-10);
            }
    }
}

TEST_CASE("retention: a state fades by γ at each token without a key, and is linear in keys and values") {
    RetentionProblem<double> p({1, 3, 9, 4, 5}, 3);
    p.continues = true;
    p.k.fill(0);
    const auto result = solved(p);
    for (int h = 0; h < 3; ++h)
        for (int m = 0; m < 4; ++m)
            for (int d = 0; d < 5; ++d)
                CHECK(std::abs(result.state(0, h, m, d) - std::pow(p.decay(h), 9) * p.initial_state(0, h, m, d)) <=
                      1e-14);
    RetentionProblem<double> plain({1, 2, 9, 4, 5}, 4), scaled = plain;
    scaled.k *= 3, scaled.v *= 0.5;
    const Tensor<double, 4> expected = 1.5 * solved(plain).out;
    CHECK(error(solved(scaled).out, expected) <= 1e-14);
}

TEST_CASE("retention: a scaled query scales the output, and leaves it as it is behind a norm without ε") {
    // Kills: an ε where none is asked for; a norm over all heads, of which each has its own factor here.
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        Sizes size = generated_sizes(seed);
        size.Dv += 1;  // one number without its mean is 0
        const RetentionProblem<double> problem(size, 10 * seed);
        RetentionProblem<double> scaled = problem;
        for (int h = 0; h < size.H; ++h) {
            auto queries = xt::view(scaled.q, xt::all(), h);
            queries *= 3 + h;
        }
        auto found = solved(scaled, Form::recurrent).out, plain = solved(problem, Form::recurrent).out;
        for (int b = 0; b < size.B; ++b)
            for (int h = 0; h < size.H; ++h)
                for (int n = 0; n < size.N; ++n)
                    for (int d = 0; d < size.Dv; ++d)
                        REQUIRE(std::abs(found(b, h, n, d) - (3 + h) * plain(b, h, n, d)) <=
                                1e-12 * (1 + std::abs(found(b, h, n, d))));
        for (Norm norm : {Norm::rms, Norm::group}) {
            auto normed = found, expected = plain, with_epsilon = found, expected_with_epsilon = plain;
            normalise_heads(view(normed), norm, 0), normalise_heads(view(expected), norm, 0);
            CHECK(error(normed, expected) <= 1e-12);
            normalise_heads(view(with_epsilon), norm, 1), normalise_heads(view(expected_with_epsilon), norm, 1);
            CHECK(error(with_epsilon, expected_with_epsilon) >= 1e-3);
        }
    }
}

TEST_CASE("retention: the norms as they are defined; the paper's takes the mean away, that of its code does not") {
    // Kills: a variance divided by one less than the numbers; one norm in the place of the other.
    const auto problem = solved(RetentionProblem<double>({2, 3, 7, 4, 5}, 8));
    for (double epsilon : {0.0, 0.5}) {
        auto group = problem.out, rms = problem.out;
        normalise_heads(view(group), Norm::group, epsilon), normalise_heads(view(rms), Norm::rms, epsilon);
        const xt::xarray<double> out = problem.out;
        const xt::xarray<double> mean = xt::view(xt::mean(out, {3}), xt::all(), xt::all(), xt::all(), xt::newaxis());
        const xt::xarray<double> variance =
            xt::view(xt::mean((out - mean) * (out - mean), {3}), xt::all(), xt::all(), xt::all(), xt::newaxis());
        const xt::xarray<double> square =
            xt::view(xt::mean(out * out, {3}), xt::all(), xt::all(), xt::all(), xt::newaxis());
        const Tensor<double, 4> expected_group = (out - mean) / xt::sqrt(variance + epsilon),
                                expected_rms = out / xt::sqrt(square + epsilon);
        CHECK(error(group, expected_group) <= 1e-13);
        CHECK(error(rms, expected_rms) <= 1e-13);
        CHECK(error(rms, group) >= 0.1);
        Tensor<float, 4> in_float = problem.out;
        Tensor<float16, 4> in_half = make_tensor<float16, 4>(view(problem.out).shape());
        convert(in_float.data(), in_half.data(), static_cast<std::int64_t>(in_float.size()));
        normalise_heads(view(in_float), Norm::group, epsilon), normalise_heads(view(in_half), Norm::group, epsilon);
        CHECK(error(in_float, group) <= 1e-6);
        CHECK(error(in_half, group) <= 2e-3);
        // Each has the mean of squares 1 where there is no ε; after the paper's the mean is 0.
        for (int n = 0; n < 7 && epsilon == 0; ++n) {
            double sum = 0, squares = 0, squares_of_rms = 0;
            for (int d = 0; d < 5; ++d)
                sum += group(1, 2, n, d), squares += group(1, 2, n, d) * group(1, 2, n, d),
                    squares_of_rms += rms(1, 2, n, d) * rms(1, 2, n, d);
            CHECK(std::abs(sum) <= 1e-13);
            CHECK(std::abs(squares - 5) <= 1e-12);
            CHECK(std::abs(squares_of_rms - 5) <= 1e-12);
        }
    }
}

TEST_CASE("retention: normalized scores are the paper's; a norm takes them out again only without ε") {
    // Kills: the sum of a row's sizes in the place of the size of its sum; a comparison of forms behind the norm, in
    // which they differ though both are right.
    double most_in_row = 0;
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        RetentionProblem<double> problem(generated_sizes(seed), 10 * seed);
        problem.options.scale = seed % 2 ? 1 : 0.25;
        problem.v *= 1e-3;
        const Sizes& s = problem.size;
        const auto recurrent = solved(problem, Form::recurrent).out, parallel = solved(problem, Form::parallel).out;
        CHECK(error(parallel, recurrent) <= 1e-12);
        auto scored = parallel;
        normalise_scores(problem.inputs(), problem.options.scale, view(scored));
        Tensor<double, 4> expected = recurrent;  // section 2.2: D / √(row sum of D), then R / max(|row sum of R|, 1)
        for (int b = 0; b < s.B; ++b)
            for (int h = 0; h < s.H; ++h)
                for (int n = 0; n < s.N; ++n) {
                    double row_of_decays = 0, row = 0;
                    for (int m = 0; m <= n; ++m) row_of_decays += std::pow(problem.decay(h), n - m);
                    std::vector<double> weights;
                    for (int m = 0; m <= n; ++m) {
                        double dot = 0;
                        for (int i = 0; i < s.D; ++i) dot += problem.q(b, h, n, i) * problem.k(b, h, m, i);
                        weights.push_back(problem.options.scale * dot * std::pow(problem.decay(h), n - m) /
                                          std::sqrt(row_of_decays));
                        row += weights.back();
                    }
                    most_in_row = std::max(most_in_row, std::abs(row));
                    for (int d = 0; d < s.Dv; ++d) {
                        double sum = 0;
                        for (int m = 0; m <= n; ++m)
                            sum += weights[m] / std::max(std::abs(row), 1.0) * problem.v(b, h, m, d);
                        expected(b, h, n, d) = sum;
                    }
                }
        CHECK(error(scored, expected) <= 1e-11);
        for (double epsilon : {0.0, 1e-6}) {
            auto from_recurrence = recurrent, from_scores = scored;
            normalise_heads(view(from_recurrence), Norm::rms, epsilon);
            normalise_heads(view(from_scores), Norm::rms, epsilon);
            INFO("seed " << seed << ", N " << s.N << ", D " << s.D << ", Dv " << s.Dv << ", ε " << epsilon);
            if (epsilon == 0)
                CHECK(error(from_scores, from_recurrence) <= 1e-12);
            else if (s.N > 1)
                CHECK(error(from_scores, from_recurrence) >= 0.01);
        }
    }
    CHECK(most_in_row > 1);  // both cases of the maximum were there
}

TEST_CASE("retention: token by token with the state is the recurrence, to the bit; later tokens may be NaN") {
    RetentionProblem<double> p({2, 2, 15, 5, 6}, 4);
    p.options.form = Form::recurrent;
    const auto all = solved(p);
    auto before = solved(p.tokens(0, 1));
    for (int n = 1; n < 15; ++n) {
        const auto step = solved(p.tokens(n, 1, &before));
        CHECK(same_bits(step.out, tokens_of(all.out, n, 1)));
        before = step;
    }
    CHECK(same_bits(before.state, all.state));
    for (auto [form, chunk] : {std::pair{Form::recurrent, 1}, {Form::chunked, 4}, {Form::parallel, 1}}) {
        const auto clean = solved(p, form, chunk);
        auto poisoned = p;
        for (auto* tensor : {&poisoned.q, &poisoned.k, &poisoned.v})
            xt::view(*tensor, xt::all(), xt::all(), xt::range(6, 15)) = std::nan("");
        CHECK(same_bits(tokens_of(solved(poisoned, form, chunk).out, 0, 6), tokens_of(clean.out, 0, 6)));
    }
}

TEST_CASE("retention: costs by formula equal the counts, in every form") {
    for (std::uint64_t seed = 1; seed <= 18; ++seed)
        for (const char* form : {"parallel", "recurrent", "chunked"}) {
            const Sizes s = generated_sizes(seed);
            Case input =
                random_case("retention", s.N,
                            {{"q", {s.B, s.H, s.N, s.D}}, {"k", {s.B, s.H, s.N, s.D}}, {"v", {s.B, s.H, s.N, s.Dv}}});
            if (seed % 2) input.inputs["initial_state"] = random_array({s.B, s.H, s.D, s.Dv}, seed);
            input.inputs["decay"] = zeros(DType::float32, {s.H});
            for (int h = 0; h < s.H; ++h) input.inputs["decay"].data<float>()[h] = 0.75f;
            input.params =
                Params::parse(fmt::format(R"({{"form": "{}", "chunk": {}}})", form, 1 + seed % 40), "generated");
            const Mechanism& mechanism = *find_mechanism("retention");
            INFO("seed " << seed << " " << form);
            CHECK(mechanism.counted_costs(input) == mechanism.predicted_costs(input));
        }
}

TEST_CASE("retention: a decay that is none is refused, by name") {
    for (double gamma : {0.0, -0.5, 1.5, std::nan("")}) {
        Case input = random_case("retention", 4, {{"q", {1, 1, 4, 2}}, {"k", {1, 1, 4, 2}}, {"v", {1, 1, 4, 2}}});
        input.inputs["decay"] = zeros(DType::float64, {1});
        input.inputs["decay"].data<double>()[0] = gamma;
        const std::string message = testing::refusal([&] { find_mechanism("retention")->check(input); });
        INFO(message);
        CHECK(message.find("decay.npy") != message.npos);
        CHECK(message.find("above 0 and at most 1") != message.npos);
    }
}

TEST_CASE("retention, on the device: every stage equals double, from any state on") {
    // Kills: tokens behind the end that let the state fade, a power of γ off by one.
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        RetentionProblem<float> problem(generated_sizes(seed), 10 * seed);
        problem.continues = seed % 3 == 0;
        problem.options.scale = seed % 4 ? 1 : 0.3;
        const auto exact = solved(RetentionProblem<double>(problem), Form::recurrent);
        for (const CudaVersion& version : stages()) {
            const auto result = solved(problem, version);
            const Sizes& s = problem.size;
            INFO("seed " << seed << " " << version.name << " N" << s.N << " D" << s.D << " Dv" << s.Dv);
            CHECK(error(result.out, exact.out) <= 3e-6);
            CHECK(error(result.state, exact.state) <= 3e-6);
        }
    }
    const RetentionProblem<float> large({1, 1, 40, 1400, 8}, 2);  // does not fit into shared memory
    const auto exact = solved(RetentionProblem<double>(large));
    for (const CudaVersion& version : stages()) CHECK(error(solved(large, version).out, exact.out) <= 3e-6);
}

TEST_CASE("retention, on the device: a token has the same bits in a prefix and among all; later tokens may be NaN") {
    for (const CudaVersion& version : stages()) {
        const RetentionProblem<float> problem({1, 2, 100, 20, 36}, 5);
        const auto all = solved(problem, version);
        for (int count : {1, 31, 32, 33, 99}) {
            INFO(version.name << ", the first " << count);
            CHECK(same_bits(solved(problem.tokens(0, count), version).out, tokens_of(all.out, 0, count)));
            auto poisoned = problem;
            for (auto* tensor : {&poisoned.k, &poisoned.v, &poisoned.q})
                xt::view(*tensor, xt::all(), xt::all(), xt::range(count, 100)) = std::nanf("");
            CHECK(same_bits(tokens_of(solved(poisoned, version).out, 0, count), tokens_of(all.out, 0, count)));
        }
        const auto first = solved(problem.tokens(0, 64), version);
        CHECK(same_bits(solved(problem.tokens(64, 36, &first), version).out, tokens_of(all.out, 64, 36)));
    }
}
