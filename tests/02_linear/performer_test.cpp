// What must hold of Performer, naive and on the device, on generated problems. Beside each property stands the wrong
// answer that it kills.
#include <cstring>
#include <limits>

#include "chapters/02_linear/performer/convergence.hpp"
#include "common/measure/exponent.hpp"
#include "common/mechanism/cuda_versions.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/tensors.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using namespace attn::performer;
using testing::error;

namespace {

template <class T>
struct Problem {
    Sizes size;
    Options options;
    Tensor<T, 4> q, k, v, out;
    Tensor<T, 2> features;

    Problem(Sizes sizes, bool causal, std::uint64_t seed, double factor = 1) : size(sizes), options{causal} {
        q = make_tensor<T, 4>({size.B, size.H, size.Nq, size.D}),
        k = make_tensor<T, 4>({size.B, size.H, size.Nk, size.D});
        v = make_tensor<T, 4>({size.B, size.H, size.Nk, size.Dv});
        fill_normal(view(q), seed, factor), fill_normal(view(k), seed + 1, factor), fill_normal(view(v), seed + 2);
        features = orthogonal_features(size.M, size.D, seed + 3);
        clear();
    }
    template <class U>
    explicit Problem(const Problem<U>& other) : Problem(other.size, other.options.causal, 0) {
        std::copy(other.q.begin(), other.q.end(), q.begin()), std::copy(other.k.begin(), other.k.end(), k.begin());
        std::copy(other.v.begin(), other.v.end(), v.begin());
        std::copy(other.features.begin(), other.features.end(), features.begin());
    }
    void clear() { out = make_tensor<T, 4>({size.B, size.H, size.Nq, size.Dv}, static_cast<T>(std::nanf(""))); }
    Inputs<T> inputs() const { return {view(q), view(k), view(v), view(features)}; }
    Problem first_tokens(int count) const {
        Problem part({size.B, size.H, count, count, size.D, size.Dv, size.M}, options.causal, 0);
        part.features = features;
        part.q = xt::view(q, xt::all(), xt::all(), xt::range(0, count));
        part.k = xt::view(k, xt::all(), xt::all(), xt::range(0, count));
        part.v = xt::view(v, xt::all(), xt::all(), xt::range(0, count));
        return part;
    }
};

template <class T>
Problem<T> solved(Problem<T> problem) {
    problem.clear();
    naive(problem.inputs(), problem.options, Outputs<T>{view(problem.out)});
    return problem;
}
Problem<float> solved_on_device(Problem<float> problem) {
    problem.clear();
    const auto versions = cuda_versions("performer", ATTN_TEST_DEVICE);
    REQUIRE(versions.size() == 1);
    cuda_function<CudaFunction>(versions[0])(problem.inputs(), problem.options, Outputs<float>{view(problem.out)});
    return problem;
}

Sizes generated_sizes(std::uint64_t seed, bool causal) {
    auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    Sizes size{pick(0, 1, 2), pick(1, 1, 2), pick(2, 1, 40), 0, pick(3, 1, 70), pick(4, 1, 70), pick(5, 1, 140)};
    size.Nk = causal ? size.Nq : pick(6, 1, 40);
    if (seed % 3 == 0) size.D = 64, size.Dv = 32, size.M = 64 * pick(7, 1, 2);
    return size;
}

}  // namespace

