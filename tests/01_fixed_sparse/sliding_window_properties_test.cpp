// What must hold of sliding-window attention whatever the sizes, on generated problems. Beside each property stands the
// wrong answer that it kills.
#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "common/mechanism/mechanism.hpp"
#include "tests/01_fixed_sparse/self_problem.hpp"
#include "tests/01_fixed_sparse/window_problem.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/tensors.hpp"

using namespace attn;
using namespace attn::sliding_window;
using fixed_sparse::Matrix;
using testing::error;

namespace {

int pick(std::uint64_t seed, std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); }

// Ragged, from the seed: as many queries as keys, or fewer, or more; windows from 1 to more than there is.
template <class Function>
void for_each_problem(int count, Function f) {
    for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(count); ++seed) {
        const int G = pick(seed, 0, 1, 2), Nk = pick(seed, 1, 1, 40);
        const int Nq = seed % 3 == 0 ? pick(seed, 2, 1, 50) : Nk;
        Problem<double> problem(
            {pick(seed, 3, 1, 2), G * pick(seed, 4, 1, 3), G, Nq, Nk, pick(seed, 5, 1, 9), pick(seed, 6, 1, 9)}, seed);
        const Options options{pick(seed, 7, 1, Nk + 3), seed % 2 ? pick(seed, 8, 0, Nk + 3) : 0,
                              seed % 8 == 0 ? 100 : 0.4};
        INFO("seed " << seed << " " << text(problem.size, options));
        f(problem, options);
    }
}

Matrix head_of(const Tensor<double, 4>& tensor, int b, int h) { return xt::view(tensor, b, h); }

Matrix mask_of(const Sizes& s, const Options& options) {
    return fixed_sparse::mask_of(
        s.Nq, s.Nk, [&](int i) { return fixed_sparse::window_set(s.Nq, s.Nk, options.window, options.sinks, i); });
}

double largest(const Tensor<double, 4>& tensor) { return xt::amax(xt::abs(tensor))(); }

}  // namespace

TEST_CASE("sliding window: equals dense attention with a mask, forward and backward") {
    // Kills: a window of W + 1, of W - 1, a sink counted twice, a softmax over all keys, gradients of one head of a
    // group, weights of rows that see nothing.
    for_each_problem(60, [](Problem<double>& p, const Options& options) {
        p.solve(options, true);
        Tensor<double, 4> out = p.out, d_q = p.d_q, d_k = p.d_k, d_v = p.d_v;
        d_k.fill(0), d_v.fill(0);
        const Matrix mask = mask_of(p.size, options);
        for (int b = 0; b < p.size.B; ++b)
            for (int h = 0; h < p.size.H; ++h) {
                const int g = p.size.kv_head(h);
                const Matrix q = head_of(p.q, b, h), k = head_of(p.k, b, g), v = head_of(p.v, b, g);
                const Matrix d_out = head_of(p.d_out, b, h);
                const Matrix P = fixed_sparse::masked_weights(q, k, options.scale, mask);
                const Matrix dP = fixed_sparse::times_transposed(d_out, v), both = P * dP;
                const xt::xtensor<double, 1> sums = xt::sum(both, {1});
                const Matrix dS = P * (dP - xt::view(sums, xt::all(), xt::newaxis()));
                xt::view(out, b, h) = fixed_sparse::times_transposed(P, xt::transpose(v));
                xt::view(d_q, b, h) = options.scale * fixed_sparse::times_transposed(dS, xt::transpose(k));
                xt::view(d_k, b, g) += options.scale * fixed_sparse::transposed_times(dS, q);
                xt::view(d_v, b, g) += fixed_sparse::transposed_times(P, d_out);
            }
        CHECK(error(p.out, out) <= 1e-12);
        // With scores of hundreds the weights are 0 and 1, and what is left of the gradients is rounding.
        const auto close = [&](const Tensor<double, 4>& a, const Tensor<double, 4>& b) {
            CHECK(largest(a - b) <= 1e-12 * (1 + largest(b)) * (options.scale > 1 ? 1e3 : 1));
        };
        close(p.d_q, d_q), close(p.d_k, d_k), close(p.d_v, d_v);
    });
}

