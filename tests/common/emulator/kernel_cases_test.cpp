// What the emulator finds in the kernels of broken/, and that it finds nothing in those of correct/. What is to be
// found stands in the file: "// FINDS: kind", and of the lines that the finding names "// SECOND" at its own and, for a
// race,
// "// FIRST" at that of the other access.
#include "tests/common/emulator/kernel_cases.hpp"

#include <cstdio>
#include <fstream>

#include "common/emulator/emulator.hpp"
#include "tests/support/catch.hpp"

using namespace attn::test;
namespace emulator = attn::emulator;

namespace {

struct Expected {
    std::string kind;
    int first = 0, second = 0;
};

Expected expected_of(const std::string& file) {
    std::ifstream source(ATTN_SOURCE_FOLDER "/tests/common/emulator/" + file);
    REQUIRE(source.good());
    Expected expected;
    std::string line;
    for (int number = 1; std::getline(source, line); ++number) {
        const std::string finds = "// FINDS: ";
        if (line.starts_with(finds)) expected.kind = line.substr(finds.size());
        if (line.find("// FIRST") != std::string::npos) expected.first = number;
        if (line.find("// SECOND") != std::string::npos) expected.second = number;
    }
    return expected;
}

bool source_has(const std::string& file, const std::string& text) {
    std::ifstream source(ATTN_SOURCE_FOLDER "/tests/common/emulator/" + file);
    for (std::string line; std::getline(source, line);)
        if (line.find(text) != std::string::npos) return true;
    return false;
}

int launch(const KernelCase& one, int workers) {
    emulator::print_findings(false);
    emulator::use_workers(workers);
    emulator::limit_loops(1 << 16, 0.5);
    emulator::reset();
    const int error = one.run();
    emulator::find_leaks();
    return error;
}

constexpr int worker_counts[] = {1, 2, 4, 2, 4};

}  // namespace

TEST_CASE("what is wrong in each kernel of broken/ is found, with its lines, the same each time", "[emulator]") {
    std::size_t found = 0;
    for (const KernelCase& one : broken_cases()) {
        const Expected expected = expected_of(one.file);
        CAPTURE(one.file, expected.kind);
        std::string text;
        bool right = true;
        for (int workers : worker_counts) {
            CHECK(launch(one, workers) != 0);
            REQUIRE(emulator::findings().size() == 1);
            const emulator::Finding& finding = emulator::findings()[0];
            CAPTURE(finding.text());
            CHECK(emulator::name(finding.kind) == expected.kind);
            CHECK(finding.file.ends_with(one.file));
            CHECK(finding.line == expected.second);
            CHECK(finding.other_line == expected.first);
            if (expected.first > 0) CHECK(finding.other_file.ends_with(one.file));
            if (text.empty()) text = finding.text();
            CHECK(finding.text() == text);
            right = right && emulator::name(finding.kind) == expected.kind && finding.line == expected.second;
        }
        found += right;
    }
    std::printf("broken kernels: %zu, found: %zu\n", broken_cases().size(), found);
    CHECK(found == broken_cases().size());
}

TEST_CASE("nothing is found in the kernels of correct/, in whatever order blocks and threads run", "[emulator]") {
    std::size_t silent = 0;
    for (const KernelCase& one : correct_cases()) {
        CAPTURE(one.file);
        bool right = true;
        for (std::uint64_t seed : {0, 1, 2, 3}) {
            // It waits for a block with a lower index.
            if (seed > 0 && source_has(one.file, "// IN ORDER ONLY")) continue;
            emulator::schedule_seed(seed);
            for (int workers : worker_counts) {
                CAPTURE(seed, workers);
                const int error = launch(one, workers);
                CAPTURE(emulator::findings().empty() ? "" : emulator::findings()[0].text());
                CHECK(error == 0);
                CHECK(emulator::findings().empty());
                right = right && error == 0 && emulator::findings().empty();
            }
        }
        emulator::schedule_seed(0);
        silent += right;
    }
    std::printf("correct kernels: %zu, nothing found in: %zu\n", correct_cases().size(), silent);
    CHECK(silent == correct_cases().size());
}
