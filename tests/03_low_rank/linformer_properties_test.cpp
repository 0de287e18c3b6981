// What must hold of Linformer whatever the sizes, on generated problems. Beside each property stands the wrong answer
// that it kills.
#include <numeric>

#include "chapters/00_dense_attention/dense_attention_naive.hpp"
#include "common/measure/counted.hpp"
#include "common/measure/memory_tracker.hpp"
#include "common/mechanism/mechanism.hpp"
#include "tests/03_low_rank/linformer_problem.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/property.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using namespace attn::linformer;
using testing::relative_error;

namespace {

constexpr double scale = 0.4;

// Ragged, from the seed; now and then one head, one slot, one position, more slots than positions.
Sizes generated_sizes(std::uint64_t seed) {
    auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    Sizes size{pick(0, 1, 2),  pick(1, 1, 3), pick(2, 1, 20), pick(3, 1, 33),
               pick(4, 1, 18), pick(5, 1, 9), pick(6, 1, 9)};
    if (seed % 5 == 0) size.K = 1;
    if (seed % 7 == 0) size.N = 1;
    return size;
}
constexpr int generated = 40;  // seeds that meet all of these

// Calls f with generated problems in double, with shared projections and with those of each head.
template <class Function>
void for_each_problem(Function f) {
    for (std::uint64_t seed = 1; seed <= generated; ++seed)
        for (bool shared : {false, true}) {
            Problem<double> problem(generated_sizes(seed), shared, seed);
            INFO("seed " << seed << (shared ? " shared " : " ") << text(problem.size));
            f(problem, seed);
        }
}

// 0 … n - 1 in an order from the seed.
std::vector<int> permutation(int n, std::uint64_t seed) {
    std::vector<int> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    for (int i = n - 1; i > 0; --i)
        std::swap(order[static_cast<std::size_t>(i)],
                  order[static_cast<std::size_t>(random_integer(seed, static_cast<std::uint64_t>(i), 0, i))]);
    return order;
}

// a bᵀ
xt::xarray<double> times_transposed(const xt::xarray<double>& a, const xt::xarray<double>& b) {
    return xt::sum(xt::view(a, xt::all(), xt::newaxis(), xt::all()) * xt::view(b, xt::newaxis(), xt::all(), xt::all()),
                   2);
}

double row_sum(const Tensor<double, 3>& projection, int h, int s) {
    double sum = 0;
    for (std::size_t j = 0; j < projection.shape()[2]; ++j) sum += projection(h, s, j);
    return sum;
}

// The weights of a head's queries, from the output for unit vectors as projected values.
Tensor<double, 4> weights_of(const Problem<double>& problem) {
    const Sizes& s = problem.size;
    Problem<double> other({s.B, s.H, s.Nq, s.N + s.K, s.K, s.D, s.K}, problem.shared, 0);
    other.q = problem.q, other.k.fill(0), other.v.fill(0), other.E.fill(0), other.F.fill(0);
    xt::view(other.k, xt::all(), xt::all(), xt::range(0, s.N)) = problem.k;
    xt::view(other.E, xt::all(), xt::all(), xt::range(0, s.N)) = problem.E;
    for (int slot = 0; slot < s.K; ++slot) {
        xt::view(other.v, xt::all(), xt::all(), s.N + slot, slot) = 1;
        xt::view(other.F, xt::all(), slot, s.N + slot) = 1;
    }
    return other.solve(scale);
}

}  // namespace

