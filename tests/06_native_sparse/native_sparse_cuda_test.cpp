// The kernels of native sparse attention on generated problems. Beside each property stands the wrong answer that it
// kills.
#include "common/mechanism/cuda_versions.hpp"
#include "tests/06_native_sparse/native_sparse_problem.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/tensors.hpp"
#include "tests/support/xtensor.hpp"

using namespace attn;
using namespace attn::native_sparse;
using testing::error;
using testing::same_bits;

namespace {

std::vector<CudaVersion> stages() { return cuda_versions("native_sparse", ATTN_TEST_DEVICE); }

void run(Problem<float>& problem, const CudaVersion& version) {
    problem.clear();
    cuda_function<CudaFunction>(version)(problem.inputs(), problem.options, problem.outputs());
}

// Around the edges of tiles, from the seed. Groups of up to 6 heads, numbers up to what two strips hold.
Generated for_kernels(std::uint64_t seed) {
    Generated result = generated(seed, 150, 70);
    if (seed % 2 == 0) {  // 16-byte accesses
        constexpr int usual[] = {16, 32, 64, 96};
        result.size.Dk = usual[seed / 2 % 4], result.size.Dv = usual[seed / 8 % 4];
    }
    if (seed % 5 == 0) result.size.H = result.size.G * 6;
    result.options.scale = 1 / std::sqrt(result.size.Dk);
    return result;
}

}  // namespace

TEST_CASE("native sparse, on the device: every stage equals the naive version in double on generated sizes") {
    // Kills: a compressed block that is seen too early, importance of a tile's last key lost, heads of a group
    // exchanged, a block chosen twice, the own block beyond t.
    for (std::uint64_t seed = 1; seed <= 24; ++seed) {
        const auto [size, options] = for_kernels(seed);
        Problem<float> problem(size, options, seed);
        Problem<double> exact(problem);
        exact.solve();
        for (const CudaVersion& version : stages()) {
            run(problem, version);
            INFO("seed " << seed << " " << version.name << text(size, options));
            CHECK(same_bits(problem.selected, exact.selected));
            CHECK(error(problem.out_compress, exact.out_compress) <= 2e-6);
            CHECK(error(problem.out_select, exact.out_select) <= 2e-6);
            CHECK(error(problem.out_window, exact.out_window) <= 2e-6);
            CHECK(error(problem.out, exact.out) <= 2e-6);
        }
    }
}

TEST_CASE("native sparse, on the device: the stages have the same bits, and again on every run") {
    for (std::uint64_t seed : {3u, 8u, 10u}) {
        const auto [size, options] = for_kernels(seed);
        Problem<float> one(size, options, seed), other = one;
        run(one, stages()[0]), run(other, stages()[1]);
        CHECK((same_bits(one.out, other.out) && same_bits(one.selected, other.selected)));
        const Tensor<float, 4> before = other.out;
        run(other, stages()[1]);
        CHECK(same_bits(before, other.out));
    }
}

TEST_CASE("native sparse, on the device: larger groups than a tile has rows, rows longer than shared memory keeps") {
    // Kills: heads beyond the first 64 that are not summed up, or overwrite the others.
    for (auto [H, G, Dk, Dv] :
         {std::array{70, 1, 8, 8}, {40, 2, 12, 4}, {2, 1, 300, 20}, {2, 1, 16, 150}, {3, 1, 5, 300}}) {
        Options options;
        options.compress_block = 4, options.compress_stride = 2, options.select_block = 8, options.select_count = 4;
        options.window = 9, options.scale = 1 / std::sqrt(Dk);
        Problem<float> problem({1, H, G, 70, Dk, Dv}, options, 5);
        Problem<double> exact(problem);
        exact.solve();
        for (const CudaVersion& version : stages()) {
            run(problem, version);
            INFO(version.name << text(problem.size, options));
            CHECK(same_bits(problem.selected, exact.selected));
            CHECK(error(problem.out, exact.out) <= 2e-6);
        }
    }
}

TEST_CASE("native sparse, on the device: blocks of which hundreds of compressed ones belong to one selection block") {
    // Kills: importance that is lost where a block's compressed keys are in several tiles.
    Options options;
    options.compress_block = 3, options.compress_stride = 1, options.select_block = 100, options.select_count = 4;
    options.window = 5, options.scale = 0.3;
    Problem<float> problem({1, 2, 1, 800, 8, 4}, options, 2);
    Problem<double> exact(problem);
    exact.solve();
    run(problem, stages().back());
    CHECK(same_bits(problem.selected, exact.selected));
    CHECK(error(problem.out, exact.out) <= 2e-6);
}

