// What must hold of grouped-query attention whatever the sizes: on generated problems, for the naive version and for
// the kernels. Beside each property stands the wrong answer that it kills.
#include <limits>

#include "chapters/04_head_sharing/grouped_query/grouped_query_naive.hpp"
#include "common/measure/counted.hpp"
#include "common/measure/memory_tracker.hpp"
#include "common/mechanism/cuda_versions.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/property.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using namespace attn::grouped_query;
using testing::relative_error;

namespace {

// A problem that owns its tensors, in T; forward.
template <class T>
struct Problem {
    Sizes size;
    Tensor<T, 4> q, k, v, out;
    Tensor<T, 3> log_sum_exp;

    Problem(Sizes sizes, std::uint64_t seed) : size(sizes) {
        q = make_tensor<T, 4>({size.B, size.H, size.Nq, size.D});
        k = make_tensor<T, 4>({size.B, size.G, size.Nk, size.D});
        v = make_tensor<T, 4>({size.B, size.G, size.Nk, size.Dv});
        fill_normal(view(q), seed), fill_normal(view(k), seed + 1), fill_normal(view(v), seed + 2);
        forget();
    }
    template <class U>
    explicit Problem(const Problem<U>& other) : Problem(other.size, 0) {
        std::copy(other.q.begin(), other.q.end(), q.begin()), std::copy(other.k.begin(), other.k.end(), k.begin());
        std::copy(other.v.begin(), other.v.end(), v.begin());
    }
    void forget() {
        const T poison = static_cast<T>(std::nanf(""));
        out = make_tensor<T, 4>({size.B, size.H, size.Nq, size.Dv}, poison);
        log_sum_exp = make_tensor<T, 3>({size.B, size.H, size.Nq}, poison);
    }
    Inputs<T> inputs() const { return {view(q), view(k), view(v), {}}; }
    Outputs<T> outputs() { return {view(out), view(log_sum_exp), {}, {}, {}}; }

    void solve(const Options& options) {
        forget();
        naive(inputs(), options, outputs());
    }
    void solve_on_device(const Options& options, const char* mechanism = "grouped_query") {
        static_assert(std::is_same_v<T, float>);
        forget();
        cuda_function<CudaFunction>(cuda_versions(mechanism, ATTN_TEST_DEVICE).at(0))(inputs(), options, outputs());
    }
    bool same_bits(const Problem& other) const {
        auto same = [](const auto& a, const auto& b) {
            return std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
        };
        return same(out, other.out) && same(log_sum_exp, other.log_sum_exp);
    }
};

// Sizes around the edges of tiles, strips and splits, from the seed.
Sizes generated_sizes(std::uint64_t seed) {
    auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    const int G = pick(0, 1, 3);
    return {pick(1, 1, 2), G * pick(2, 1, 5), G, pick(3, 1, 40), pick(4, 1, 70), pick(5, 1, 80), pick(6, 1, 140)};
}

}  // namespace

TEST_CASE("the kernels equal the naive version in double on generated sizes") {
    // Kills: kv head h % G, a tail of keys, columns or rows forgotten, a strip of the last tile.
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        Sizes size = generated_sizes(seed);
        if (seed % 5 == 0) size.D = 64, size.Dv = 128;                               // 16-byte accesses
        if (seed % 6 == 0) size.Nk = 255 + static_cast<int>(seed % 4), size.Nq = 3;  // around a split
        if (seed % 11 == 0) size.Nk = 700, size.Nq = 2, size.Dv = 300;  // three splits; the columns of two blocks
        Options options{seed % 2 == 0, seed % 3 == 0 ? 3.0 : 1 / std::sqrt(size.D)};
        if (seed % 4 == 0) options.window = 1 + static_cast<int>(seed * 7 % 60);
        Problem<float> problem(size, 10 * seed);
        Problem<double> exact(problem);
        INFO("seed " << seed << " B" << size.B << " H" << size.H << " G" << size.G << " Nq" << size.Nq << " Nk"
                     << size.Nk << " D" << size.D << " Dv" << size.Dv << " window " << options.window);
        problem.solve_on_device(options);
        exact.solve(options);
        CHECK(relative_error(view(problem.out), view(exact.out)) <= 2e-6);
        CHECK(relative_error(view(problem.log_sum_exp), view(exact.log_sum_exp)) <= 2e-6);
    }
}

TEST_CASE("at once, token by token, in pages: the same bits") {
    // Kills: tiles that begin at the diagonal, a sum whose shape depends on how many keys there are, a number of splits
    // that does; positions that begin anew after prefill.
    for (int N : {1, 33, 70})
        for (int window : {0, 1, 20}) {
            Problem<float> whole({2, 4, 2, N, N, 24, 20}, 5);
            Problem<double> whole_double(whole);
            Options options{true, 0.3};
            options.window = window;
            whole.solve_on_device(options);
            whole_double.solve(options);
            for (int prefill : {1, N / 2, N - 1, N})
                for (int page : {0, 1, 7, 100}) {
                    if (prefill < 1) continue;
                    options.prefill = prefill, options.page = page;
                    INFO("N " << N << " window " << window << " prefill " << prefill << " page " << page);
                    Problem<float> steps(whole);
                    steps.solve_on_device(options);
                    CHECK(steps.same_bits(whole));
                    Problem<double> steps_double(whole_double);
                    steps_double.solve(options);
                    CHECK(steps_double.same_bits(whole_double));
                }
        }
}