TEST_CASE("linformer: equals its quadratic form") {
    // The N × N matrix softmax((Q Kᵀ) Eᵀ) F times V, in which K̃ and Ṽ do not occur. Kills: E and F exchanged, a scale
    // forgotten, a softmax over positions, weights that are not normalised.
    for_each_problem([](Problem<double>& p, std::uint64_t) {
        p.solve(scale);
        Tensor<double, 4> expected = p.out;
        for (int b = 0; b < p.size.B; ++b)
            for (int h = 0; h < p.size.H; ++h) {
                const xt::xarray<double> q = xt::view(p.q, b, h), k = xt::view(p.k, b, h), v = xt::view(p.v, b, h);
                const xt::xarray<double> E = xt::view(p.E, p.shared ? 0 : h), F = xt::view(p.F, p.shared ? 0 : h);
                const xt::xarray<double> e = xt::exp(scale * times_transposed(times_transposed(q, k), E));  // [Nq, K]
                const xt::xarray<double> sums = xt::sum(e, 1), P = e / xt::view(sums, xt::all(), xt::newaxis());
                const xt::xarray<double> whole = times_transposed(P, xt::transpose(F));  // [Nq, N]
                xt::view(expected, b, h) = times_transposed(whole, xt::transpose(v));
            }
        CHECK(relative_error(view(p.out), view(expected)) <= 1e-12);
    });
}

TEST_CASE("linformer: with K = N and E = F a permutation it is dense attention") {
    // Kills: nothing normalised by the slots' number; a projection read as [N, K].
    for_each_problem([](Problem<double>& p, std::uint64_t seed) {
        Sizes size = p.size;
        size.K = size.N;
        Problem<double> permuted(size, p.shared, seed);
        permuted.E.fill(0);
        for (std::size_t h = 0; h < permuted.E.shape()[0]; ++h) {
            const std::vector<int> order = permutation(size.N, seed + h);
            for (int s = 0; s < size.K; ++s) permuted.E(h, s, order[static_cast<std::size_t>(s)]) = 1;
        }
        permuted.F = permuted.E;
        Tensor<double, 4> expected = permuted.solve(scale);
        auto log_sum_exp = make_tensor<double, 3>({size.B, size.H, size.Nq});
        dense::naive_forward<double>(
            {view(std::as_const(permuted.q)), view(std::as_const(permuted.k)), view(std::as_const(permuted.v)), {}},
            {false, scale}, {view(expected), view(log_sum_exp), {}, {}, {}});
        CHECK(relative_error(view(permuted.out), view(expected)) <= 1e-12);
    });
    // An orthogonal E = F is not enough: a softmax does not commute with rotations.
    Problem<double> rotated({1, 1, 5, 2, 2, 4, 3}, true, 1);
    const double c = std::cos(0.7), s = std::sin(0.7);
    rotated.E(0, 0, 0) = c, rotated.E(0, 0, 1) = -s, rotated.E(0, 1, 0) = s, rotated.E(0, 1, 1) = c;
    rotated.F = rotated.E;
    Problem<double> identity = rotated;
    identity.E(0, 0, 0) = identity.E(0, 1, 1) = 1, identity.E(0, 0, 1) = identity.E(0, 1, 0) = 0;
    identity.F = identity.E;
    rotated.solve(scale), identity.solve(scale);
    CHECK(relative_error(view(rotated.out), view(identity.out)) > 0.05);
}

TEST_CASE("linformer: slots have no order, positions have") {
    for_each_problem([](Problem<double>& p, std::uint64_t seed) {
        const Tensor<double, 4> plain = p.solve(scale);
        Problem<double> slots = p, positions = p, only_positions = p;
        const std::vector<int> of_slots = permutation(p.size.K, seed), of_positions = permutation(p.size.N, seed + 1);
        for (int s = 0; s < p.size.K; ++s)
            for (auto [to, from] : {std::pair{&slots.E, &p.E}, {&slots.F, &p.F}})
                xt::view(*to, xt::all(), s) = xt::view(*from, xt::all(), of_slots[static_cast<std::size_t>(s)]);
        for (int j = 0; j < p.size.N; ++j) {
            const int from = of_positions[static_cast<std::size_t>(j)];
            for (Problem<double>* other : {&positions, &only_positions}) {
                xt::view(other->k, xt::all(), xt::all(), j) = xt::view(p.k, xt::all(), xt::all(), from);
                xt::view(other->v, xt::all(), xt::all(), j) = xt::view(p.v, xt::all(), xt::all(), from);
            }
            xt::view(positions.E, xt::all(), xt::all(), j) = xt::view(p.E, xt::all(), xt::all(), from);
            xt::view(positions.F, xt::all(), xt::all(), j) = xt::view(p.F, xt::all(), xt::all(), from);
        }
        slots.solve(scale), positions.solve(scale), only_positions.solve(scale);
        CHECK(relative_error(view(slots.out), view(plain)) <= 1e-12);
        CHECK(relative_error(view(positions.out), view(plain)) <= 1e-12);
        if (p.size.N >= 10) CHECK(relative_error(view(only_positions.out), view(plain)) > 1e-3);
    });
}

