// The emulator's inside: what its source files share. Kernels never see this header.
#pragma once

#include <time.h>
#include <boost/context/detail/fcontext.hpp>

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/emulator/emulator.hpp"
#include "common/emulator/gpu.hpp"
#include "common/emulator/include/cuda_runtime_api.h"
#include "common/emulator/include/warp_collectives.h"
#include "common/emulator/profile.hpp"
#include "common/emulator/races.hpp"

namespace attn::emulator {

constexpr int warp_size = 32;
constexpr int max_threads_per_block = 1024;
constexpr std::size_t stack_bytes = 128 << 10;
constexpr std::size_t guard_bytes = 4 << 10;

// ---- names (symbols.cpp) -------------------------------------------------------------------------------------------

struct SourceLine {
    std::string file;
    int line = 0;
};

struct Variable {
    std::uintptr_t low;  // for thread-local variables: the offset in their segment
    std::size_t bytes;
    std::string name;
};

// Where host code called the runtime.
struct HostPlace {
    const void* caller = nullptr;    // the return address
    std::vector<const void*> calls;  // those of its callers, the outermost first
};

// A part of a variable as one writes it, "tile[3][5]", and its declaration, "tile[32][33]".
struct VariablePart {
    std::string element, declared;
};
VariablePart part_of_variable(const Variable& variable, bool is_thread_local, std::size_t offset, std::size_t bytes);

std::string function_name(const void* address);
// The innermost line of a `.cu` file that the address and its callers come from, else the innermost line.
SourceLine source_line(const void* address, const std::vector<const void*>& calls = {});
std::string text(const SourceLine& line);
// `caller`: a return address; of an instruction itself with 1 in the second place.
HostPlace host_place(const void* caller, int one_past = 0);
SourceLine source_line(const HostPlace& place);
const std::vector<Variable>& thread_local_variables();  // sorted
const std::vector<Variable>& global_variables();        // sorted
struct Range {
    std::uintptr_t low = 0, high = 0;
    bool contains(std::uintptr_t address) const { return address - low < high - low; }
};
Range thread_local_segment();  // of the calling OS thread
Range program_image();         // code, constants and global variables of the executable
Range writable_image();        // of it, what may be written: __device__ variables are here

// ---- one CUDA thread -----------------------------------------------------------------------------------------------

enum class Waiting : std::uint8_t { nothing, at_barrier, at_collective, returned };

struct Fiber {
    boost::context::detail::fcontext_t context = nullptr;
    std::uintptr_t stack_low = 0;
    uint3 thread_index{};
    unsigned index = 0;  // linear within the block
    Waiting waiting = Waiting::nothing;
    const void* waiting_at = nullptr;

    // What it brought to a warp collective, and what it takes away.
    WarpRequest request{};
    std::uint64_t result[2] = {};

    std::uint64_t steps = 0;  // accesses to memory in this block
    unsigned atomics = 0;     // of them

    // Return addresses of the calls it is in: kernel code is compiled to report entry and exit of its functions.
    int depth = 0;
    const void* calls[32] = {};
    std::uint64_t path = 0;  // a number for these calls

    // Where it threw its last exception, and how deep in calls that was.
    const void* thrown_at = nullptr;
    int thrown_depth = 0;
};

// ---- one launch ----------------------------------------------------------------------------------------------------

struct LaunchRequest {
    const void* kernel;
    void (*invoke)(const void* arguments);
    const void* arguments;
    std::size_t argument_bytes;
    dim3 grid, block;
    std::size_t dynamic_bytes;
    HostPlace place;
};

struct Failure {
    Finding finding;
    cudaError_t error = cudaSuccess;
    std::uint64_t block = ~std::uint64_t{0};
    const void* address = nullptr;  // of the instruction
    std::vector<const void*> calls;
    RaceSite other;  // a race's first access
};

struct Launch {
    const LaunchRequest* request;
    std::uint64_t blocks = 0;
    std::atomic<std::uint64_t> next_block{0};
    std::atomic<std::uint64_t> lowest_failed{~std::uint64_t{0}};
    std::vector<std::atomic<std::uint8_t>> finished;  // per block
    std::atomic<std::uint64_t> finished_prefix{0};    // all blocks below this one have finished
    std::vector<std::string> printed;                 // by printf, per block
    // The blocks in the order in which they are taken; empty: in that of their numbers. Everywhere else a block goes by
    // its place in this order.
    std::vector<std::uint64_t> order;
    std::uint64_t seed = 0;
    std::uint64_t number(std::uint64_t block) const { return order.empty() ? block : order[block]; }
    explicit Launch(const LaunchRequest* launch_request);
};

dim3 coordinates_of(std::uint64_t number, dim3 extents);

// ---- one OS thread that runs blocks, one after the other ------------------------------------------------------------

struct Worker {
    // Hot: read by every memory hook.
    std::uintptr_t stack_low = 0;   // of the running fiber
    std::uintptr_t shared_low = 0;  // this OS thread's thread-local variables: __shared__ lives there
    std::size_t shared_bytes = 0;
    std::uint8_t* shared_shadow = nullptr;
    std::size_t shared_dirty_low = 0, shared_dirty_high = 0;
    Fiber* running = nullptr;
    Counts counts;
    AccessLog log;
    Races races;
    bool volatile_access = false;
    std::uint64_t step_limit = 0;  // of each thread, and of a block's switches
    std::uint64_t random = 0;      // 0: threads run in the order of their indices

    Launch* launch = nullptr;
    std::uint64_t block = 0;
    uint3 block_index{};
    unsigned threads = 0;
    unsigned alive = 0;