TEST_CASE("a block for each split, or one for all splits: the same bits") {
    // 600 positions are three splits. At once there are rows enough for one block each; token by token there are not.
    Problem<float> whole({1, 8, 2, 600, 600, 16, 16}, 8);
    Options options{true, 0.25};
    whole.solve_on_device(options);
    options.prefill = 590, options.page = 32;
    Problem<float> steps(whole);
    steps.solve_on_device(options);
    CHECK(steps.same_bits(whole));
    Problem<double> exact(whole);
    exact.solve({true, 0.25});
    CHECK(relative_error(view(whole.out), view(exact.out)) <= 2e-6);
}

TEST_CASE("a window, against an independent formula in xtensor") {
    // Kills: a window without the query's own position, or of one key more.
    for (int window : {1, 2, 5, 9, 30}) {
        Problem<double> problem({1, 4, 2, 9, 12, 3, 2}, 3);
        Options options{true, 0.7};
        options.window = window;
        problem.solve(options);
        for (int h = 0; h < 4; ++h)
            for (int i = 0; i < 9; ++i) {
                auto keys = xt::view(problem.k, 0, h / 2, xt::all(), xt::all());
                xt::xarray<double> scores = 0.7 * xt::sum(keys * xt::view(problem.q, 0, h, i, xt::all()), 1);
                const int own = i + 3;
                xt::xarray<double> weights = xt::exp(scores);
                for (int j = 0; j < 12; ++j)
                    if (j > own || own - j >= window) weights(j) = 0;
                weights /= xt::sum(weights)();
                for (int d = 0; d < 2; ++d)
                    REQUIRE(std::abs(problem.out(0, h, i, d) -
                                     xt::sum(weights * xt::view(problem.v, 0, h / 2, xt::all(), d))()) <= 1e-13);
            }
    }
}

TEST_CASE("G = H is dense attention, and heads that share keys equal heads with copies of them, bit by bit") {
    Problem<double> own({2, 3, 3, 7, 9, 5, 4}, 1);
    own.solve({true, 0.4});
    auto dense_out = make_tensor<double, 4>({2, 3, 7, 4});
    auto dense_log = make_tensor<double, 3>({2, 3, 7});
    dense::naive<double>(own.inputs(), {true, 0.4}, {view(dense_out), view(dense_log), {}, {}, {}});
    CHECK(std::equal(dense_out.begin(), dense_out.end(), own.out.begin()));
    CHECK(std::equal(dense_log.begin(), dense_log.end(), own.log_sum_exp.begin()));

    Problem<float> shared({1, 6, 2, 17, 19, 8, 8}, 17), copied({1, 6, 6, 17, 19, 8, 8}, 17);
    for (int h = 0; h < 6; ++h) {
        xt::view(copied.k, xt::all(), h) = xt::view(shared.k, xt::all(), h / 3);
        xt::view(copied.v, xt::all(), h) = xt::view(shared.v, xt::all(), h / 3);
    }
    shared.solve_on_device({true, 0.3}), copied.solve_on_device({true, 0.3});
    CHECK(shared.same_bits(copied));
}

TEST_CASE("heads are mapped in blocks: in turns it is another function") {
    // Within a group heads may change places, and their outputs do; across groups another result comes out.
    Problem<double> problem({1, 4, 2, 5, 5, 3, 3}, 2), within(problem), across(problem);
    auto swap = [](Problem<double>& p, int a, int b) {
        xt::xarray<double> kept = xt::view(p.q, 0, a);
        xt::view(p.q, 0, a) = xt::view(p.q, 0, b);
        xt::view(p.q, 0, b) = kept;
    };
    swap(within, 0, 1), swap(across, 1, 2);
    problem.solve({true, 0.5}), within.solve({true, 0.5}), across.solve({true, 0.5});
    auto equal = [](const Problem<double>& a, int ha, const Problem<double>& b, int hb) {
        return xt::amax(xt::abs(xt::view(a.out, 0, ha) - xt::view(b.out, 0, hb)))() == 0;
    };
    CHECK((equal(within, 0, problem, 1) && equal(within, 1, problem, 0) && equal(within, 2, problem, 2)));
    CHECK(!equal(across, 2, problem, 1));
    // The tiled mapping, h % G: heads 0, 2 | 1, 3 in the place of 0, 1 | 2, 3.
    Problem<double> tiled({1, 4, 4, 5, 5, 3, 3}, 2);
    tiled.q = problem.q;
    for (int h = 0; h < 4; ++h) {
        xt::view(tiled.k, 0, h) = xt::view(problem.k, 0, h % 2);
        xt::view(tiled.v, 0, h) = xt::view(problem.v, 0, h % 2);
    }
    tiled.solve({true, 0.5});
    CHECK((equal(tiled, 0, problem, 0) && equal(tiled, 3, problem, 3)));
    CHECK((!equal(tiled, 1, problem, 1) && !equal(tiled, 2, problem, 2)));
}

