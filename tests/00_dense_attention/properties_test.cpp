// What must hold of dense attention whatever the sizes: on generated problems, for the naive version in double and for
// each CUDA stage. Beside each property stands the wrong answer that it kills.
#include <limits>

#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "common/mechanism/cuda_versions.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/property.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using namespace attn::dense;
using testing::relative_error;

namespace {

// A problem that owns its tensors, in T.
template <class T>
struct Problem {
    Sizes size;
    Options options;
    Tensor<T, 4> q, k, v, d_out, out, d_q, d_k, d_v;
    Tensor<T, 3> log_sum_exp;

    Problem(Sizes sizes, Options with, std::uint64_t seed) : size(sizes), options(with) {
        const T poison = static_cast<T>(std::nanf(""));
        q = make_tensor<T, 4>({size.B, size.H, size.Nq, size.D}),
        k = make_tensor<T, 4>({size.B, size.G, size.Nk, size.D});
        v = make_tensor<T, 4>({size.B, size.G, size.Nk, size.Dv});
        d_out = make_tensor<T, 4>({size.B, size.H, size.Nq, size.Dv});
        fill_normal(view(q), seed), fill_normal(view(k), seed + 1), fill_normal(view(v), seed + 2);
        fill_normal(view(d_out), seed + 3);
        out = make_tensor<T, 4>(view(d_out).shape(), poison);
        log_sum_exp = make_tensor<T, 3>({size.B, size.H, size.Nq}, poison);
        d_q = make_tensor<T, 4>(view(q).shape(), poison), d_k = make_tensor<T, 4>(view(k).shape(), poison);
        d_v = make_tensor<T, 4>(view(v).shape(), poison);
    }
    Inputs<T> inputs(bool backward = true) const {
        return {view(q), view(k), view(v), backward ? view(d_out) : TensorView<const T, 4>{}};
    }
    Outputs<T> outputs(bool backward = true) {
        Outputs<T> result{view(out), view(log_sum_exp), {}, {}, {}};
        if (backward) result.d_q = view(d_q), result.d_k = view(d_k), result.d_v = view(d_v);
        return result;
    }
    // The same numbers in double, solved by the naive version: the reference.
    Problem<double> in_double() const {
        Problem<double> exact(size, options, 0);
        std::copy(q.begin(), q.end(), exact.q.begin()), std::copy(k.begin(), k.end(), exact.k.begin());
        std::copy(v.begin(), v.end(), exact.v.begin()), std::copy(d_out.begin(), d_out.end(), exact.d_out.begin());
        return exact;
    }
};

void solve(Problem<double>& problem) { naive(problem.inputs(), problem.options, problem.outputs()); }

// Sizes around the edges of tiles and warps, from the seed. D ≠ Dv, query and key counts differ, heads are shared.
Sizes generated_sizes(std::uint64_t seed) {
    auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    int G = pick(0, 1, 2);
    return {pick(1, 1, 2), G * pick(2, 1, 3), G, pick(3, 1, 70), pick(4, 1, 70), pick(5, 1, 40), pick(6, 1, 70)};
}

}  // namespace

TEST_CASE("CUDA stages equal the naive version in double on generated sizes") {
    // Kills: a last tile forgotten, a row stride that assumes multiples of 4, kv head h % G, a top-left mask.
    for (std::uint64_t seed = 1; seed <= 30; ++seed)
        for (const CudaVersion& version : cuda_versions("dense", ATTN_TEST_DEVICE)) {
            Sizes size = generated_sizes(seed);
            if (seed % 5 == 0) size.D = 64, size.Dv = 64;  // the 16-byte path, over more than one strip
            if (seed % 7 == 0) size.Nk = 132;
            Problem<float> problem(size, {seed % 2 == 0, seed % 3 == 0 ? 3.0 : 1 / std::sqrt(size.D)}, 10 * seed);
            INFO("seed " << seed << " " << version.name << " B" << size.B << " H" << size.H << " G" << size.G << " Nq"
                         << size.Nq << " Nk" << size.Nk << " D" << size.D << " Dv" << size.Dv);
            cuda_function<CudaFunction>(version)(problem.inputs(), problem.options, problem.outputs());
            Problem<double> exact = problem.in_double();
            solve(exact);
            CHECK(relative_error(view(problem.out), view(exact.out)) <= 2e-6);
            CHECK(relative_error(view(problem.log_sum_exp), view(exact.log_sum_exp)) <= 2e-6);
            CHECK(relative_error(view(problem.d_q), view(exact.d_q)) <= 1e-5);
            CHECK(relative_error(view(problem.d_k), view(exact.d_k)) <= 1e-5);
            CHECK(relative_error(view(problem.d_v), view(exact.d_v)) <= 1e-5);
        }
}

