// What must hold of the Sparse Transformer's attention, naive and on the device, on generated problems. Beside each
// property stands the wrong answer that it kills.
#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "chapters/01_fixed_sparse/sparse_transformer/sparse_transformer_naive.hpp"
#include "common/mechanism/cuda_versions.hpp"
#include "tests/01_fixed_sparse/self_problem.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/tensors.hpp"

using namespace attn;
using namespace attn::sparse_transformer;
using fixed_sparse::Matrix;
using fixed_sparse::Set;
using fixed_sparse::text;
using testing::error;

namespace {

int pick(std::uint64_t seed, std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); }

template <class T>
using Problem = fixed_sparse::SelfProblem<T>;

const Tensor<double, 4>& solve(Problem<double>& p, const Options& options) {
    p.clear();
    naive(p.inputs(), options, p.outputs());
    return p.out;
}

Set set_of(const Options& o, int i) {
    return fixed_sparse::sparse_transformer_set(o.kind, o.stride, o.summary, o.part, i);
}

std::string text(const Options& o) {
    return std::string(o.kind == Kind::strided ? " strided" : " fixed") + " l " + std::to_string(o.stride) + " c " +
           std::to_string(o.summary) + " part " + std::to_string(static_cast<int>(o.part));
}

// Calls f with generated problems, for each kind and part.
template <class Function>
void for_each_problem(int count, Function f) {
    for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(count); ++seed)
        for (Kind kind : {Kind::strided, Kind::fixed})
            for (Part part : {Part::merged, Part::first, Part::second}) {
                const int n = pick(seed, 0, 1, 40), l = pick(seed, 1, 1, n + 3);
                Problem<double> problem(
                    {pick(seed, 2, 1, 2), pick(seed, 3, 1, 2), n, pick(seed, 4, 1, 6), pick(seed, 5, 1, 6)}, seed);
                const Options options{kind, l, pick(seed, 6, 1, l), part, seed % 8 == 0 ? 100 : 0.4};
                INFO("seed " << seed << " " << text(problem.size) << text(options));
                f(problem, options);
            }
}

// A small matrix of zeros and ones, as a product of two: whether a path of two steps leads there.
Matrix two_steps(const Matrix& second, const Matrix& first) {
    return xt::minimum(fixed_sparse::times_transposed(second, xt::transpose(first)), 1.0);
}

std::vector<CudaVersion> stages() { return cuda_versions("sparse_transformer", ATTN_TEST_DEVICE); }

void run(Problem<float>& problem, const CudaVersion& version, const Options& options) {
    problem.clear();
    cuda_function<CudaFunction>(version)(problem.inputs(), options, problem.outputs());
}

}  // namespace

TEST_CASE("sparse transformer: equals dense attention with a mask") {
    // Kills: a key of both parts counted twice, l + 1 local keys, a row that sees nothing divided by 0.
    for_each_problem(30, [](Problem<double>& p, const Options& options) {
        const auto expected = by_sets(p, options.scale, [&](int, int i) { return set_of(options, i); });
        CHECK(error(solve(p, options), expected) <= 1e-12);
    });
}

TEST_CASE("sparse transformer: where a part is everything it is causal dense attention") {
    for_each_problem(30, [](Problem<double>& p, Options options) {
        const int n = p.size.N;
        Problem<double> dense(p);
        auto log_sum_exp = make_tensor<double, 3>({p.size.B, p.size.H, n});
        const dense::Outputs<double> outputs{view(dense.out), view(log_sum_exp), {}, {}, {}};
        dense::naive_forward<double>({view(p.q), view(p.k), view(p.v), {}}, {true, options.scale}, outputs);
        const Part part = options.part;
        const auto check = [&](Part of, int l, int c) {
            if (part != of && part != Part::merged) return;
            options.stride = l, options.summary = c;
            INFO(text(options));
            CHECK(error(solve(p, options), dense.out) <= 1e-12);
        };
        check(Part::first, n, 1), check(Part::first, n + 5, 1);
        if (options.kind == Kind::strided)
            check(Part::second, 1, 1);
        else
            check(Part::second, options.stride, options.stride);
        if (options.kind == Kind::strided && part == Part::second) {
            options.stride = n;  // nothing but the own position
            CHECK((solve(p, options) == p.v));
        }
    });
}

