// The GPUs that the emulator knows: their limits, and what an estimate of a kernel's time rests on.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace attn::emulator {

// One GPU as its maker describes it. Limits of a multiprocessor: CUDA C++ Programming Guide, "Technical Specifications
// per Compute Capability". Rates: NVIDIA's data sheet or architecture white paper, at the boost clock.
struct Gpu {
    const char* name;
    int compute_capability;  // 80 stands for 8.0
    int multiprocessors;
    int threads, blocks;                 // that a multiprocessor holds at one time
    std::size_t shared_bytes;            // of a multiprocessor
    std::size_t shared_bytes_per_block;  // at most, after cudaFuncSetAttribute
    double memory_bytes_per_second;
    double multiply_adds_per_second;  // fp32, without tensor cores
    double exponentials_per_second;   // the special function units': 16 each clock and multiprocessor
};

const std::vector<Gpu>& gpus();
const Gpu* find_gpu(std::string_view name);  // null where there is none
// Its limits hold for launches, and it is what cudaGetDeviceProperties tells of. The A100 at first.
const Gpu& chosen_gpu();
void choose_gpu(const Gpu& gpu);

// What part of a multiprocessor's threads can be resident: by its limits on threads, blocks and shared memory.
// Registers are not known here and may lower it.
struct Occupancy {
    int blocks = 0;  // resident on a multiprocessor; 0: the block does not fit
    double share = 0;
    const char* limited_by = "";
};
Occupancy occupancy(const Gpu& gpu, unsigned threads_per_block, std::size_t shared_bytes_per_block);

// A lower bound of the time that work takes, in seconds: the slowest of three pipes, each at what the best public
// kernels reach of its peak.
struct Roofline {
    double memory = 0, arithmetic = 0, exponentials = 0;
    double seconds() const;
    const char* bound_by() const;
};
Roofline roofline(const Gpu& gpu, double bytes, double multiply_adds, double exponentials);

}  // namespace attn::emulator