TEST_CASE("the naive version equals an independent formula in xtensor") {
    // Kills: an error that naive and kernels would share. Here every pair is compared, and a mask added.
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        Sizes size = generated_sizes(seed);
        Problem<double> problem(size, {seed % 2 == 0, 0.7}, seed);
        solve(problem);
        for (int b = 0; b < size.B; ++b)
            for (int h = 0; h < size.H; ++h)
                for (int i = 0; i < size.Nq; ++i) {
                    int g = h * size.G / size.H;
                    auto keys = xt::view(problem.k, b, g, xt::all(), xt::all());
                    auto query = xt::view(problem.q, b, h, i, xt::all());
                    xt::xarray<double> scores = 0.7 * xt::sum(keys * query, 1);
                    for (int j = 0; j < size.Nk; ++j)
                        if (seed % 2 == 0 && j - size.Nk > i - size.Nq)
                            scores(j) = -std::numeric_limits<double>::infinity();
                    xt::xarray<double> weights = xt::exp(scores);
                    double sum = xt::sum(weights)();
                    for (int d = 0; d < size.Dv; ++d) {
                        double expected = 0;
                        for (int j = 0; j < size.Nk; ++j)
                            expected += sum > 0 ? weights(j) / sum * problem.v(b, g, j, d) : 0;
                        REQUIRE(std::abs(problem.out(b, h, i, d) - expected) <= 1e-12);
                    }
                    if (sum > 0) REQUIRE(std::abs(problem.log_sum_exp(b, h, i) - std::log(sum)) <= 1e-12);
                }
    }
}

TEST_CASE("weights sum to 1 and keys may shift") {
    // Constant values come out as they are. Kills: a sum over other keys than the maximum's.
    // Adding one vector to all keys changes no output, and the gradients of the keys sum to 0.
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        Sizes size = generated_sizes(seed);
        size.Nq = std::min(size.Nq, size.Nk);  // every row sees a key
        Problem<double> problem(size, {seed % 2 == 0, 0.5}, seed), shifted = problem;
        problem.v.fill(2.5);
        solve(problem);
        for (double value : problem.out) REQUIRE(std::abs(value - 2.5) <= 1e-13);

        Problem<double> plain(size, {seed % 2 == 0, 0.5}, seed);
        solve(plain);
        for (int d = 0; d < size.D; ++d) xt::view(shifted.k, xt::all(), xt::all(), xt::all(), d) += 0.3 * d - 1;
        solve(shifted);
        CHECK(relative_error(view(shifted.out), view(plain.out)) <= 1e-12);
        xt::xarray<double> sums = xt::sum(plain.d_k, 2);
        for (double value : sums) CHECK(std::abs(value) <= 1e-11);
        // Euler: out is linear in v, and of degree 0 in what q and k are scaled by together.
        CHECK(xt::sum(plain.d_v * plain.v)() == Approx(xt::sum(plain.d_out * plain.out)()));
        CHECK(xt::sum(plain.d_q * plain.q)() == Approx(xt::sum(plain.d_k * plain.k)()).margin(1e-10));
    }
}