TEST_CASE("sliding window: log_sum_exp is that of the visible scores, and -inf where there is none") {
    for_each_problem(30, [](Problem<double>& p, const Options& options) {
        p.solve(options);
        for (int h = 0; h < p.size.H; ++h)
            for (int i = 0; i < p.size.Nq; ++i) {
                const auto set = fixed_sparse::window_set(p.size.Nq, p.size.Nk, options.window, options.sinks, i);
                std::vector<double> scores;
                for (int j : set) {
                    double dot = 0;
                    for (int d = 0; d < p.size.D; ++d) dot += p.q(0, h, i, d) * p.k(0, p.size.kv_head(h), j, d);
                    scores.push_back(options.scale * dot);
                }
                double expected = -std::numeric_limits<double>::infinity();
                for (double score : scores) {  // log(exp(a) + exp(b))
                    const double larger = std::max(score, expected), smaller = std::min(score, expected);
                    expected = larger + std::log1p(std::exp(smaller - larger));
                }
                if (set.empty())
                    CHECK(p.log_sum_exp(0, h, i) == expected);
                else
                    CHECK(p.log_sum_exp(0, h, i) == Approx(expected).epsilon(1e-12).margin(1e-12));
            }
    });
}

TEST_CASE("sliding window: with a window, sinks, or both for everything it is causal dense attention") {
    for_each_problem(60, [](Problem<double>& p, Options options) {
        const int Nk = p.size.Nk;
        Problem<double> dense(p);
        dense::naive<double>(dense.inputs(true), {true, options.scale}, dense.outputs(true));
        for (auto [window, sinks] : {std::pair{Nk, 0}, {1, Nk}, {Nk - Nk / 2, Nk / 2}, {1 << 30, 1 << 30}}) {
            options.window = window, options.sinks = sinks;
            p.solve(options, true);
            INFO(text(p.size, options));
            CHECK(error(p.out, dense.out) <= 1e-12);
            CHECK(error(p.log_sum_exp, dense.log_sum_exp) <= 1e-12);
            CHECK(error(p.d_v, dense.d_v) <= 1e-11);
            if (options.scale < 1) CHECK(largest(p.d_k - dense.d_k) <= 1e-12 * (1 + largest(dense.d_k)));
        }
    });
}

TEST_CASE("sliding window: W = 1 without sinks gives back the values") {
    for_each_problem(20, [](Problem<double>& p, Options options) {
        options.window = 1, options.sinks = 0;
        p.solve(options);
        for (int h = 0; h < p.size.H; ++h)
            for (int i = 0; i < p.size.Nq; ++i)
                for (int d = 0; d < p.size.Dv; ++d) {
                    const int j = i + p.size.Nk - p.size.Nq;
                    CHECK(p.out(0, h, i, d) == (j < 0 ? 0 : p.v(0, p.size.kv_head(h), j, d)));
                }
    });
}

TEST_CASE("sliding window: one vector more in all keys changes nothing; the gradients obey their identities") {
    // Σ_j dK_j = 0; ⟨dV, V⟩ = ⟨dO, O⟩; ⟨dQ, Q⟩ = ⟨dK, K⟩. Kills: a gradient of a pair that is not seen.
    for_each_problem(40, [](Problem<double>& p, const Options& options) {
        if (options.scale > 1) return;
        p.solve(options, true);
        Problem<double> shifted(p);
        for (int d = 0; d < p.size.D; ++d) xt::view(shifted.k, xt::all(), xt::all(), xt::all(), d) += 0.7 * d - 1;
        CHECK(error(shifted.solve(options), p.out) <= 1e-12);
        const Tensor<double, 3> sums = xt::sum(p.d_k, {2});
        CHECK(xt::amax(xt::abs(sums))() <= 1e-11 * (1 + largest(p.d_k)));
        const auto product = [](const Tensor<double, 4>& a, const Tensor<double, 4>& b) {
            const Tensor<double, 4> each = a * b;
            return xt::sum(each)();
        };
        CHECK(product(p.d_v, p.v) == Approx(product(p.d_out, p.out)).epsilon(1e-11).margin(1e-11));
        CHECK(product(p.d_q, p.q) == Approx(product(p.d_k, p.k)).epsilon(1e-10).margin(1e-10));
    });
}

TEST_CASE("sliding window: the gradient is the slope of the output") {
    for_each_problem(15, [](Problem<double>& p, const Options& options) {
        if (options.scale > 1) return;
        p.solve(options, true);
        const auto loss = [&](const Problem<double>& at) {
            Problem<double> copy(at);
            const Tensor<double, 4> each = copy.solve(options) * p.d_out;
            return xt::sum(each)();
        };
        Problem<double> direction(p.size, 77);
        const auto slope = [&](Tensor<double, 4> Problem<double>::*tensor, const Tensor<double, 4>& gradient) {
            constexpr double h = 1e-6;
            Problem<double> up(p), down(p);
            up.*tensor += h * (direction.*tensor), down.*tensor -= h * (direction.*tensor);
            const Tensor<double, 4> each = gradient * (direction.*tensor);
            CHECK((loss(up) - loss(down)) / (2 * h) == Approx(xt::sum(each)()).epsilon(1e-6).margin(1e-7));
        };
        slope(&Problem<double>::q, p.d_q);
        slope(&Problem<double>::k, p.d_k);
        slope(&Problem<double>::v, p.d_v);
    });
}

