// Launches: checks that a GPU would take them, spreads the blocks over the cores, and reports what was found.
#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <numeric>
#include <optional>
#include <random>
#include <thread>
#include <tuple>

#include "common/emulator/machine.hpp"

namespace attn::emulator {

void free_all_device_memory();
void restart_peak_device_bytes();

namespace {

// The limits of all compute capabilities since 7.5 (CUDA C++ Programming Guide, "Technical Specifications per Compute
// Capability"); those in which they differ stand in gpu.cpp.
constexpr std::size_t default_dynamic_shared = 48 << 10;
constexpr dim3 largest_grid{0x7fffffff, 65535, 65535};
constexpr dim3 largest_block{1024, 1024, 64};

Counts total_counts;
std::vector<Finding> all_findings;
std::vector<LaunchProfile> all_profiles;
bool keep_all_profiles = false;
bool print = true;
std::atomic<cudaError_t> last_error{cudaSuccess};
std::map<const void*, std::size_t> dynamic_shared_limit;

int wanted_workers = 0;
std::optional<std::uint64_t> chosen_seed;

std::uint64_t wanted_seed() {
    if (!chosen_seed) {
        const char* text = std::getenv("ATTN_SCHEDULE_SEED");
        chosen_seed = text ? std::strtoull(text, nullptr, 10) : 0;
    }
    return *chosen_seed;
}

// More would not help: each has the stacks of a whole block, whose guard pages the operating system counts.
constexpr int most_workers = 16;

int worker_count() {
    int cores = static_cast<int>(std::thread::hardware_concurrency());
    return std::clamp(wanted_workers > 0 ? wanted_workers : cores, 1, most_workers);
}

void finish(Launch& launch, std::uint64_t block) {
    launch.finished[block].store(1, std::memory_order_release);
    std::uint64_t prefix = launch.finished_prefix.load(std::memory_order_acquire);
    while (prefix < launch.blocks && launch.finished[prefix].load(std::memory_order_acquire)) {
        launch.finished_prefix.compare_exchange_strong(prefix, prefix + 1);
        prefix = launch.finished_prefix.load(std::memory_order_acquire);
    }
}

// Takes blocks in order until there are none, or until one with a lower index has failed.
void run_blocks(Worker& worker, Launch& launch) {
    worker.begin(launch);
    worker.set_timer(true);
    while (true) {
        std::uint64_t block = launch.next_block.fetch_add(1);
        if (block >= launch.blocks || block > launch.lowest_failed.load()) break;
        worker.run_block(block);
        finish(launch, block);
        if (worker.failure.error != cudaSuccess) {
            std::uint64_t lowest = launch.lowest_failed.load();
            while (block < lowest && !launch.lowest_failed.compare_exchange_weak(lowest, block)) {
            }
            break;
        }
    }
    worker.set_timer(false);
    worker.launch = nullptr;
}

// The OS threads beside the caller, started when first needed. They wait for launches until the program ends.
class Pool {
  public:
    std::vector<Worker*> run(Launch& launch, int workers) {
        std::vector<Worker*> used;
        {
            std::lock_guard lock(mutex_);
            while (static_cast<int>(helpers_.size()) < workers - 1) start_helper();
            for (int index = 0; index < workers - 1; ++index) {
                helpers_[index]->launch = &launch;
                used.push_back(&helpers_[index]->worker);
            }
            busy_ = workers - 1;
        }
        work_.notify_all();
        static thread_local Worker mine;
        used.push_back(&mine);
        run_blocks(mine, launch);
        std::unique_lock lock(mutex_);
        done_.wait(lock, [this] { return busy_ == 0; });
        return used;
    }

  private:
    struct Helper {
        Worker worker;
        Launch* launch = nullptr;
        std::thread thread;
    };

    void start_helper() {
        auto& helper = *helpers_.emplace_back(std::make_unique<Helper>());
        helper.thread = std::thread([this, &helper] {
            ::pthread_setname_np(::pthread_self(), "emulator");  // tells it from threads of the program
            std::unique_lock lock(mutex_);
            while (true) {
                work_.wait(lock, [&] { return helper.launch != nullptr; });
                lock.unlock();
                run_blocks(helper.worker, *helper.launch);
                lock.lock();
                helper.launch = nullptr;
                if (--busy_ == 0) done_.notify_all();
            }
        });
    }

