// What the stages of the selective scan ask of memory.
#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

TEST_CASE("selective scan: stage 2 reads whole sectors, and no state before the end; stage 1 does neither") {
    constexpr int D = 32, L = 512, S = 16;
    Case input =
        random_case("selective_scan", L,
                    {{"u", {1, D, L}}, {"delta", {1, D, L}}, {"a", {D, S}}, {"b", {1, S, L}}, {"c", {1, S, L}}});
    std::vector<emulator::Counts> counts;
    for (const CudaVersion& version : cuda_versions("selective_scan", "emulated")) {
        emulator::reset();
        emulator::keep_profiles(true);
        find_mechanism("selective_scan")->run_cuda(input, version);
        emulator::keep_profiles(false);
        CHECK(emulator::findings().empty());
        REQUIRE(emulator::profiles().size() == 1);
        counts.push_back(emulator::profiles()[0].counts);
    }
    REQUIRE(counts.size() == 2);
    auto coalescing = [](const emulator::Counts& c) {
        return static_cast<double>(c.useful_sector_bytes) /
               static_cast<double>(32 * (c.global_load_sectors + c.global_store_sectors));
    };
    constexpr std::uint64_t tokens = D * L;
    CHECK(coalescing(counts[0]) < 0.2);
    CHECK(counts[0].global_store_bytes == sizeof(float) * (tokens * S + D * S + tokens));
    // a is the same number for a whole warp: 4 bytes of a sector, and of every request a small part.
    CHECK(coalescing(counts[1]) >= 0.8);
    CHECK(counts[1].global_store_bytes == sizeof(float) * (tokens + D * S));
    CHECK(counts[1].bank_conflicts == 0);
}
