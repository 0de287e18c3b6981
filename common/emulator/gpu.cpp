#include "common/emulator/gpu.hpp"

#include <algorithm>

namespace attn::emulator {

namespace {

constexpr std::size_t KiB = 1024;
constexpr std::size_t reserved_shared_bytes = 1024;  // of each block, by the system, since compute capability 8.0

// No public kernel is known to go beyond: a sum over 2^30 numbers on an H100 reads 97 % of the peak bandwidth
// (github.com/pranjalssh/fast.cu). For the other pipes the same share is taken.
constexpr double best_share = 0.97;

const Gpu* chosen = nullptr;

}  // namespace

const std::vector<Gpu>& gpus() {
    // A100: NVIDIA A100 data sheet (80 GB, SXM). H100: NVIDIA H100 data sheet (SXM). T4: NVIDIA T4 data sheet.
    // RTX 4090: NVIDIA Ada GPU architecture white paper. Exponentials: 16 · multiprocessors · boost clock.
    static const std::vector<Gpu> all = {
        {"A100", 80, 108, 2048, 32, 164 * KiB, 163 * KiB, 2039e9, 19.5e12 / 2, 16 * 108 * 1.41e9},
        {"H100", 90, 132, 2048, 32, 228 * KiB, 227 * KiB, 3350e9, 66.9e12 / 2, 16 * 132 * 1.83e9},
        {"T4", 75, 40, 1024, 16, 64 * KiB, 64 * KiB, 320e9, 8.1e12 / 2, 16 * 40 * 1.59e9},
        {"RTX 4090", 89, 128, 1536, 24, 100 * KiB, 99 * KiB, 1008e9, 82.6e12 / 2, 16 * 128 * 2.52e9},
    };
    return all;
}

const Gpu* find_gpu(std::string_view name) {
    for (const Gpu& gpu : gpus())
        if (name == gpu.name) return &gpu;
    return nullptr;
}

const Gpu& chosen_gpu() { return chosen ? *chosen : gpus().front(); }
void choose_gpu(const Gpu& gpu) { chosen = &gpu; }

Occupancy occupancy(const Gpu& gpu, unsigned threads_per_block, std::size_t shared_bytes_per_block) {
    const int warps = static_cast<int>((threads_per_block + 31) / 32);
    const std::size_t shared = shared_bytes_per_block + (gpu.compute_capability >= 80 ? reserved_shared_bytes : 0);
    const int by_threads = gpu.threads / (32 * warps);
    const int by_shared = shared ? static_cast<int>(gpu.shared_bytes / shared) : gpu.blocks;
    Occupancy result{std::min({by_threads, by_shared, gpu.blocks}), 0, "threads"};
    if (result.blocks < by_threads) result.limited_by = by_shared < gpu.blocks ? "shared memory" : "blocks";
    result.share = static_cast<double>(result.blocks * 32 * warps) / gpu.threads;
    return result;
}

double Roofline::seconds() const { return std::max({memory, arithmetic, exponentials}); }

const char* Roofline::bound_by() const {
    return seconds() == memory ? "memory" : seconds() == arithmetic ? "arithmetic" : "exponentials";
}

Roofline roofline(const Gpu& gpu, double bytes, double multiply_adds, double exponentials) {
    return {bytes / (best_share * gpu.memory_bytes_per_second),
            multiply_adds / (best_share * gpu.multiply_adds_per_second),
            exponentials / (best_share * gpu.exponentials_per_second)};
}

}  // namespace attn::emulator
