// The kernels of sliding-window attention on generated problems. Beside each property stands the wrong answer that it
// kills.
#include "common/mechanism/cuda_versions.hpp"
#include "tests/01_fixed_sparse/visible_sets.hpp"
#include "tests/01_fixed_sparse/window_problem.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/tensors.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using namespace attn::sliding_window;
using testing::error;
using testing::same_bits;

namespace {

std::vector<CudaVersion> stages() { return cuda_versions("sliding_window", ATTN_TEST_DEVICE); }

void run(Problem<float>& problem, const CudaVersion& version, const Options& options) {
    problem.clear();
    cuda_function<CudaFunction>(version)(problem.inputs(), options, problem.outputs());
}

// Around the edges of tiles of 64 and strips of 32, from the seed.
std::pair<Sizes, Options> generated(std::uint64_t seed) {
    auto pick = [&](std::uint64_t what, int low, int high) { return random_integer(seed, what, low, high); };
    const int G = pick(0, 1, 2), Nk = pick(1, 1, 200);
    Sizes size{pick(2, 1, 2),  G * pick(3, 1, 3), G, seed % 3 == 0 ? pick(4, 1, 150) : Nk, Nk,
               pick(5, 1, 70), pick(6, 1, 140)};
    constexpr int usual[] = {32, 64, 96, 128};
    if (seed % 2 == 0) size.D = usual[seed / 2 % 4], size.Dv = usual[seed / 8 % 4];  // 16-byte accesses
    Options options{pick(7, 1, 70), seed % 3 == 1 ? pick(8, 0, 70) : 0, (seed % 5 == 0 ? 5 : 1) / std::sqrt(size.D)};
    if (seed % 7 == 0) options.window = Nk + 5;
    if (seed % 11 == 0) options.window = 64, options.sinks = 4;
    return {size, options};
}

}  // namespace

TEST_CASE("sliding window, on the device: every stage equals the naive version in double on generated sizes") {
    // Kills: a tile at the edge of the window forgotten or not masked, heads of a group exchanged, rows that see
    // nothing divided by 0.
    for (std::uint64_t seed = 1; seed <= 24; ++seed) {
        const auto [size, options] = generated(seed);
        Problem<float> problem(size, seed);
        Problem<double> exact(problem);
        exact.solve(options);
        for (const CudaVersion& version : stages()) {
            run(problem, version, options);
            INFO("seed " << seed << " " << version.name << " " << text(size, options));
            CHECK(error(problem.out, exact.out) <= 2e-6);
            CHECK(error(problem.log_sum_exp, exact.log_sum_exp) <= 2e-6);
        }
    }
}

TEST_CASE("sliding window, on the device: NaN and infinities outside the window do not reach a query") {
    // Kills: 0 · NaN in a tile that is visited, a tile beside the window that is visited without a mask.
    for (const CudaVersion& version : stages())
        for (int poisoned : {0, 5, 63, 64, 130}) {
            const Options options{20, 2, 0.3};
            Problem<float> clean({1, 2, 1, 150, 150, 12, 20}, 7), other({1, 2, 1, 150, 150, 12, 20}, 7);
            xt::view(other.k, 0, 0, poisoned, xt::all()) = std::nanf("");
            xt::view(other.v, 0, 0, poisoned, xt::all()) = std::numeric_limits<float>::infinity();
            run(clean, version, options), run(other, version, options);
            INFO(version.name << ", poisoned key " << poisoned);
            for (int h = 0; h < 2; ++h)
                for (int i = 0; i < 150; ++i) {
                    const bool seen = fixed_sparse::window_set(150, 150, 20, 2, i).count(poisoned);
                    for (int d = 0; d < 20; ++d)
                        if (seen)
                            REQUIRE(std::isnan(other.out(0, h, i, d)));
                        else
                            REQUIRE(other.out(0, h, i, d) == clean.out(0, h, i, d));
                    if (!seen) REQUIRE(other.log_sum_exp(0, h, i) == clean.log_sum_exp(0, h, i));
                }
        }
}

TEST_CASE("sliding window, on the device: rows that see nothing give 0 and -inf") {
    for (const CudaVersion& version : stages()) {
        Problem<float> problem({1, 2, 2, 80, 4, 8, 4}, 19);
        xt::view(problem.q, 0, 0, xt::range(0, 76)) = std::nanf("");
        run(problem, version, {3, 1, 1});
        INFO(version.name);
        for (int i = 0; i < 76; ++i) {
            CHECK(problem.log_sum_exp(0, 0, i) == -std::numeric_limits<float>::infinity());
            for (int d = 0; d < 4; ++d) CHECK(problem.out(0, 0, i, d) == 0);
        }
        CHECK(std::isfinite(problem.log_sum_exp(0, 1, 76)));
    }
}

TEST_CASE("sliding window, on the device: the same bits on every run, and a prefix alone and among more") {
    for (const CudaVersion& version : stages()) {
        if (version.name == "stage1") continue;  // it cuts its rows by how many there are
        const Options options{50, 4, 0.3};
        Problem<float> whole({1, 4, 2, 300, 300, 32, 32}, 1), again = whole, prefix({1, 4, 2, 170, 170, 32, 32}, 0);
        run(whole, version, options), run(again, version, options);
        prefix.q = xt::view(whole.q, xt::all(), xt::all(), xt::range(0, 170));
        prefix.k = xt::view(whole.k, xt::all(), xt::all(), xt::range(0, 170));
        prefix.v = xt::view(whole.v, xt::all(), xt::all(), xt::range(0, 170));
        run(prefix, version, options);
        const Tensor<float, 4> expected = xt::view(whole.out, xt::all(), xt::all(), xt::range(0, 170));
        INFO(version.name);
        CHECK((same_bits(whole.out, again.out) && same_bits(whole.log_sum_exp, again.log_sum_exp)));
        CHECK(same_bits(prefix.out, expected));
    }
}

TEST_CASE("sliding window, on the device: large logits, one huge key, rows longer than shared memory holds") {
    for (const CudaVersion& version : stages())
        for (double scale : {30.0, -30.0, 0.0}) {
            Problem<float> problem({1, 1, 1, 200, 200, scale == 0 ? 300 : 16, 16}, 13);
            for (int d = 0; d < 16; ++d) problem.k(0, 0, 130, d) *= 20;
            Problem<double> exact(problem);
            const Options options{70, 3, scale};
            run(problem, version, options), exact.solve(options);
            INFO(version.name << ", scale " << scale);
            CHECK(error(problem.out, exact.out) <= 2e-4);  // scores of 1e4 keep 3 decimals
        }
}

TEST_CASE("sliding window, on the device: by arithmetic the same tiles are visited as by lists, to the bit") {
    // Kills: a tile too many or too few at an edge of the window, sinks that are visited twice.
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        const auto [size, options] = generated(seed);
        Problem<float> lists(size, seed), arithmetic(size, seed);
        run(lists, stages()[1], options), run(arithmetic, stages()[2], options);
        INFO("seed " << seed << " " << text(size, options));
        CHECK((same_bits(lists.out, arithmetic.out) && same_bits(lists.log_sum_exp, arithmetic.log_sum_exp)));
    }
}