TEST_CASE("linformer: values of 1 become the mean of the row sums of F") {
    // Kills: weights that do not sum to 1. And shows that the output is no mean of the values, as it is elsewhere.
    for_each_problem([](Problem<double>& p, std::uint64_t) {
        const Tensor<double, 4> P = weights_of(p);
        p.v.fill(1);
        p.solve(scale);
        for (int b = 0; b < p.size.B; ++b)
            for (int h = 0; h < p.size.H; ++h)
                for (int i = 0; i < p.size.Nq; ++i) {
                    double expected = 0, weights = 0, least = 1e9, most = -1e9;
                    for (int s = 0; s < p.size.K; ++s) {
                        const double sum = row_sum(p.F, p.shared ? 0 : h, s);
                        expected += P(b, h, i, s) * sum, weights += P(b, h, i, s);
                        least = std::min(least, sum), most = std::max(most, sum);
                    }
                    REQUIRE(weights == Approx(1).epsilon(1e-12));
                    for (int d = 0; d < p.size.Dv; ++d) {
                        REQUIRE(p.out(b, h, i, d) == Approx(expected).epsilon(1e-12).margin(1e-12));
                        REQUIRE(p.out(b, h, i, d) >= least - 1e-12);
                        REQUIRE(p.out(b, h, i, d) <= most + 1e-12);
                    }
                }
    });
}

TEST_CASE("linformer: one vector more in all keys changes nothing only if the row sums of E are equal") {
    // Dense attention does not see it. Kills: that invariance, taken over.
    for_each_problem([](Problem<double>& p, std::uint64_t) {
        Problem<double> level = p;
        for (std::size_t h = 0; h < level.E.shape()[0]; ++h)
            for (int s = 0; s < p.size.K; ++s) level.E(h, s, 0) += 0.7 - row_sum(p.E, static_cast<int>(h), s);
        for (auto [problem, stays] : {std::pair{&p, p.size.K == 1}, {&level, true}}) {
            const Tensor<double, 4> plain = problem->solve(scale);
            for (int d = 0; d < p.size.D; ++d)
                xt::view(problem->k, xt::all(), xt::all(), xt::all(), d) += 1.5 - 0.5 * d;
            problem->solve(scale);
            if (stays)
                CHECK(relative_error(view(problem->out), view(plain)) <= 1e-11);
            else
                CHECK(relative_error(view(problem->out), view(plain)) > 1e-6);
        }
    });
}

