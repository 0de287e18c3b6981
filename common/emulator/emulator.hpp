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
    race,             // two accesses to the same bytes, at least one a write, that nothing orders
    mixed_atomic,     // a race of an atomic operation with a plain access
    assertion,
    exception,
    endless_loop,
    launch_limit,  // more threads, blocks or shared memory than a launch may ask of the chosen GPU
    invalid_free,  // cudaFree() of what is not allocated, or no more
    leak,          // device memory that nobody freed
    host_access,   // host code that reads or writes through a device pointer: the program ends there
};
const char* name(FindingKind kind);  // "out_of_bounds"

// One broken rule of the CUDA model. A launch in which one was found ended there, with the CUDA error that a GPU would
// give; of several blocks that broke a rule, the one with the lowest index is reported.
struct Finding {
    FindingKind kind;
    std::string message;  // what happened and what to look for, one or two sentences
    std::string kernel;   // empty where no kernel is at fault: the last three kinds
    std::string file;     // of the access or call; empty when there is no debug information
    int line = 0;
    std::string other_file;  // of a race's first access; empty for other kinds
    int other_line = 0;
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

    // What a GPU makes of them (profile.hpp): a request is what the lanes of a warp ask for by one instruction; device
    // memory moves in sectors of 32 bytes; shared memory serves a request in wavefronts, more than the least that its
    // size needs where lanes want different words of one bank. Atomic operations are not among these.
    std::uint64_t global_load_requests = 0, global_load_sectors = 0;
    std::uint64_t global_store_requests = 0, global_store_sectors = 0;
    std::uint64_t useful_sector_bytes = 0;  // bytes of all these sectors that some lane asked for
    std::uint64_t shared_load_wavefronts = 0, shared_store_wavefronts = 0;
    std::uint64_t bank_conflicts = 0;  // wavefronts beyond the least

    Counts& operator+=(const Counts& other);
    bool operator==(const Counts&) const = default;
};

// Every count with its name: for sums, and for reports.
struct CountName {
    const char* name;
    std::uint64_t Counts::*field;
};
inline constexpr CountName count_names[] = {
    {"launches", &Counts::launches},
    {"blocks", &Counts::blocks},
    {"barriers", &Counts::barriers},
    {"warp_collectives", &Counts::warp_collectives},
    {"global_loads", &Counts::global_loads},
    {"global_load_bytes", &Counts::global_load_bytes},
    {"global_stores", &Counts::global_stores},
    {"global_store_bytes", &Counts::global_store_bytes},
    {"shared_loads", &Counts::shared_loads},
    {"shared_load_bytes", &Counts::shared_load_bytes},
    {"shared_stores", &Counts::shared_stores},
    {"shared_store_bytes", &Counts::shared_store_bytes},
    {"atomics", &Counts::atomics},
    {"global_load_requests", &Counts::global_load_requests},
    {"global_load_sectors", &Counts::global_load_sectors},
    {"global_store_requests", &Counts::global_store_requests},
    {"global_store_sectors", &Counts::global_store_sectors},
    {"useful_sector_bytes", &Counts::useful_sector_bytes},
    {"shared_load_wavefronts", &Counts::shared_load_wavefronts},
    {"shared_store_wavefronts", &Counts::shared_store_wavefronts},
    {"bank_conflicts", &Counts::bank_conflicts},
};

// The requests of one place in a kernel.
struct AccessPattern {
    std::string file;
    int line = 0;
    bool shared = false, store = false;
    unsigned bytes = 0;  // of one lane's access
    std::uint64_t requests = 0, accesses = 0;
    std::uint64_t sectors = 0, useful_bytes = 0;       // global memory
    std::uint64_t wavefronts = 0, bank_conflicts = 0;  // shared memory

    AccessPattern& operator+=(const AccessPattern& other);  // the counts
};

// One launch that ran to its end.
struct LaunchProfile {
    std::string kernel;
    unsigned grid[3] = {}, block[3] = {};
    std::size_t dynamic_shared_bytes = 0;
    std::size_t static_shared_bytes = 0;  // of the __shared__ variables that it touched
    Counts counts;
    std::vector<AccessPattern> lines;  // by file and line
};

// Launches are remembered while this is true. Off at first: finding the lines takes time.
void keep_profiles(bool keep);
const std::vector<LaunchProfile>& profiles();  // since the program began or reset() was called

// Since the program began or reset() was called.
const Counts& counts();
const std::vector<Finding>& findings();
std::int64_t peak_device_bytes();  // the most that cudaMalloc had handed out at one time
void reset();
// Device memory that is held at this moment becomes findings, one for each line that allocated some; unless there are
// findings already, which may be why. cudaDeviceReset() and the end of the program look for leaks, too.
void find_leaks();

// Findings are printed to stderr as they are made, unless this is false.
void print_findings(bool print);

// How long a thread may go on before that is an endless loop: so many accesses to memory, or without an access so many
// seconds of the core's time; a block may switch between its threads as often.
void limit_loops(std::uint64_t accesses, double seconds);

// 0: blocks and threads run in the order of their indices. Other seeds: in another order each, and threads are
// interrupted at accesses to memory; the same on every run. Also set by the environment: ATTN_SCHEDULE_SEED.
void schedule_seed(std::uint64_t seed);

// How many cores share the blocks of a launch; 0 stands for all.
void use_workers(int workers);

}  // namespace attn::emulator
