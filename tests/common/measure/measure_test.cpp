// The counting scalar, the memory tracker, fitted exponents; and for every mechanism: cost formulas equal the counts.
#include <memory>
#include <vector>

#include "common/measure/counted.hpp"
#include "common/measure/exponent.hpp"
#include "common/measure/memory_tracker.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

TEST_CASE("the counting scalar counts each operation once, as what it is") {
    counted_costs = {};
    Counted a = 2, b = 3, sum = 1;
    sum += a * b;  // a multiply-add
    CHECK(static_cast<double>(sum) == 7);
    CHECK(counted_costs == Costs{.multiply_adds = 1});
    Counted product = a * b;  // a multiplication
    sum += product;           // an addition
    CHECK(counted_costs == Costs{.multiply_adds = 1, .multiplications = 1, .additions = 1});
    Counted rest = exp(a - b) / log(b);
    CHECK(static_cast<double>(rest) == std::exp(-1.0) / std::log(3.0));
    CHECK((a < b));
    CHECK(static_cast<double>(sqrt(a)) == std::sqrt(2.0));
    CHECK(counted_costs == Costs{.multiply_adds = 1,
                                 .multiplications = 1,
                                 .additions = 2,
                                 .divisions = 1,
                                 .exponentials = 1,
                                 .logarithms = 1,
                                 .square_roots = 1,
                                 .comparisons = 1});
}

TEST_CASE("the memory tracker sees every new, of whatever kind, and the peak") {
    MemoryTracker tracker;
    {
        std::vector<double> vector(100);
        auto one = std::make_unique<char[]>(11);
        struct alignas(64) Wide {
            char bytes[64];
        };
        auto wide = std::make_unique<Wide>();
        CHECK(reinterpret_cast<std::uintptr_t>(wide.get()) % 64 == 0);
        CHECK(tracker.bytes_held() == 800 + 11 + 64);
    }
    CHECK(tracker.bytes_held() == 0);
    std::vector<char> smaller(10);
    CHECK(tracker.bytes_held() == 10);
    CHECK(tracker.peak_bytes_held() == 800 + 11 + 64);
}

TEST_CASE("an exponent is the slope in logarithms") {
    std::vector<double> n = {128, 256, 512, 1024, 2048}, square, n_log_n;
    for (double x : n) square.push_back(3 * x * x), n_log_n.push_back(x * std::log(x));
    CHECK(fitted_exponent(n, square) == Approx(2).margin(1e-12));
    CHECK(fitted_exponent(n, n_log_n) > 1.1);
    CHECK(fitted_exponent(n, n_log_n) < 1.2);
    CHECK_THROWS_AS(fitted_exponent({1, 2}, {1}), std::invalid_argument);
    CHECK_THROWS_AS(fitted_exponent({4, 4}, {1, 2}), std::invalid_argument);
    CHECK_THROWS_AS(fitted_exponent({4, 8}, {0, 2}), std::invalid_argument);
}

TEST_CASE("cost formulas equal the counts exactly, for every mechanism at sizes of its own") {
    REQUIRE(!mechanisms().empty());
    for (const Mechanism& mechanism : mechanisms())
        for (int n : {1, 2, 31, 100}) {
            Case sized = mechanism.sized_case(n);
            INFO(mechanism.name << ", n = " << n);
            CHECK(mechanism.counted_costs(sized) == mechanism.predicted_costs(sized));
        }
}

TEST_CASE("the cost formulas of dense attention, on generated sizes") {
    // Kills: pairs of a causal mask counted for Nq = Nk only; log_sum_exp counted for rows that see no key.
    const Mechanism& dense = *find_mechanism("dense");
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        auto pick = [&](std::uint64_t what, int high) { return std::int64_t{random_integer(seed, what, 1, high)}; };
        std::int64_t B = pick(0, 2), G = pick(1, 2), H = G * pick(2, 3), Nq = pick(3, 12), Nk = pick(4, 12),
                     D = pick(5, 5), Dv = pick(6, 5);
        Case sized;
        sized.mechanism = "dense";
        sized.params = Params::parse(seed % 2 ? R"({"causal": true})" : "{}");
        sized.inputs = {{"q", random_array({B, H, Nq, D}, seed)},
                        {"k", random_array({B, G, Nk, D}, seed + 1)},
                        {"v", random_array({B, G, Nk, Dv}, seed + 2)}};
        Costs counted = dense.counted_costs(sized);
        INFO("seed " << seed << " Nq " << Nq << " Nk " << Nk);
        CHECK(counted == dense.predicted_costs(sized));
        std::int64_t pairs = 0;  // an independent count of what is seen
        for (std::int64_t i = 0; i < Nq; ++i)
            for (std::int64_t j = 0; j < Nk; ++j) pairs += seed % 2 == 0 || j <= i + Nk - Nq;
        CHECK(counted.exponentials == B * H * pairs);
        CHECK(counted.multiply_adds == B * H * pairs * (D + Dv));
        CHECK(counted.bytes_held == Nq * Nk * static_cast<std::int64_t>(sizeof(Counted)));
    }
}
