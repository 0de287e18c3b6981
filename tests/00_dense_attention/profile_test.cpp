// What the stages ask of memory is what their tiles say it must be.
#include "common/emulator/emulator.hpp"
#include "common/mechanism/mechanism.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;

constexpr std::uint64_t D = 16;  // of sized_case: one head

std::vector<emulator::LaunchProfile> profiles_of(const std::string& stage, int n) {
    const Mechanism* dense = find_mechanism("dense");
    emulator::reset();
    emulator::keep_profiles(true);
    for (const CudaVersion& version : cuda_versions("dense", "emulated"))
        if (version.name == stage) dense->run_cuda(dense->sized_case(n), version);
    emulator::keep_profiles(false);
    return emulator::profiles();
}

TEST_CASE("stage 1: a sector for each key that a lane looks at", "[dense]") {
    for (std::uint64_t n : {64, 128}) {
        const auto profiles = profiles_of("stage1", static_cast<int>(n));
        REQUIRE(profiles.size() == 3);
        const emulator::Counts& scores = profiles[0].counts;
        // A warp: one query, 32 keys. At each depth the query's number is one sector, each key's another one.
        CHECK(scores.global_load_requests == n * n / 32 * D * 2);
        CHECK(scores.global_load_sectors == n * n / 32 * D * (1 + 32));
        CHECK(scores.global_store_sectors == n * n * sizeof(float) / 32);
    }
}

TEST_CASE("stage 2: every byte of every sector is used, and no lane waits at a bank", "[dense]") {
    for (std::uint64_t n : {64, 128, 192}) {
        const auto profiles = profiles_of("stage2", static_cast<int>(n));
        REQUIRE(profiles.size() == 3);
        const emulator::Counts &scores = profiles[0].counts, &output = profiles[2].counts;
        // A block: a tile of 64 × 64 scores from 64 queries and 64 keys.
        const std::uint64_t tiles = n / 64;
        CHECK(scores.global_load_sectors == tiles * tiles * (64 + 64) * D * sizeof(float) / 32);
        CHECK(scores.global_store_sectors == n * n * sizeof(float) / 32);
        // And of 64 outputs from 64 rows of weights and all values.
        CHECK(output.global_load_sectors == tiles * n * (64 + D) * sizeof(float) / 32);
        CHECK(output.global_store_sectors == n * D * sizeof(float) / 32);
        for (const emulator::Counts* counts : {&scores, &output}) {
            CHECK(counts->useful_sector_bytes == 32 * (counts->global_load_sectors + counts->global_store_sectors));
            CHECK(counts->bank_conflicts == 0);
        }
    }
}

}  // namespace