TEST_CASE("mean pooling of a multi-head model is exact where the heads of a group are equal, and only there") {
    Problem<double> many({1, 4, 4, 6, 6, 3, 2}, 4);
    Problem<double> pooled({1, 4, 2, 6, 6, 3, 2}, 4);
    pooled.q = many.q;
    auto pool = [&] {
        mean_pool_heads<double>(view(std::as_const(many.k)), view(pooled.k));
        mean_pool_heads<double>(view(std::as_const(many.v)), view(pooled.v));
        many.solve({true, 0.5}), pooled.solve({true, 0.5});
        return relative_error(view(pooled.out), view(many.out));
    };
    CHECK(pool() > 0.1);
    for (int h : {1, 3}) {
        xt::view(many.k, 0, h) = xt::view(many.k, 0, h - 1);
        xt::view(many.v, 0, h) = xt::view(many.v, 0, h - 1);
    }
    CHECK(pool() == 0);  // the mean of two equal numbers is exact
}

TEST_CASE("what nobody may see is never read") {
    // NaN in keys and values from one position on: no row that sees none of them changes. Kills: 0 · NaN.
    for (int first : {1, 9, 64}) {
        Problem<float> clean({1, 4, 2, 70, 70, 12, 20}, 7), poisoned(clean);
        for (auto* tensor : {&poisoned.k, &poisoned.v})
            xt::view(*tensor, 0, 0, xt::range(first, 70), xt::all()) = std::nanf("");
        clean.solve_on_device({true, 0.3}), poisoned.solve_on_device({true, 0.3});
        INFO("NaN from key " << first);
        for (int h = 0; h < 4; ++h)
            for (int i = 0; i < 70; ++i)
                for (int d = 0; d < 20; ++d)
                    if (h >= 2 || i < first)
                        REQUIRE(poisoned.out(0, h, i, d) == clean.out(0, h, i, d));
                    else
                        REQUIRE(std::isnan(poisoned.out(0, h, i, d)));
    }
}

TEST_CASE("rows that see no key give 0 and -inf; large logits, one huge key, equal scores") {
    Problem<float> blind({1, 2, 1, 9, 4, 8, 4}, 11);
    blind.solve_on_device({true, 1});
    for (int i = 0; i < 5; ++i) {
        CHECK(blind.log_sum_exp(0, 0, i) == -std::numeric_limits<float>::infinity());
        for (int d = 0; d < 4; ++d) CHECK(blind.out(0, 0, i, d) == 0);
    }
    CHECK(std::isfinite(blind.log_sum_exp(0, 0, 5)));
    for (double scale : {30.0, -30.0, 0.0}) {
        Problem<float> problem({1, 2, 1, 3, 300, 16, 16}, 13);
        for (int d = 0; d < 16; ++d) problem.k(0, 0, 270, d) *= 20;  // in the second split
        Problem<double> exact(problem);
        problem.solve_on_device({false, scale}), exact.solve({false, scale});
        INFO("scale " << scale);
        CHECK(relative_error(view(problem.out), view(exact.out)) <= 2e-4);  // scores of 1e4 keep 3 decimals in float
    }
}

TEST_CASE("what it costs, by formula and by count; G changes the cache and not the operations") {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        Sizes size = generated_sizes(seed);
        Options options{seed % 2 == 0, 1};
        if (seed % 4 == 0) options.window = 1 + static_cast<int>(seed);
        if (seed % 3 == 0) {
            options.causal = true, options.prefill = 1 + static_cast<int>(seed) % size.Nq, size.Nk = size.Nq;
            options.page = static_cast<int>(seed % 2) * 5;
        }
        auto q = make_tensor<Counted, 4>({size.B, size.H, size.Nq, size.D});
        auto k = make_tensor<Counted, 4>({size.B, size.G, size.Nk, size.D});
        auto v = make_tensor<Counted, 4>({size.B, size.G, size.Nk, size.Dv});
        auto out = make_tensor<Counted, 4>({size.B, size.H, size.Nq, size.Dv});
        auto log_sum_exp = make_tensor<Counted, 3>({size.B, size.H, size.Nq});
        counted_costs = {};
        MemoryTracker memory;
        naive_forward<Counted>({view(std::as_const(q)), view(std::as_const(k)), view(std::as_const(v)), {}}, options,
                               {view(out), view(log_sum_exp), {}, {}, {}});
        Costs counted = counted_costs;
        counted.bytes_held = memory.peak_bytes_held();
        INFO("seed " << seed << " held " << counted.bytes_held);
        const Costs formula = forward_cost(size, options, sizeof(Counted));
        CHECK(counted == formula);

        Sizes other = size;
        other.G = other.H;
        CHECK(forward_cost(other, options, 4).multiply_adds == formula.multiply_adds);
    }
    CHECK(kv_cache::bytes(1, 1, 100, 2, 64, 64, 2) * 4 == kv_cache::bytes(1, 1, 100, 8, 64, 64, 2));
}
