// What the stages of retention ask of memory is what the formulas say.
#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

namespace {

emulator::Counts counts_of(std::size_t stage, int N, int D, int Dv) {
    Case input = random_case("retention", N, {{"q", {1, 2, N, D}}, {"k", {1, 2, N, D}}, {"v", {1, 2, N, Dv}}});
    input.inputs["decay"] = zeros(DType::float32, {2});
    for (int h = 0; h < 2; ++h) input.inputs["decay"].data<float>()[h] = 0.75f;
    emulator::reset();
    emulator::keep_profiles(true);
    find_mechanism("retention")->run_cuda(input, cuda_versions("retention", "emulated").at(stage));
    emulator::keep_profiles(false);
    CHECK(emulator::findings().empty());
    const auto profiles = emulator::profiles();
    REQUIRE(profiles.size() == 1);
    return profiles[0].counts;
}

}  // namespace

TEST_CASE("retention, stage 2: each number once, and the state only at the end") {
    for (int N : {32, 100, 256})
        for (auto [D, Dv] : {std::pair{32, 32}, {64, 64}, {64, 128}}) {
            const emulator::Counts c = counts_of(1, N, D, Dv);
            const auto n = static_cast<std::uint64_t>(2 * N), d = static_cast<std::uint64_t>(D),
                       dv = static_cast<std::uint64_t>(Dv), threads = std::uint64_t{2 * 33};
            CAPTURE(N, D, Dv);
            // 33 threads of each block read the γ of their head, for a power of it each.
            CHECK(c.global_load_bytes == sizeof(float) * (n * (2 * d + dv) + threads));
            CHECK(c.global_store_bytes == sizeof(float) * (n * dv + 2 * d * dv));
            CHECK(c.bank_conflicts == 0);
            CHECK(static_cast<double>(c.useful_sector_bytes) >=
                  0.99 * 32 * static_cast<double>(c.global_load_sectors + c.global_store_sectors));
        }
}

TEST_CASE("retention, stage 1: the state twice at each token") {
    constexpr int N = 64, D = 32, Dv = 128;
    const emulator::Counts c = counts_of(0, N, D, Dv);
    CHECK(c.global_load_bytes >= sizeof(float) * 2 * N * D * Dv);
    CHECK(c.global_store_bytes == sizeof(float) * 2 * (N * D * Dv + D * Dv + N * Dv));
}