    std::mutex mutex_;
    std::condition_variable work_, done_;
    std::vector<std::unique_ptr<Helper>> helpers_;
    int busy_ = 0;
};

bool within(dim3 extent, dim3 limit) {
    return extent.x >= 1 && extent.y >= 1 && extent.z >= 1 && extent.x <= limit.x && extent.y <= limit.y &&
           extent.z <= limit.z;
}

LaunchProfile profile_of(const LaunchRequest& request, const Counts& counts, const std::vector<Worker*>& workers) {
    LaunchProfile profile;
    profile.kernel = function_name(request.kernel);
    const dim3 extents[] = {request.grid, request.block};
    for (int which = 0; which < 2; ++which) {
        unsigned* to = which == 0 ? profile.grid : profile.block;
        to[0] = extents[which].x, to[1] = extents[which].y, to[2] = extents[which].z;
    }
    profile.dynamic_shared_bytes = request.dynamic_bytes;
    for (const Worker* worker : workers)
        profile.static_shared_bytes = std::max(profile.static_shared_bytes, worker->static_shared_bytes());
    profile.counts = counts;
    // One line of the source may be several instructions, in several copies of a loop.
    std::map<std::tuple<std::string, int, bool, bool, unsigned>, AccessPattern> by_line;
    for (Worker* worker : workers)
        for (const auto& [instruction, pattern] : worker->log.patterns()) {
            const SourceLine line = source_line(instruction);
            AccessPattern& sum = by_line[{line.file, line.line, pattern.shared, pattern.store, pattern.bytes}];
            sum.file = line.file, sum.line = line.line;
            sum.shared = pattern.shared, sum.store = pattern.store, sum.bytes = pattern.bytes;
            sum += pattern;
        }
    for (auto& [key, pattern] : by_line) profile.lines.push_back(std::move(pattern));
    return profile;
}

cudaError_t refuse(cudaError_t error, std::string why, const LaunchRequest& request) {
    add_finding(finding_at(source_line(request.place), FindingKind::launch_limit, std::move(why),
                           function_name(request.kernel)));
    return set_error(error);
}

}  // namespace

std::mutex device_mutex;

bool sticky(cudaError_t error) { return error >= cudaErrorIllegalAddress && error <= cudaErrorLaunchFailure; }

Launch::Launch(const LaunchRequest* launch_request)
    : request(launch_request),
      blocks(std::uint64_t{request->grid.x} * request->grid.y * request->grid.z),
      finished(blocks),
      printed(blocks),
      seed(wanted_seed()) {
    if (seed == 0) return;
    order.resize(blocks);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937_64(seed));
}

void schedule_seed(std::uint64_t seed) { chosen_seed = seed; }

Counts& Counts::operator+=(const Counts& other) {
    for (const CountName& count : count_names) this->*count.field += other.*count.field;
    return *this;
}

std::string Finding::text() const {
    const std::string where = attn::emulator::text({file, line});
    if (kernel.empty()) return fmt::format("{}\n    host code, at {}", message, where);
    if (kind == FindingKind::launch_limit)
        return fmt::format("{}\n    kernel {}, launched at {}", message, kernel, where);
    return fmt::format("{}\n    kernel {}, block ({},{},{}), thread ({},{},{}), at {}", message, kernel, block[0],
                       block[1], block[2], thread[0], thread[1], thread[2], where);
}

const char* name(FindingKind kind) {
    using enum FindingKind;
    switch (kind) {
        case out_of_bounds: return "out_of_bounds";
        case use_after_free: return "use_after_free";
        case host_memory: return "host_memory";
        case misaligned: return "misaligned";
        case never_written: return "never_written";
        case barrier: return "barrier";
        case warp_collective: return "warp_collective";
        case race: return "race";
        case mixed_atomic: return "mixed_atomic";
        case assertion: return "assertion";
        case exception: return "exception";
        case endless_loop: return "endless_loop";
        case launch_limit: return "launch_limit";
        case invalid_free: return "invalid_free";
        case leak: return "leak";
        case host_access: return "host_access";
    }
    return "unknown";
}

