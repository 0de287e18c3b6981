// What the emulator finds, and what it counts.
#include "tests/common/emulator/findings.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <thread>

#include "common/emulator/gpu.hpp"
#include "tests/support/catch.hpp"

using namespace attn::test;
namespace emulator = attn::emulator;

namespace {

enum : int {  // CUDA's numbers (driver_types.h)
    success = 0,
    invalid_value = 1,
    memory_allocation = 2,
    invalid_configuration = 9,
    illegal_address = 700,
};

// Every test starts without findings, on a device without errors.
struct Fresh {
    Fresh() {
        emulator::print_findings(false);
        emulator::use_workers(0);
        reset_device();
        emulator::reset();
    }
    ~Fresh() {
        reset_device();
        emulator::use_workers(0);
    }
};

// What `body` writes to the standard output.
template <class Body>
std::string printed_by(Body body) {
    std::FILE* file = std::tmpfile();
    REQUIRE(file != nullptr);
    std::fflush(stdout);
    int screen = ::dup(1);
    ::dup2(::fileno(file), 1);
    body();
    std::fflush(stdout);
    ::dup2(screen, 1);
    ::close(screen);
    std::rewind(file);
    std::string text;
    for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
    std::fclose(file);
    return text;
}

}  // namespace

TEST_CASE_METHOD(Fresh, "each broken rule is found, with its place") {
    for (const Scenario& scenario : scenarios()) {
        DYNAMIC_SECTION(scenario.name) {
            for (int workers : {1, 2}) {
                emulator::use_workers(workers);
                emulator::reset();
                reset_device();
                CHECK(scenario.run() == scenario.error);
                REQUIRE(emulator::findings().size() == 1);
                const emulator::Finding& finding = emulator::findings()[0];
                CAPTURE(finding.text());
                CHECK(static_cast<int>(finding.kind) == static_cast<int>(scenario.kind));
                CHECK(finding.kernel == scenario.kernel);
                CHECK(finding.file.substr(finding.file.find_last_of('/') + 1) == "findings.cu");
                CHECK(finding.line == scenario.line);
                for (int axis = 0; axis < 3; ++axis) {
                    CHECK(finding.block[axis] == scenario.block[axis]);
                    CHECK(finding.thread[axis] == scenario.thread[axis]);
                }
                CHECK(finding.message.find(scenario.message_part) != std::string::npos);
                CHECK(finding.text().find("findings.cu:" + std::to_string(scenario.line)) != std::string::npos);
                CHECK(emulator::counts() == emulator::Counts{});  // of kernels that ran to the end only
            }
        }
    }
}

TEST_CASE_METHOD(Fresh, "of several blocks that fail the lowest is reported") {
    for (int workers : {1, 2})
        for (int repetition = 0; repetition < 20; ++repetition) {
            emulator::use_workers(workers);
            emulator::reset();
            reset_device();
            auto first_bad = static_cast<unsigned>(repetition % 7);
            REQUIRE(fail_from_block(100, first_bad) == illegal_address);
            REQUIRE(emulator::findings().size() == 1);
            REQUIRE(emulator::findings()[0].block[0] == first_bad);
            REQUIRE(emulator::findings()[0].thread[0] == 2);
        }
}

TEST_CASE_METHOD(Fresh, "an error in a kernel stays until the device is reset") {
    CHECK(fail_from_block(1, 0) == illegal_address);
    CHECK(last_error() == illegal_address);
    CHECK(last_error() == illegal_address);
    CHECK(peek_at_last_error() == illegal_address);
    CHECK(synchronize() == illegal_address);
    CHECK(malloc_error(4) == illegal_address);
    CHECK(launch_harmless(1, 1, 0) == illegal_address);
    CHECK(launch_harmless(1, 1025, 0) == illegal_address);
    CHECK(emulator::findings().size() == 1);
    CHECK(reset_device() == success);
    CHECK(last_error() == success);
    CHECK(synchronize() == success);
    CHECK(launch_harmless(1, 1, 0) == success);
}

