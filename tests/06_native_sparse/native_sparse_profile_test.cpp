// What the kernels ask of memory is what the formulas say, and what sharing the selected blocks saves.
#include "chapters/06_native_sparse/native_sparse.hpp"
#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;
using namespace attn::native_sparse;

namespace {

struct Setting {
    int H, G, N, Dk, Dv;
    Options options;
};

Options blocks_of(int l, int d, int block, int n, int W) {
    Options options;
    options.compress_block = l, options.compress_stride = d, options.select_block = block, options.select_count = n;
    options.window = W;
    return options;
}

const Setting settings[] = {{8, 2, 144, 64, 64, blocks_of(8, 4, 16, 6, 32)},
                            {16, 1, 100, 32, 128, blocks_of(8, 4, 16, 4, 64)},
                            {3, 3, 100, 48, 32, blocks_of(4, 4, 4, 9, 20)},
                            {20, 1, 60, 16, 160, blocks_of(4, 2, 8, 5, 16)}};

std::vector<emulator::LaunchProfile> profiles_of(const Setting& s, const char* stage, int prefill = 0) {
    const std::vector<std::int64_t> keys{1, s.G, s.N, s.Dk}, values{1, s.G, s.N, s.Dv};
    Case input = random_case("native_sparse", s.N,
                             {{"q", {1, s.H, s.N, s.Dk}},
                              {"k_compress", keys},
                              {"v_compress", values},
                              {"k_select", keys},
                              {"v_select", values},
                              {"k_window", keys},
                              {"v_window", values},
                              {"gates", {1, s.H, s.N, 3}}});
    const Options& o = s.options;
    input.params = Params::parse("{\"compress_block\": " + std::to_string(o.compress_block) +
                                 ", \"compress_stride\": " + std::to_string(o.compress_stride) +
                                 ", \"select_block\": " + std::to_string(o.select_block) + ", \"select_count\": " +
                                 std::to_string(o.select_count) + ", \"window\": " + std::to_string(o.window) +
                                 (prefill ? ", \"prefill\": " + std::to_string(prefill) : std::string()) + "}");
    emulator::reset();
    emulator::keep_profiles(true);
    for (const CudaVersion& version : cuda_versions("native_sparse", "emulated"))
        if (version.name == stage) find_mechanism("native_sparse")->run_cuda(input, version);
    emulator::keep_profiles(false);
    CHECK(emulator::findings().empty());
    return emulator::profiles();
}

// Of the selection's launches together: one for each 128 columns of the values.
emulator::Counts of_selection(const std::vector<emulator::LaunchProfile>& profiles) {
    emulator::Counts sum{};
    for (const auto& profile : profiles) {
        if (profile.kernel.find("attend_to_blocks") == std::string::npos) continue;
        sum.global_load_bytes += profile.counts.global_load_bytes;
        sum.global_store_bytes += profile.counts.global_store_bytes;
        sum.global_load_sectors += profile.counts.global_load_sectors;
        sum.global_store_sectors += profile.counts.global_store_sectors;
        sum.useful_sector_bytes += profile.counts.useful_sector_bytes;
        sum.bank_conflicts += profile.counts.bank_conflicts;
    }
    return sum;
}

// The last launch of a kernel with this in its name.
emulator::Counts last_of(const std::vector<emulator::LaunchProfile>& profiles, const std::string& name) {
    for (auto profile = profiles.rbegin(); profile != profiles.rend(); ++profile)
        if (profile->kernel.find(name) != std::string::npos) return profile->counts;
    FAIL("no kernel " << name);
    return {};
}

std::uint64_t bytes(std::int64_t numbers) { return sizeof(float) * static_cast<std::uint64_t>(numbers); }

// Numbers that the selection's kernel loads for the positions first … N - 1, if `heads` share what is loaded: keys and
// values of the selected blocks, and beside them the queries, the tokens' indices, the gates, two branches' outputs.
std::int64_t selection_numbers(const Setting& s, int first, int heads) {
    std::int64_t seen = 0;
    for (int t = first; t < s.N; ++t) seen += s.options.selected_keys(t);
    const std::int64_t group = s.H / s.G, blocks = (group + heads - 1) / heads, passes = (s.Dv + 127) / 128;
    const std::int64_t keys_values = seen * s.G * blocks * (s.Dk * passes + s.Dv);
    const std::int64_t rows = std::int64_t{s.N - first} * s.H;
    return keys_values + seen * s.G * blocks * passes + rows * (s.Dk * passes + 3 * passes + 2 * s.Dv);
}

}  // namespace

