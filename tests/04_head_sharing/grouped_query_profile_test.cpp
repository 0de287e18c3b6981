// What decoding asks of memory: the cache once for each group of heads, whatever the number of heads.
#include "chapters/04_head_sharing/grouped_query/grouped_query.hpp"
#include "common/emulator/emulator.hpp"
#include "common/mechanism/run_case.hpp"
#include "tests/support/catch.hpp"

using namespace attn;

namespace {

// One new token of B sequences, against n positions.
emulator::Counts counts_of(int B, int H, int G, int n, int D, std::size_t launches) {
    Case decode;
    decode.mechanism = "grouped_query";
    decode.params = Params::parse("{\"causal\": true}");
    decode.inputs["q"] = random_array({B, H, 1, D}, 1);
    decode.inputs["k"] = random_array({B, G, n, D}, 2);
    decode.inputs["v"] = random_array({B, G, n, D}, 3);
    emulator::reset();
    emulator::keep_profiles(true);
    find_mechanism("grouped_query")->run_cuda(decode, cuda_versions("grouped_query", "emulated").at(0));
    emulator::keep_profiles(false);
    CHECK(emulator::findings().empty());
    REQUIRE(emulator::profiles().size() == launches);
    return emulator::profiles()[0].counts;
}

}  // namespace

TEST_CASE("decoding reads each key and value once for its group") {
    for (auto [B, H, G] : {std::tuple{1, 8, 8}, {1, 8, 2}, {1, 8, 1}, {2, 16, 2}, {1, 12, 3}}) {
        constexpr int n = 1000, D = 64;
        const emulator::Counts counts = counts_of(B, H, G, n, D, 2);
        CAPTURE(B, H, G);
        const auto cache = static_cast<std::uint64_t>(kv_cache::bytes(1, B, n, G, D, D, sizeof(float)));
        const auto queries = static_cast<std::uint64_t>(B * H * D) * sizeof(float) * 4;  // by each of four splits
        const auto table = static_cast<std::uint64_t>(B * G * n) * sizeof(int);          // a page number for each key
        CHECK(counts.global_load_bytes == cache + queries + table);
        // In sectors: keys and values fill theirs, a page number is read for 32 lanes at once.
        const std::uint64_t moved = 32 * (counts.global_load_sectors + counts.global_store_sectors);
        CHECK(static_cast<double>(counts.useful_sector_bytes) >= 0.99 * static_cast<double>(moved));
        CHECK(32 * counts.global_load_sectors >= cache);
        CHECK(static_cast<double>(32 * counts.global_load_sectors) <= 1.03 * static_cast<double>(cache + queries));
        CHECK(counts.bank_conflicts == 0);
    }
}