TEST_CASE("linformer: the future leaks into every output") {
    // The reason why `causal` is refused: the derivative of out_0 with respect to the last value is Σ_s P_0s F[s, N-1],
    // by finite differences too, and not 0.
    for_each_problem([](Problem<double>& p, std::uint64_t) {
        const Tensor<double, 4> P = weights_of(p), plain = p.solve(scale);
        for (int d = 0; d < p.size.Dv; ++d) {
            Problem<double> moved = p;
            constexpr double step = 0.25;  // the output is linear in v: any step will do
            xt::view(moved.v, xt::all(), xt::all(), p.size.N - 1, d) += step;
            moved.solve(scale);
            for (int b = 0; b < p.size.B; ++b)
                for (int h = 0; h < p.size.H; ++h)
                    for (int column = 0; column < p.size.Dv; ++column) {
                        double derivative = 0;
                        for (int s = 0; column == d && s < p.size.K; ++s)
                            derivative += P(b, h, 0, s) * p.F(p.shared ? 0 : h, s, p.size.N - 1);
                        const double difference = (moved.out(b, h, 0, column) - plain(b, h, 0, column)) / step;
                        REQUIRE(difference == Approx(derivative).epsilon(1e-10).margin(1e-12));
                        if (column == d) REQUIRE(std::abs(difference) > 1e-6);
                    }
        }
        // The last key as well, through the scores.
        if (p.size.K < 2) return;
        xt::view(p.k, xt::all(), xt::all(), p.size.N - 1) += 0.5;
        p.solve(scale);
        CHECK(std::abs(p.out(0, 0, 0, 0) - plain(0, 0, 0, 0)) > 1e-9);
    });
}

TEST_CASE("linformer: slots that each end somewhere leak as long as every query sees every slot") {
    // E and F block lower triangular: slot s mixes positions up to 4s + 3 only. That alone mends nothing. With slots
    // masked for each query, those that end at its position or before, it does; but this is no longer Linformer: the
    // queries before the first complete slot see nothing.
    constexpr int N = 16, K = 4, block = N / K;
    Problem<double> p({1, 2, N, N, K, 5, 3}, true, 4);
    for (int s = 0; s < K; ++s)
        for (int j = block * (s + 1); j < N; ++j) p.E(0, s, j) = p.F(0, s, j) = 0;
    Problem<double> other = p;
    xt::view(other.k, xt::all(), xt::all(), N - 1) += 1, xt::view(other.v, xt::all(), xt::all(), N - 1) += 1;
    const auto first_slots = [](const Problem<double>& from, int count) {
        Problem<double> part({1, 2, N, N, count, 5, 3}, true, 0);
        part.q = from.q, part.k = from.k, part.v = from.v;
        part.E = xt::view(from.E, xt::all(), xt::range(0, count)),
        part.F = xt::view(from.F, xt::all(), xt::range(0, count));
        return part.solve(scale);
    };
    p.solve(scale), other.solve(scale);
    for (int i = 0; i < N; ++i) CHECK(std::abs(p.out(0, 0, i, 0) - other.out(0, 0, i, 0)) > 1e-6);
    for (int i = block - 1; i < N - 1; ++i) {
        const int complete = (i + 1) / block;
        CHECK(first_slots(p, complete)(0, 0, i, 0) == first_slots(other, complete)(0, 0, i, 0));
    }
}

TEST_CASE("linformer: shorter sequences take the first columns of E and F, and padding must be 0") {
    for_each_problem([](Problem<double>& p, std::uint64_t seed) {
        const int n = random_integer(seed, 9, 1, p.size.N);
        Sizes size = p.size;
        size.N = n;
        Problem<double> part(size, p.shared, 0);
        part.q = p.q;
        part.k = xt::view(p.k, xt::all(), xt::all(), xt::range(0, n)),
        part.v = xt::view(p.v, xt::all(), xt::all(), xt::range(0, n));
        part.E = xt::view(p.E, xt::all(), xt::all(), xt::range(0, n)),
        part.F = xt::view(p.F, xt::all(), xt::all(), xt::range(0, n));
        Problem<double> padded = p;
        xt::view(padded.k, xt::all(), xt::all(), xt::range(n, p.size.N)) = 0;
        xt::view(padded.v, xt::all(), xt::all(), xt::range(n, p.size.N)) = 0;
        part.solve(scale), padded.solve(scale), p.solve(scale);
        CHECK(relative_error(view(padded.out), view(part.out)) <= 1e-13);
        if (n + 5 < p.size.N) CHECK(relative_error(view(p.out), view(part.out)) > 1e-3);
        // Nothing can be hidden after the projection: 0 · NaN is NaN.
        if (n == p.size.N) return;
        xt::view(padded.E, xt::all(), xt::all(), xt::range(n, p.size.N)) = 0;
        padded.k(0, 0, n, 0) = std::nan("");
        padded.solve(scale);
        for (int i = 0; i < size.Nq; ++i) REQUIRE(std::isnan(padded.out(0, 0, i, 0)));
    });
}

