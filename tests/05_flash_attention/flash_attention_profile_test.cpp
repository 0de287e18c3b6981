// What the stages ask of memory is what the formulas say.
#include "chapters/05_flash_attention/flash_attention.hpp"
#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

namespace {

std::vector<emulator::LaunchProfile> profiles_of(const char* stage, int Nq, int Nk, int D, int heads = 1,
                                                 int groups = 1) {
    Case input;
    input.mechanism = "flash_attention";
    input.inputs["q"] = random_array({1, heads, Nq, D}, 1);
    input.inputs["k"] = random_array({1, groups, Nk, D}, 2);
    input.inputs["v"] = random_array({1, groups, Nk, D}, 3);
    emulator::reset();
    emulator::keep_profiles(true);
    for (const CudaVersion& version : cuda_versions("flash_attention", "emulated"))
        if (version.name == stage) find_mechanism("flash_attention")->run_cuda(input, version);
    emulator::keep_profiles(false);
    CHECK(emulator::findings().empty());
    return emulator::profiles();
}

double coalescing(const emulator::Counts& c) {
    return static_cast<double>(c.useful_sector_bytes) /
           static_cast<double>(32 * (c.global_load_sectors + c.global_store_sectors));
}

}  // namespace

TEST_CASE("stage 3 moves 2Nd + N + ⌈N/Br⌉ · 2Nd numbers, to the byte, and no n × n matrix") {
    for (int N : {64, 128, 192, 320})
        for (int D : {32, 64, 128}) {
            const auto profiles = profiles_of("stage3", N, N, D);
            REQUIRE(profiles.size() == 1);
            const emulator::Counts& c = profiles[0].counts;
            CAPTURE(N, D);
            const auto n = static_cast<std::uint64_t>(N), d = static_cast<std::uint64_t>(D), tiles = (n + 63) / 64;
            CHECK(c.global_load_bytes == sizeof(float) * (n * d + tiles * 2 * n * d));
            CHECK(c.global_store_bytes == sizeof(float) * (n * d + n));
            CHECK(32 * c.global_load_sectors == c.global_load_bytes);
            CHECK(c.bank_conflicts == 0);
            CHECK(coalescing(c) >= 0.99);
        }
}

TEST_CASE("what each stage gains") {
    constexpr int N = 256, D = 64;
    struct Stage {
        std::uint64_t wavefronts, sectors;
        double coalescing;
    };
    std::vector<Stage> stages;
    for (const char* stage : {"stage1", "stage2", "stage3"}) {
        const auto profiles = profiles_of(stage, N, N, D);
        REQUIRE(profiles.size() == 1);
        const emulator::Counts& c = profiles[0].counts;
        stages.push_back({c.shared_load_wavefronts + c.shared_store_wavefronts,
                          c.global_load_sectors + c.global_store_sectors, coalescing(c)});
        CAPTURE(stage, stages.back().wavefronts, stages.back().sectors, stages.back().coalescing);
        CHECK(c.bank_conflicts * 100 <= stages.back().wavefronts);
    }
    CHECK(stages[0].coalescing < 0.9);  // a thread writes a row
    CHECK(stages[1].coalescing >= 0.98);
    CHECK(stages[1].sectors < stages[0].sectors);
    CHECK(stages[2].wavefronts * 3 < stages[1].wavefronts * 2);  // four results from each number read
}

TEST_CASE("stage 4: with few queries a key is read once for all heads that share it") {
    for (auto [heads, groups] : {std::pair{1, 1}, {8, 1}, {8, 2}}) {
        constexpr int Nk = 1000, D = 64;
        const auto profiles = profiles_of("stage4", 1, Nk, D, heads, groups);
        REQUIRE(profiles.size() == 2);
        const emulator::Counts& c = profiles[0].counts;
        CAPTURE(heads, groups);
        const auto keys = static_cast<std::uint64_t>(groups) * Nk, d = static_cast<std::uint64_t>(D),
                   splits = std::uint64_t{4};
        CHECK(c.global_load_bytes == sizeof(float) * (2 * keys * d + splits * static_cast<std::uint64_t>(heads) * d));
        CHECK(coalescing(c) >= 0.99);
        CHECK(c.bank_conflicts == 0);
    }
}
