// What the stages of the selective scan ask of memory.
#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

TEST_CASE("selective scan: stage 3 moves each number once; stage 2 reads whole sectors; stage 1 does neither") {
    constexpr int D = 256, L = 256, S = 16;
    Case input = random_case(
        "selective_scan", L,
        {{"u", {1, D, L}}, {"delta", {1, D, L}}, {"a", {D, S}}, {"b", {1, S, L}}, {"c", {1, S, L}}, {"z", {1, D, L}}});
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
    REQUIRE(counts.size() == 3);
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
    // Every byte compulsory: u, delta, z and out; a and last_state; b and c, which 256 channels have in common.
    CHECK(counts[2].global_load_bytes == sizeof(float) * (3 * tokens + D * S + 2 * S * L));
    CHECK(counts[2].global_store_bytes == sizeof(float) * (tokens + D * S));
    CHECK(coalescing(counts[2]) >= 0.95);
    CHECK(counts[2].bank_conflicts == 0);
}

TEST_CASE("selective scan: stage 3 asks for at most 5 % more than it must, at the sizes of a model") {
    // Channels of several blocks read b and c once each: 2 S for 4 · 256 numbers of the channels, 3.1 %.
    constexpr int D = 1024, L = 64, S = 16;
    const Case input = random_case(
        "selective_scan", L,
        {{"u", {1, D, L}}, {"delta", {1, D, L}}, {"a", {D, S}}, {"b", {1, S, L}}, {"c", {1, S, L}}, {"z", {1, D, L}}});
    emulator::reset();
    emulator::keep_profiles(true);
    find_mechanism("selective_scan")->run_cuda(input, cuda_versions("selective_scan", "emulated").back());
    emulator::keep_profiles(false);
    const emulator::Counts& c = emulator::profiles().at(0).counts;
    const double compulsory = sizeof(float) * (4.0 * D * L + 2.0 * S * L + 2.0 * D * S);
    CHECK(static_cast<double>(c.global_load_bytes + c.global_store_bytes) <= 1.05 * compulsory);
}