TEST_CASE("linformer: float and the 16-bit types") {
    for (std::uint64_t seed = 1; seed <= generated; ++seed) {
        Problem<double> exact(Problem<float>(generated_sizes(seed), seed % 2 == 0, seed));
        Problem<float> single(exact);
        Problem<float16> half(exact);
        Problem<bfloat16> brain(exact);
        Problem<double> of_half(half), of_brain(brain);
        INFO("seed " << seed << " " << text(exact.size));
        CHECK(relative_error(view(single.solve(scale)), view(exact.solve(scale))) <= 2e-6);
        // Against the same inputs: what is left is one rounding, 2^-11 and 2^-8.
        CHECK(relative_error(view(half.solve(scale)), view(of_half.solve(scale))) <= 0x1p-11);
        CHECK(relative_error(view(brain.solve(scale)), view(of_brain.solve(scale))) <= 0x1p-8);
    }
}

TEST_CASE("linformer: large scores, and no positive score") {
    // Kills: no subtraction of the maximum, a maximum that begins at 0.
    for (double large : {3000.0, -3000.0}) {
        Problem<double> p({1, 2, 9, 12, 6, 5, 4}, true, 5);
        p.solve(large);
        for (double value : p.out) REQUIRE(std::isfinite(value));
        Tensor<double, 4> best = p.out;  // the value of the slot with the largest score
        for (int h = 0; h < 2; ++h)
            for (int i = 0; i < 9; ++i) {
                double most = -1e300;
                for (int s = 0; s < 6; ++s) {
                    double score = 0;
                    for (int d = 0; d < 5; ++d)
                        for (int j = 0; j < 12; ++j) score += large * p.q(0, h, i, d) * p.E(0, s, j) * p.k(0, h, j, d);
                    if (score <= most) continue;
                    most = score;
                    for (int d = 0; d < 4; ++d) {
                        best(0, h, i, d) = 0;
                        for (int j = 0; j < 12; ++j) best(0, h, i, d) += p.F(0, s, j) * p.v(0, h, j, d);
                    }
                }
            }
        CHECK(relative_error(view(p.out), view(best)) <= 1e-6);
    }
}

// ---- costs ----------------------------------------------------------------------------------------------------------

TEST_CASE("linformer: costs by formula equal the counts") {
    // Kills: K̃ and Ṽ made for each query, Nq × K weights held, projections of all heads held at once.
    for (std::uint64_t seed = 1; seed <= generated; ++seed)
        for (bool shared : {false, true}) {
            Problem<Counted> problem(generated_sizes(seed), shared, seed);
            const Inputs<Counted> inputs = problem.inputs();
            const Outputs<Counted> outputs = problem.outputs();
            counted_costs = {};
            MemoryTracker memory;
            naive(inputs, {scale}, outputs);
            Costs counted = counted_costs;
            counted.bytes_held = memory.peak_bytes_held();
            const Costs predicted = forward_cost(problem.size, sizeof(Counted));
            INFO("seed " << seed << " " << text(problem.size));
            CHECK(counted.multiply_adds == predicted.multiply_adds);
            CHECK(counted.multiplications == predicted.multiplications);
            CHECK(counted.additions == predicted.additions);
            CHECK(counted.divisions == predicted.divisions);
            CHECK(counted.comparisons == predicted.comparisons);
            CHECK(counted.exponentials == predicted.exponentials);
            CHECK(counted.bytes_held == predicted.bytes_held);
            CHECK(counted == predicted);
        }
}