Finding finding_at(const SourceLine& line, FindingKind kind, std::string message, std::string kernel) {
    Finding finding{};
    finding.kind = kind;
    finding.message = std::move(message), finding.kernel = std::move(kernel);
    finding.file = line.file, finding.line = line.line;
    return finding;
}

void print_finding(const Finding& finding) { fmt::print(stderr, "emulator: {}\n", finding.text()); }
void add_finding(Finding finding) {
    if (print) print_finding(finding);
    all_findings.push_back(std::move(finding));
}

const Counts& counts() { return total_counts; }
const std::vector<Finding>& findings() { return all_findings; }
void print_findings(bool wanted) { print = wanted; }
void use_workers(int workers) { wanted_workers = workers; }
void keep_profiles(bool keep) { keep_all_profiles = keep; }
const std::vector<LaunchProfile>& profiles() { return all_profiles; }
void reset() {
    total_counts = {};
    all_profiles.clear();
    all_findings.clear();
    restart_peak_device_bytes();
}

cudaError_t set_error(cudaError_t error) {
    if (!sticky(last_error)) last_error = error;
    return error;
}

cudaError_t set_function_attribute(const void* function, cudaFuncAttribute attribute, int value) {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    const HostPlace place = host_place(__builtin_return_address(0));
    std::lock_guard lock(device_mutex);
    const Gpu& gpu = chosen_gpu();
    if (value < 0 || static_cast<std::size_t>(value) > gpu.shared_bytes_per_block) {
        add_finding(
            finding_at(source_line(place), FindingKind::launch_limit,
                       fmt::format("cudaFuncSetAttribute() asks for {} bytes of dynamic shared memory; a block of "
                                   "{} has {} at most. Smaller tiles?",
                                   value, gpu.name, gpu.shared_bytes_per_block),
                       function_name(function)));
        return set_error(cudaErrorInvalidValue);
    }
    dynamic_shared_limit[function] = static_cast<std::size_t>(value);
    return cudaSuccess;
}