    Fiber main;
    std::unique_ptr<Fiber[]> fibers;
    char* stacks = nullptr;
    std::uint64_t ready[max_threads_per_block / 64] = {};
    Failure failure;

    // __syncthreads()
    unsigned at_barrier = 0;
    const void* barrier_address = nullptr;
    int barrier_count = 0;
    int barrier_result = 0, barrier_threads = 0;  // of the last one that opened
    std::vector<std::uint8_t> shared_template;    // the shadow of a block's shared memory before its first access
    std::vector<bool> touched_variables;          // of thread_local_variables(), by any block of this launch

    // Endless loops: a thread that makes too many steps, and one that makes none for too long.
    std::uint64_t switches = 0;
    std::vector<RaceSite> loop_sites;
    int loop_steps = 0;
    std::uint64_t last_progress = 0;
    int idle_ticks = 0;
    bool waits_for_blocks = false;

    ~Worker();
    void begin(Launch& next);
    void run_block(std::uint64_t next_block);
    void mark_ready(unsigned fiber) { ready[fiber / 64] |= std::uint64_t{1} << (fiber % 64); }
    void switch_away();  // to the next ready fiber, or to main
    void yield();        // to the next ready fiber, if there is another
    void count_switch(const void* address);
    void over_limit(const void* address);  // one step more than the running thread should need
    void tick(const void* instruction);    // every quarter of a second of the core's time
    void divided_by_zero(const void* instruction);
    void set_timer(bool on);
    std::uint64_t next_random() {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        return random;
    }
    std::size_t static_shared_bytes() const;  // that the launch has touched
    void release_barrier_if_complete();
    [[noreturn]] void leave();  // the running fiber is done
    bool complete_collective(Fiber& member);
    std::uint32_t lanes_alive(unsigned first) const;  // of the warp that begins with this thread
    [[noreturn]] void fail(FindingKind kind, cudaError_t error, std::string message, const void* address);
    void wait_for_lower_blocks();
    bool is_guard(std::uintptr_t address) const;  // below a fiber's stack

  private:
    timer_t timer_{};
    bool has_timer_ = false;
    void* handler_stack_ = nullptr;
    void prepare();  // stacks, fibers and the shadow of shared memory, once for each OS thread
    friend void fiber_entry(boost::context::detail::transfer_t);
    void jump(Fiber& to);
    Fiber* next_ready();
    void note_touched_variables();
    [[noreturn]] void fail_at(Fiber& fiber, FindingKind kind, std::string message);
    [[noreturn]] void fail_stuck();
};

// While it lives, an integer division by zero in a kernel is a finding.
struct CatchDivisions {
    CatchDivisions();
    CatchDivisions(const CatchDivisions&) = delete;
    ~CatchDivisions();
};

// Set while a kernel's code runs on this OS thread, null otherwise.
extern constinit thread_local Worker* current __attribute__((tls_model("initial-exec")));

// ---- device memory (memory.cpp) ------------------------------------------------------------------------------------

// Device memory is one region; a byte of shadow for each of its bytes says what may be done with it.
constexpr std::size_t arena_bytes = std::size_t{1} << 30;
// `internal` is for shared memory: what the compiler added, which no access in the source means.
enum Shadow : std::uint8_t { unallocated = 0, allocated = 1, written = 3, freed = 4, internal = 5 };

extern std::uintptr_t arena_low;  // 0 before the first allocation
extern std::uint8_t* arena_shadow;

void open_arena();   // accessible: during launches and copies
void close_arena();  // inaccessible: host code that touches device memory crashes where it does it
// "element 37 (of 0 … 63) of scores", or "… of the memory allocated at dense.cu:12": of the nearest allocation.
std::string describe_device_address(std::uintptr_t address, std::size_t access_bytes);
bool is_pinned(std::uintptr_t address, std::size_t bytes);  // host memory of cudaMallocHost()
// Where the memory at this address was freed.
std::string describe_free(std::uintptr_t address);

// ---- checks (hooks.cpp) --------------------------------------------------------------------------------------------

enum class Access { load, store, atomic };
// Of a position in device memory, or of a __device__ variable.
std::string describe_global(std::uintptr_t position, std::size_t bytes);
void check_access(Worker& worker, std::uintptr_t address, std::size_t bytes, Access access, const void* instruction,
                  bool must_be_aligned = true);

// ---- races (races.cpp) ---------------------------------------------------------------------------------------------

// Of the access of the running thread that worker.races has just refused; `where`: the variable.
[[noreturn]] void fail_of_race(Worker& worker, std::size_t bytes, bool is_store, bool is_atomic,
                               const std::string& where, const void* instruction);
// After a launch in which no block failed.
bool find_race_between_blocks(const std::vector<Worker*>& workers, const Launch& launch, Failure& failure);

// ---- launches (launch.cpp) -----------------------------------------------------------------------------------------

// Held during launches, copies and allocations: one thing at a time happens on the device.
extern std::mutex device_mutex;
cudaError_t launch(const LaunchRequest& request);
const void* instruction_of(void* signal_context);  // of a signal handler
// Prints it, unless that is switched off, and remembers it.
void add_finding(Finding finding);
void print_finding(const Finding& finding);
// Of host code, or of a launch as a whole.
Finding finding_at(const SourceLine& line, FindingKind kind, std::string message, std::string kernel = {});
// A failure in a kernel stays, as on a GPU, where the context is lost.
bool sticky(cudaError_t error);
cudaError_t set_error(cudaError_t error);  // remembers it for cudaGetLastError and returns it

}  // namespace attn::emulator