TEST_CASE("linformer: work grows with N, memory does not, and dense attention is cheaper up to N = 2K") {
    const Sizes small{1, 1, 1000, 1000, 16, 16, 16};
    Sizes large = small;
    large.Nq = large.N = 16000;
    CHECK(forward_cost(large, 4).multiply_adds == 16 * forward_cost(small, 4).multiply_adds);
    for (int N : {64, 1024, 16384}) {
        Problem<float> problem({1, 1, N, N, 16, 2, 3}, true, 1);
        const Inputs<float> inputs = problem.inputs();
        const Outputs<float> outputs = problem.outputs();
        MemoryTracker memory;
        naive(inputs, {scale}, outputs);
        INFO("N = " << N);
        CHECK(memory.peak_bytes_held() == 16 * (2 + 3 + 1) * static_cast<int>(sizeof(float)));
    }
    for (int K : {1, 16, 128})
        for (int N : {2 * K - 1, 2 * K, 2 * K + 1}) {
            const std::int64_t linformer = forward_cost({1, 1, N, N, K, 16, 24}, 4).multiply_adds;
            const std::int64_t dense = dense::forward_cost({1, 1, 1, N, N, 16, 24}, false, 4).multiply_adds;
            INFO("K " << K << " N " << N);
            CHECK((linformer > dense) == (N < 2 * K));
            CHECK((linformer < dense) == (N > 2 * K));
        }
}

TEST_CASE("linformer: numbers moved by the projections") {
    CHECK(numbers_moved_by_projections({1, 1, 1, 100, 7, 16, 24}, 64) ==
          2 * 7 * 100 + 100 * (16 + 24) + 7 * (16 + 24));  // everything once
    CHECK(numbers_moved_by_projections({1, 1, 1, 100, 130, 65, 64}, 64) ==
          (2 + 1) * 130 * 100 + 3 * 100 * (65 + 64) + 130 * (65 + 64));
}

// ---- what is refused ------------------------------------------------------------------------------------------------

TEST_CASE("linformer: inputs that contradict each other are refused by name") {
    Problem<double> each({2, 3, 4, 6, 5, 7, 8}, false, 1), all({2, 3, 4, 6, 5, 7, 8}, true, 1);
    const auto refusal = [](Problem<double>& problem, auto change) {
        Inputs<double> in = problem.inputs();
        change(in);
        problem.clear();
        try {
            naive(in, {scale}, problem.outputs());
        } catch (const ShapeError& error) {
            for (double value : problem.out) REQUIRE(std::isnan(value));  // nothing was written
            return std::string(error.what());
        }
        return std::string("(not refused)");
    };
    using In = Inputs<double>;
    CHECK(refusal(each, [](In&) {}) == "(not refused)");
    CHECK(refusal(all, [](In&) {}) == "(not refused)");
    CHECK(refusal(all, [](In& in) {
              in.k = {in.k.data(), {2, 1, 6, 7}};
          }) == "k has shape [2, 1, 6, 7], expected [2, 3, 6, 7] = [B, H, N, D] with B, H and D of q");
    CHECK(refusal(all, [](In& in) {
              in.v = {in.v.data(), {2, 3, 5, 8}};
          }) == "v has shape [2, 3, 5, 8], expected [2, 3, 6, 8] = [B, H, N, Dv] with B, H and N of k");
    CHECK(refusal(all, [](In& in) {
              in.key_projection = {in.key_projection.data(), {5, 4}};
          }) == "key_projection has shape [5, 4], expected [5, 6] = [K, N] with N of k");
    CHECK(refusal(all, [](In& in) {
              in.value_projection = {in.value_projection.data(), {4, 6}};
          }) == "value_projection has shape [4, 6], expected [5, 6] = [K, N] with K of key_projection and N of k");
    CHECK(refusal(each, [](In& in) {
              in.key_projection_of_heads = {in.key_projection_of_heads.data(), {1, 5, 6}};
          }) == "key_projection has shape [1, 5, 6], expected [3, 5, 6] = [H, K, N] with H of q and N of k");
    CHECK(refusal(each,
                  [](In& in) {
                      in.value_projection_of_heads = {in.value_projection_of_heads.data(), {3, 4, 6}};
                  }) ==
          "value_projection has shape [3, 4, 6], expected [3, 5, 6] = [H, K, N] with H of q, K of key_projection "
          "and N of k");
    CHECK(refusal(all, [](In& in) { in.key_projection = {}; }) ==
          "key_projection is missing, expected [K, N] for all heads or [H, K, N] for each");
    CHECK(refusal(all, [&](In& in) { in.key_projection_of_heads = each.inputs().key_projection_of_heads; }) ==
          "key_projection is given twice, expected [K, N] for all heads or [H, K, N] for each");
    CHECK(
        refusal(all, [&](In& in) {
            in.key_projection = {}, in.key_projection_of_heads = each.inputs().key_projection_of_heads;
        }) == "value_projection is [K, N] and key_projection [H, K, N], expected both for all heads or both for each");
}

