// Runs the threads of a block: each is a fiber, all of them on one OS thread, so that a __shared__ variable, which is
// a thread-local one here, is shared by exactly the block. A thread runs until it has to wait at a barrier or at a
// warp collective; then the next one that can, in the order of their indices: the same on every run.
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstring>
#include <limits>
#include <thread>

#include "common/emulator/machine.hpp"

// What kernels see as threadIdx … gridDim. They are declared constant to kernels, which read the value of their own
// thread only; here they are set.
struct AttnPlainIndex {
    unsigned x, y, z;
};
constinit thread_local AttnPlainIndex attn_thread_index asm("threadIdx") = {};
constinit thread_local AttnPlainIndex attn_block_index asm("blockIdx") = {};
constinit thread_local AttnPlainIndex attn_block_extent asm("blockDim") = {};
constinit thread_local AttnPlainIndex attn_grid_extent asm("gridDim") = {};

// The storage of `extern __shared__` arrays, whatever their name: the build gives them all this symbol.
constexpr std::size_t dynamic_shared_storage = 227 << 10;
extern "C" {
alignas(1024) constinit thread_local unsigned char attn_dynamic_shared[dynamic_shared_storage] = {};
}

namespace attn::emulator {

namespace context = boost::context::detail;

namespace {

std::string thread_name(const Fiber& fiber) {
    return fmt::format("({},{},{})", fiber.thread_index.x, fiber.thread_index.y, fiber.thread_index.z);
}

std::string place(const void* address, const Fiber& fiber) {
    std::vector<const void*> calls(fiber.calls, fiber.calls + std::min<int>(fiber.depth, std::size(fiber.calls)));
    SourceLine line = source_line(address, calls);
    if (line.file.empty()) return "a place without debug information";
    return fmt::format("{}:{}", line.file, line.line);
}

const char* name(WarpOperation operation) {
    switch (operation) {
        case WarpOperation::synchronize: return "__syncwarp";
        case WarpOperation::shuffle: return "__shfl_*_sync";
        case WarpOperation::ballot: return "__ballot_sync";
        case WarpOperation::any: return "__any_sync";
        case WarpOperation::all: return "__all_sync";
        case WarpOperation::match_any: return "__match_any_sync";
        case WarpOperation::match_all: return "__match_all_sync";
        default: return "__reduce_*_sync";
    }
}

template <class T>
std::uint64_t reduce(WarpOperation operation, const Fiber* lanes, std::uint32_t mask) {
    T result{};
    bool first = true;
    for (std::uint32_t rest = mask; rest; rest &= rest - 1) {
        auto value = static_cast<T>(lanes[std::countr_zero(rest)].request.value[0]);
        if (first) {
            result = value;
        } else {
            switch (operation) {
                case WarpOperation::add_unsigned:
                case WarpOperation::add_signed: result = static_cast<T>(result + value); break;
                case WarpOperation::min_unsigned:
                case WarpOperation::min_signed: result = std::min(result, value); break;
                case WarpOperation::max_unsigned:
                case WarpOperation::max_signed: result = std::max(result, value); break;
                case WarpOperation::bit_and: result = result & value; break;
                case WarpOperation::bit_or: result = result | value; break;
                default: result = result ^ value; break;
            }
        }
        first = false;
    }
    return static_cast<std::uint32_t>(result);
}

// Every lane of the mask has brought its request: computes what each takes away.
void complete(Fiber* lanes, std::uint32_t mask, WarpOperation operation) {
    std::uint32_t ballot = 0;
    bool equal = true;
    std::uint64_t first_value = lanes[std::countr_zero(mask)].request.value[0];
    for (std::uint32_t rest = mask; rest; rest &= rest - 1) {
        int lane = std::countr_zero(rest);
        if (lanes[lane].request.value[0] & 0xffffffffu) ballot |= 1u << lane;
        equal = equal && lanes[lane].request.value[0] == first_value;
    }
    std::uint64_t reduced = 0;
    if (operation >= WarpOperation::add_unsigned) {
        bool is_signed = operation == WarpOperation::add_signed || operation == WarpOperation::min_signed ||
                         operation == WarpOperation::max_signed;
        reduced =
            is_signed ? reduce<std::int32_t>(operation, lanes, mask) : reduce<std::uint32_t>(operation, lanes, mask);
    }
    for (std::uint32_t rest = mask; rest; rest &= rest - 1) {
        Fiber& lane = lanes[std::countr_zero(rest)];
        lane.result[0] = lane.result[1] = 0;
        switch (operation) {
            case WarpOperation::synchronize: break;
            case WarpOperation::shuffle:
                lane.result[0] = lanes[lane.request.source].request.value[0];
                lane.result[1] = lanes[lane.request.source].request.value[1];
                break;
            case WarpOperation::ballot: lane.result[0] = ballot; break;
            case WarpOperation::any: lane.result[0] = ballot != 0; break;
            case WarpOperation::all: lane.result[0] = ballot == mask; break;
            case WarpOperation::match_any:
                for (std::uint32_t other = mask; other; other &= other - 1)
                    if (lanes[std::countr_zero(other)].request.value[0] == lane.request.value[0])
                        lane.result[0] |= std::uint64_t{1} << std::countr_zero(other);
                break;
            case WarpOperation::match_all:
                lane.result[0] = equal ? mask : 0;
                lane.result[1] = equal;
                break;
            default: lane.result[0] = reduced;
        }
    }
}

}  // namespace

// ---- fibers --------------------------------------------------------------------------------------------------------

void fiber_entry(context::transfer_t from) {
    static_cast<Fiber*>(from.data)->context = from.fctx;
    Worker& worker = *current;
    Launch& launch = *worker.launch;
    std::string message;  // the report is made outside of the catch block, which has to end
    try {
        launch.request->invoke(launch.request->arguments);
    } catch (const std::exception& error) {
        message = fmt::format("The kernel threw an exception: {}", error.what());
    } catch (...) {
        message = "The kernel threw an exception.";
    }
    if (!message.empty()) {
        worker.running->depth = worker.running->thrown_depth;
        worker.fail(FindingKind::exception, cudaErrorLaunchFailure, std::move(message), worker.running->thrown_at);
    }
    worker.leave();
}

namespace {

// What the shadow says of a thread-local variable before a block starts.
Shadow initial_shadow(const std::string& name) {
    if (name.starts_with("attn::emulator::")) return unallocated;
    // Reading them is no access to memory: most compilers plant no hook there, GCC 11 without optimisation does.
    bool is_index = name == "threadIdx" || name == "blockIdx" || name == "blockDim" || name == "gridDim";
    return is_index || name.starts_with("guard variable for ") ? internal : allocated;
}

}  // namespace

namespace {

constexpr long tick_nanoseconds = 250'000'000;

std::atomic<std::uint64_t> access_limit{std::uint64_t{1} << 27};
std::atomic<int> idle_limit{40};  // ticks

void on_tick(int, siginfo_t*, void* signal_context) {
    if (current) current->tick(instruction_of(signal_context));
}

struct sigaction arithmetic_error_before {};

void on_arithmetic_error(int, siginfo_t*, void* signal_context) {
    if (current) current->divided_by_zero(instruction_of(signal_context));
    ::sigaction(SIGFPE, &arithmetic_error_before, nullptr);  // returning runs the division again
}

struct sigaction action_of(void (*handler)(int, siginfo_t*, void*)) {
    struct sigaction action {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;  // the handler may not return
    return action;
}

}  // namespace

void limit_loops(std::uint64_t accesses, double seconds) {
    access_limit = accesses;
    idle_limit = std::max(2, static_cast<int>(seconds * 1e9 / tick_nanoseconds));
}

CatchDivisions::CatchDivisions() {
    const struct sigaction action = action_of(on_arithmetic_error);
    ::sigaction(SIGFPE, &action, &arithmetic_error_before);
}
CatchDivisions::~CatchDivisions() { ::sigaction(SIGFPE, &arithmetic_error_before, nullptr); }

// A timer on this OS thread's own time, whose signal interrupts a kernel's code where it is.
void Worker::set_timer(bool on) {
    if (!has_timer_) return;
    itimerspec every{};
    if (on) every.it_value.tv_nsec = every.it_interval.tv_nsec = tick_nanoseconds;
    ::timer_settime(timer_, 0, &every, nullptr);
}

void Worker::tick(const void* instruction) {
    const std::uint64_t progress = switches + counts.global_loads + counts.global_stores + counts.shared_loads +
                                   counts.shared_stores + counts.atomics;
    if (waits_for_blocks || progress != last_progress) {
        last_progress = progress, idle_ticks = 0;
    } else if (++idle_ticks >= idle_limit && failure.error == cudaSuccess) {
        // So long in code that calls no hook: the kernel's own, which may be left where it stands.
        fail(
            FindingKind::endless_loop, cudaErrorLaunchTimeout,
            "An endless loop, it seems: for seconds this thread has touched neither global nor shared memory, nor come "
            "to a barrier. Does what the loop's condition asks for ever change?",
            static_cast<const char*>(instruction) + 1);
    }
}

void Worker::divided_by_zero(const void* instruction) {
    fail(FindingKind::exception, cudaErrorLaunchFailure,
         "Integer division by zero (or the remainder of one): a GPU reports no error, and its result means nothing.",
         static_cast<const char*>(instruction) + 1);
}

void Worker::count_switch(const void* address) {
    if (++switches >= step_limit) over_limit(address);
}

void Worker::over_limit(const void* address) {
    constexpr int watched_steps = 4096;  // long enough to come to every line of the loop
    std::vector<const void*> calls(running->calls,
                                   running->calls + std::min<int>(running->depth, std::size(running->calls)));
    const bool is_known = std::any_of(loop_sites.begin(), loop_sites.end(), [&](const RaceSite& site) {
        return site.instruction == address && site.calls == calls;
    });
    if (!is_known && loop_sites.size() < 64) loop_sites.push_back({address, calls});
    if (++loop_steps < watched_steps) return;
    SourceLine here = source_line(address, calls);
    int first = here.line, last = here.line;
    for (const RaceSite& site : loop_sites)
        if (const SourceLine line = source_line(site.instruction, site.calls); line.file == here.file)
            first = std::min(first, line.line), last = std::max(last, line.line);
    fail(FindingKind::endless_loop, cudaErrorLaunchTimeout,
         fmt::format(
             "An endless loop, it seems: {}, and goes round in {}. Does what its condition asks for ever change? "
             "A thread that waits for another block may wait for ever: blocks run in any order, and not all at "
             "one time.",
             running->steps >= step_limit
                 ? fmt::format("this thread has made {} accesses to memory", running->steps)
                 : fmt::format("the threads of this block have waited for each other {} times", switches),
             first == last ? fmt::format("line {}", first) : fmt::format("lines {} to {}", first, last)),
         address);
}

std::size_t Worker::static_shared_bytes() const {
    std::size_t bytes = 0;
    for (std::size_t index = 0; index < touched_variables.size(); ++index)
        if (touched_variables[index]) bytes += thread_local_variables()[index].bytes;
    return bytes;
}

bool Worker::is_guard(std::uintptr_t address) const {
    const std::uintptr_t offset = address - reinterpret_cast<std::uintptr_t>(stacks);
    return offset < (stack_bytes + guard_bytes) * max_threads_per_block &&
           offset % (stack_bytes + guard_bytes) < guard_bytes;
}

void Worker::prepare() {
    if (stacks) return;
    std::size_t bytes = (stack_bytes + guard_bytes) * max_threads_per_block;
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    stacks = static_cast<char*>(memory);
    fibers = std::make_unique<Fiber[]>(max_threads_per_block);
    for (unsigned index = 0; index < max_threads_per_block; ++index) {
        char* low = stacks + index * (stack_bytes + guard_bytes);
        // A local array too large ends in a guard page, not in the next thread's stack.
        if (::mprotect(low, guard_bytes, PROT_NONE) != 0) throw std::bad_alloc();
        fibers[index].stack_low = reinterpret_cast<std::uintptr_t>(low) + guard_bytes;
        fibers[index].index = index;
    }

    Range segment = thread_local_segment();
    shared_low = segment.low;
    shared_bytes = segment.high - segment.low;
    shared_template.assign(shared_bytes, thread_local_variables().empty() ? allocated : unallocated);
    for (const Variable& variable : thread_local_variables())
        std::memset(shared_template.data() + variable.low, initial_shadow(variable.name), variable.bytes);
    shared_shadow = new std::uint8_t[shared_bytes];
    std::memcpy(shared_shadow, shared_template.data(), shared_bytes);

    // For a fault in a guard page, where there is no stack for the handler.
    stack_t handler_stack{};
    if (::sigaltstack(nullptr, &handler_stack) == 0 && (handler_stack.ss_flags & SS_DISABLE)) {
        handler_stack.ss_size = 64 << 10;
        handler_stack.ss_flags = 0;
        handler_stack.ss_sp = handler_stack_ = ::operator new(handler_stack.ss_size);
        ::sigaltstack(&handler_stack, nullptr);
    }

    struct sigaction old {
    }, action = action_of(on_tick);
    ::sigaction(SIGPROF, nullptr, &old);
    if (old.sa_handler == SIG_DFL)
        ::sigaction(SIGPROF, &action, nullptr);
    else if (old.sa_sigaction != on_tick)
        return;  // somebody's profiler
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGPROF;
    event._sigev_un._tid = static_cast<pid_t>(::syscall(SYS_gettid));
    timer_t timer{};
    if (::timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0) timer_ = timer, has_timer_ = true;
}

void Worker::begin(Launch& next) {
    prepare();
    launch = &next;
    counts = {};
    log.restart();
    races.begin_launch(shared_bytes);
    volatile_access = waits_for_blocks = false;
    failure = {};
    step_limit = access_limit;
    touched_variables.assign(thread_local_variables().size(), false);
    // Of the storage of `extern __shared__` arrays this launch has as much as it asked for.
    std::size_t dynamic = reinterpret_cast<std::uintptr_t>(attn_dynamic_shared) - shared_low;
    std::size_t asked_for = next.request->dynamic_bytes;
    std::memset(shared_template.data() + dynamic, allocated, asked_for);
    std::memset(shared_template.data() + dynamic + asked_for, unallocated, dynamic_shared_storage - asked_for);
    std::memcpy(shared_shadow + dynamic, shared_template.data() + dynamic, dynamic_shared_storage);
}

Worker::~Worker() {
    if (has_timer_) ::timer_delete(timer_);
    if (stacks) ::munmap(stacks, (stack_bytes + guard_bytes) * max_threads_per_block);
    delete[] shared_shadow;
}

Fiber* Worker::next_ready() {
    constexpr unsigned words = max_threads_per_block / 64;
    unsigned start = running == &main ? 0 : running->index + 1;
    if (random) start = static_cast<unsigned>(next_random() >> 32) % threads;
    start %= max_threads_per_block;
    for (unsigned step = 0; step <= words; ++step) {
        unsigned word = (start / 64 + step) % words;
        std::uint64_t bits = ready[word];
        if (step == 0) bits &= ~std::uint64_t{0} << (start % 64);
        if (step == words) bits &= ~(~std::uint64_t{0} << (start % 64));
        if (bits) {
            unsigned index = word * 64 + static_cast<unsigned>(std::countr_zero(bits));
            ready[word] &= ~(std::uint64_t{1} << (index % 64));
            return &fibers[index];
        }
    }
    return nullptr;
}

void Worker::jump(Fiber& to) {
    Fiber* self = running;
    running = &to;
    stack_low = to.stack_low;
    current = &to == &main ? nullptr : this;
    attn_thread_index = {to.thread_index.x, to.thread_index.y, to.thread_index.z};
    context::transfer_t from = context::jump_fcontext(to.context, self);
    static_cast<Fiber*>(from.data)->context = from.fctx;
}

void Worker::switch_away() {
    if (Fiber* next = next_ready()) {
        if (next != running) jump(*next);
    } else if (alive > 0) {
        fail_stuck();
    } else {
        jump(main);
    }
}

void Worker::yield() {
    mark_ready(running->index);
    switch_away();
}

void Worker::leave() {
    running->waiting = Waiting::returned;
    --alive;
    release_barrier_if_complete();
    unsigned lane = running->index % warp_size, first = running->index - lane;
    for (unsigned index = first; index < std::min(first + warp_size, threads); ++index)
        if (fibers[index].waiting == Waiting::at_collective && (fibers[index].request.mask >> lane & 1))
            complete_collective(fibers[index]);
    switch_away();
    __builtin_unreachable();
}

dim3 coordinates_of(std::uint64_t number, dim3 extents) {
    return dim3(static_cast<unsigned>(number % extents.x), static_cast<unsigned>(number / extents.x % extents.y),
                static_cast<unsigned>(number / extents.x / extents.y));
}

void Worker::run_block(std::uint64_t next_block) {
    const LaunchRequest& request = *launch->request;
    block = next_block;
    const dim3 place = coordinates_of(launch->number(block), request.grid);
    block_index = {place.x, place.y, place.z};
    attn_block_index = {place.x, place.y, place.z};
    random = launch->seed ? (launch->seed + block + 1) * 0x9e3779b97f4a7c15u | 1 : 0;
    attn_block_extent = {request.block.x, request.block.y, request.block.z};
    attn_grid_extent = {request.grid.x, request.grid.y, request.grid.z};

    if (shared_dirty_low < shared_dirty_high)
        std::memcpy(shared_shadow + shared_dirty_low, shared_template.data() + shared_dirty_low,
                    shared_dirty_high - shared_dirty_low);
    shared_dirty_low = std::numeric_limits<std::size_t>::max(), shared_dirty_high = 0;

    threads = alive = request.block.x * request.block.y * request.block.z;
    at_barrier = 0;
    barrier_address = nullptr;
    std::memset(ready, 0, sizeof ready);
    for (unsigned index = 0; index < threads; ++index) {
        Fiber& fiber = fibers[index];
        fiber.thread_index = {index % request.block.x, index / request.block.x % request.block.y,
                              index / request.block.x / request.block.y};
        fiber.waiting = Waiting::nothing;
        fiber.depth = fiber.thrown_depth = 0;
        fiber.path = fiber.steps = 0;
        fiber.atomics = 0;
        fiber.thrown_at = nullptr;
        fiber.context =
            context::make_fcontext(reinterpret_cast<void*>(fiber.stack_low + stack_bytes), stack_bytes, fiber_entry);
        mark_ready(index);
    }
    ++counts.blocks;
    races.begin_block(block);
    switches = 0;
    loop_steps = 0;
    loop_sites.clear();
    running = &main;
    switch_away();  // comes back when all threads have returned, or one broke a rule
    log.block_together((threads + warp_size - 1) / warp_size, counts);
    note_touched_variables();
}

void Worker::note_touched_variables() {
    const auto& variables = thread_local_variables();
    auto variable = std::lower_bound(variables.begin(), variables.end(), shared_dirty_low,
                                     [](const Variable& v, std::size_t low) { return v.low + v.bytes <= low; });
    const auto* dynamic = reinterpret_cast<const unsigned char*>(attn_dynamic_shared);
    for (; variable != variables.end() && variable->low < shared_dirty_high; ++variable) {
        const auto index = static_cast<std::size_t>(variable - variables.begin());
        if (touched_variables[index] || shared_low + variable->low == reinterpret_cast<std::uintptr_t>(dynamic))
            continue;
        touched_variables[index] = std::memchr(shared_shadow + variable->low, written, variable->bytes) != nullptr;
    }
}

void Worker::fail(FindingKind kind, cudaError_t error, std::string message, const void* address) {
    failure.finding.kind = kind;
    failure.finding.message = std::move(message);
    failure.error = error;
    failure.block = block;
    failure.address = address;
    failure.calls.assign(running->calls, running->calls + std::min<int>(running->depth, std::size(running->calls)));
    unsigned* to = failure.finding.block;
    to[0] = block_index.x, to[1] = block_index.y, to[2] = block_index.z;
    to = failure.finding.thread;
    to[0] = running->thread_index.x, to[1] = running->thread_index.y, to[2] = running->thread_index.z;
    jump(main);
    __builtin_unreachable();
}

void Worker::wait_for_lower_blocks() {
    waits_for_blocks = true;
    while (launch->finished_prefix.load(std::memory_order_acquire) < block) {
        // Some blocks below this one will never run once one has failed; nothing that this one does counts any more.
        if (launch->lowest_failed.load(std::memory_order_acquire) < block) jump(main);
        std::this_thread::yield();
    }
    waits_for_blocks = false;
}

// ---- barriers ------------------------------------------------------------------------------------------------------

void Worker::release_barrier_if_complete() {
    if (at_barrier == 0 || at_barrier < alive) return;
    for (unsigned index = 0; index < threads; ++index) {
        if (fibers[index].waiting != Waiting::at_barrier) continue;
        fibers[index].waiting = Waiting::nothing;
        mark_ready(index);
    }
    log.block_together((threads + warp_size - 1) / warp_size, counts);
    races.block_barrier();
    barrier_result = barrier_count;
    barrier_threads = static_cast<int>(at_barrier);
    at_barrier = 0;
    ++counts.barriers;
}

int block_barrier(BarrierOperation operation, int predicate) {
    Worker* worker = current;
    if (!worker) return predicate;
    const void* address = __builtin_return_address(0);
    Fiber* self = worker->running;
    if (worker->at_barrier == 0) {
        worker->barrier_address = address;
        worker->barrier_count = 0;
    } else if (worker->barrier_address != address) {
        // The compiler may have copied one call in the source to several places: lines decide, not addresses.
        Fiber* first = worker->fibers.get();
        while (first->waiting != Waiting::at_barrier) ++first;
        std::string here = place(address, *self), there = place(worker->barrier_address, *first);
        if (here != there)
            worker->fail(FindingKind::barrier, cudaErrorLaunchFailure,
                         fmt::format("Threads of one block wait at different barriers: thread {} at {}, thread {} at "
                                     "{}. Every thread of the block must come to the same __syncthreads().",
                                     thread_name(*first), there, thread_name(*self), here),
                         address);
        worker->barrier_address = address;
    }
    ++worker->at_barrier;
    worker->barrier_count += predicate != 0;
    worker->count_switch(address);
    self->waiting = Waiting::at_barrier;
    self->waiting_at = address;
    worker->release_barrier_if_complete();
    worker->switch_away();
    int count = worker->barrier_result;
    switch (operation) {
        case BarrierOperation::count: return count;
        case BarrierOperation::all: return count == worker->barrier_threads;
        case BarrierOperation::any: return count != 0;
        default: return 0;
    }
}

// ---- warp collectives ----------------------------------------------------------------------------------------------

std::uint32_t Worker::lanes_alive(unsigned first) const {
    std::uint32_t lanes = 0;
    for (unsigned index = first; index < std::min(first + warp_size, threads); ++index)
        if (fibers[index].waiting != Waiting::returned) lanes |= 1u << (index - first);
    return lanes;
}

namespace {

bool same_collective(const WarpRequest& a, const WarpRequest& b) {
    return a.mask == b.mask && a.operation == b.operation;
}

}  // namespace

// Ends the collective that `member` waits at, if every lane of its mask is there that has not returned (and that the
// last, partial warp of a block has at all).
bool Worker::complete_collective(Fiber& member) {
    const WarpRequest& request = member.request;
    unsigned first = member.index - member.index % warp_size;
    Fiber* lanes = &fibers[first];
    std::uint32_t present = 0;
    for (std::uint32_t rest = request.mask; rest; rest &= rest - 1) {
        unsigned lane = static_cast<unsigned>(std::countr_zero(rest));
        if (first + lane >= threads || lanes[lane].waiting == Waiting::returned) continue;
        // It may be at another collective, which opens first.
        if (lanes[lane].waiting != Waiting::at_collective || !same_collective(lanes[lane].request, request))
            return false;
        present |= 1u << lane;
    }
    if (request.operation == WarpOperation::shuffle)
        for (std::uint32_t rest = present; rest; rest &= rest - 1) {
            Fiber& lane = lanes[std::countr_zero(rest)];
            if (!(present >> lane.request.source & 1))
                fail_at(lane, FindingKind::warp_collective,
                        fmt::format("Lane {} reads from lane {}, which has returned or does not exist: its value is "
                                    "undefined. Keep all lanes that are read from alive.",
                                    lane.index % warp_size, lane.request.source));
        }
    ++counts.warp_collectives;
    if (present == lanes_alive(first)) log.warp_together(first / warp_size, counts);
    // Shuffles and votes wait for the lanes of their mask, too, but order no memory.
    const std::uint32_t lanes_of_warp = threads - first >= warp_size ? ~0u : (1u << (threads - first)) - 1;
    if (request.operation == WarpOperation::synchronize)
        races.warp_barrier(first / warp_size, request.mask & lanes_of_warp, (~request.mask & lanes_of_warp) == 0);
    complete(lanes, present, request.operation);
    for (std::uint32_t rest = present; rest; rest &= rest - 1) {
        Fiber& lane = lanes[std::countr_zero(rest)];
        lane.waiting = Waiting::nothing;
        if (&lane != running) mark_ready(lane.index);
    }
    return true;
}

void warp_collective(const WarpRequest& request, std::uint64_t* result) {
    Worker* worker = current;
    if (!worker) return;
    const void* address = __builtin_return_address(0);
    Fiber* self = worker->running;
    const unsigned lane = self->index % warp_size;

    if (!(request.mask >> lane & 1))
        worker->fail(FindingKind::warp_collective, cudaErrorLaunchFailure,
                     fmt::format("Lane {} calls {} with a mask {:#010x} that does not name it.", lane,
                                 name(request.operation), request.mask),
                     address);
    if (request.operation == WarpOperation::shuffle && !(request.mask >> request.source & 1))
        worker->fail(FindingKind::warp_collective, cudaErrorLaunchFailure,
                     fmt::format("Lane {} reads from lane {}, which is not in the mask {:#010x}.", lane, request.source,
                                 request.mask),
                     address);

    worker->count_switch(address);
    self->request = request;
    self->waiting = Waiting::at_collective;
    self->waiting_at = address;
    if (!worker->complete_collective(*self)) worker->switch_away();
    result[0] = self->result[0];
    result[1] = self->result[1];
}

void Worker::fail_at(Fiber& fiber, FindingKind kind, std::string message) {
    running = &fiber;  // the report is about the thread that waits, not about the one that ran last
    fail(kind, cudaErrorLaunchFailure, std::move(message), fiber.waiting_at);
}

// No thread can go on, yet some have not returned. A barrier opens when all of them are there, so one waits at a
// collective: for whom?
void Worker::fail_stuck() {
    Fiber* stuck = fibers.get();
    while (stuck->waiting != Waiting::at_collective) ++stuck;
    std::string missing;
    unsigned first = stuck->index - stuck->index % warp_size;
    for (std::uint32_t rest = stuck->request.mask; rest && missing.size() < 120; rest &= rest - 1) {
        unsigned index = first + static_cast<unsigned>(std::countr_zero(rest));
        if (index >= threads) continue;
        Fiber& lane = fibers[index];
        if (lane.waiting == Waiting::at_collective && !same_collective(lane.request, stuck->request))
            fail_at(lane, FindingKind::warp_collective,
                    fmt::format("Lane {} is at {} with mask {:#010x}, lane {} at {} ({}) with mask {:#010x}, and they "
                                "wait for each other: all lanes of a mask must come to the same operation with the "
                                "same mask.",
                                lane.index % warp_size, name(lane.request.operation), lane.request.mask,
                                stuck->index % warp_size, name(stuck->request.operation),
                                place(stuck->waiting_at, *stuck), stuck->request.mask));
        if (lane.waiting == Waiting::at_barrier)
            missing += fmt::format("{}lane {} waits at {}", missing.empty() ? "" : "; ", index - first,
                                   place(lane.waiting_at, lane));
    }
    fail_at(*stuck, FindingKind::warp_collective,
            fmt::format("{} waits for lanes of its mask {:#010x} that do not come: {}. Every lane of the mask that has "
                        "not returned must reach the call.",
                        name(stuck->request.operation), stuck->request.mask, missing));
}

}  // namespace attn::emulator

// ---- printf in kernels: kept by block, so that the order on the screen is that of the blocks ------------------------

extern "C" int attn_emulated_printf(const char* format, ...) {
    va_list values;
    va_start(values, format);
    int length;
    if (auto* worker = attn::emulator::current) {
        char line[4096];
        length = std::vsnprintf(line, sizeof line, format, values);
        worker->launch->printed[worker->block] += line;
    } else {
        length = std::vprintf(format, values);
    }
    va_end(values);
    return length;
}
extern "C" int attn_emulated_puts(const char* line) { return attn_emulated_printf("%s\n", line); }
extern "C" int attn_emulated_putchar(int c) { return attn_emulated_printf("%c", c); }