TEST_CASE("gradients are those of finite differences") {
    // Kills: a factor scale forgotten or taken twice, the correction dO · O left out.
    Problem<double> problem({1, 2, 1, 5, 7, 3, 4}, {true, 0.6}, 5);
    solve(problem);
    auto loss = [](Problem<double> changed) {
        solve(changed);
        return xt::sum(changed.out * changed.d_out)();
    };
    constexpr double h = 1e-6;
    auto check = [&](Tensor<double, 4> Problem<double>::*tensor, const Tensor<double, 4>& gradient) {
        for (std::size_t index = 0; index < gradient.size(); ++index) {
            Problem<double> up = problem, down = problem;
            (up.*tensor).data()[index] += h, (down.*tensor).data()[index] -= h;
            REQUIRE(std::abs((loss(up) - loss(down)) / (2 * h) - gradient.data()[index]) <= 1e-8);
        }
    };
    check(&Problem<double>::q, problem.d_q);
    check(&Problem<double>::k, problem.d_k);
    check(&Problem<double>::v, problem.d_v);
}

TEST_CASE("a causal prefix has the same bits, computed alone or as part of more") {
    // Kills: anything that lets a later token change an earlier one.
    for (int prefix : {1, 5, 31, 32, 33}) {
        Problem<double> whole({1, 1, 1, 40, 40, 8, 8}, {true, 0.4}, 3),
            part({1, 1, 1, prefix, prefix, 8, 8}, {true, 0.4}, 3);
        solve(whole);
        for (auto tensor : {&Problem<double>::q, &Problem<double>::k, &Problem<double>::v})
            (part.*tensor) = xt::view(whole.*tensor, xt::all(), xt::all(), xt::range(0, prefix), xt::all());
        solve(part);
        for (int i = 0; i < prefix; ++i)
            for (int d = 0; d < 8; ++d) REQUIRE(part.out(0, 0, i, d) == whole.out(0, 0, i, d));
    }
}

TEST_CASE("what nobody may see is never read") {
    // NaN in keys and values: no row that sees none of them changes.
    // Kills: multiplying by a mask of 0 and 1, adding -10000.
    for (const CudaVersion& version : cuda_versions("dense", ATTN_TEST_DEVICE))
        for (int first : {1, 9, 64}) {
            Sizes size{1, 2, 1, 70, 70, 12, 20};
            Problem<float> clean(size, {true, 0.3}, 7), poisoned = clean;
            // Keys from `first` on are NaN: rows that see none of them must not change.
            for (int j = first; j < size.Nk; ++j)
                for (int d = 0; d < size.D; ++d) poisoned.k(0, 0, j, d) = std::nanf("");
            for (int j = first; j < size.Nk; ++j)
                for (int d = 0; d < size.Dv; ++d) poisoned.v(0, 0, j, d) = std::nanf("");
            auto run = cuda_function<CudaFunction>(version);
            run(clean.inputs(false), clean.options, clean.outputs(false));
            run(poisoned.inputs(false), poisoned.options, poisoned.outputs(false));
            INFO(version.name << ", NaN from key " << first);
            for (int h = 0; h < size.H; ++h)
                for (int i = 0; i < size.Nq; ++i)
                    for (int d = 0; d < size.Dv; ++d)
                        if (i < first)
                            REQUIRE(poisoned.out(0, h, i, d) == clean.out(0, h, i, d));
                        else
                            REQUIRE(std::isnan(poisoned.out(0, h, i, d)));
        }
}

TEST_CASE("rows that see no key give 0, -inf and no gradient") {
    for (const CudaVersion& version : cuda_versions("dense", ATTN_TEST_DEVICE)) {
        Problem<float> problem({1, 1, 1, 9, 4, 8, 4}, {true, 1}, 11);
        cuda_function<CudaFunction>(version)(problem.inputs(), problem.options, problem.outputs());
        INFO(version.name);
        for (int i = 0; i < 5; ++i) {
            CHECK(problem.log_sum_exp(0, 0, i) == -std::numeric_limits<float>::infinity());
            for (int d = 0; d < 4; ++d) CHECK(problem.out(0, 0, i, d) == 0);
            for (int d = 0; d < 8; ++d) CHECK(problem.d_q(0, 0, i, d) == 0);
        }
        CHECK(std::isfinite(problem.log_sum_exp(0, 0, 5)));
    }
}