TEST_CASE("sparse transformer: two layers reach everything") {
    // Strided in either order, fixed only with the first part first: who sums up must have been told before.
    for (auto [n, l, c] : {std::tuple{64, 8, 2}, {63, 8, 1}, {40, 7, 3}, {10, 3, 3}}) {
        const auto mask = [&, n = n, l = l, c = c](Kind kind, Part part) {
            const Matrix seen = fixed_sparse::mask_of(n, n, [&](int i) { return set_of({kind, l, c, part, 1}, i); });
            const Matrix with_residual = xt::maximum(seen, xt::eye<double>(n));
            return with_residual;
        };
        Matrix all = xt::zeros<double>({n, n});
        for (int i = 0; i < n; ++i)
            for (int j = 0; j <= i; ++j) all(i, j) = 1;
        const Matrix first = mask(Kind::strided, Part::first), second = mask(Kind::strided, Part::second);
        CHECK((two_steps(second, first) == all));
        CHECK((two_steps(first, second) == all));
        const Matrix block = mask(Kind::fixed, Part::first), summary = mask(Kind::fixed, Part::second);
        CHECK((two_steps(summary, block) == all));
        if (c < l) CHECK((two_steps(block, summary) != all));
        const Matrix merged = mask(Kind::fixed, Part::merged);
        CHECK((two_steps(merged, merged) == all));
    }
}

TEST_CASE("sparse transformer: one vector more in all keys changes nothing; a prefix has the same bits alone") {
    for_each_problem(20, [](Problem<double>& p, const Options& options) {
        if (options.scale > 1) return;
        solve(p, options);
        Problem<double> shifted(p);
        for (int d = 0; d < p.size.D; ++d) xt::view(shifted.k, xt::all(), xt::all(), xt::all(), d) += 0.7 * d - 1;
        CHECK(error(solve(shifted, options), p.out) <= 1e-12);
        if (p.size.N < 2) return;
        const int half = p.size.N / 2;
        Problem<double> prefix({p.size.B, p.size.H, half, p.size.D, p.size.Dv}, 0);
        prefix.q = xt::view(p.q, xt::all(), xt::all(), xt::range(0, half));
        prefix.k = xt::view(p.k, xt::all(), xt::all(), xt::range(0, half));
        prefix.v = xt::view(p.v, xt::all(), xt::all(), xt::range(0, half));
        const Tensor<double, 4> expected = xt::view(p.out, xt::all(), xt::all(), xt::range(0, half));
        CHECK(testing::same_bits(solve(prefix, options), expected));
    });
}

TEST_CASE("sparse transformer: what a query does not see does not reach it") {
    for_each_problem(30, [](Problem<double>& p, const Options& options) {
        solve(p, options);
        Problem<double> other(p);
        const int poisoned = p.size.N / 2;
        xt::view(other.k, xt::all(), xt::all(), poisoned) = std::nan("");
        xt::view(other.v, xt::all(), xt::all(), poisoned) = std::numeric_limits<double>::infinity();
        solve(other, options);
        for (int i = 0; i < p.size.N; ++i)
            for (int d = 0; d < p.size.Dv; ++d)
                if (set_of(options, i).count(poisoned))
                    CHECK(std::isnan(other.out(0, 0, i, d)));
                else
                    CHECK(other.out(0, 0, i, d) == p.out(0, 0, i, d));
    });
}

TEST_CASE("sparse transformer: with a stride of √n the work grows as n^1.5") {
    CHECK(std::abs(fixed_sparse::counted_exponent("sparse_transformer", {64, 256, 1024}) - 1.5) <= 0.05);
}