TEST_CASE("performer: equal to all pairs, weighted by the sum over features of exp(w·(x + y)), at any length") {
    // The weight of a pair as a logarithm: stable without a state. Kills: a maximum that does not cancel, and, with
    // inputs times 30, whatever under- or overflows.
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        const bool causal = seed % 2 == 0;
        const Problem<double> p =
            solved(Problem<double>(generated_sizes(seed, causal), causal, 10 * seed, seed % 3 == 0 ? 30 : 1));
        const double scale = std::pow(p.size.D, -0.25);
        for (int i = 0; i < p.size.Nq; ++i) {
            xt::xarray<double> weights = xt::xarray<double>::from_shape({static_cast<std::size_t>(p.size.Nk)});
            for (int j = 0; j < p.size.Nk; ++j) {
                const xt::xarray<double> x = scale * xt::view(p.q, 0, 0, i), y = scale * xt::view(p.k, 0, 0, j);
                xt::xarray<double> exponents = xt::sum(p.features * (x + y), 1) - xt::sum(y * y)() / 2;
                const double most = xt::amax(exponents)();
                weights(j) = most + std::log(xt::sum(xt::exp(exponents - most))());
                if (causal && j > i) weights(j) = -std::numeric_limits<double>::infinity();
            }
            weights = xt::exp(weights - xt::amax(weights)());
            weights /= xt::sum(weights)();
            for (int d = 0; d < p.size.Dv; ++d) {
                double expected = 0;
                for (int j = 0; j < p.size.Nk; ++j) expected += weights(j) * p.v(0, 0, j, d);
                REQUIRE(std::abs(p.out(0, 0, i, d) - expected) <= 1e-10);
            }
        }
    }
}

TEST_CASE("performer, on the device: equal to double, at any length of queries and keys") {
    for (std::uint64_t seed = 1; seed <= 16; ++seed) {
        const bool causal = seed % 2 == 0;
        const Sizes s = generated_sizes(seed, causal);
        const Problem<float> problem(s, causal, 10 * seed, seed % 5 == 0 ? 3 : 0.5);
        INFO("seed " << seed << " Nq" << s.Nq << " Nk" << s.Nk << " D" << s.D << " Dv" << s.Dv << " M" << s.M);
        CHECK(error(solved_on_device(problem).out, solved(Problem<double>(problem)).out) <= 2e-5);
    }
    const Problem<float> large({1, 1, 40, 40, 16, 8, 80}, true, 7, 30);
    for (float x : solved_on_device(large).out) CHECK(std::isfinite(x));
}

TEST_CASE("performer: a token has the same bits in a prefix and among all; later tokens may be NaN or large") {
    // Kills: a maximum over all keys, which lets a later large key push the features of earlier ones to 0.
    Problem<double> problem({1, 2, 40, 40, 8, 5, 70}, true, 3);
    Problem<float> on_device(problem);
    const auto all = solved(problem);
    const auto all_on_device = solved_on_device(on_device);
    for (int count : {1, 15, 16, 17, 39})
        for (double later : {std::nan(""), 300.0}) {
            Problem<double> changed = problem;
            xt::view(changed.k, xt::all(), xt::all(), xt::range(count, 40)) = later;
            xt::view(changed.v, xt::all(), xt::all(), xt::range(count, 40)) = later;
            const auto prefix = solved(problem.first_tokens(count)), after = solved(changed);
            const auto prefix_on_device = solved_on_device(on_device.first_tokens(count)),
                       after_on_device = solved_on_device(Problem<float>(changed));
            INFO("the first " << count << ", later ones " << later);
            for (int h = 0; h < 2; ++h)
                for (int i = 0; i < count; ++i)
                    for (int d = 0; d < 5; ++d) {
                        REQUIRE(prefix.out(0, h, i, d) == all.out(0, h, i, d));
                        REQUIRE(after.out(0, h, i, d) == all.out(0, h, i, d));
                        REQUIRE(prefix_on_device.out(0, h, i, d) == all_on_device.out(0, h, i, d));
                        REQUIRE(after_on_device.out(0, h, i, d) == all_on_device.out(0, h, i, d));
                    }
        }
}

