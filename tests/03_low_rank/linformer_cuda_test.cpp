// The kernels of Linformer on generated problems. Beside each property stands the wrong answer that it kills.
#include <cstring>
#include <limits>

#include "common/mechanism/cuda_versions.hpp"
#include "tests/03_low_rank/linformer_problem.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/property.hpp"

using namespace attn;
using namespace attn::linformer;
using testing::relative_error;

namespace {

// Around the edges of tiles of 64, strips of 32 and splits of 256, from the seed.
Sizes generated_sizes(std::uint64_t seed) {
    auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    Sizes size{pick(0, 1, 3),   pick(1, 1, 4),  pick(2, 1, 140), pick(3, 1, 200),
               pick(4, 1, 140), pick(5, 1, 70), pick(6, 1, 140)};
    constexpr int usual[] = {32, 64, 96, 128};
    if (seed % 3 == 0) size.D = usual[seed % 4], size.Dv = usual[seed / 3 % 4], size.N = 4 * pick(7, 1, 50);
    if (seed % 8 == 0) size.K = 255 + static_cast<int>(seed / 8), size.Nq = 9;
    if (seed % 10 == 0) size.N = 1000, size.K = 3, size.B = 1;
    return size;
}

void run(Problem<float>& problem, double scale) {
    const std::vector<CudaVersion> versions = cuda_versions("linformer", ATTN_TEST_DEVICE);
    REQUIRE(versions.size() == 1);
    problem.clear();
    cuda_function<CudaFunction>(versions[0])(problem.inputs(), {scale}, problem.outputs());
}

bool same_bits(const float* a, const float* b, std::size_t count) {
    return std::memcmp(a, b, count * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("linformer, on the device: equals the naive version in double on generated sizes") {
    // Kills: the projection of head 0 for all heads, of batch 0 for all sequences; a tail of positions, slots or
    // columns forgotten; slots beyond K that take part in the softmax.
    for (std::uint64_t seed = 1; seed <= 30; ++seed)
        for (bool shared : {false, true}) {
            Problem<float> problem(generated_sizes(seed), shared, seed);
            const double scale = (seed % 5 == 0 ? 5 : 1) / std::sqrt(problem.size.D);
            Problem<double> exact(problem);
            run(problem, scale);
            INFO("seed " << seed << (shared ? " shared " : " ") << text(problem.size));
            CHECK(relative_error(view(problem.out), view(exact.solve(scale))) <= 2e-6);
        }
}

TEST_CASE("linformer, on the device: the same bits on every run, and alone as in a batch") {
    // Kills: sums by atomics, and an order of sums that depends on how many sequences there are.
    for (bool shared : {false, true}) {
        Problem<float> whole({3, 2, 70, 90, 70, 20, 68}, shared, 3), again = whole,
                                                                     alone({1, 2, 70, 90, 70, 20, 68}, shared, 3);
        run(whole, 0.3), run(again, 0.3);
        CHECK(same_bits(whole.out.data(), again.out.data(), whole.out.size()));
        const auto last = [](const Tensor<float, 4>& all, Tensor<float, 4>& one) {
            std::copy(all.end() - static_cast<std::ptrdiff_t>(one.size()), all.end(), one.begin());
        };
        last(whole.q, alone.q), last(whole.k, alone.k), last(whole.v, alone.v), alone.E = whole.E, alone.F = whole.F;
        run(alone, 0.3);
        CHECK(same_bits(&whole.out(2, 0, 0, 0), alone.out.data(), alone.out.size()));
    }
}

TEST_CASE("linformer, on the device: large scores, equal scores and one huge slot") {
    // Kills: no subtraction of the maximum.
    for (double scale : {30.0, -30.0, 0.0}) {
        Problem<float> problem({1, 2, 33, 50, 300, 16, 16}, false, 13);
        for (int j = 0; j < 50; ++j) problem.E(1, 270, j) *= 20;
        Problem<double> exact(problem);
        run(problem, scale);
        INFO("scale " << scale);
        CHECK(relative_error(view(problem.out), view(exact.solve(scale))) <= 2e-4);  // scores of 1e3 and more
    }
}

TEST_CASE("linformer, on the device: NaN and infinities stand where they stand in the naive version") {
    // One position that is NaN spoils every slot, and so every query of its head, and of no other head.
    for (bool infinite : {false, true}) {
        Problem<float> problem({2, 2, 20, 40, 10, 12, 8}, true, 17);
        (infinite ? problem.v(0, 1, 39, 3) : problem.k(0, 1, 39, 3)) =
            infinite ? std::numeric_limits<float>::infinity() : std::nanf("");
        Problem<double> exact(problem);
        run(problem, 0.3), exact.solve(0.3);
        for (std::size_t index = 0; index < problem.out.size(); ++index) {
            REQUIRE(std::isnan(problem.out.data()[index]) == std::isnan(exact.out.data()[index]));
            REQUIRE(std::isinf(problem.out.data()[index]) == std::isinf(exact.out.data()[index]));
        }
        CHECK_FALSE(std::isfinite(problem.out(0, 1, 0, 3)));
        CHECK(std::isfinite(problem.out(0, 0, 0, 3)));
        CHECK(std::isfinite(problem.out(1, 1, 0, 3)));
    }
}
