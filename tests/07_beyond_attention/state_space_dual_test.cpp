// The scan of Mamba-2 is a recurrence and masked attention; and what "no attention matrix" means of either Mamba.
// Beside each property stands the wrong answer that it kills.
#include "chapters/07_beyond_attention/selective_scan/state_space_dual.hpp"

#include "chapters/07_beyond_attention/retention/retention_naive.hpp"
#include "chapters/07_beyond_attention/selective_scan/matrices.hpp"
#include "common/tensor/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/tensors.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using testing::error;

namespace {

struct Head {
    int L, N, P;
    Tensor<double, 2> q, k, v, out;
    Tensor<double, 1> log_decay;

    explicit Head(std::uint64_t seed) {
        L = random_integer(seed, 1, 1, 40), N = random_integer(seed, 2, 1, 6), P = random_integer(seed, 3, 1, 5);
        q = make_tensor<double, 2>({L, N}), k = q, v = make_tensor<double, 2>({L, P}), out = v;
        log_decay = make_tensor<double, 1>({{L}});
        fill_normal(view(q), 10 * seed), fill_normal(view(k), 10 * seed + 1), fill_normal(view(v), 10 * seed + 2);
        fill_normal(view(log_decay), 10 * seed + 3);
        log_decay = -xt::abs(log_decay);
    }
    state_space_dual::Inputs<double> inputs() const { return {view(q), view(k), view(v), view(log_decay)}; }
};
Head by_recurrence(Head head) {
    state_space_dual::recurrent(head.inputs(), view(head.out));
    return head;
}
Head by_attention(Head head) {
    state_space_dual::attention(head.inputs(), view(head.out));
    return head;
}

}  // namespace

TEST_CASE("state space duality: the recurrence and masked attention are one function") {
    // Kills: a mask whose products begin one token too early, prefix products that are divided by each other: with
    // decays of e^-20 and tokens that forget everything those are 0/0.
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        Head head(seed);
        if (seed % 4 == 0) head.log_decay *= 20;
        if (seed % 5 == 0) head.log_decay(head.L / 2) = -std::numeric_limits<double>::infinity();
        INFO("seed " << seed);
        CHECK(error(by_attention(head).out, by_recurrence(head).out) <= 1e-13);
    }
}

TEST_CASE("state space duality: with the same decay everywhere it is retention, with none linear attention") {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        Head head(seed);
        const double decay = seed % 3 == 0 ? 1 : 1 - 1.0 / static_cast<double>(1 << seed % 7 << 1);
        head.log_decay.fill(std::log(decay));
        Tensor<double, 4> out = make_tensor<double, 4>({1, 1, head.L, head.P}),
                          state = make_tensor<double, 4>({1, 1, head.N, head.P});
        const retention::Inputs<double> in{{head.q.data(), {{1, 1, head.L, head.N}}},
                                           {head.k.data(), {{1, 1, head.L, head.N}}},
                                           {head.v.data(), {{1, 1, head.L, head.P}}},
                                           {&decay, {{1}}},
                                           {}};
        retention::naive(in, retention::Options{}, retention::Outputs<double>{view(out), view(state)});
        const Tensor<double, 2> expected = xt::view(out, 0, 0, xt::all(), xt::all());
        CHECK(error(by_recurrence(head).out, expected) <= 1e-12);
    }
}

TEST_CASE("state space duality: it is the selective scan whose channels have one A and one Δ in common") {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        Head head(seed);
        auto u = make_tensor<double, 3>({1, head.P, head.L}), delta = u, out = u;
        auto b = make_tensor<double, 3>({1, head.N, head.L}), c = b;
        auto a = make_tensor<double, 2>({head.P, head.N}, -1.0);
        auto last_state = make_tensor<double, 3>({1, head.P, head.N});
        Head scanned = head;
        for (int t = 0; t < head.L; ++t) {
            for (int p = 0; p < head.P; ++p) {
                u(0, p, t) = head.v(t, p), delta(0, p, t) = -head.log_decay(t);
                scanned.v(t, p) = -head.log_decay(t) * head.v(t, p);
            }
            for (int n = 0; n < head.N; ++n) b(0, n, t) = head.k(t, n), c(0, n, t) = head.q(t, n);
        }
        const auto &us = u, &deltas = delta, &bs = b, &cs = c;
        const auto& as = a;
        selective_scan::Inputs<double> in{view(us), view(deltas), view(as), view(bs), view(cs), {}, {}, {}, {}};
        selective_scan::naive(in, {}, selective_scan::Outputs<double>{view(out), view(last_state)});
        const Tensor<double, 2> expected = xt::transpose(xt::view(out, 0, xt::all(), xt::all()));
        CHECK(error(by_attention(scanned).out, expected) <= 1e-13);
    }
}

TEST_CASE("no attention matrix: what Mamba is for given Δ, B and C") {
    // Kills the claims that it is one matrix for all channels, that its rows are weights, and that it has full rank.
    constexpr int L = 14, S = 3;
    auto u = make_tensor<double, 3>({1, 2, L}), delta = u, out = u;
    auto b = make_tensor<double, 3>({1, S, L}), c = b;
    auto a = make_tensor<double, 2>({2, S});
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        fill_normal(view(u), 10 * seed), fill_normal(view(delta), 10 * seed + 1), fill_normal(view(b), 10 * seed + 2);
        fill_normal(view(c), 10 * seed + 3), fill_normal(view(a), 10 * seed + 4, 0.5);
        for (double& rate : a) rate = -std::exp(rate);
        const auto &us = u, &deltas = delta, &bs = b, &cs = c;
        const auto& as = a;
        selective_scan::Inputs<double> in{view(us), view(deltas), view(as), view(bs), view(cs), {}, {}, {}, {}};
        selective_scan::Options options;
        options.delta_softplus = true;
        auto last_state = make_tensor<double, 3>({1, 2, S});
        selective_scan::naive(in, options, selective_scan::Outputs<double>{view(out), view(last_state)});
        const Tensor<double, 2> first = matrix_of_channel(in, options, 0), second = matrix_of_channel(in, options, 1);
        INFO("seed " << seed);
        // It is u's matrix: times u it gives out. And another one for another channel.
        for (int i = 0; i < L; ++i) {
            double sum = 0;
            for (int j = 0; j < L; ++j) {
                if (j > i) CHECK(first(i, j) == 0);
                sum += first(i, j) * u(0, 0, j);
            }
            CHECK(sum == Approx(out(0, 0, i)).margin(1e-13));
        }
        CHECK(error(second, first) > 0.1);
        // Not weights: some are negative, and a row does not sum to 1.
        CHECK(xt::amin(first)() < -0.01);
        CHECK(std::abs(xt::sum(xt::view(first, L - 1, xt::all()))() - 1) > 0.01);
        // What later tokens read of earlier ones has rank S, where it could have 7.
        for (int first_row = 1; first_row < L; ++first_row)
            CHECK(selective_scan::rank_below(first, first_row) == std::min({S, first_row, L - first_row}));
    }
}