TEST_CASE("queries that see nothing spoil no gradient") {
    // Kills: a gradient of the keys that sums over all queries with a weight of 0 (0 · NaN is NaN).
    for (const CudaVersion& version : cuda_versions("dense", ATTN_TEST_DEVICE)) {
        Problem<float> clean({1, 1, 1, 9, 4, 8, 4}, {true, 1}, 19), poisoned = clean;
        for (int i = 0; i < 5; ++i) {
            for (int d = 0; d < 8; ++d) poisoned.q(0, 0, i, d) = std::nanf("");
            for (int d = 0; d < 4; ++d) poisoned.d_out(0, 0, i, d) = std::nanf("");
        }
        auto run = cuda_function<CudaFunction>(version);
        run(clean.inputs(), clean.options, clean.outputs());
        run(poisoned.inputs(), poisoned.options, poisoned.outputs());
        INFO(version.name);
        CHECK(relative_error(view(poisoned.d_k), view(clean.d_k)) == 0);
        CHECK(relative_error(view(poisoned.d_v), view(clean.d_v)) == 0);
        for (int i = 5; i < 9; ++i)
            for (int d = 0; d < 8; ++d) CHECK(poisoned.d_q(0, 0, i, d) == clean.d_q(0, 0, i, d));
    }
}

TEST_CASE("large logits, one huge key and equal scores") {
    // Kills: no subtraction of the maximum; a maximum of unscaled scores with a negative scale.
    for (const CudaVersion& version : cuda_versions("dense", ATTN_TEST_DEVICE))
        for (double scale : {30.0, -30.0, 0.0}) {
            Problem<float> problem({1, 1, 1, 33, 40, 16, 16}, {false, scale}, 13);
            for (int d = 0; d < 16; ++d) problem.k(0, 0, 7, d) *= 20;
            cuda_function<CudaFunction>(version)(problem.inputs(false), problem.options, problem.outputs(false));
            Problem<double> exact = problem.in_double();
            solve(exact);
            INFO(version.name << ", scale " << scale);
            CHECK(relative_error(view(problem.out), view(exact.out)) <=
                  2e-4);  // scores of 1e4 keep 3 decimals in float
        }
}

TEST_CASE("heads that share keys equal heads with copies of them, bit by bit") {
    // Kills: kv head h % G.
    for (const CudaVersion& version : cuda_versions("dense", ATTN_TEST_DEVICE)) {
        Problem<float> shared({1, 6, 2, 17, 19, 8, 8}, {true, 0.3}, 17),
            copied({1, 6, 6, 17, 19, 8, 8}, {true, 0.3}, 17);
        for (int h = 0; h < 6; ++h) {
            xt::view(copied.k, xt::all(), h) = xt::view(shared.k, xt::all(), h / 3);
            xt::view(copied.v, xt::all(), h) = xt::view(shared.v, xt::all(), h / 3);
        }
        auto run = cuda_function<CudaFunction>(version);
        run(shared.inputs(false), shared.options, shared.outputs(false));
        run(copied.inputs(false), copied.options, copied.outputs(false));
        CHECK(std::equal(shared.out.begin(), shared.out.end(), copied.out.begin()));
    }
}

TEST_CASE("contradicting shapes are refused by name") {
    Problem<double> problem({1, 4, 2, 3, 5, 6, 7}, {}, 1);
    Inputs<double> inputs = problem.inputs();
    inputs.k = {inputs.k.data(), {1, 2, 5, 5}};
    CHECK_THROWS_WITH(naive_forward(inputs, problem.options, problem.outputs()),
                      Catch::Contains("k has shape [1, 2, 5, 5], expected [1, 2, 5, 6]"));
    inputs = problem.inputs();
    inputs.k = {inputs.k.data(), {1, 3, 5, 6}};
    CHECK_THROWS_WITH(naive_forward(inputs, problem.options, problem.outputs()), Catch::Contains("multiple"));
}
