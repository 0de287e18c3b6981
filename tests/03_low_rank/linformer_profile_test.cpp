// What the kernels ask of memory is what the formulas say.
#include "chapters/03_low_rank/linformer.hpp"
#include "chapters/05_flash_attention/flash_attention.hpp"
#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

namespace {

std::vector<emulator::LaunchProfile> profiles_of(const linformer::Sizes& s, bool shared) {
    Case input;
    input.mechanism = "linformer";
    input.inputs["q"] = random_array({s.B, s.H, s.Nq, s.D}, 1);
    input.inputs["k"] = random_array({s.B, s.H, s.N, s.D}, 2);
    input.inputs["v"] = random_array({s.B, s.H, s.N, s.Dv}, 3);
    const std::vector<std::int64_t> for_all{s.K, s.N}, for_each{s.H, s.K, s.N};
    input.inputs["key_projection"] = random_array(shared ? for_all : for_each, 4);
    input.inputs["value_projection"] = random_array(shared ? for_all : for_each, 5);
    emulator::reset();
    emulator::keep_profiles(true);
    find_mechanism("linformer")->run_cuda(input, cuda_versions("linformer", "emulated").at(0));
    emulator::keep_profiles(false);
    CHECK(emulator::findings().empty());
    return emulator::profiles();
}

std::uint64_t bytes(std::int64_t numbers) { return sizeof(float) * static_cast<std::uint64_t>(numbers); }

}  // namespace

TEST_CASE("linformer: projections and attention move as many bytes as the formulas say, and nothing is N × N") {
    for (int N : {128, 1000})
        for (int K : {32, 64, 128})
            for (auto [D, Dv] : {std::pair{32, 32}, {64, 64}, {96, 128}}) {
                const linformer::Sizes size{1, 1, 192, N, K, D, Dv};
                const auto profiles = profiles_of(size, true);
                CAPTURE(N, K, D, Dv);
                REQUIRE(profiles.size() == 3);
                emulator::Counts projections = profiles[0].counts;
                projections += profiles[1].counts;
                const emulator::Counts& attention = profiles[2].counts;
                CHECK(projections.global_load_bytes + projections.global_store_bytes ==
                      bytes(linformer::numbers_moved_by_projections(size, 64)));
                CHECK(projections.global_store_bytes == bytes(std::int64_t{K} * (D + Dv)));
                // With up to 128 value columns a block has all of them, so that the queries are read once.
                const dense::Sizes to_slots{1, 1, 1, 192, K, D, Dv};
                CHECK(attention.global_load_bytes + attention.global_store_bytes ==
                      bytes(flash_attention::numbers_moved_flash2(to_slots, 64)));
                for (const emulator::Counts& c : {projections, attention}) {
                    CHECK(c.bank_conflicts == 0);
                    const std::uint64_t moved = 32 * (c.global_load_sectors + c.global_store_sectors);
                    CHECK(static_cast<double>(c.useful_sector_bytes) >= 0.99 * static_cast<double>(moved));
                }
            }
}

TEST_CASE("linformer: all heads and sequences in one launch of each product, if the projections are shared") {
    const linformer::Sizes size{3, 4, 64, 64, 32, 32, 32};
    for (bool shared : {false, true}) {
        const auto profiles = profiles_of(size, shared);
        CHECK(profiles.size() == (shared ? 3 : 2 * 3 + 1));
        std::uint64_t projections = 0;
        for (std::size_t launch = 0; launch + 1 < profiles.size(); ++launch)
            projections += profiles[launch].counts.global_load_bytes + profiles[launch].counts.global_store_bytes;
        CHECK(projections == bytes(3 * 4 * linformer::numbers_moved_by_projections(size, 64)));
    }
}