cudaError_t launch(const LaunchRequest& request) {
    if (sticky(last_error)) return last_error;
    std::lock_guard lock(device_mutex);
    const dim3 &grid = request.grid, &block = request.block;
    std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
    const Gpu& gpu = chosen_gpu();
    if (!within(grid, largest_grid))
        return refuse(
            cudaErrorInvalidConfiguration,
            fmt::format("The grid has {} × {} × {} blocks; a launch takes at least 1 in each direction, at most "
                        "2147483647 in x and 65535 in y and z.",
                        grid.x, grid.y, grid.z),
            request);
    if (!within(block, largest_block) || threads > max_threads_per_block)
        return refuse(
            cudaErrorInvalidConfiguration,
            fmt::format("The block has {} × {} × {} = {} threads; a launch takes at least 1 in each direction, "
                        "at most 1024 together, and 64 in z.",
                        block.x, block.y, block.z, threads),
            request);
    auto limit_entry = dynamic_shared_limit.find(request.kernel);
    const std::size_t limit = limit_entry == dynamic_shared_limit.end()
                                  ? default_dynamic_shared
                                  : std::max(default_dynamic_shared, limit_entry->second);
    if (request.dynamic_bytes > limit)
        return refuse(
            cudaErrorInvalidValue,
            request.dynamic_bytes > gpu.shared_bytes_per_block
                ? fmt::format("The launch asks for {} bytes of dynamic shared memory; a block of {} has {} at "
                              "most. Smaller tiles?",
                              request.dynamic_bytes, gpu.name, gpu.shared_bytes_per_block)
                : fmt::format("The launch asks for {} bytes of dynamic shared memory; the limit is {}. More "
                              "than 48 KiB must be asked for before, with cudaFuncSetAttribute(kernel, "
                              "cudaFuncAttributeMaxDynamicSharedMemorySize, bytes): up to {} on {}.",
                              request.dynamic_bytes, limit, gpu.shared_bytes_per_block, gpu.name),
            request);

    // Never destroyed: its threads may outlive main's last static object, and the operating system takes them.
    static Pool& pool = *new Pool;
    Launch state(&request);
    open_arena();
    int workers = static_cast<int>(std::min<std::uint64_t>(static_cast<std::uint64_t>(worker_count()), state.blocks));
    std::vector<Worker*> used = [&] {
        const CatchDivisions catch_divisions;
        return pool.run(state, workers);
    }();
    close_arena();

    for (const std::string& text : state.printed)
        if (!text.empty()) std::fwrite(text.data(), 1, text.size(), stdout);
    const Failure* failure = nullptr;
    for (Worker* worker : used)
        if (worker->failure.error != cudaSuccess && (!failure || worker->failure.block < failure->block))
            failure = &worker->failure;
    std::size_t static_bytes = 0;
    for (const Worker* worker : used) static_bytes = std::max(static_bytes, worker->static_shared_bytes());
    if (!failure && static_bytes > 0 && static_bytes + request.dynamic_bytes > limit)
        return refuse(cudaErrorInvalidValue,
                      fmt::format("The kernel's __shared__ variables have {} bytes, and the launch asks for {} more: "
                                  "together at most {} may be used.",
                                  static_bytes, request.dynamic_bytes, limit),
                      request);
    Failure between_blocks;
    if (!failure && find_race_between_blocks(used, state, between_blocks)) failure = &between_blocks;
    if (!failure) {
        Counts of_launch;
        of_launch.launches = 1;
        for (Worker* worker : used) of_launch += worker->counts;
        total_counts += of_launch;
        if (keep_all_profiles) all_profiles.push_back(profile_of(request, of_launch, used));
        return cudaSuccess;
    }
    Finding finding = failure->finding;
    finding.kernel = function_name(request.kernel);
    SourceLine line = source_line(failure->address, failure->calls);
    finding.file = line.file, finding.line = line.line;
    if (failure->other.instruction) {
        SourceLine other = source_line(failure->other.instruction, failure->other.calls);
        finding.other_file = other.file, finding.other_line = other.line;
    }
    add_finding(std::move(finding));
    return set_error(failure->error);
}

cudaError_t launch_kernel(const void* kernel, void (*invoke)(const void*), const void* arguments,
                          std::size_t argument_bytes, dim3 grid, dim3 block, std::size_t dynamic_bytes) {
    return launch({kernel, invoke, arguments, argument_bytes, grid, block, dynamic_bytes,
                   host_place(__builtin_return_address(0))});
}

}  // namespace attn::emulator

// ---- the rest of the runtime's interface ----------------------------------------------------------------------------

using namespace attn::emulator;

struct attn_emulated_stream {};
struct attn_emulated_event {
    std::chrono::steady_clock::time_point recorded;
    bool is_recorded = false;
};

cudaError_t cudaGetLastError() {
    cudaError_t error = last_error;
    if (!sticky(error)) last_error = cudaSuccess;
    return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }

#define ATTN_ERRORS(entry)                                                                                             \
    entry(cudaSuccess, "no error") entry(cudaErrorInvalidValue, "invalid argument")                                    \
        entry(cudaErrorMemoryAllocation, "out of memory")                                                              \
            entry(cudaErrorInvalidConfiguration, "invalid configuration argument")                                     \
                entry(cudaErrorInvalidSymbol, "invalid device symbol")                                                 \
                    entry(cudaErrorInvalidDevicePointer, "invalid device pointer")                                     \
                        entry(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy")                    \
                            entry(cudaErrorInvalidDeviceFunction, "invalid device function")                           \
                                entry(cudaErrorNoDevice, "no CUDA-capable device is detected")                         \
                                    entry(cudaErrorInvalidDevice, "invalid device ordinal")                            \
                                        entry(cudaErrorInvalidResourceHandle, "invalid resource handle")               \
                                            entry(cudaErrorIllegalAddress, "an illegal memory access was encountered") \
                                                entry(cudaErrorAssert, "device-side assert triggered") entry(          \
                                                    cudaErrorLaunchTimeout, "the launch timed out and was terminated") \
                                                    entry(cudaErrorMisalignedAddress, "misaligned address")            \
                                                        entry(cudaErrorLaunchFailure, "unspecified launch failure")    \
                                                            entry(cudaErrorNotSupported, "operation not supported")    \
                                                                entry(cudaErrorUnknown, "unknown error")

const char* cudaGetErrorName(cudaError_t error) {
    switch (error) {
#define ATTN_ENTRY(name, text) \
    case name: return #name;
        ATTN_ERRORS(ATTN_ENTRY)
#undef ATTN_ENTRY
    }
    return "unrecognized error code";
}
const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
#define ATTN_ENTRY(name, text) \
    case name: return text;
        ATTN_ERRORS(ATTN_ENTRY)
#undef ATTN_ENTRY
    }
    return "unrecognized error code";
}

