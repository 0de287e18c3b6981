// Requests, sectors, wavefronts and bank conflicts are those counted by hand (patterns.cu).
#include "tests/common/emulator/patterns.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace attn;

TEST_CASE("counts of access patterns are those counted by hand", "[emulator]") {
    const std::vector<test::Run> runs = test::run_patterns();
    CHECK(runs.size() >= 12);
    for (const test::Run& run : runs) {
        const test::Pattern& expected = run.expected;
        const emulator::Counts& counts = run.profile.counts;
        INFO(expected.name << ", kernel " << run.profile.kernel);
        CHECK(counts.global_load_requests == expected.load_requests);
        CHECK(counts.global_load_sectors == expected.load_sectors);
        CHECK(counts.global_store_requests == expected.store_requests);
        CHECK(counts.global_store_sectors == expected.store_sectors);
        CHECK(counts.shared_load_wavefronts == expected.load_wavefronts);
        CHECK(counts.shared_store_wavefronts == expected.store_wavefronts);
        CHECK(counts.bank_conflicts == expected.bank_conflicts);

        // What stands at the lines is what stands in the sum.
        emulator::AccessPattern sum;
        for (const emulator::AccessPattern& line : run.profile.lines) {
            CHECK(line.file.ends_with("patterns.cu"));
            CHECK(line.line > 0);
            sum += line;
        }
        CHECK(sum.sectors == counts.global_load_sectors + counts.global_store_sectors);
        CHECK(sum.useful_bytes == counts.useful_sector_bytes);
        CHECK(sum.wavefronts == counts.shared_load_wavefronts + counts.shared_store_wavefronts);
        CHECK(sum.bank_conflicts == counts.bank_conflicts);
        CHECK(sum.accesses == counts.global_loads + counts.global_stores + counts.shared_loads + counts.shared_stores);
    }
}

}  // namespace
