// The emulator as its users see it: what it found in the kernels that ran, and what it counted.
//
// It runs CUDA kernels on the CPU, every thread of a block a fiber, and sees each access to memory (README.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attn::emulator {

enum class FindingKind {
    out_of_bounds,
    use_after_free,
    host_memory,
    misaligned,
    never_written,
    barrier,          // __syncthreads() not reached by all threads of the block
    warp_collective,  // a shuffle or vote whose mask names lanes that do not take part
    assertion,
    exception,
};

// One broken rule of the CUDA model. The launch in which it was found ended there, with the CUDA error that a GPU
// would give; of several blocks that broke a rule, the one with the lowest index is reported.
struct Finding {
    FindingKind kind;
    std::string message;  // what happened and what to look for, one or two sentences
    std::string kernel;
    std::string file;  // of the access; empty when there is no debug information
    int line = 0;
    unsigned block[3] = {};
    unsigned thread[3] = {};

    std::string text() const;  // the whole, for people: several lines
};

// Accesses of the kernels that ran to the end, summed over their threads. An access is one load or store of one
// thread, of 1 to 16 bytes: what the threads request, before any cache.
struct Counts {
    std::uint64_t launches = 0;
    std::uint64_t blocks = 0;
    std::uint64_t barriers = 0;  // per block
    std::uint64_t warp_collectives = 0;
    std::uint64_t global_loads = 0, global_load_bytes = 0;
    std::uint64_t global_stores = 0, global_store_bytes = 0;
    std::uint64_t shared_loads = 0, shared_load_bytes = 0;
    std::uint64_t shared_stores = 0, shared_store_bytes = 0;
    std::uint64_t atomics = 0;

    Counts& operator+=(const Counts& other);
    bool operator==(const Counts&) const = default;
};

// Since the program began or reset() was called.
const Counts& counts();
const std::vector<Finding>& findings();
std::int64_t peak_device_bytes();  // the most that cudaMalloc had handed out at one time
void reset();

// Findings are printed to stderr as they are made, unless this is false.
void print_findings(bool print);

// How many cores share the blocks of a launch; 0 stands for all.
void use_workers(int workers);

}  // namespace attn::emulator
