// What the stages of a mixture of experts ask of memory: the weights of an expert, for each of its tokens or once for
// 64 of them.
#include <algorithm>

#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

namespace {

constexpr int Dm = 64, Df = 128, k = 2, N = 300;

Case problem(int E) {
    Case input = random_case("mixture_of_experts", N,
                             {{"hidden", {1, N, Dm}},
                              {"router", {E, Dm}},
                              {"gate", {E, Df, Dm}},
                              {"up", {E, Df, Dm}},
                              {"down", {E, Dm, Df}}});
    input.params = Params::parse(R"({"top_k": 2})", "problem");
    return input;
}

struct Profiled {
    NamedArrays outputs;
    std::vector<emulator::LaunchProfile> launches;

    const emulator::Counts& of(const std::string& kernel) const {
        for (const emulator::LaunchProfile& launch : launches)
            if (launch.kernel.starts_with(kernel)) return launch.counts;
        FAIL("no launch of " << kernel);
        return launches.at(0).counts;
    }
};
Profiled profiled(const Case& input, std::size_t stage) {
    emulator::reset();
    emulator::keep_profiles(true);
    Profiled result;
    result.outputs = find_mechanism("mixture_of_experts")
                         ->run_cuda(input, cuda_versions("mixture_of_experts", "emulated").at(stage - 1));
    emulator::keep_profiles(false);
    CHECK(emulator::findings().empty());
    result.launches = emulator::profiles();
    for (const emulator::LaunchProfile& launch : result.launches) {
        INFO(launch.kernel);
        CHECK(launch.counts.bank_conflicts == 0);
        CHECK(launch.counts.atomics == 0);
    }
    return result;
}

// Tiles of at most 64 tokens of one expert.
std::uint64_t tiles(const Profiled& run, int E) {
    std::uint64_t sum = 0;
    for (int e = 0; e < E; ++e) {
        const std::int32_t* experts = run.outputs.at("experts").data<std::int32_t>();
        sum += static_cast<std::uint64_t>((std::count(experts, experts + N * k, e) + 63) / 64);
    }
    return sum;
}

double coalescing(const emulator::Counts& c) {
    return static_cast<double>(c.useful_sector_bytes) /
           static_cast<double>(32 * (c.global_load_sectors + c.global_store_sectors));
}

}  // namespace

TEST_CASE("mixture of experts: stage 1 reads its experts for each token, ten times what stage 2 asks for") {
    constexpr int E = 8;
    const Profiled run = profiled(problem(E), 1);
    REQUIRE(run.launches.size() == 1);
    const emulator::Counts& counts = run.launches[0].counts;
    constexpr std::uint64_t of_token = Dm + E * Dm + k * 3 * Df * Dm, choices = k * 256;  // which all threads read
    CHECK(counts.global_load_bytes == sizeof(float) * N * (of_token + choices));
    CHECK(counts.global_store_bytes == sizeof(float) * N * (Dm + k));
    CHECK(coalescing(counts) >= 0.95);

    std::uint64_t bytes = 0;
    for (const emulator::LaunchProfile& launch : profiled(problem(E), 2).launches)
        bytes += launch.counts.global_load_bytes + launch.counts.global_store_bytes;
    CHECK(10 * bytes <= counts.global_load_bytes + counts.global_store_bytes);
}

TEST_CASE("mixture of experts: stage 2 reads an expert once for 64 of its tokens, and without tokens never") {
    // Kills: tiles that go beyond their expert, weights that are read by blocks without tokens.
    for (int E : {2, 8, 64}) {
        for (bool to_two_experts : {false, true}) {
            Case input = problem(E);
            if (to_two_experts)
                for (int i = 0; i < N; ++i) {
                    input.inputs["hidden"].data<float>()[i * Dm] = 4;
                    for (int e = 0; e < E; ++e) input.inputs["router"].data<float>()[e * Dm] = e < E - 2 ? -20 : 20;
                }
            const Profiled run = profiled(input, 2);
            const std::uint64_t used = tiles(run, E), choices = N * k;
            INFO("E " << E << ", tiles " << used);
            if (to_two_experts) CHECK(used == 2 * 5);
            // A block with tokens: its tile, read by all threads, the numbers and the rows of its tokens, and 64 rows
            // of each matrix. A block without: its tile.
            const std::uint64_t tile_bytes = 12 * 256;
            const std::uint64_t launched = k * N < E ? k * N : static_cast<std::uint64_t>(E + (k * N - E) / 64);
            CHECK(used <= launched);
            const emulator::Counts& units = run.of("make_units");
            CHECK(units.global_load_bytes ==
                  Df / 64 * (launched * tile_bytes + choices * sizeof(int) + choices * Dm * sizeof(float)) +
                      used * 2 * Df * Dm * sizeof(float));
            CHECK(units.global_store_bytes == choices * Df * sizeof(float));
            const emulator::Counts& results = run.of("make_results");
            CHECK(results.global_load_bytes ==
                  Dm / 64 * (launched * tile_bytes + choices * Df * sizeof(float)) + used * Dm * Df * sizeof(float));
            CHECK(results.global_store_bytes == choices * Dm * sizeof(float));
            CHECK(coalescing(units) >= 0.97);
            CHECK(coalescing(results) >= 0.97);
        }
    }
}
