// What Mamba asks of memory on the device.
#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

TEST_CASE("mamba: the convolution and the scan move each number once, and the state is all that is kept") {
    constexpr int L = 512, Dm = 8, Di = 32, S = 16, W = 4, R = 4;
    const Case input = random_case("mamba", L,
                                   {{"hidden", {1, L, Dm}},
                                    {"in_proj", {2 * Di, Dm}},
                                    {"conv_weight", {Di, W}},
                                    {"conv_bias", {Di}},
                                    {"x_proj", {R + 2 * S, Di}},
                                    {"dt_proj", {Di, R}},
                                    {"dt_bias", {Di}},
                                    {"a_log", {Di, S}},
                                    {"d", {Di}},
                                    {"out_proj", {Dm, Di}}});
    emulator::reset();
    emulator::keep_profiles(true);
    find_mechanism("mamba")->run_cuda(input, cuda_versions("mamba", "emulated")[0]);
    emulator::keep_profiles(false);
    CHECK(emulator::findings().empty());
    const auto bytes_asked = [](const std::string& kernel) {
        for (const auto& launch : emulator::profiles())
            if (launch.kernel.find(kernel) != std::string::npos)
                return launch.counts.global_load_bytes + launch.counts.global_store_bytes;
        FAIL("no launch of " << kernel);
        return std::uint64_t{};
    };
    constexpr std::uint64_t tokens = Di * L, number = sizeof(float);
    constexpr std::uint64_t halos = Di * (L / 128) * (W - 1);
    // Loads of one number by a whole warp, the bias, count 32 times.
    CHECK(bytes_asked("convolve") <= number * (2 * tokens + 2 * halos + 64 * Di * (L / 128) * W));
    CHECK(static_cast<double>(bytes_asked("scan_tiles")) <= 1.05 * number * (4 * tokens + 2 * S * L + 3 * Di * S));
    for (const auto& launch : emulator::profiles())
        if (launch.kernel.find("convolve") != std::string::npos ||
            launch.kernel.find("scan_tiles") != std::string::npos)
            CHECK(launch.counts.bank_conflicts == 0);
    // Nothing of size L · Di · S is held: five tensors of all tokens are, beside inputs and outputs.
    CHECK(emulator::peak_device_bytes() < static_cast<std::int64_t>(number * tokens * S / 2));
}