TEST_CASE("performer: what the released stabiliser does, one maximum for all keys and an epsilon, leaks the future") {
    // The same features with ε added to each, relative to the largest exponent of all keys: earlier outputs change when
    // later keys do. Here they do not.
    const Problem<double> problem({1, 1, 30, 30, 16, 4, 64}, true, 11);
    auto released = [](const Problem<double>& p) {
        const double scale = std::pow(p.size.D, -0.25), epsilon = 1e-6;
        auto exponents = [&](const Tensor<double, 4>& tokens, int i) {
            const xt::xarray<double> x = scale * xt::view(tokens, 0, 0, i);
            return xt::xarray<double>(xt::sum(p.features * x, 1));
        };
        double most = -std::numeric_limits<double>::infinity();
        for (int j = 0; j < p.size.Nk; ++j) most = std::max(most, xt::amax(exponents(p.k, j))());
        xt::xarray<double> numerator = xt::zeros<double>({p.size.Dv}), out = xt::zeros<double>({p.size.Nq, p.size.Dv});
        for (int i = 0; i < p.size.Nq; ++i) {
            double denominator = 0;
            numerator.fill(0);
            const xt::xarray<double> of_query = exponents(p.q, i),
                                     phi_q = xt::exp(of_query - xt::amax(of_query)()) + epsilon;
            for (int j = 0; j <= i; ++j) {
                const xt::xarray<double> y = scale * xt::view(p.k, 0, 0, j);
                const double weight =
                    xt::sum(phi_q * (xt::exp(exponents(p.k, j) - xt::sum(y * y)() / 2 - most) + epsilon))();
                denominator += weight;
                for (int d = 0; d < p.size.Dv; ++d) numerator(d) += weight * p.v(0, 0, j, d);
            }
            for (int d = 0; d < p.size.Dv; ++d) out(i, d) = numerator(d) / denominator;
        }
        return out;
    };
    Problem<double> changed = problem;
    xt::view(changed.k, xt::all(), xt::all(), xt::range(20, 30)) *= 4;
    const xt::xarray<double> before = xt::view(released(problem), xt::range(0, 20)),
                             after = xt::view(released(changed), xt::range(0, 20));
    const double leak = std::sqrt(xt::sum(xt::square(after - before))() / xt::sum(xt::square(before))());
    CAPTURE(leak);
    CHECK(leak >= 0.01);
    const auto own = solved(problem), own_changed = solved(changed);
    for (int i = 0; i < 20; ++i)
        for (int d = 0; d < 4; ++d) REQUIRE(own.out(0, 0, i, d) == own_changed.out(0, 0, i, d));
}

TEST_CASE("performer: the features' blocks are orthogonal, their rows as long as normal ones") {
    constexpr int M = 20, D = 8;
    double mean = 0, variance = 0;
    constexpr int draws = 400;
    for (int draw = 0; draw < draws; ++draw) {
        const Tensor<double, 2> w = orthogonal_features(M, D, static_cast<std::uint64_t>(draw));
        for (int f = 0; f < M; ++f)
            for (int g = 0; g <= f; ++g) {
                double dot = 0;
                for (int d = 0; d < D; ++d) dot += w(f, d) * w(g, d);
                if (f != g && f / D == g / D) REQUIRE(std::abs(dot) <= 1e-12);
                if (f == g) mean += dot / (draws * M), variance += (dot - D) * (dot - D) / (draws * M);
            }
    }
    CHECK(std::abs(mean - D) <= 4 * std::sqrt(2.0 * D / (draws * M)));  // χ² of D
    CHECK(std::abs(variance - 2 * D) <= 0.1 * 2 * D);
}

TEST_CASE("performer: directions are uniform with the signs corrected, and not as a QR decomposition leaves them") {
    // Kills: Q as it comes, which is what released implementations use.
    constexpr int D = 8, draws = 2000;
    for (Signs signs : {Signs::corrected, Signs::as_decomposed}) {
        double mean = 0;
        for (int draw = 0; draw < draws; ++draw)
            mean +=
                orthogonal_factor(independent_features(D, D, static_cast<std::uint64_t>(draw)), signs)(0, 0) / draws;
        const double standard_error = std::sqrt(1.0 / D / draws);
        CAPTURE(mean, standard_error);
        if (signs == Signs::corrected)
            CHECK(std::abs(mean) <= 4 * standard_error);
        else
            CHECK(mean <= -20 * standard_error);
    }
}