cudaError_t cudaDeviceSynchronize() { return sticky(last_error) ? last_error.load() : cudaSuccess; }
cudaError_t cudaDeviceReset() {
    free_all_device_memory();
    last_error = cudaSuccess;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : set_error(cudaErrorInvalidDevice); }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
    if (device != 0) return set_error(cudaErrorInvalidDevice);
    *properties = {};
    const Gpu& gpu = chosen_gpu();
    std::snprintf(properties->name, sizeof properties->name, "%s, emulated on the CPU", gpu.name);
    properties->totalGlobalMem = arena_bytes;
    properties->sharedMemPerBlock = default_dynamic_shared;
    properties->sharedMemPerBlockOptin = gpu.shared_bytes_per_block;
    properties->sharedMemPerMultiprocessor = gpu.shared_bytes;
    properties->warpSize = warp_size;
    properties->maxThreadsPerBlock = max_threads_per_block;
    properties->maxThreadsPerMultiProcessor = gpu.threads;
    properties->multiProcessorCount = gpu.multiprocessors;
    const unsigned block[] = {largest_block.x, largest_block.y, largest_block.z};
    const unsigned grid[] = {largest_grid.x, largest_grid.y, largest_grid.z};
    for (int axis = 0; axis < 3; ++axis) {
        properties->maxThreadsDim[axis] = static_cast<int>(block[axis]);
        properties->maxGridSize[axis] = static_cast<int>(grid[axis]);
    }
    properties->major = gpu.compute_capability / 10;
    properties->minor = gpu.compute_capability % 10;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    cudaDeviceProp properties;
    if (cudaError_t error = cudaGetDeviceProperties(&properties, device)) return error;
    switch (attribute) {
        case cudaDevAttrMaxThreadsPerBlock: *value = properties.maxThreadsPerBlock; break;
        case cudaDevAttrMaxSharedMemoryPerBlock: *value = static_cast<int>(properties.sharedMemPerBlock); break;
        case cudaDevAttrWarpSize: *value = properties.warpSize; break;
        case cudaDevAttrMultiProcessorCount: *value = properties.multiProcessorCount; break;
        case cudaDevAttrMaxThreadsPerMultiProcessor: *value = properties.maxThreadsPerMultiProcessor; break;
        case cudaDevAttrComputeCapabilityMajor: *value = properties.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = properties.minor; break;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
            *value = static_cast<int>(properties.sharedMemPerMultiprocessor);
            break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin:
            *value = static_cast<int>(properties.sharedMemPerBlockOptin);
            break;
        default: return set_error(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
    *stream = new attn_emulated_stream;
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaDeviceSynchronize(); }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaEventCreate(cudaEvent_t* event) {
    *event = new attn_emulated_event;
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
    if (!event) return set_error(cudaErrorInvalidResourceHandle);
    event->recorded = std::chrono::steady_clock::now();
    event->is_recorded = true;
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    return event ? cudaDeviceSynchronize() : set_error(cudaErrorInvalidResourceHandle);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
    if (!start || !stop || !start->is_recorded || !stop->is_recorded) return set_error(cudaErrorInvalidResourceHandle);
    *milliseconds = std::chrono::duration<float, std::milli>(stop->recorded - start->recorded).count();
    return cudaSuccess;
}