TEST_CASE("linformer: a bad case is refused with the file or the param") {
    const Mechanism& mechanism = *find_mechanism("linformer");
    const auto refusal = [&](const char* params, auto change) {
        Case sized = mechanism.sized_case(3);
        sized.folder = "some_case";
        sized.params = Params::parse(params);
        change(sized);
        return testing::refusal([&] { mechanism.check(sized); });
    };
    const auto nothing = [](Case&) {};
    const auto replaced = [](const char* name, std::vector<std::int64_t> shape) {
        return [=](Case& c) { c.inputs[name] = zeros(DType::float32, shape); };
    };
    CHECK(refusal("{}", nothing) == "(not refused)");
    CHECK(refusal(R"({"causal": false, "scale": null})", nothing) == "(not refused)");
    CHECK(refusal("{}", [&](Case& c) {
              replaced("key_projection", {1, 5, 3})(c), replaced("value_projection", {1, 5, 3})(c);
          }) == "(not refused)");
    const std::string causal = refusal(R"({"causal": true})", nothing);
    CHECK(causal.starts_with("case.json: found \"causal\": true, expected false: each slot is a mix of all positions"));
    CHECK_THAT(refusal(R"({"causal": 0})", nothing), Catch::Contains("params.causal = 0"));
    CHECK_THAT(refusal(R"({"slots": 4})", nothing), Catch::Contains("slots"));
    CHECK_THAT(refusal("{}", [](Case& c) { c.inputs.erase("v"); }), Catch::Contains("some_case/v.npy: found no such"));
    CHECK(refusal("{}", [](Case& c) { c.inputs.erase("value_projection"); }) ==
          "some_case/value_projection.npy is missing, expected [K, N] for all heads or [H, K, N] for each");
    CHECK(refusal("{}", replaced("key_projection", {1, 16, 3})) ==
          "some_case/value_projection.npy is [K, N] and key_projection [H, K, N], expected both for all heads or both "
          "for each");
    CHECK(refusal("{}", replaced("value_projection", {15, 3})) ==
          "some_case/value_projection.npy has shape [15, 3], expected [16, 3] = [K, N] with K of key_projection and N "
          "of k");
    CHECK(refusal("{}", replaced("key_projection", {48})) ==
          "some_case/key_projection.npy: found shape [48], expected 2 or 3 dimensions");
    CHECK(refusal("{}", replaced("q", {3, 16})) == "some_case/q.npy: found shape [3, 16], expected 4 dimensions");
    CHECK(refusal("{}",
                  [](Case& c) {
                      c.inputs["E"] = zeros(DType::float32, {16, 3});
                  }) ==
          "some_case/E.npy: found a tensor that linformer does not take, expected q, k, v, key_projection, "
          "value_projection");
    CHECK_THAT(refusal("{}",
                       [](Case& c) {
                           c.inputs["key_projection"] = zeros(DType::int32, {16, 3});
                       }),
               Catch::Contains("some_case/key_projection.npy: found int32, expected float32 or float64"));
}