TEST_CASE("sliding window: what a query does not see does not reach it, forward and backward") {
    // Kills: 0 · NaN, and a mask that is added to the scores.
    for_each_problem(40, [](Problem<double>& p, const Options& options) {
        p.solve(options, true);
        const int poisoned = pick(1, static_cast<std::uint64_t>(p.size.Nk), 0, p.size.Nk - 1);
        Problem<double> other(p);
        xt::view(other.k, xt::all(), xt::all(), poisoned) = std::nan("");
        xt::view(other.v, xt::all(), xt::all(), poisoned) = std::numeric_limits<double>::infinity();
        other.solve(options, true);
        for (int i = 0; i < p.size.Nq; ++i) {
            const auto set = fixed_sparse::window_set(p.size.Nq, p.size.Nk, options.window, options.sinks, i);
            for (int d = 0; d < p.size.Dv; ++d)
                if (set.count(poisoned))
                    CHECK(std::isnan(other.out(0, 0, i, d)));
                else
                    CHECK(other.out(0, 0, i, d) == p.out(0, 0, i, d));
            for (int d = 0; d < p.size.D && !set.count(poisoned); ++d)
                CHECK(other.d_q(0, 0, i, d) == p.d_q(0, 0, i, d));
        }
    });
}

TEST_CASE("sliding window: a prefix has the same bits alone and with anything behind it") {
    for_each_problem(30, [](Problem<double>& p, const Options& options) {
        if (p.size.Nq != p.size.Nk || p.size.Nk < 2) return;
        p.solve(options);
        Sizes shorter = p.size;
        shorter.Nq = shorter.Nk = p.size.Nk / 2;
        Problem<double> prefix(shorter, 0);
        prefix.q = xt::view(p.q, xt::all(), xt::all(), xt::range(0, shorter.Nk));
        prefix.k = xt::view(p.k, xt::all(), xt::all(), xt::range(0, shorter.Nk));
        prefix.v = xt::view(p.v, xt::all(), xt::all(), xt::range(0, shorter.Nk));
        const Tensor<double, 4> expected = xt::view(p.out, xt::all(), xt::all(), xt::range(0, shorter.Nk));
        CHECK(testing::same_bits(prefix.solve(options), expected));
    });
}

TEST_CASE("sliding window: through a rolling cache, in chunks of any size, it is the same function") {
    // Kills: a chunk that is written before its queries have looked, a slot j mod (W + s), a sink that is overwritten.
    for_each_problem(40, [](Problem<double>& p, const Options& options) {
        if (p.size.Nq != p.size.Nk || options.window > p.size.Nk + 3) return;
        p.solve(options);
        Tensor<double, 4> out = p.out;
        const int W = options.window;
        for (int chunk : {1, 2, std::max(1, W - 1), W, W + 1, 3 * W}) {
            out.fill(std::nan(""));
            for (int b = 0; b < p.size.B; ++b)
                for (int h = 0; h < p.size.H; ++h)
                    naive_through_cache(p.inputs(), options, chunk, b, h, view(out).slice(b, h));
            INFO("chunks of " << chunk);
            CHECK(error(out, p.out) <= 1e-13);
        }
    });
}

TEST_CASE("sliding window: the rolling cache holds the sinks and the last W positions, each in its slot") {
    constexpr int D = 1;
    for (auto [window, sinks] : {std::pair{4, 0}, {4, 2}, {1, 3}}) {
        RollingCache<double> cache({window, sinks, 1}, D, D);
        for (int t = 0; t < 15; ++t) {
            const double position = t;
            const TensorView<const double, 1> row(&position, {{D}});
            cache.append(row, row);
            for (int j = 0; j <= t; ++j) {
                const bool expected = j < sinks || j > t - window;
                INFO("W " << window << " s " << sinks << " after position " << t << ", position " << j);
                CHECK(cache.holds(j) == expected);
                if (expected) CHECK(cache.keys(cache.slot(j), 0) == j);
            }
        }
    }
    CHECK(cache_bytes(32768, 4096, 0, 8, 128, 128, 2) * 32 == std::int64_t{512} << 20);  // Mistral 7B: 512 MiB
    CHECK(cache_bytes(32768, 32768, 0, 8, 128, 128, 2) * 32 == std::int64_t{4} << 30);
    CHECK(cache_bytes(10, 4096, 4, 1, 1, 1, 1) == 20);
}

