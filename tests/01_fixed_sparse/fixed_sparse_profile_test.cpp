// What the kernels ask of memory is what the formulas say, and what skipping tiles saves.
#include "chapters/01_fixed_sparse/bigbird/random_blocks.hpp"
#include "chapters/01_fixed_sparse/tile_lists.hpp"
#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;
using namespace attn::fixed_sparse;

namespace {

struct ProblemSizes {
    int H, G, Nq, Nk, D, Dv;
};

std::vector<emulator::LaunchProfile> profiles_of(Case input, const char* stage) {
    emulator::reset();
    emulator::keep_profiles(true);
    for (const CudaVersion& version : cuda_versions(input.mechanism, "emulated"))
        if (version.name == stage) find_mechanism(input.mechanism)->run_cuda(input, version);
    emulator::keep_profiles(false);
    CHECK(emulator::findings().empty());
    return emulator::profiles();
}

Case case_of(const char* mechanism, const ProblemSizes& s, const std::string& params) {
    Case input = random_case(mechanism, s.Nk,
                             {{"q", {1, s.H, s.Nq, s.D}}, {"k", {1, s.G, s.Nk, s.D}}, {"v", {1, s.G, s.Nk, s.Dv}}});
    input.params = Params::parse(params);
    return input;
}

std::uint64_t bytes(std::int64_t numbers) { return sizeof(float) * static_cast<std::uint64_t>(numbers); }

std::uint64_t moved(const emulator::Counts& c) { return c.global_load_bytes + c.global_store_bytes; }

// Nothing is wasted in sectors or banks. (The lists are a few bytes of a sector.)
void check_accesses(const emulator::Counts& c) {
    CHECK(c.bank_conflicts == 0);
    const std::uint64_t sectors = 32 * (c.global_load_sectors + c.global_store_sectors);
    CHECK(static_cast<double>(c.useful_sector_bytes) >= 0.98 * static_cast<double>(sectors));
}

}  // namespace

TEST_CASE("sliding window: the bytes of each stage are those of the formula, with lists and without") {
    for (const ProblemSizes& s : {ProblemSizes{2, 2, 256, 256, 64, 64},
                                  {2, 1, 256, 256, 32, 128},
                                  {1, 1, 64, 320, 96, 32},
                                  {4, 2, 128, 192, 64, 64}})
        for (auto [window, sinks] : {std::pair{64, 0}, {100, 4}, {1000, 0}}) {
            CAPTURE(s.H, s.G, s.Nq, s.Nk, s.D, s.Dv, window, sinks);
            const Case input =
                case_of("sliding_window", s,
                        "{\"window\": " + std::to_string(window) + ", \"sinks\": " + std::to_string(sinks) + "}");
            const Area area{s.Nq, s.Nk, s.H / s.G};
            const WindowPattern pattern{{}, s.Nq, s.Nk, window, sinks};
            const auto heads = static_cast<std::uint64_t>(s.G);
            const auto expected = [&](const TileLists& lists) {
                return heads * bytes(numbers_moved(lists, area, s.D, s.Dv) + area.rows());
            };
            const TileLists seen = list_tiles(pattern, area), all = all_tiles(area);
            const auto masked = profiles_of(input, "stage1"), listed = profiles_of(input, "stage2"),
                       arithmetic = profiles_of(input, "stage3");
            REQUIRE((masked.size() == 1 && listed.size() == 1 && arithmetic.size() == 1));
            const auto of_lists = [&](const TileLists& lists) {
                return heads * static_cast<std::uint64_t>(list_bytes(lists));
            };
            CHECK(moved(masked[0].counts) == expected(all) + of_lists(all));
            CHECK(moved(listed[0].counts) == expected(seen) + of_lists(seen));
            CHECK(moved(arithmetic[0].counts) == expected(seen));
            for (const auto& profiles : {masked, listed, arithmetic}) check_accesses(profiles[0].counts);
        }
}

TEST_CASE("sparse transformer, fixed: the bytes are those of the formula") {
    const ProblemSizes s{1, 1, 256, 256, 64, 64};
    const Case input = case_of("sparse_transformer", s, R"({"pattern": "fixed", "stride": 64, "summary": 8})");
    const TileLists seen = list_tiles(SparseTransformerPattern(256, Kind::fixed, 64, 8, Part::merged), {256, 256});
    const auto profiles = profiles_of(input, "stage2");
    REQUIRE(profiles.size() == 1);
    CHECK(moved(profiles[0].counts) ==
          bytes(numbers_moved(seen, {256, 256}, 64, 64)) + static_cast<std::uint64_t>(list_bytes(seen)));
    check_accesses(profiles[0].counts);
}