TEST_CASE("sparse transformer: a bad case is refused with the param") {
    const Mechanism& mechanism = *find_mechanism("sparse_transformer");
    const auto refusal = [&](const char* params) {
        Case sized = mechanism.sized_case(3);
        sized.params = Params::parse(params);
        return testing::refusal([&] { mechanism.check(sized); });
    };
    CHECK(refusal(R"({"pattern": "strided", "stride": 2})") == "(not refused)");
    CHECK(refusal(R"({"pattern": "fixed", "stride": 2, "summary": 2, "part": "first"})") == "(not refused)");
    CHECK_THAT(refusal(R"({"stride": 2})"), Catch::Contains("params.pattern"));
    CHECK_THAT(refusal(R"({"pattern": "local", "stride": 2})"), Catch::Contains("params.pattern"));
    CHECK_THAT(refusal(R"({"pattern": "strided"})"), Catch::Contains("params.stride"));
    CHECK_THAT(refusal(R"({"pattern": "strided", "stride": 0})"), Catch::Contains("params.stride = 0"));
    CHECK_THAT(refusal(R"({"pattern": "strided", "stride": 2, "summary": 1})"), Catch::Contains("params.summary"));
    CHECK_THAT(refusal(R"({"pattern": "fixed", "stride": 2})"), Catch::Contains("params.summary"));
    CHECK_THAT(refusal(R"({"pattern": "fixed", "stride": 2, "summary": 3})"), Catch::Contains("params.summary = 3"));
    CHECK_THAT(refusal(R"({"pattern": "strided", "stride": 2, "part": "rest"})"), Catch::Contains("params.part"));
    Case sized = mechanism.sized_case(3);
    sized.inputs["k"] = zeros(DType::float32, {1, 1, 4, 16});
    CHECK_THAT(testing::refusal([&] { mechanism.check(sized); }), Catch::Contains("k.npy has shape [1, 1, 4, 16]"));
}

TEST_CASE("sparse transformer, on the device: every stage equals the naive version in double on generated sizes") {
    // Kills: columns of another order than the keys', two parts whose weights do not fit together.
    for (std::uint64_t seed = 1; seed <= 10; ++seed)
        for (Kind kind : {Kind::strided, Kind::fixed})
            for (Part part : {Part::merged, Part::first, Part::second}) {
                const int n = pick(seed, 0, 1, 200), l = seed % 3 ? pick(seed, 1, 1, 20) : pick(seed, 1, 1, n + 3);
                const int D = seed % 2 ? pick(seed, 2, 1, 70) : 32, Dv = seed % 2 ? pick(seed, 3, 1, 140) : 64;
                Problem<float> problem({1, pick(seed, 4, 1, 2), n, D, Dv}, seed);
                const Options options{kind, l, pick(seed, 6, 1, l), part, (seed % 5 == 0 ? 5 : 1) / std::sqrt(D)};
                Problem<double> exact(problem);
                solve(exact, options);
                for (const CudaVersion& version : stages()) {
                    run(problem, version, options);
                    INFO("seed " << seed << " " << version.name << " " << text(problem.size) << text(options));
                    CHECK(error(problem.out, exact.out) <= 2e-6);
                }
            }
}

TEST_CASE("sparse transformer, on the device: NaN that a query does not see does not reach it") {
    for (const CudaVersion& version : stages())
        for (Kind kind : {Kind::strided, Kind::fixed}) {
            const Options options{kind, 9, 2, Part::merged, 0.3};
            Problem<float> clean({1, 1, 150, 12, 20}, 7), other = clean;
            xt::view(other.k, 0, 0, 70) = std::nanf("");
            xt::view(other.v, 0, 0, 70) = std::nanf("");
            run(clean, version, options), run(other, version, options);
            INFO(version.name << text(options));
            for (int i = 0; i < 150; ++i)
                for (int d = 0; d < 20; ++d)
                    if (set_of(options, i).count(70))
                        REQUIRE(std::isnan(other.out(0, 0, i, d)));
                    else
                        REQUIRE(other.out(0, 0, i, d) == clean.out(0, 0, i, d));
        }
}