TEST_CASE_METHOD(Fresh, "launches that no GPU takes are found, and their error passes with being asked for") {
    CHECK(launch_harmless(1, 1025, 0) == invalid_configuration);
    CHECK(peek_at_last_error() == invalid_configuration);
    CHECK(synchronize() == success);
    CHECK(last_error() == invalid_configuration);
    CHECK(last_error() == success);
    CHECK(launch_harmless(0, 1, 0) == invalid_configuration);
    CHECK(launch_harmless(1, 0, 0) == invalid_configuration);
    CHECK(launch_harmless(1, 1, (48 << 10) + 1) == invalid_value);
    CHECK(launch_harmless(1, 1, 48 << 10) == success);
    CHECK(last_error() == invalid_value);
    CHECK(last_error() == success);
    CHECK(ask_for_shared(96 << 10) == success);
    CHECK(ask_for_shared(1 << 20) == invalid_value);
    CHECK(launch_harmless(1, 1, 96 << 10) == invalid_value);  // asked for by another kernel
    CHECK(launch_harmless(1, 1024, 0) == success);
    std::vector<std::string> said;
    for (const emulator::Finding& finding : emulator::findings()) {
        CHECK(finding.kind == emulator::FindingKind::launch_limit);
        CHECK((finding.kernel == "do_nothing" || finding.kernel == "ask_much"));
        CHECK(finding.file.ends_with("findings.cu"));
        said.push_back(finding.message);
    }
    const char* limits[] = {"1025 × 1 × 1 = 1025", "0 × 1 × 1",     "0 × 1 × 1",
                            "49153 bytes",         "1048576 bytes", "98304 bytes"};
    REQUIRE(said.size() == std::size(limits));
    for (std::size_t which = 0; which < said.size(); ++which) {
        CAPTURE(said[which]);
        CHECK(said[which].find(limits[which]) != std::string::npos);
    }
}

TEST_CASE_METHOD(Fresh, "the limits are those of the chosen GPU") {
    emulator::choose_gpu(*emulator::find_gpu("T4"));
    CHECK(ask_for_shared(65 << 10) == invalid_value);
    CHECK(ask_for_shared(64 << 10) == success);
    emulator::choose_gpu(*emulator::find_gpu("H100"));
    CHECK(ask_for_shared(227 << 10) == success);
    CHECK(ask_for_shared((227 << 10) + 1) == invalid_value);
    emulator::choose_gpu(emulator::gpus().front());
}

TEST_CASE_METHOD(Fresh, "errors of the memory functions") {
    CHECK(malloc_error(std::size_t{1} << 60) == memory_allocation);
    CHECK(last_error() == memory_allocation);
    CHECK(last_error() == success);
    CHECK(malloc_error(0) == success);
    CHECK(free_twice() == invalid_value);
    CHECK(copy_in_wrong_direction() == invalid_value);
    CHECK(copy_past_the_end() == invalid_value);
    CHECK(set_past_the_end() == invalid_value);
    CHECK(last_error() == invalid_value);
    CHECK(launch_harmless(1, 1, 0) == success);
    REQUIRE(emulator::findings().size() == 1);
    CHECK(emulator::findings()[0].kind == emulator::FindingKind::invalid_free);
    CHECK(emulator::findings()[0].message.find("freed before") != std::string::npos);
}

TEST_CASE_METHOD(Fresh, "device memory that was freed is used again, and the peak is remembered") {
    CHECK(fill_large_allocations(5, 400 << 20) == std::vector<int>{0, 1, 2, 3, 4});
    CHECK(emulator::peak_device_bytes() == 400 << 20);
    CHECK(fill_large_allocations(2, 1000 << 20) == std::vector<int>{0, 1});  // to the region's end
    CHECK(emulator::findings().empty());
    emulator::reset();
    CHECK(emulator::peak_device_bytes() == 0);
    CHECK(leak(1000) == success);
    CHECK(malloc_error(500) == success);
    CHECK(emulator::peak_device_bytes() == 1500);
}

// Fails when a kernel's accesses are no longer seen: it is what all checks rest on.
TEST_CASE_METHOD(Fresh, "accesses are counted to the byte") {
    // The same functions as in the kernel, compiled without hooks.
    float host[4] = {1, 2, 3, 4};
    CHECK(read_at(host, 2) == 3);
    CHECK(read_element(attn::TensorView<const float, 2>(host, {{2, 2}}), 1, 1) == 4);
    CHECK(attn::TensorView<float, 1>(host, {{4}})(1) == 2);

    for (int workers : {1, 2}) {
        emulator::use_workers(workers);
        emulator::reset();
        CHECK(run_counted() == 16);
        constexpr std::uint64_t threads = 3 * 32;
        emulator::Counts expected;
        expected.launches = 1;
        expected.blocks = 3;
        expected.barriers = 3 * 2;
        expected.warp_collectives = 3;
        expected.global_loads = 4 * threads;
        expected.global_load_bytes = (4 + 4 + 4 + 16) * threads;
        expected.global_stores = threads + 3 * 2;
        expected.global_store_bytes = 4 * threads + 3 * 2 * 16;
        expected.shared_stores = expected.shared_loads = 2 * threads;
        expected.shared_store_bytes = expected.shared_load_bytes = (4 + 8) * threads;
        expected.atomics = 3;
        const emulator::Counts& counts = emulator::counts();
        CHECK(counts.launches == expected.launches);
        CHECK(counts.blocks == expected.blocks);
        CHECK(counts.barriers == expected.barriers);
        CHECK(counts.warp_collectives == expected.warp_collectives);
        CHECK(counts.global_loads == expected.global_loads);
        CHECK(counts.global_load_bytes == expected.global_load_bytes);
        CHECK(counts.global_stores == expected.global_stores);
        CHECK(counts.global_store_bytes == expected.global_store_bytes);
        CHECK(counts.shared_loads == expected.shared_loads);
        CHECK(counts.shared_load_bytes == expected.shared_load_bytes);
        CHECK(counts.shared_stores == expected.shared_stores);
        CHECK(counts.shared_store_bytes == expected.shared_store_bytes);
        CHECK(counts.atomics == expected.atomics);
        CHECK(emulator::findings().empty());
    }
}