TEST_CASE(
    "native sparse: the selection loads each selected block once for a group, to the byte, and nothing is wasted") {
    for (const Setting& s : settings) {
        CAPTURE(s.H, s.G, s.N, s.Dk, s.Dv);
        const emulator::Counts alone = of_selection(profiles_of(s, "stage1")),
                               shared = of_selection(profiles_of(s, "stage2"));
        CHECK(alone.global_load_bytes == bytes(selection_numbers(s, 0, 1)));
        CHECK(shared.global_load_bytes == bytes(selection_numbers(s, 0, 16)));
        CHECK(shared.global_store_bytes == bytes(2 * std::int64_t{s.H} * s.N * s.Dv));
        for (const emulator::Counts& c : {alone, shared}) {
            CHECK(c.bank_conflicts == 0);
            const std::uint64_t sectors = 32 * (c.global_load_sectors + c.global_store_sectors);
            // Of rows of 64 bytes, the indices of the blocks take more than one in a hundred.
            CHECK(static_cast<double>(c.useful_sector_bytes) >=
                  (s.Dk < 32 ? 0.97 : 0.99) * static_cast<double>(sectors));
        }
    }
}

TEST_CASE("native sparse: the weights of the compressed keys are never written") {
    // Kills: an n × n/d matrix between the kernels. What the importance kernel stores is a number for each query and
    // block, however many heads there are; all else is what the branches give.
    for (const Setting& s : settings) {
        const Options& o = s.options;
        CAPTURE(s.H, s.G, s.N);
        std::int64_t importance = 0, stored = 0;
        for (int t = 0; t < s.N; ++t) importance += std::max(0, o.block_of(t) - 1);  // blocks 0 … own - 2
        for (const auto& profile : profiles_of(s, "stage2")) {
            if (profile.kernel.find("weigh_blocks") != std::string::npos) {
                // A block whose compressed keys lie in two tiles of 64 is stored twice.
                CHECK(profile.counts.global_store_bytes >= bytes(importance * s.G));
                CHECK(profile.counts.global_store_bytes <= 2 * bytes(importance * s.G));
            }
            stored += static_cast<std::int64_t>(profile.counts.global_store_bytes / sizeof(float));
        }
        const std::int64_t results = std::int64_t{s.H} * s.N * (4 * s.Dv + 1) +
                                     std::int64_t{s.G} * (o.complete(s.N) * (s.Dk + s.Dv) + s.N * o.select_count);
        CHECK(stored <= results + 2 * importance * s.G);
    }
}

TEST_CASE("native sparse: one step of generation reads the keys and values of the cost formula") {
    for (Setting s : {Setting{8, 2, 256, 64, 64, blocks_of(8, 4, 16, 6, 64)},
                      Setting{4, 1, 320, 32, 48, blocks_of(16, 8, 32, 4, 128)}}) {
        const Options& o = s.options;
        CAPTURE(s.N);
        const auto profiles = profiles_of(s, "stage2", s.N - 1);
        const std::int64_t both = s.Dk + s.Dv, query = std::int64_t{s.H} * s.Dk;
        const std::int64_t of_compress =
            static_cast<std::int64_t>(last_of(profiles, "CompleteBlocks").global_load_bytes / sizeof(float)) - query;
        const std::int64_t of_window =
            static_cast<std::int64_t>(last_of(profiles, "LastTokens").global_load_bytes / sizeof(float)) - query;
        const std::int64_t of_select =
            static_cast<std::int64_t>(last_of(profiles, "attend_to_blocks").global_load_bytes / sizeof(float)) -
            (selection_numbers(s, s.N - 1, 16) - std::int64_t{o.selected_keys(s.N - 1)} * s.G * both);
        CHECK(of_compress == o.complete(s.N) * both * s.G);
        CHECK(of_window == o.window * both * s.G);
        CHECK(of_compress + of_select + of_window == decode_positions(s.N, o) * both * s.G);
        // The importance needs the compressed keys once more, but those of the last two blocks.
        CHECK(last_of(profiles, "weigh_blocks").global_load_bytes <=
              bytes(o.complete(s.N) * s.Dk * s.G + query + s.H + 1000));
    }
}