namespace {

// Mean and its standard error of the estimate of exp(x·y), and the mean squared error of a single one.
struct Estimate {
    double mean, standard_error, squared_error;
};
template <class Draw>
Estimate estimate(const Tensor<double, 1>& x, const Tensor<double, 1>& y, int draws, Draw draw) {
    const int D = static_cast<int>(x.size());
    double half_norms = 0, dot = 0, sum = 0, squares = 0, errors = 0;
    for (int d = 0; d < D; ++d) half_norms += (x(d) * x(d) + y(d) * y(d)) / 2, dot += x(d) * y(d);
    for (int index = 0; index < draws; ++index) {
        const Tensor<double, 2> w = draw(static_cast<std::uint64_t>(index));
        double one = 0;
        for (std::size_t f = 0; f < w.shape()[0]; ++f) {
            double exponent = 0;
            for (int d = 0; d < D; ++d) exponent += w(f, d) * (x(d) + y(d));
            one += std::exp(exponent - half_norms) / static_cast<double>(w.shape()[0]);
        }
        sum += one, squares += one * one, errors += (one - std::exp(dot)) * (one - std::exp(dot));
    }
    const double mean = sum / draws;
    return {mean, std::sqrt((squares / draws - mean * mean) / draws), errors / draws};
}

}  // namespace

TEST_CASE("performer: the estimate of exp(x·y) is right on average, and its error is the formula's") {
    constexpr int D = 4, draws = 20000;
    Tensor<double, 1> x = make_tensor<double, 1>({{D}}), y = x;
    for (int d = 0; d < D; ++d) x(d) = 0.2 + 0.1 * d, y(d) = 0.4 - 0.1 * d;
    double dot = 0, sigma = 0, norms = 0;
    for (int d = 0; d < D; ++d)
        dot += x(d) * y(d), sigma += (x(d) + y(d)) * (x(d) + y(d)), norms += x(d) * x(d) + y(d) * y(d);
    const double kernel = std::exp(dot);

    const Estimate independent =
        estimate(x, y, draws, [](std::uint64_t seed) { return independent_features(D, D, seed); });
    CHECK(std::abs(independent.mean - kernel) <= 4 * independent.standard_error);
    // Choromanski et al. 2021, lemma 2: with independent rows the squared error is e^σ SM² (1 - e^-σ) / m.
    const double expected = std::exp(sigma) * kernel * kernel * (1 - std::exp(-sigma)) / D;
    CAPTURE(independent.squared_error, expected);
    CHECK(std::abs(independent.squared_error - expected) <= 0.1 * expected);

    // Orthogonal rows: no larger, by at least what theorem 2 says.
    const Estimate orthogonal =
        estimate(x, y, draws, [](std::uint64_t seed) { return orthogonal_features(D, D, seed); });
    CHECK(std::abs(orthogonal.mean - kernel) <= 4 * orthogonal.standard_error);
    const double gain = 2.0 * (D - 1) / (D * (D + 2.0)) * std::pow(kernel - std::exp(-norms / 2), 2);
    CAPTURE(orthogonal.squared_error, gain);
    CHECK(orthogonal.squared_error <= (expected - gain) * 1.05);

    // Without the correction of the signs the estimate is off, and no number of draws mends it: x and y are positive,
    // and the first direction leans to the negative.
    const Estimate biased =
        estimate(x, y, draws, [](std::uint64_t seed) { return orthogonal_features(D, D, seed, Signs::as_decomposed); });
    CAPTURE(biased.mean, biased.standard_error, kernel);
    CHECK(biased.mean <= kernel - 20 * biased.standard_error);
}

TEST_CASE("performer: converges to dense attention as 1/√M where queries and keys are short, and not at length √D") {
    auto mean_error = [](int M, double factor) { return distance_from_dense(M, factor, 6).performer; };
    std::vector<double> features, errors;
    for (int M : {32, 128, 512, 2048}) features.push_back(M), errors.push_back(mean_error(M, 0.3));
    CAPTURE(errors);
    CHECK(std::abs(fitted_exponent(features, errors) + 0.5) <= 0.1);
    // N(0, 1): |x + y|² is about 16, and the variance of a feature e^16 times the square of what it estimates.
    const double few = mean_error(128, 1), many = mean_error(2048, 1);
    CAPTURE(few, many);
    CHECK(many >= 0.7);
    CHECK(many >= 0.5 * few);
}
