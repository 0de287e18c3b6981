// What decoding asks of memory in the absorbed form: a row of the cache once for sixteen heads, for scores and values.
#include "chapters/04_head_sharing/latent/latent.hpp"
#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

TEST_CASE("the absorbed form reads the cache once for sixteen heads") {
    constexpr int n = 600, Rkv = 128, Dr = 32, Dn = 16, Dv = 16, Dm = 32;
    for (int H : {8, 16, 32}) {
        Case decode;
        decode.mechanism = "latent";
        decode.params =
            Params::parse("{\"heads\": " + std::to_string(H) +
                          ", \"nope_dim\": 16, \"rope_dim\": 32, \"value_dim\": 16, \"form\": \"absorbed\", "
                          "\"prefill\": " +
                          std::to_string(n - 1) + "}");
        decode.inputs["hidden"] = random_array({1, n, Dm}, 1);
        decode.inputs["w_q"] = random_array({H * (Dn + Dr), Dm}, 2);
        decode.inputs["w_dkv"] = random_array({Rkv + Dr, Dm}, 3);
        decode.inputs["norm_kv"] = random_array({Rkv}, 4);
        decode.inputs["w_ukv"] = random_array({H * (Dn + Dv), Rkv}, 5);
        decode.inputs["w_o"] = random_array({Dm, H * Dv}, 6);
        emulator::reset();
        emulator::keep_profiles(true);
        find_mechanism("latent")->run_cuda(decode, cuda_versions("latent", "emulated").at(0));
        emulator::keep_profiles(false);
        CHECK(emulator::findings().empty());

        // The last launch of the attention kernel: the token n - 1.
        const emulator::LaunchProfile* attention = nullptr;
        for (const emulator::LaunchProfile& profile : emulator::profiles())
            if (profile.kernel.starts_with("attend_to_latents")) attention = &profile;
        REQUIRE(attention != nullptr);
        const emulator::Counts& counts = attention->counts;
        CAPTURE(H);
        const std::uint64_t readers = H <= 16 ? 1 : 2, splits = 3, columns = Rkv + Dr;
        const std::uint64_t cache = n * columns * sizeof(float);
        CHECK(counts.global_load_bytes ==
              readers * cache + splits * static_cast<std::uint64_t>(H) * columns * sizeof(float));
        CHECK(counts.global_load_bytes >= static_cast<std::uint64_t>(latent::bytes_read_per_token(
                                              {1, n, Dm, H, 0, Rkv, Dn, Dr, Dv}, n, sizeof(float))));
        const std::uint64_t moved = 32 * (counts.global_load_sectors + counts.global_store_sectors);
        CHECK(static_cast<double>(counts.useful_sector_bytes) >= 0.99 * static_cast<double>(moved));
        CHECK(counts.bank_conflicts == 0);
    }
}
