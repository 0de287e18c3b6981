// What the stages of RWKV ask of memory.
#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

TEST_CASE("rwkv: both stages move keys, values and outputs once, in whole sectors; stage 2 with eight warps for one") {
    constexpr int L = 256, D = 64;
    const Case input =
        random_case("rwkv", L, {{"time_decay", {D}}, {"time_first", {D}}, {"key", {1, L, D}}, {"value", {1, L, D}}});
    for (const CudaVersion& version : cuda_versions("rwkv", "emulated")) {
        emulator::reset();
        emulator::keep_profiles(true);
        find_mechanism("rwkv")->run_cuda(input, version);
        emulator::keep_profiles(false);
        CHECK(emulator::findings().empty());
        REQUIRE(emulator::profiles().size() == 1);
        const emulator::Counts& c = emulator::profiles()[0].counts;
        const std::uint64_t warps = version.name == "stage2" ? 8 : 1;  // each reads w and u of its channels
        INFO(version.name);
        CHECK(c.global_load_bytes == sizeof(float) * (2 * L * D + warps * 2 * D));
        CHECK(c.global_store_bytes == sizeof(float) * (L * D + 3 * D));
        CHECK(c.useful_sector_bytes == 32 * (c.global_load_sectors + c.global_store_sectors));
        CHECK(c.bank_conflicts == 0);
    }
}