TEST_CASE("native sparse, on the device: queries whose importance does not fit at once have the same bits as alone") {
    // Kills: a second portion of queries that is counted from 0, or written over the first.
    Options options;
    options.select_count = 4, options.window = 3, options.scale = 0.5;  // blocks of 1
    constexpr int B = 4, N = 1100;
    Problem<float> all({B, 1, 1, N, 4, 4}, options, 6);
    run(all, stages().back());
    for (int b : {0, B - 1}) {
        Problem<float> one({1, 1, 1, N, 4, 4}, options, 0);
        const auto of = [&](const auto& tensor) -> Tensor<float, 4> { return xt::view(tensor, xt::range(b, b + 1)); };
        one.q = of(all.q), one.gates = of(all.gates), one.k_compress = of(all.k_compress);
        one.v_compress = of(all.v_compress), one.k_select = of(all.k_select), one.v_select = of(all.v_select);
        one.k_window = of(all.k_window), one.v_window = of(all.v_window);
        run(one, stages().back());
        const Tensor<std::int32_t, 4> selected = xt::view(all.selected, xt::range(b, b + 1));
        CHECK(same_bits(one.selected, selected));
        CHECK(same_bits(one.out, of(all.out)));
    }
}

TEST_CASE("native sparse, on the device: equal importance goes to the lower blocks") {
    const auto [size, options] = for_kernels(4);
    Options four = options;
    four.compress_block = four.compress_stride = 2, four.select_block = 4, four.select_count = 5;
    four.compressor = Compressor::mean;
    Problem<float> problem({1, 4, 2, 120, 8, 8}, four, 1);
    problem.q.fill(0);
    for (const CudaVersion& version : stages()) {
        run(problem, version);
        for (int t = 0; t < 120; ++t) {
            const int own = t / 4;
            for (int r = 0; r < 5; ++r)
                CHECK(problem.selected(0, 1, t, r) == (own < 5 ? (r <= own ? r : -1) : r < 3 ? r : own - 4 + r));
        }
    }
}

TEST_CASE(
    "native sparse, on the device: token by token, with a compressed cache that grows, the same bits as at once") {
    // Kills: a block that is compressed before it is complete (the cache is NaN until then), or never.
    for (std::uint64_t seed : {2u, 6u, 9u}) {
        auto [size, options] = for_kernels(seed);
        size.N = std::min(size.N, 40), size.B = 1;
        Problem<float> whole(size, options, seed), steps = whole;
        steps.options.prefill = std::max(1, size.N - 12);
        for (const CudaVersion& version : stages()) {
            run(whole, version), run(steps, version);
            INFO("seed " << seed << " " << version.name << text(size, options));
            CHECK(same_bits(steps.selected, whole.selected));
            CHECK(same_bits(steps.out, whole.out));
        }
    }
}

TEST_CASE("native sparse, on the device: NaN in what a query does not see does not reach it") {
    Options options;
    options.compress_block = 4, options.compress_stride = 2, options.select_block = 8, options.select_count = 4;
    options.window = 9, options.scale = 0.3;
    const Problem<float> clean({1, 2, 1, 90, 12, 20}, options, 3);
    for (const CudaVersion& version : stages())
        for (int poisoned : {0, 3, 41, 64, 89}) {
            Problem<float> before = clean, after = clean;
            for (auto* tensor : {&after.k_compress, &after.v_compress, &after.k_select, &after.v_select,
                                 &after.k_window, &after.v_window})
                xt::view(*tensor, xt::all(), xt::all(), poisoned) = std::nanf("");
            run(before, version), run(after, version);
            Problem<float> naive_after = after;
            naive_after.solve();
            INFO(version.name << ", poisoned " << poisoned);
            CHECK(same_bits(after.selected, naive_after.selected));  // of NaN, the lower blocks
            for (int t = 0; t < 90; ++t) {
                if (t < poisoned) CHECK(after.out(0, 0, t, 0) == before.out(0, 0, t, 0));
                CHECK(std::isnan(after.out_compress(0, 1, t, 5)) == std::isnan(naive_after.out_compress(0, 1, t, 5)));
                CHECK(std::isnan(after.out_select(0, 1, t, 5)) == std::isnan(naive_after.out_select(0, 1, t, 5)));
                CHECK(std::isnan(after.out_window(0, 1, t, 5)) == std::isnan(naive_after.out_window(0, 1, t, 5)));
            }
        }
}
