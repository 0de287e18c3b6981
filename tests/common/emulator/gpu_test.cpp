#include "common/emulator/gpu.hpp"

#include "tests/support/catch.hpp"

using namespace attn::emulator;

TEST_CASE("occupancy is what CUDA's own header says", "[gpu]") {
    // cudaOccMaxActiveBlocksPerMultiprocessor of cuda_occupancy.h, CUDA 13.0, for a kernel with few registers.
    struct Answer {
        const char* gpu;
        unsigned threads;
        std::size_t shared_bytes;
        int blocks;
    };
    const Answer answers[] = {
        {"A100", 256, 0, 8},          {"A100", 256, 16384, 8},     {"A100", 32, 0, 32},
        {"A100", 1024, 0, 2},         {"A100", 128, 50000, 3},     {"A100", 96, 33000, 4},
        {"A100", 1000, 1, 2},         {"A100", 64, 65536, 2},      {"A100", 512, 101376, 1},
        {"A100", 256, 166912, 1},     {"H100", 256, 0, 8},         {"H100", 256, 16384, 8},
        {"H100", 32, 0, 32},          {"H100", 1024, 0, 2},        {"H100", 128, 50000, 4},
        {"H100", 96, 33000, 6},       {"H100", 1000, 1, 2},        {"H100", 64, 65536, 3},
        {"H100", 512, 101376, 2},     {"H100", 256, 166912, 1},    {"T4", 256, 0, 4},
        {"T4", 256, 16384, 4},        {"T4", 32, 0, 16},           {"T4", 1024, 0, 1},
        {"T4", 128, 50000, 1},        {"T4", 96, 33000, 1},        {"T4", 1000, 1, 1},
        {"T4", 64, 65536, 1},         {"T4", 512, 101376, 0},      {"T4", 256, 166912, 0},
        {"RTX 4090", 256, 0, 6},      {"RTX 4090", 256, 16384, 5}, {"RTX 4090", 32, 0, 24},
        {"RTX 4090", 1024, 0, 1},     {"RTX 4090", 128, 50000, 2}, {"RTX 4090", 96, 33000, 3},
        {"RTX 4090", 1000, 1, 1},     {"RTX 4090", 64, 65536, 1},  {"RTX 4090", 512, 101376, 1},
        {"RTX 4090", 256, 166912, 0},
    };
    for (const Answer& answer : answers) {
        CAPTURE(answer.gpu, answer.threads, answer.shared_bytes);
        const Gpu* gpu = find_gpu(answer.gpu);
        REQUIRE(gpu != nullptr);
        const Occupancy found = occupancy(*gpu, answer.threads, answer.shared_bytes);
        CHECK(found.blocks == answer.blocks);
        CHECK(found.share == Approx(answer.blocks * ((answer.threads + 31) / 32 * 32) / double(gpu->threads)));
    }
    CHECK(std::string(occupancy(*find_gpu("RTX 4090"), 256, 16384).limited_by) == "shared memory");
    CHECK(std::string(occupancy(*find_gpu("A100"), 32, 0).limited_by) == "blocks");
    CHECK(std::string(occupancy(*find_gpu("A100"), 256, 0).limited_by) == "threads");
}

TEST_CASE("an estimate is never below what the fastest public kernels reach", "[gpu]") {
    // FlashInfer and others come to 80 to 90 % of the bandwidth; a sum of 2^30 floats on an H100 took it to 97 %:
    // 3240 GB/s (github.com/pranjalssh/fast.cu).
    const Gpu& h100 = *find_gpu("H100");
    CHECK(roofline(h100, 4. * (1 << 30), 0, 0).seconds() >= 4. * (1 << 30) / 3250e9);
    CHECK(std::string(roofline(h100, 1e9, 1, 1).bound_by()) == "memory");
    CHECK(std::string(roofline(h100, 1, 1e12, 1).bound_by()) == "arithmetic");
    CHECK(std::string(roofline(h100, 1, 1, 1e12).bound_by()) == "exponentials");
    for (const Gpu& gpu : gpus()) {
        // No faster than the peak rates.
        CHECK(roofline(gpu, gpu.memory_bytes_per_second, 0, 0).seconds() > 1);
        CHECK(roofline(gpu, 0, gpu.multiply_adds_per_second, 0).seconds() > 1);
        CHECK(roofline(gpu, 0, 0, gpu.exponentials_per_second).seconds() > 1);
    }
}
