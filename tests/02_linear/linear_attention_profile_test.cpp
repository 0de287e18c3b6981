// What the stages ask of memory is what the formulas say.
#include "chapters/02_linear/linear_attention/linear_attention.hpp"
#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

namespace {

emulator::Counts counts_of(const char* stage, int N, int D, int Dv, bool causal = true) {
    Case input = random_case("linear_attention", N, {{"q", {1, 2, N, D}}, {"k", {1, 2, N, D}}, {"v", {1, 2, N, Dv}}});
    input.params = Params::parse(causal ? R"({"causal": true})" : "{}", "profile");
    emulator::reset();
    emulator::keep_profiles(true);
    for (const CudaVersion& version : cuda_versions("linear_attention", "emulated"))
        if (version.name == stage) find_mechanism("linear_attention")->run_cuda(input, version);
    emulator::keep_profiles(false);
    CHECK(emulator::findings().empty());
    emulator::Counts sum;
    for (const emulator::LaunchProfile& profile : emulator::profiles()) {
        const emulator::Counts& c = profile.counts;
        sum.global_load_bytes += c.global_load_bytes, sum.global_store_bytes += c.global_store_bytes;
        sum.global_load_sectors += c.global_load_sectors, sum.global_store_sectors += c.global_store_sectors;
        sum.useful_sector_bytes += c.useful_sector_bytes, sum.bank_conflicts += c.bank_conflicts;
        sum.shared_load_wavefronts += c.shared_load_wavefronts;
    }
    return sum;
}

double coalescing(const emulator::Counts& c) {
    return static_cast<double>(c.useful_sector_bytes) /
           static_cast<double>(32 * (c.global_load_sectors + c.global_store_sectors));
}

}  // namespace

TEST_CASE("stage 2 moves each number once, to the byte") {
    for (bool causal : {true, false})
        for (int N : {32, 100, 256})
            for (auto [D, Dv] : {std::pair{32, 32}, {64, 64}, {64, 128}, {128, 128}}) {
                const emulator::Counts c = counts_of("stage2", N, D, Dv, causal);
                const auto n = static_cast<std::uint64_t>(2 * N), d = static_cast<std::uint64_t>(D),
                           dv = static_cast<std::uint64_t>(Dv);
                CAPTURE(causal, N, D, Dv);
                CHECK(c.global_load_bytes == sizeof(float) * n * (2 * d + dv));
                CHECK(c.global_store_bytes == sizeof(float) * (n * dv + (causal ? 2 * (d * dv + d) : 0)));
                CHECK(c.global_load_bytes + c.global_store_bytes <=
                      static_cast<std::uint64_t>(
                          1.05 * 2 * sizeof(float) *
                          static_cast<double>(linear_attention::compulsory_numbers({1, 2, N, N, D, Dv}))));
                CHECK(coalescing(c) >= 0.99);
                CHECK(c.bank_conflicts == 0);
            }
}

TEST_CASE("stage 1 moves the states four times as well") {
    for (int N : {64, 256}) {
        const emulator::Counts c = counts_of("stage1", N, 64, 64);
        const auto n = static_cast<std::uint64_t>(2 * N), states = n / 32 * (64 * 64 + 64);
        CAPTURE(N);
        // q once, k and v twice: for the sums, and for the pairs. The states are read by two kernels, written by two.
        CHECK(c.global_load_bytes == sizeof(float) * (n * 5 * 64 + 2 * states));
        CHECK(c.global_store_bytes == sizeof(float) * (n * 64 + 2 * states + 2 * (64 * 64 + 64)));
        CHECK(coalescing(c) >= 0.99);
        CHECK(c.bank_conflicts == 0);
    }
}