TEST_CASE("sliding window: through L layers a position hears of L (W - 1) + 1, itself counted in") {
    // Kills: L · W, and W + (L - 1) W. Layer on layer, the output is query, key and value of the next; one position
    // that changes reaches those that hear of it.
    for (int window : {1, 2, 3, 5})
        for (int layers : {1, 2, 3}) {
            constexpr int n = 20, changed = 3;
            const auto through_layers = [&](bool with_change) {
                Problem<double> p({1, 1, 1, n, n, 4, 4}, 3);
                if (with_change) xt::view(p.v, 0, 0, changed) += 1.0;
                for (int layer = 0; layer < layers; ++layer) {
                    if (layer > 0) p.q = p.k = p.v = p.out;
                    p.solve({window, 0, 0.5});
                }
                return p.out;
            };
            const Tensor<double, 4> before = through_layers(false), after = through_layers(true);
            int reached = 0, farthest = -1;
            for (int i = 0; i < n; ++i)
                if (before(0, 0, i, 0) != after(0, 0, i, 0)) ++reached, farthest = i;
            INFO("W " << window << ", " << layers << " layers");
            CHECK(reached == receptive_field(layers, window));
            CHECK(farthest == changed + receptive_field(layers, window) - 1);
        }
}

TEST_CASE("sliding window: the work grows as n") {
    CHECK(std::abs(fixed_sparse::counted_exponent("sliding_window", {128, 256, 512, 1024}) - 1) <= 0.05);
}

TEST_CASE("sliding window: costs by formula equal the counts") {
    const Mechanism& mechanism = *find_mechanism("sliding_window");
    for (auto [queries, keys, window, sinks] :
         {std::tuple{9, 9, 4, 0}, {9, 9, 4, 2}, {5, 9, 4, 3}, {12, 7, 3, 1}, {9, 9, 20, 20}, {1, 1, 1, 0}}) {
        Case sized = mechanism.sized_case(1);
        sized.inputs["q"] = zeros(DType::float32, {2, 4, queries, 3});
        sized.inputs["k"] = zeros(DType::float32, {2, 2, keys, 3});
        sized.inputs["v"] = zeros(DType::float32, {2, 2, keys, 5});
        sized.params =
            Params::parse("{\"window\": " + std::to_string(window) + ", \"sinks\": " + std::to_string(sinks) + "}");
        INFO(queries << " queries, " << keys << " keys, W " << window << ", s " << sinks);
        CHECK(mechanism.counted_costs(sized) == mechanism.predicted_costs(sized));
    }
}

TEST_CASE("sliding window: a bad case is refused with the file or the param") {
    const Mechanism& mechanism = *find_mechanism("sliding_window");
    const auto refusal = [&](const char* params, auto change) {
        Case sized = mechanism.sized_case(3);
        sized.folder = "some_case";
        sized.params = Params::parse(params);
        change(sized);
        return testing::refusal([&] { mechanism.check(sized); });
    };
    const auto nothing = [](Case&) {};
    CHECK(refusal(R"({"window": 1})", nothing) == "(not refused)");
    CHECK(refusal(R"({"window": 5, "sinks": 0, "scale": null})", nothing) == "(not refused)");
    CHECK_THAT(refusal("{}", nothing), Catch::Contains("params.window"));
    for (const char* params : {R"({"window": 0})", R"({"window": -3})", R"({"window": 2.0})", R"({"window": true})"})
        CHECK_THAT(refusal(params, nothing), Catch::Contains("params.window = "));
    CHECK_THAT(refusal(R"({"window": 2, "sinks": -1})", nothing), Catch::Contains("params.sinks = -1"));
    CHECK_THAT(refusal(R"({"window": 2, "causal": true})", nothing), Catch::Contains("causal"));
    CHECK_THAT(refusal(R"({"window": 2})",
                       [](Case& c) {
                           c.inputs["k"] = zeros(DType::float32, {1, 1, 3, 15});
                       }),
               Catch::Contains("some_case/k.npy has shape [1, 1, 3, 15], expected [1, 1, 3, 16]"));
    // The kernels have no backward pass.
    Case sized = mechanism.sized_case(3);
    CHECK(testing::refusal([&] { mechanism.check_cuda(sized); }) == "(not refused)");
    sized.inputs["d_out"] = sized.inputs["q"];
    CHECK_THAT(testing::refusal([&] { mechanism.check_cuda(sized); }), Catch::Contains("d_out.npy"));
}
