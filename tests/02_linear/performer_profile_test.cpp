// What Performer's kernel asks of memory is what the formula says.
#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

TEST_CASE("performer: the features never stand in device memory, and q, k and v are read once for each 64 of them") {
    for (int M : {64, 128}) {
        constexpr int N = 128, D = 64, Dv = 64, heads = 2;
        const Case input = random_case(
            "performer", N,
            {{"q", {1, heads, N, D}}, {"k", {1, heads, N, D}}, {"v", {1, heads, N, Dv}}, {"features", {M, D}}});
        emulator::reset();
        emulator::keep_profiles(true);
        find_mechanism("performer")->run_cuda(input, cuda_versions("performer", "emulated").at(0));
        emulator::keep_profiles(false);
        CHECK(emulator::findings().empty());
        const auto profiles = emulator::profiles();
        REQUIRE(profiles.size() == (M > 64 ? 2 : 1));
        const emulator::Counts& c = profiles[0].counts;
        const std::uint64_t tiles = heads * static_cast<std::uint64_t>(M) / 64;
        CAPTURE(M);
        CHECK(c.global_load_bytes == sizeof(float) * tiles * (N * (2 * D + Dv) + 64 * D));
        // Of each query the output, or, to be put together, a numerator for each tile, its maximum and denominator.
        CHECK(c.global_store_bytes == sizeof(float) * tiles * N * (Dv + (M > 64 ? 2 : 0)));
        CHECK(c.bank_conflicts == 0);
        CHECK(static_cast<double>(c.useful_sector_bytes) >=
              (M > 64 ? 0.9 : 0.99) * 32.0 * static_cast<double>(c.global_load_sectors + c.global_store_sectors));
    }
}
