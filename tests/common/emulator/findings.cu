#undef NDEBUG  // assert() is one of the rules

#include "tests/common/emulator/findings.hpp"

#include <cuda_fp16.h>

#include <cassert>
#include <cstring>
#include <stdexcept>

#include "common/cuda/build.hpp"
#include "common/cuda/warp.hpp"

namespace attn::test {

using emulator::FindingKind;

namespace {

template <class... Parameter, class... Argument>
int run(void (*kernel)(Parameter...), dim3 grid, dim3 block, std::size_t shared_bytes, Argument... argument) {
    cudaLaunchConfig_t config;
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    return cudaLaunchKernelEx(&config, kernel, argument...);
}

// 64 elements, with the values 0, 1, …
struct Row {
    static constexpr std::size_t count = 64, bytes = count * sizeof(float);
    float* data = nullptr;

    Row() {
        float values[count];
        for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i);
        cudaMalloc(&data, bytes);
        cudaMemcpy(data, values, bytes, cudaMemcpyHostToDevice);
    }
    Row(const Row&) = delete;
    ~Row() { cudaFree(data); }
};

// ---- memory: the line of the access is two below the constant ------------------------------------------------------

// clang-format off
constexpr int read_past_end_line = __LINE__ + 2;
__global__ void read_past_end(const float* in, float* out) {
    out[threadIdx.x] = in[blockIdx.x * blockDim.x + threadIdx.x + 1];
}

constexpr int write_past_end_line = __LINE__ + 2;
__global__ void write_past_end(float* out) {
    out[blockIdx.x * blockDim.x + threadIdx.x + 1] = 1;
}

constexpr int read_before_start_line = __LINE__ + 2;
__global__ void read_before_start(const float* in, float* out) {
    out[threadIdx.x] = in[5 - static_cast<int>(threadIdx.x)];
}

constexpr int write_far_away_line = __LINE__ + 2;
__global__ void write_far_away(float* out, int distance) {
    out[distance] = 1;
}

constexpr int read_through_view_line = __LINE__ + 2;
__global__ void read_through_view(TensorView<const float, 2> in, float* out) {
    out[0] = in.data()[in.extent(1) * 8 + static_cast<int>(threadIdx.y)];
}

constexpr int atomic_past_end_line = __LINE__ + 2;
__global__ void atomic_past_end(float* out) {
    atomicAdd(out + 63 + threadIdx.z, 1.0f);
}

constexpr int dynamic_past_end_line = __LINE__ + 3;
__global__ void dynamic_past_end(float* out) {
    extern __shared__ float row[];
    row[threadIdx.x + 1] = 1;
    out[threadIdx.x] = 1;
}

constexpr int static_past_end_line = __LINE__ + 3;
__global__ void static_past_end(const float* in, float* out) {
    __shared__ float row[32];
    row[threadIdx.x + 1] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = row[threadIdx.x];
}

constexpr int copy_one_line = __LINE__ + 2;
__global__ void copy_one(const float* in, float* out) {
    out[threadIdx.x] = in[threadIdx.x];
}

constexpr int read_local_of_other_line = __LINE__ + 6;
__global__ void read_local_of_other(float* out) {
    __shared__ const float* shared_pointer;
    float local = static_cast<float>(out[threadIdx.x]);
    if (threadIdx.x == 0) shared_pointer = &local;
    __syncthreads();
    out[threadIdx.x] = *shared_pointer;
    __syncthreads();
    out[threadIdx.x] += local;
}

constexpr int load_misaligned_line = __LINE__ + 2;
__global__ void load_misaligned(const float* in, float4* out) {
    out[threadIdx.x] = *reinterpret_cast<const float4*>(in + 3 * threadIdx.x);
}

constexpr int read_unwritten_shared_line = __LINE__ + 5;
__global__ void read_unwritten_shared(float* out) {
    __shared__ float row[32];
    if (threadIdx.x < 30) row[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = row[threadIdx.x];
}

constexpr int copy_bytes_line = __LINE__ + 2;
__global__ void copy_bytes(const float* in, float* out, int first, std::size_t bytes) {
    std::memcpy(out, in + first, bytes);
}

template <int Bytes>
constexpr int copy_fixed_line = __LINE__ + 3;
template <int Bytes>
__global__ void copy_fixed(const float* in, float* out, int first) {
    std::memcpy(out, in + first, Bytes);
}

constexpr int set_bytes_line = __LINE__ + 2;
__global__ void set_bytes(float* out, int first) {
    std::memset(out + first, 0, 72);
}

struct Large {
    float values[20];
};
constexpr int copy_struct_line = __LINE__ + 2;
__global__ void copy_struct(const float* in, float* out, int first) {
    *reinterpret_cast<Large*>(out) = *reinterpret_cast<const Large*>(in + first);
}

// ---- barriers and warps --------------------------------------------------------------------------------------------

constexpr int different_barriers_line = __LINE__ + 6;
__global__ void different_barriers(float* out) {
    if (threadIdx.x < 16) {
        out[threadIdx.x] = 1;
        __syncthreads();
    } else {
        __syncthreads();
        out[threadIdx.x] = 2;
    }
}

constexpr int shuffle_with_missing_line = __LINE__ + 3;
__global__ void shuffle_with_missing(float* out) {
    float value = out[threadIdx.x];
    if (threadIdx.x >= 8) value += __shfl_xor_sync(all_lanes, value, 1);
    __syncthreads();
    out[threadIdx.x] = value;
}

constexpr int shuffle_with_returned_line = __LINE__ + 3;
__global__ void shuffle_with_returned(float* out) {
    if (threadIdx.x >= 60) return;
    out[threadIdx.x] = __shfl_down_sync(all_lanes, out[threadIdx.x], 1);
}

constexpr int mask_without_caller_line = __LINE__ + 2;
__global__ void mask_without_caller(unsigned* out) {
    out[threadIdx.x] = __ballot_sync(0x0000000fu, 1);
}

constexpr int different_masks_line = __LINE__ + 3;
__global__ void different_masks(unsigned* out) {
    unsigned mask = threadIdx.x == 9 ? 0xffffu : all_lanes;
    out[threadIdx.x] = __ballot_sync(mask, 1);
}

constexpr int read_lane_outside_line = __LINE__ + 3;
__global__ void read_lane_outside(float* out) {
    if (threadIdx.x >= 8) return;
    out[threadIdx.x] = __shfl_sync(0xffu, out[threadIdx.x], 8);
}

// ---- the rest ------------------------------------------------------------------------------------------------------

constexpr int assert_line = __LINE__ + 2;
__global__ void assert_small([[maybe_unused]] const float* in) {
    assert(in[threadIdx.x] < 10);
}

constexpr int throw_line = __LINE__ + 2;
__global__ void throw_something(const float* in) {
    if (in[threadIdx.x] == 7) throw std::runtime_error("seven");
}

constexpr int fail_in_function_line = __LINE__ + 2;
__attribute__((noinline)) __device__ void store(float* out, unsigned index) {
    out[index] = 1;
}
__global__ void fail_in_function(float* out) {
    store(out, threadIdx.x * 32);
}

constexpr int fail_in_header_line = __LINE__ + 2;
__global__ void fail_in_header(const float* in, float* out) {
    out[threadIdx.x] = read_at(in, static_cast<int>(threadIdx.x) * 16);
}

template <int N>
constexpr int fail_in_template_line = __LINE__ + 3;
template <int N>
__global__ void fail_in_template(float* out) {
    out[N * threadIdx.x] = 1;
}

// clang-format on

// ---- harmless ------------------------------------------------------------------------------------------------------

__global__ void read_from(const float* in, float* out, unsigned first_bad) {
    bool bad = blockIdx.x >= first_bad && threadIdx.x == 2;
    out[threadIdx.x] = in[bad ? 64 : threadIdx.x];
}

__global__ void do_nothing() {}

__global__ void ask_much() {}

__global__ void counted(TensorView<const float, 2> in, TensorView<float, 1> out) {
    __shared__ float row[32];
    __shared__ float2 pairs[32];
    int thread = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
    float value = in(block, thread);                                             // global load of 4 bytes
    value += read_at(in.data(), thread);                                         // global load of 4 bytes
    value += read_element(in, 0, thread);                                        // global load of 4 bytes
    float4 four = *reinterpret_cast<const float4*>(&in(block, thread / 4 * 4));  // global load of 16 bytes
    row[thread] = value;                                                         // shared store of 4 bytes
    pairs[thread] = make_float2(four.x, four.y);                                 // shared store of 8 bytes
    __syncthreads();
    float2 pair = pairs[31 - thread];   // shared load of 8 bytes
    value = row[31 - thread] + pair.x;  // shared load of 4 bytes
    value += __shfl_xor_sync(all_lanes, value, 1);
    if (thread == 0) atomicAdd(&out(0), 1.0f);  // atomic
    __syncthreads();
    out(1 + block * 32 + thread) = value;  // global store of 4 bytes
    if (thread < 2)                        // global store of 16 bytes
        *reinterpret_cast<float4*>(&out(100 + 8 * block + 4 * thread)) = four;
}

__global__ void shared_halves(float* out) {
    __shared__ __half row[32];
    row[threadIdx.x] = __float2half(static_cast<float>(threadIdx.x));
    __syncthreads();
    out[threadIdx.x] = __half2float(row[31 - threadIdx.x]);
}

__global__ void add_up(float* sum) {
    atomicAdd(sum, 1.0f / static_cast<float>(1 + blockIdx.x * 7919 % 1013) + (threadIdx.x == 0 ? 1e4f : 0));
}

__global__ void say() { printf("block %d thread %d\n", static_cast<int>(blockIdx.x), static_cast<int>(threadIdx.x)); }

// out[1 + t]: who drew ticket t; a block here, a thread there.
__global__ void draw_tickets(int* out, bool of_threads) {
    const int ticket = atomicAdd(out, 1);
    out[1 + ticket] = static_cast<int>(of_threads ? threadIdx.x : blockIdx.x);
}

__global__ void fill(int* out, int count, int value) {
    int i = static_cast<int>(threadIdx.x);
    out[i] = out[count - 1 - i] = value;
}

}  // namespace

std::vector<Scenario> scenarios() {
    using enum FindingKind;
    std::vector<Scenario> all;
    auto on_row = [&](std::string name, FindingKind kind, int error, std::string kernel, int line,
                      std::array<unsigned, 3> block, std::array<unsigned, 3> thread, std::string message_part,
                      auto body) {
        all.push_back({name, kind, error, kernel, line, block, thread, message_part, [body] {
                           Row in, out;
                           return static_cast<int>(body(in.data, out.data));
                       }});
    };
    constexpr int illegal = cudaErrorIllegalAddress, failure = cudaErrorLaunchFailure;

    on_row("read one past the end", out_of_bounds, illegal, "read_past_end", read_past_end_line, {1, 0, 0}, {31, 0, 0},
           "reads 4 bytes", [](float* in, float* out) { return run(read_past_end, 2, 32, 0, in, out); });
    on_row("write one past the end", out_of_bounds, illegal, "write_past_end", write_past_end_line, {1, 0, 0},
           {31, 0, 0}, "writes 4 bytes", [](float*, float* out) { return run(write_past_end, 2, 32, 0, out); });
    on_row("negative index", out_of_bounds, illegal, "read_before_start", read_before_start_line, {0, 0, 0}, {6, 0, 0},
           "reads 4 bytes", [](float* in, float* out) { return run(read_before_start, 1, 32, 0, in, out); });
    on_row("far past the end", out_of_bounds, illegal, "write_far_away", write_far_away_line, {0, 0, 0}, {0, 0, 0},
           "writes 4 bytes", [](float*, float* out) { return run(write_far_away, 1, 1, 0, out, 100 << 20); });
    on_row("far before the start", host_memory, illegal, "write_far_away", write_far_away_line, {0, 0, 0}, {0, 0, 0},
           "host memory", [](float*, float* out) { return run(write_far_away, 1, 1, 0, out, -(300 << 20)); });
    on_row("past the end of a view", out_of_bounds, illegal, "read_through_view", read_through_view_line, {0, 0, 0},
           {0, 0, 0}, "reads 4 bytes", [](float* in, float* out) {
               return run(read_through_view, 1, dim3(1, 4), 0, TensorView<const float, 2>(in, {{8, 8}}), out);
           });
    on_row("atomic past the end", out_of_bounds, illegal, "atomic_past_end", atomic_past_end_line, {0, 0, 0}, {0, 0, 1},
           "atomically updates",
           [](float* in, float*) { return run(atomic_past_end, dim3(1, 2, 2), dim3(1, 1, 2), 0, in); });
    on_row("past the end of dynamic shared memory", out_of_bounds, illegal, "dynamic_past_end", dynamic_past_end_line,
           {0, 0, 0}, {31, 0, 0}, "writes 4 bytes",
           [](float*, float* out) { return run(dynamic_past_end, 1, 32, 32 * sizeof(float), out); });
    on_row("dynamic shared memory of no size", out_of_bounds, illegal, "dynamic_past_end", dynamic_past_end_line,
           {0, 0, 0}, {0, 0, 0}, "third number",
           [](float*, float* out) { return run(dynamic_past_end, 1, 32, 0, out); });
    on_row("past the end of static shared memory", out_of_bounds, illegal, "static_past_end", static_past_end_line,
           {0, 0, 0}, {31, 0, 0}, "writes 4 bytes",
           [](float* in, float* out) { return run(static_past_end, 1, 32, 0, in, out); });
    on_row("use after free", use_after_free, illegal, "copy_one", copy_one_line, {0, 0, 0}, {0, 0, 0}, "freed",
           [](float*, float* out) {
               const float* gone = Row().data;
               return run(copy_one, 1, 32, 0, gone, out);
           });
    on_row("host memory, on the heap", host_memory, illegal, "copy_one", copy_one_line, {0, 0, 0}, {0, 0, 0},
           "cudaMalloc", [](float*, float* out) {
               std::vector<float> host(64);
               return run(copy_one, 1, 32, 0, host.data(), out);
           });
    on_row("host memory, on the stack", host_memory, illegal, "copy_one", copy_one_line, {0, 0, 0}, {0, 0, 0},
           "cudaMalloc", [](float* in, float*) {
               float host[64];
               return run(copy_one, 1, 32, 0, in, &host[0]);
           });
    on_row("null pointer", out_of_bounds, illegal, "copy_one", copy_one_line, {0, 0, 0}, {0, 0, 0}, "null pointer",
           [](float* in, float*) { return run(copy_one, 1, 32, 0, in, static_cast<float*>(nullptr)); });
    on_row("another thread's local variable", out_of_bounds, illegal, "read_local_of_other", read_local_of_other_line,
           {0, 0, 0}, {1, 0, 0}, "another thread",
           [](float*, float* out) { return run(read_local_of_other, 1, 32, 0, out); });
    on_row("misaligned load", misaligned, cudaErrorMisalignedAddress, "load_misaligned", load_misaligned_line,
           {0, 0, 0}, {1, 0, 0}, "16",
           [](float* in, float* out) { return run(load_misaligned, 1, 4, 0, in, reinterpret_cast<float4*>(out)); });
    on_row("global memory that nobody wrote", never_written, failure, "copy_one", copy_one_line, {0, 0, 0}, {16, 0, 0},
           "nobody has written", [](float* in, float* out) {
               float* fresh = nullptr;
               cudaMalloc(&fresh, 32 * sizeof(float));
               cudaMemcpy(fresh, in, 16 * sizeof(float), cudaMemcpyDeviceToDevice);
               return run(copy_one, 1, 32, 0, fresh, out);
           });
    on_row("atomic on memory that nobody wrote", never_written, failure, "atomic_past_end", atomic_past_end_line,
           {0, 0, 0}, {0, 0, 0}, "nobody has written", [](float*, float*) {
               float* fresh = nullptr;
               cudaMalloc(&fresh, 65 * sizeof(float));
               return run(atomic_past_end, 1, 1, 0, fresh);
           });
    on_row("shared memory that nobody wrote", never_written, failure, "read_unwritten_shared",
           read_unwritten_shared_line, {0, 0, 0}, {30, 0, 0}, "no thread of this block",
           [](float*, float* out) { return run(read_unwritten_shared, 1, 32, 0, out); });
    on_row("a long copy past the end", out_of_bounds, illegal, "copy_bytes", copy_bytes_line, {0, 0, 0}, {0, 0, 0},
           "reads 80 bytes", [](float* in, float* out) { return run(copy_bytes, 1, 1, 0, in, out, 45, 80); });
    on_row("a copy of 80 bytes past the end", out_of_bounds, illegal, "copy_fixed<80>", copy_fixed_line<80>, {0, 0, 0},
           {0, 0, 0}, "reads", [](float* in, float* out) { return run(copy_fixed<80>, 1, 1, 0, in, out, 45); });
    on_row("a copy of 24 bytes past the end", out_of_bounds, illegal, "copy_fixed<24>", copy_fixed_line<24>, {0, 0, 0},
           {0, 0, 0}, "reads", [](float* in, float* out) { return run(copy_fixed<24>, 1, 1, 0, in, out, 59); });
    on_row("a copy of 16 bytes past the end", out_of_bounds, illegal, "copy_fixed<16>", copy_fixed_line<16>, {0, 0, 0},
           {0, 0, 0}, "reads", [](float* in, float* out) { return run(copy_fixed<16>, 1, 1, 0, in, out, 61); });
    on_row("memset past the end", out_of_bounds, illegal, "set_bytes", set_bytes_line, {0, 0, 0}, {0, 0, 0}, "writes",
           [](float*, float* out) { return run(set_bytes, 1, 1, 0, out, 47); });
    on_row("a struct past the end", out_of_bounds, illegal, "copy_struct", copy_struct_line, {0, 0, 0}, {0, 0, 0},
           "reads", [](float* in, float* out) { return run(copy_struct, 1, 1, 0, in, out, 45); });

    on_row("different barriers", barrier, failure, "different_barriers", different_barriers_line, {0, 0, 0}, {16, 0, 0},
           "different barriers", [](float*, float* out) { return run(different_barriers, 1, 32, 0, out); });
    on_row("a shuffle without all lanes of its mask", warp_collective, failure, "shuffle_with_missing",
           shuffle_with_missing_line, {0, 0, 0}, {8, 0, 0}, "lane 0 waits at",
           [](float*, float* out) { return run(shuffle_with_missing, 1, 32, 0, out); });
    on_row("a shuffle with lanes that have returned", warp_collective, failure, "shuffle_with_returned",
           shuffle_with_returned_line, {0, 0, 0}, {59, 0, 0}, "lane 28, which has returned",
           [](float*, float* out) { return run(shuffle_with_returned, 1, 64, 0, out); });
    on_row("a mask without the caller", warp_collective, failure, "mask_without_caller", mask_without_caller_line,
           {0, 0, 0}, {4, 0, 0}, "does not name it",
           [](float*, float* out) { return run(mask_without_caller, 1, 32, 0, reinterpret_cast<unsigned*>(out)); });
    on_row("different masks", warp_collective, failure, "different_masks", different_masks_line, {0, 0, 0}, {9, 0, 0},
           "same mask",
           [](float*, float* out) { return run(different_masks, 1, 32, 0, reinterpret_cast<unsigned*>(out)); });
    on_row("a shuffle that reads a lane outside of its mask", warp_collective, failure, "read_lane_outside",
           read_lane_outside_line, {0, 0, 0}, {0, 0, 0}, "reads from lane 8",
           [](float*, float* out) { return run(read_lane_outside, 1, 32, 0, out); });

    on_row("assertion", assertion, cudaErrorAssert, "assert_small", assert_line, {0, 0, 0}, {10, 0, 0}, "< 10",
           [](float* in, float*) { return run(assert_small, 1, 32, 0, in); });
    on_row("exception", exception, failure, "throw_something", throw_line, {0, 0, 0}, {7, 0, 0}, "seven",
           [](float* in, float*) { return run(throw_something, 1, 32, 0, in); });
    on_row("in a function that the kernel calls", out_of_bounds, illegal, "fail_in_function", fail_in_function_line,
           {0, 0, 0}, {2, 0, 0}, "writes 4 bytes",
           [](float*, float* out) { return run(fail_in_function, 1, 4, 0, out); });
    on_row("in a function of a header: the line that calls it", out_of_bounds, illegal, "fail_in_header",
           fail_in_header_line, {0, 0, 0}, {4, 0, 0}, "reads 4 bytes",
           [](float* in, float* out) { return run(fail_in_header, 1, 8, 0, in, out); });
    on_row("in a kernel template", out_of_bounds, illegal, "fail_in_template<16>", fail_in_template_line<16>, {0, 0, 0},
           {4, 0, 0}, "writes 4 bytes", [](float*, float* out) { return run(fail_in_template<16>, 1, 8, 0, out); });
    return all;
}

int fail_from_block(unsigned blocks, unsigned first_bad) {
    Row in, out;
    return run(read_from, blocks, 4, 0, in.data, out.data, first_bad);
}

int malloc_error(std::size_t bytes) {
    void* pointer = nullptr;
    int error = cudaMalloc(&pointer, bytes);
    cudaFree(pointer);
    return error;
}
int free_twice() {
    float* pointer = nullptr;
    cudaMalloc(&pointer, 4);
    cudaFree(pointer);
    return cudaFree(pointer);
}
int copy_in_wrong_direction() {
    Row row;
    float host[64];
    return cudaMemcpy(host, row.data, Row::bytes, cudaMemcpyHostToDevice);
}
int copy_past_the_end() {
    Row row;
    std::vector<float> host(65);
    return cudaMemcpy(row.data, host.data(), Row::bytes + 4, cudaMemcpyHostToDevice);
}
int set_past_the_end() {
    Row row;
    return cudaMemset(row.data + 1, 0, Row::bytes);
}
int launch_harmless(unsigned blocks, unsigned threads, std::size_t shared_bytes) {
    return run(do_nothing, blocks, threads, shared_bytes);
}
int ask_for_shared(int bytes) {
    if (int error = cudaFuncSetAttribute(ask_much, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes)) return error;
    return run(ask_much, 1, 1, static_cast<std::size_t>(bytes));
}
int last_error() { return cudaGetLastError(); }
int peek_at_last_error() { return cudaPeekAtLastError(); }
int synchronize() { return cudaDeviceSynchronize(); }
int reset_device() { return cudaDeviceReset(); }
int leak(std::size_t bytes) {
    void* pointer = nullptr;
    return cudaMalloc(&pointer, bytes);
}

std::vector<int> order(bool of_threads, int count) {
    int* tickets = nullptr;
    const std::size_t bytes = static_cast<std::size_t>(count + 1) * sizeof(int);
    cudaMalloc(&tickets, bytes);
    cudaMemset(tickets, 0, bytes);
    const auto extent = static_cast<unsigned>(count);
    run(draw_tickets, of_threads ? 1 : extent, of_threads ? extent : 1, 0, tickets, of_threads);
    std::vector<int> result(static_cast<std::size_t>(count + 1));
    cudaMemcpy(result.data(), tickets, bytes, cudaMemcpyDeviceToHost);
    cudaFree(tickets);
    return {result.begin() + 1, result.end()};
}

float run_counted() {
    std::vector<float> values(3 * 32, 2);
    float *in = nullptr, *out = nullptr;
    cudaMalloc(&in, values.size() * sizeof(float));
    cudaMalloc(&out, 124 * sizeof(float));
    cudaMemcpy(in, values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice);
    cudaMemset(out, 0, 124 * sizeof(float));
    run(counted, 3, 32, 0, TensorView<const float, 2>(in, {{3, 32}}), TensorView<float, 1>(out, {{124}}));
    float first[2] = {};
    cudaMemcpy(first, out, sizeof first, cudaMemcpyDeviceToHost);
    cudaFree(in);
    cudaFree(out);
    return first[0] == 3 ? first[1] : -1;
}

float run_shared_halves() {
    Row out;
    run(shared_halves, 1, 32, 0, out.data);
    float first = -1;
    cudaMemcpy(&first, out.data, sizeof first, cudaMemcpyDeviceToHost);
    return first;
}

std::vector<float> sum_of_all_blocks(int blocks) {
    float* sum = nullptr;
    cudaMalloc(&sum, sizeof(float));
    cudaMemset(sum, 0, sizeof(float));
    run(add_up, static_cast<unsigned>(blocks), 8, 0, sum);
    std::vector<float> result(1);
    cudaMemcpy(result.data(), sum, sizeof(float), cudaMemcpyDeviceToHost);
    cudaFree(sum);
    return result;
}

void print_from_all_blocks(int blocks) { run(say, static_cast<unsigned>(blocks), 2, 0); }

std::vector<int> fill_large_allocations(int count, std::size_t bytes) {
    std::vector<int> seen;
    auto length = static_cast<int>(bytes / sizeof(int));
    for (int index = 0; index < count; ++index) {
        int* data = nullptr;
        if (cudaMalloc(&data, bytes)) return seen;
        run(fill, 1, 4, 0, data, length, index);
        int last = -1;
        cudaMemcpy(&last, data + length - 1, sizeof last, cudaMemcpyDeviceToHost);
        seen.push_back(last);
        cudaFree(data);
    }
    return seen;
}

namespace {
__global__ void vote_of_the_living(int* out) {
    if (threadIdx.x >= 28) return;
    __syncwarp();
    out[threadIdx.x] = __any_sync(0xffffffffu, threadIdx.x == 27) + 2 * __all_sync(0xffffffffu, 1);
}
}  // namespace

std::vector<int> vote_after_some_returned() {
    std::vector<int> result(28, -1);
    int* out = nullptr;
    cudaMalloc(&out, 28 * sizeof(int));
    run(vote_of_the_living, 1, 32, 0, out);
    cudaMemcpy(result.data(), out, 28 * sizeof(int), cudaMemcpyDeviceToHost);
    return result;
}

void copy_to_and_fro(int times) {
    std::vector<int> values(1024, 1);
    int* data = nullptr;
    cudaMalloc(&data, 4096);
    for (int time = 0; time < times; ++time) {
        cudaMemcpy(data, values.data(), 4096, cudaMemcpyHostToDevice);
        cudaMemcpy(values.data(), data, 4096, cudaMemcpyDeviceToHost);
    }
    cudaFree(data);
}

}  // namespace attn::test
