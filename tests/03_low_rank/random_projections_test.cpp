// The argument of Linformer's paper for its rank, measured: where it holds, and where not. Seeds are fixed; the
// intervals are several times as wide as what other seeds give.
#include "chapters/03_low_rank/random_projections.hpp"

#include "tests/support/catch.hpp"

using namespace attn::linformer;

TEST_CASE("random projections after the softmax: the mean squared error is (‖P‖²‖V‖² + ‖P V‖²) / K") {
    // Kills: "log n is enough for an error relative to the output". That of an inner product is relative to the two
    // lengths: with values around 0 the error of P V is √(N/K), as large as the output at K = N.
    for (std::uint64_t seed : {1, 100, 200})
        for (int N : {64, 256})
            for (int K : {16, 128, 1024}) {
                const RandomProjections found = measure_random_projections(N, 8, K, 8, seed);
                INFO("seed " << seed << " N " << N << " K " << K);
                const double expected = std::sqrt((found.lengths * found.lengths + found.exact * found.exact) / K);
                CHECK(found.after_softmax == Approx(expected).epsilon(0.2));
                CHECK(found.after_softmax / found.lengths == Approx(1 / std::sqrt(K)).epsilon(0.2));
                CHECK(found.after_softmax / found.exact == Approx(std::sqrt(1.0 * N / K)).epsilon(0.25));
            }
}

TEST_CASE("random projections as built, E = F = R: the error goes to 1 and the output to 0 as K grows") {
    // Kills: "the error of Linformer falls with K for random E and F".
    for (std::uint64_t seed : {1, 100, 200}) {
        double length = 1e9;
        for (int K : {16, 64, 256, 1024, 4096}) {
            const RandomProjections found = measure_random_projections(64, 8, K, 4, seed);
            INFO("seed " << seed << " K " << K);
            const double error = found.as_built / found.exact;
            if (K < 64) CHECK(error > 1.5);
            if (K >= 256) CHECK(error == Approx(1).epsilon(0.08));
            if (K >= 4096) CHECK(error == Approx(1).epsilon(0.01));
            CHECK(found.output < 0.6 * length);  // four times as many slots
            length = found.output;
        }
        CHECK(length < 0.03 * measure_random_projections(64, 8, 1, 1, seed).exact);
    }
}