TEST_CASE_METHOD(Fresh, "16-bit numbers in shared memory count like all others") {
    CHECK(run_shared_halves() == 31);
    CHECK(emulator::counts().shared_stores == 32);
    CHECK(emulator::counts().shared_store_bytes == 64);
    CHECK(emulator::counts().shared_loads == 32);
    CHECK(emulator::counts().shared_load_bytes == 64);
    CHECK(emulator::findings().empty());
}

TEST_CASE_METHOD(Fresh, "sums by atomicAdd have the same bits on every run and with any number of workers") {
    emulator::use_workers(1);
    float expected = sum_of_all_blocks(300)[0];
    CHECK(expected > 0);
    emulator::use_workers(2);
    for (int repetition = 0; repetition < 20; ++repetition) {
        float sum = sum_of_all_blocks(300)[0];
        REQUIRE(std::memcmp(&sum, &expected, sizeof sum) == 0);
    }
}

TEST_CASE_METHOD(Fresh, "what kernels print comes in the order of the blocks") {
    std::string expected;
    for (int block = 0; block < 40; ++block)
        for (int thread = 0; thread < 2; ++thread)
            expected += "block " + std::to_string(block) + " thread " + std::to_string(thread) + "\n";
    for (int workers : {1, 2, 3}) {
        emulator::use_workers(workers);
        CHECK(printed_by([] { print_from_all_blocks(40); }) == expected);
    }
}

TEST_CASE_METHOD(Fresh, "a warp collective does not wait for lanes that have returned") {
    // Kills: counting the lanes of the mask that no longer run.
    CHECK(vote_after_some_returned() == std::vector<int>(28, 3));
    CHECK(emulator::findings().empty());
}

TEST_CASE_METHOD(Fresh, "more workers than the machine has cores, and than it could have stacks for") {
    emulator::use_workers(1000);
    CHECK(sum_of_all_blocks(2000) == sum_of_all_blocks(2000));
    CHECK(emulator::findings().empty());
}

TEST_CASE_METHOD(Fresh, "one host thread may copy while another's kernel runs") {
    // Kills: device memory closed to the host under a kernel that is still at work.
    std::thread copies(copy_to_and_fro, 2000);
    for (int time = 0; time < 50; ++time) sum_of_all_blocks(64);
    copies.join();
    CHECK(emulator::findings().empty());
    CHECK(last_error() == success);
}

TEST_CASE_METHOD(Fresh, "a schedule seed gives blocks and threads another order, the same on every run") {
    const auto in_order = [](std::vector<int> order) { return std::is_sorted(order.begin(), order.end()); };
    for (bool of_threads : {false, true}) {
        emulator::schedule_seed(0);
        CHECK(in_order(order(of_threads, 100)));
        std::vector<std::vector<int>> seen;
        for (std::uint64_t seed : {1, 2, 3}) {
            emulator::schedule_seed(seed);
            emulator::use_workers(1);
            std::vector<int> first = order(of_threads, 100);
            emulator::use_workers(2);
            CHECK(order(of_threads, 100) == first);
            CHECK(std::find(seen.begin(), seen.end(), first) == seen.end());
            CHECK(!in_order(first));
            seen.push_back(first);
            std::sort(first.begin(), first.end());
            for (int i = 0; i < 100; ++i) REQUIRE(first[static_cast<std::size_t>(i)] == i);
        }
    }
    emulator::schedule_seed(0);
    CHECK(emulator::findings().empty());
}