TEST_CASE("sparse transformer, strided: sorted by remainder it asks for less than half of the bytes") {
    constexpr int N = 2048;
    const Case input = case_of("sparse_transformer", {1, 1, N, N, 16, 16}, R"({"pattern": "strided", "stride": 64})");
    const auto sum = [&](const char* stage) {
        std::uint64_t all = 0;
        for (const auto& profile : profiles_of(input, stage)) all += moved(profile.counts);
        return all;
    };
    const SparseTransformerPattern pattern(N, Kind::strided, 64, 1, Part::merged);
    CHECK(list_tiles(pattern, Area{N, N}).visits.size() ==
          32 * 33 / 2);  // in order nothing below the diagonal is saved
    const std::uint64_t in_order = sum("stage2"), sorted = sum("stage3");
    CAPTURE(in_order, sorted);
    CHECK(2 * sorted < in_order);
}

TEST_CASE("bigbird: blocks of 64 are tiles, none is masked, and rows of everything are split") {
    constexpr int blocks = 20, N = 64 * blocks, r = 2;
    Case input = case_of("bigbird", {2, 2, N, N, 16, 16}, R"({"block": 64})");
    const std::vector<std::int64_t> drawn = bigbird::draw_random_blocks(2, blocks, r, 1);
    Array random = zeros(DType::int64, {2, blocks, r});
    std::copy(drawn.begin(), drawn.end(), random.data<std::int64_t>());
    input.inputs["random_blocks"] = random;
    const BigBirdPattern pattern{{}, N, 64, {drawn.data(), {{2, blocks, r}}}};
    const Area area{N, N, 1, 2};
    const TileLists lists = list_tiles(pattern, area);
    for (const ListedTile& visit : lists.visits) CHECK(!visit.partial);
    CHECK(lists.computed_pairs() == pattern.pairs());
    const auto profiles = profiles_of(input, "stage2");
    REQUIRE(profiles.size() == 2);  // the parts are put together
    const Plan plan = plan_work(lists, 16);
    CHECK(plan.parts == 2 * 2 * 2);  // two heads, two rows of 20 visits, two parts
    // Each part loads its queries, and leaves sums and states in the place of the output.
    const std::int64_t extra = plan.parts - static_cast<std::int64_t>(plan.joints.size());
    const std::uint64_t entries = static_cast<std::uint64_t>(extra) * sizeof(Work);
    CHECK(moved(profiles[0].counts) ==
          bytes(numbers_moved(lists, area, 16, 16) + extra * 64 * (16 + 16) + plan.parts * 64 * 2) +
              static_cast<std::uint64_t>(list_bytes(lists)) + entries);
    check_accesses(profiles[0].counts);
}

TEST_CASE("longformer: the work of the local rows is that of the window, and global rows get several blocks") {
    constexpr int N = 1024;
    Case input = case_of("longformer", {1, 1, N, N, 16, 16}, R"({"radius": 64, "global_tokens": [0, 500]})");
    const auto profiles = profiles_of(input, "stage2");
    REQUIRE(profiles.size() == 3);  // local rows; global rows; their parts put together
    CHECK(profiles[0].grid[0] == N / 64);
    CHECK(profiles[1].grid[0] == 4);  // 16 tiles of keys, four for each block
    const GlobalTokens tokens({0, 500}, N);
    const TileLists lists = list_tiles(LongformerLocal(LongformerPattern(N, 64, 1, false, tokens)), Area{N, N});
    // The three tiles of the band, and those of the two global columns.
    CHECK(static_cast<int>(lists.visits.size()) <= 16 * (3 + 2));
    // Beside what the visits move, each thread reads which of its four queries, and in a partial tile which of its four
    // keys, are global.
    const auto partial = std::count_if(lists.visits.begin(), lists.visits.end(),
                                       [](const ListedTile& visit) { return visit.partial != 0; });
    const std::int64_t marks = 256 * 4 * (N / 64 + partial);
    CHECK(moved(profiles[0].counts) ==
          bytes(numbers_moved(lists, Area{N, N}, 16, 16) + marks) + static_cast<std::uint64_t>(list_bytes(lists)));
    CHECK(profiles[0].counts.bank_conflicts == 0);
}

TEST_CASE("longformer: dilated, with positions sorted by their remainder, it visits as few tiles as without dilation") {
    // Kills: queries that are left in order, so that each tile of them sees all remainders.
    constexpr int N = 1024;
    const auto wavefronts = [&](int dilation) {
        const Case input = case_of("longformer", {1, 1, N, N, 16, 16},
                                   "{\"radius\": 8, \"dilation\": " + std::to_string(dilation) + "}");
        const auto profiles = profiles_of(input, "stage2");
        REQUIRE(profiles.size() == 1);
        return profiles[0].counts.shared_load_wavefronts;
    };
    CHECK(wavefronts(16) <= wavefronts(1));
}

TEST_CASE("longformer: with all tokens global, parts of rows do not take memory of n²") {
    constexpr int N = 640;
    std::string tokens = "0";
    for (int j = 1; j < N; ++j) tokens += ", " + std::to_string(j);
    const Case input =
        case_of("longformer", {2, 2, N, N, 4, 4}, "{\"radius\": 1, \"global_tokens\": [" + tokens + "]}");
    profiles_of(input, "stage2");
    const std::int64_t tensors = 4 * 2 * N * 4 * sizeof(float);
    CHECK(emulator::peak_device_bytes() < 4 * tensors);
}
