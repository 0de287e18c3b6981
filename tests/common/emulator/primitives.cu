#include "tests/common/emulator/primitives.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "common/cuda/launch.hpp"
#include "common/cuda/warp.hpp"

namespace attn::test {

namespace {

template <class T>
class Buffer {
  public:
    explicit Buffer(std::size_t count) : count_(count) { check(cudaMalloc(&data_, count * sizeof(T))); }
    Buffer(const std::vector<T>& values) : Buffer(values.size()) {
        check(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
    }
    Buffer(const Buffer&) = delete;
    ~Buffer() { cudaFree(data_); }

    T* get() const { return data_; }
    std::vector<T> read() const {
        std::vector<T> values(count_);
        check(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
        return values;
    }

  private:
    std::size_t count_;
    T* data_ = nullptr;
};

unsigned size_of(const auto& values) { return static_cast<unsigned>(values.size()); }

// ---- blocks --------------------------------------------------------------------------------------------------------

__global__ void reverse_static(const int* in, int* out) {
    __shared__ int row[256];
    row[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = row[blockDim.x - 1 - threadIdx.x];
}

__global__ void reverse_dynamic(const float* in, float* out) {
    extern __shared__ float row[];
    row[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = row[blockDim.x - 1 - threadIdx.x];
}

__global__ void square_dynamic(const double* in, double* out) {
    extern __shared__ double squares[];
    squares[threadIdx.x] = in[threadIdx.x] * in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = squares[threadIdx.x];
}

template <class T, int N>
__global__ void reverse_template(const T* in, T* out) {
    __shared__ T row[N];
    row[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = row[N - 1 - threadIdx.x];
}

__global__ void sum_large(double* sum, int count) {
    extern __shared__ float values[];
    for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x))
        values[i] = static_cast<float>(i);
    __syncthreads();
    if (threadIdx.x == 0) {
        *sum = 0;
        for (int i = count - 1; i >= 0; --i) *sum += values[i];
    }
}

__global__ void vote_in_block(const int* predicates, int voters, int* count, int* all, int* any) {
    int thread = static_cast<int>(threadIdx.x);
    if (thread >= voters) return;
    count[thread] = __syncthreads_count(predicates[thread]);
    all[thread] = __syncthreads_and(predicates[thread]);
    any[thread] = __syncthreads_or(predicates[thread]);
}

__global__ void find_place(Place* out) {
    unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    unsigned* to = reinterpret_cast<unsigned*>(out + block * (blockDim.x * blockDim.y * blockDim.z) + thread);
    to[0] = threadIdx.x, to[1] = threadIdx.y, to[2] = threadIdx.z;
    to[3] = blockIdx.x, to[4] = blockIdx.y, to[5] = blockIdx.z;
    to[6] = blockDim.x, to[7] = blockDim.y, to[8] = blockDim.z;
    to[9] = gridDim.x, to[10] = gridDim.y, to[11] = gridDim.z;
}

__global__ void find_first_of_warp(int* out) {
    int thread = static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
    out[thread] = __shfl_sync(all_lanes, thread, 0);
}

__device__ unsigned blocks_done = 0;

__global__ void sum_partially(const float* in, int count, volatile float* partial, float* result) {
    __shared__ float row[64];
    __shared__ bool is_last;
    float sum = 0;
    for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < count;
         i += static_cast<int>(gridDim.x * blockDim.x))
        sum += in[i];
    row[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        sum = 0;
        for (unsigned i = 0; i < blockDim.x; ++i) sum += row[i];
        partial[blockIdx.x] = sum;
        __threadfence();
        is_last = atomicInc(&blocks_done, gridDim.x - 1) == gridDim.x - 1;  // back at 0 for the next launch
    }
    __syncthreads();
    if (is_last && threadIdx.x == 0) {
        sum = 0;
        for (unsigned block = 0; block < gridDim.x; ++block) sum += partial[block];
        *result = sum;
    }
}

// ---- warps ---------------------------------------------------------------------------------------------------------

struct alignas(16) Quadruple {
    float x, y, z, w;
};

template <class T>
__device__ T shuffle_value(Shuffle kind, T value, int argument, int width) {
    switch (kind) {
        case Shuffle::indexed: return __shfl_sync(all_lanes, value, argument, width);
        case Shuffle::up: return __shfl_up_sync(all_lanes, value, static_cast<unsigned>(argument), width);
        case Shuffle::down: return __shfl_down_sync(all_lanes, value, static_cast<unsigned>(argument), width);
        default: return __shfl_xor_sync(all_lanes, value, argument, width);
    }
}

#if defined(__CUDACC__)
template <>
__device__ Quadruple shuffle_value(Shuffle kind, Quadruple value, int argument, int width) {
    return {shuffle_value(kind, value.x, argument, width), shuffle_value(kind, value.y, argument, width),
            shuffle_value(kind, value.z, argument, width), shuffle_value(kind, value.w, argument, width)};
}
#endif

template <class T>
__global__ void shuffle_kernel(Shuffle kind, const T* values, const int* arguments, int width, T* out) {
    unsigned lane = threadIdx.x;
    out[lane] = shuffle_value(kind, values[lane], arguments[lane], width);
}

template <class T>
std::vector<T> run_shuffle(Shuffle kind, const std::vector<T>& values, const std::vector<int>& arguments, int width) {
    Buffer<T> in(values), out(values.size());
    Buffer<int> parameters(arguments);
    launch(shuffle_kernel<T>, {1, 32}, kind, in.get(), parameters.get(), width, out.get());
    return out.read();
}

__global__ void rotate_in_warp(const int* in, int* out) {
    __shared__ int row[32];
    row[threadIdx.x] = in[threadIdx.x];
    __syncwarp();
    out[threadIdx.x] = row[(threadIdx.x + 1) % 32];
}

__global__ void vote_in_warp(const int* predicates, unsigned mask, unsigned* ballot, int* any, int* all) {
    unsigned lane = threadIdx.x;
    if (!(mask >> lane & 1)) return;
    ballot[lane] = __ballot_sync(mask, predicates[lane]);
    any[lane] = __any_sync(mask, predicates[lane]);
    all[lane] = __all_sync(mask, predicates[lane]);
}

template <class T>
__global__ void match_in_warp(const T* values, unsigned mask, unsigned* any, unsigned* all, int* all_agree) {
    unsigned lane = threadIdx.x;
    if (!(mask >> lane & 1)) return;
    any[lane] = __match_any_sync(mask, values[lane]);
    int agree = -1;
    all[lane] = __match_all_sync(mask, values[lane], &agree);
    all_agree[lane] = agree != 0;
}

template <class T, class DeviceValue>
Matches run_match(const std::vector<T>& values, unsigned mask) {
    static_assert(sizeof(T) == sizeof(DeviceValue));
    std::vector<unsigned> none(32, ~0u);
    Buffer<T> in(values);
    Buffer<unsigned> any(none), all(none);
    Buffer<int> all_agree(std::vector<int>(32, -1));
    launch(match_in_warp<DeviceValue>, {1, 32}, reinterpret_cast<DeviceValue*>(in.get()), mask, any.get(), all.get(),
           all_agree.get());
    return {any.read(), all.read(), all_agree.read()};
}

template <class T>
__global__ void reduce_in_warp(const T* values, unsigned mask, T* out) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    unsigned lane = threadIdx.x;
    if (!(mask >> lane & 1)) return;
    T value = values[lane];
    T results[6] = {__reduce_add_sync(mask, value), __reduce_min_sync(mask, value), __reduce_max_sync(mask, value)};
    if constexpr (std::is_unsigned_v<T>) {
        results[3] = __reduce_and_sync(mask, value);
        results[4] = __reduce_or_sync(mask, value);
        results[5] = __reduce_xor_sync(mask, value);
    }
    for (int i = 0; i < 6; ++i) out[lane * 6 + i] = results[i];
#endif
}

template <class T>
std::optional<Reductions<T>> run_reduce(const std::vector<T>& values, unsigned mask) {
    int major = 0;
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
    if (major < 8) return std::nullopt;
    Buffer<T> in(values), out(std::vector<T>(32 * 6));
    launch(reduce_in_warp<T>, {1, 32}, in.get(), mask, out.get());
    std::vector<T> all = out.read();
    int lowest = 0;
    while (!(mask >> lowest & 1)) ++lowest;
    const T* r = all.data() + lowest * 6;
    return Reductions<T>{r[0], r[1], r[2], r[3], r[4], r[5]};
}

__global__ void shuffle_in_halves(const int* in, int low_rounds, int high_rounds, int* out) {
    int value = in[threadIdx.x];
    if (threadIdx.x < 16) {
        for (int round = 0; round < low_rounds; ++round) value += __shfl_xor_sync(0x0000ffffu, value, 1 << round % 4);
    } else {
        for (int round = 0; round < high_rounds; ++round) value += __shfl_xor_sync(0xffff0000u, value, 1 << round % 4);
    }
    out[threadIdx.x] = value;
}

__global__ void shuffle_partial(const int* in, int* from_below, unsigned* ballot) {
    unsigned first = threadIdx.x / 32 * 32;
    unsigned mask = blockDim.x - first >= 32 ? all_lanes : (1u << (blockDim.x - first)) - 1;
    from_below[threadIdx.x] = __shfl_up_sync(mask, in[threadIdx.x], 1);
    ballot[threadIdx.x] = __ballot_sync(all_lanes, 1);
}

// ---- memory --------------------------------------------------------------------------------------------------------

template <class T>
__device__ T apply_one(Atomic operation, T* to, T value) {
    if (operation == Atomic::add) return atomicAdd(to, value);
    if (operation == Atomic::exch) return atomicExch(to, value);
    if constexpr (std::is_integral_v<T>) {
        switch (operation) {
            case Atomic::sub: return atomicSub(to, value);
            case Atomic::min: return atomicMin(to, value);
            case Atomic::max: return atomicMax(to, value);
            case Atomic::bit_and: return atomicAnd(to, value);
            case Atomic::bit_or: return atomicOr(to, value);
            case Atomic::bit_xor: return atomicXor(to, value);
            default: break;
        }
    }
    if constexpr (std::is_unsigned_v<T>)
        return operation == Atomic::inc ? atomicInc(to, value) : atomicDec(to, value);
    else
        return T{};
}

template <class T>
__global__ void apply_all(Atomic operation, T* to, const T* values, int count, T* old) {
    int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count) old[i] = apply_one(operation, to, values[i]);
}

template <class T>
AtomicRun<T> run_atomic(Atomic operation, T start, const std::vector<T>& values) {
    Buffer<T> to(std::vector<T>{start}), in(values), old(values.size());
    int count = static_cast<int>(values.size());
    launch(apply_all<T>, {blocks_for(count, 64), 64}, operation, to.get(), in.get(), count, old.get());
    return {to.read()[0], old.read()};
}

__global__ void maximum(const float* values, int count, unsigned* result) {
    int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= count) return;
    unsigned old = atomicAdd(result, 0u);
    while (__uint_as_float(old) < values[i]) {
        unsigned seen = atomicCAS(result, old, __float_as_uint(values[i]));
        if (seen == old) break;
        old = seen;
    }
}

__global__ void count_values(const int* values, int count, int bins, int* histogram) {
    __shared__ int counters[64];
    if (threadIdx.x < static_cast<unsigned>(bins)) counters[threadIdx.x] = 0;
    __syncthreads();
    for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < count;
         i += static_cast<int>(gridDim.x * blockDim.x))
        atomicAdd(&counters[values[i]], 1);
    __syncthreads();
    if (threadIdx.x < static_cast<unsigned>(bins)) atomicAdd(&histogram[threadIdx.x], counters[threadIdx.x]);
}

__constant__ float polynomial[4];
__device__ int counters_of_device[8];

__global__ void evaluate(const float* x, float* out) {
    float power = 1, sum = 0;
    for (float coefficient : polynomial) {
        sum += coefficient * power;
        power *= x[threadIdx.x];
    }
    out[threadIdx.x] = sum;
}

__global__ void count_up() {
    atomicAdd(&counters_of_device[threadIdx.x], static_cast<int>(threadIdx.x));
    counters_of_device[threadIdx.x] += 1;
}

__global__ void scale_by_two(const float2* in, float factor, float2* out) {
    float2 value = in[threadIdx.x];
    out[threadIdx.x] = make_float2(value.x * factor, value.y * factor);
}

__global__ void scale_by_four(const float4* in, float factor, float4* out) {
    float4 value = in[threadIdx.x];
    value.x *= factor, value.y *= factor, value.z *= factor, value.w *= factor;
    out[threadIdx.x] = value;
}

__global__ void complement(const uint4* in, uint4* out) {
    uint4 value = in[threadIdx.x];
    out[threadIdx.x] = make_uint4(~value.x, ~value.y, ~value.z, ~value.w);
}

__global__ void double_each(int* values) { values[threadIdx.x] *= 2; }

__global__ void use_parameters(const float* in, Parameters parameters, float* out) {
    int i = static_cast<int>(threadIdx.x);
    out[i] = in[i] * parameters.scale + static_cast<float>(parameters.offset + parameters.weights[i % 5]);
}

// ---- arithmetic ----------------------------------------------------------------------------------------------------

__device__ float fast_value(Fast function, float x) {
    switch (function) {
        case Fast::exp: return __expf(x);
        case Fast::exp10: return __exp10f(x);
        case Fast::log: return __logf(x);
        case Fast::log2: return __log2f(x);
        case Fast::log10: return __log10f(x);
        case Fast::sin: return __sinf(x);
        case Fast::cos: return __cosf(x);
        case Fast::reciprocal_root: return rsqrtf(x);
        case Fast::root: return __fsqrt_rn(x);
        case Fast::reciprocal: return __frcp_rn(x);
        default: return __saturatef(x);
    }
}

__global__ void fast_kernel(Fast function, const float* x, float* out) {
    out[threadIdx.x] = fast_value(function, x[threadIdx.x]);
}

__global__ void divide_kernel(const float* x, const float* y, float* out) {
    out[threadIdx.x] = __fdividef(x[threadIdx.x], y[threadIdx.x]);
}

__global__ void fma_kernel(const float* x, const float* y, const float* z, float* out) {
    out[threadIdx.x] = __fmaf_rn(x[threadIdx.x], y[threadIdx.x], z[threadIdx.x]);
}

__global__ void half_kernel(const float* x, const float* y, const float* z, float* out) {
    __shared__ __half row[64];
    row[threadIdx.x] = __float2half(x[threadIdx.x]);
    __syncthreads();
    __half2 pair = __half2half2(row[threadIdx.x]);
    __half2 result = __hfma2(pair, __float2half2_rn(y[threadIdx.x]), __float2half2_rn(z[threadIdx.x]));
    out[threadIdx.x] = __half2float(__low2half(result));
}

__global__ void bfloat16_kernel(const float* x, const float* y, const float* z, float* out) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    out[threadIdx.x] = __bfloat162float(
        __hfma(__float2bfloat16(x[threadIdx.x]), __float2bfloat16(y[threadIdx.x]), __float2bfloat16(z[threadIdx.x])));
#else  // conversions are all there is
    out[threadIdx.x] = __bfloat162float(__float2bfloat16(fmaf(__bfloat162float(__float2bfloat16(x[threadIdx.x])),
                                                              __bfloat162float(__float2bfloat16(y[threadIdx.x])),
                                                              __bfloat162float(__float2bfloat16(z[threadIdx.x])))));
#endif
}

using ThreeArguments = void (*)(const float*, const float*, const float*, float*);
std::vector<float> run_three(ThreeArguments kernel, const std::vector<float>& x, const std::vector<float>& y,
                             const std::vector<float>& z) {
    Buffer<float> a(x), b(y), c(z), out(x.size());
    launch(kernel, {1, size_of(x)}, a.get(), b.get(), c.get(), out.get());
    return out.read();
}

__global__ void bits_kernel(const unsigned* in, Bits* out) {
    unsigned value = in[threadIdx.x];
    out[threadIdx.x] = {__popc(value), __clz(static_cast<int>(value)), __ffs(static_cast<int>(value)), __brev(value)};
}

__global__ void round_kernel(const float* in, int4* out) {
    float x = in[threadIdx.x];
    out[threadIdx.x] = make_int4(__float2int_rn(x), __float2int_rz(x), __float2int_rd(x), __float2int_ru(x));
}

}  // namespace

std::vector<int> reverse_in_static_shared(std::vector<int> in) {
    Buffer<int> from(in), to(in.size());
    launch(reverse_static, {1, size_of(in)}, from.get(), to.get());
    return to.read();
}

std::vector<float> reverse_in_dynamic_shared(std::vector<float> in) {
    Buffer<float> from(in), to(in.size());
    launch(reverse_dynamic, {1, size_of(in), in.size() * sizeof(float)}, from.get(), to.get());
    return to.read();
}

std::vector<double> square_in_dynamic_shared(std::vector<double> in) {
    Buffer<double> from(in), to(in.size());
    launch(square_dynamic, {1, size_of(in), in.size() * sizeof(double)}, from.get(), to.get());
    return to.read();
}

std::vector<float> reverse_in_template_float(std::vector<float> in) {
    Buffer<float> from(in), to(in.size());
    launch(reverse_template<float, 64>, {1, 64}, from.get(), to.get());
    return to.read();
}

std::vector<short> reverse_in_template_short(std::vector<short> in) {
    Buffer<short> from(in), to(in.size());
    launch(reverse_template<short, 32>, {1, 32}, from.get(), to.get());
    return to.read();
}

double sum_of_large_dynamic_shared(int count) {
    Buffer<double> sum(1);
    launch(sum_large, {1, 128, static_cast<std::size_t>(count) * sizeof(float)}, sum.get(), count);
    return sum.read()[0];
}

BlockVotes block_votes(std::vector<int> predicates, int leavers) {
    std::vector<int> none(predicates.size(), -1);
    Buffer<int> in(predicates), count(none), all(none), any(none);
    launch(vote_in_block, {1, size_of(predicates)}, in.get(), static_cast<int>(predicates.size()) - leavers,
           count.get(), all.get(), any.get());
    return {count.read(), all.read(), any.read()};
}

std::vector<Place> places(Extent grid, Extent block) {
    Buffer<Place> out(std::size_t{grid[0]} * grid[1] * grid[2] * block[0] * block[1] * block[2]);
    launch(find_place, {dim3(grid[0], grid[1], grid[2]), dim3(block[0], block[1], block[2])}, out.get());
    return out.read();
}

std::vector<int> first_of_warp(Extent block) {
    Buffer<int> out(std::size_t{block[0]} * block[1] * block[2]);
    launch(find_first_of_warp, {1, dim3(block[0], block[1], block[2])}, out.get());
    return out.read();
}

float sum_by_last_block(std::vector<float> in, int blocks) {
    Buffer<float> values(in), partial(static_cast<std::size_t>(blocks)), result(1);
    launch(sum_partially, {static_cast<unsigned>(blocks), 64}, values.get(), static_cast<int>(in.size()), partial.get(),
           result.get());
    return result.read()[0];
}

std::vector<int> shuffle(Shuffle kind, std::vector<int> values, std::vector<int> arguments, int width) {
    return run_shuffle(kind, values, arguments, width);
}
std::vector<float> shuffle(Shuffle kind, std::vector<float> values, std::vector<int> arguments, int width) {
    return run_shuffle(kind, values, arguments, width);
}
std::vector<double> shuffle(Shuffle kind, std::vector<double> values, std::vector<int> arguments, int width) {
    return run_shuffle(kind, values, arguments, width);
}
std::vector<Sixteen> shuffle(Shuffle kind, std::vector<Sixteen> values, std::vector<int> arguments, int width) {
    std::vector<Quadruple> in;
    for (const Sixteen& value : values) in.push_back({value[0], value[1], value[2], value[3]});
    std::vector<Sixteen> result;
    for (const Quadruple& value : run_shuffle(kind, in, arguments, width))
        result.push_back({value.x, value.y, value.z, value.w});
    return result;
}

std::vector<int> rotate_with_syncwarp(std::vector<int> in) {
    Buffer<int> from(in), to(in.size());
    launch(rotate_in_warp, {1, 32}, from.get(), to.get());
    return to.read();
}

WarpVotes warp_votes(std::vector<int> predicates, unsigned mask) {
    Buffer<int> in(predicates), any(std::vector<int>(32, -1)), all(std::vector<int>(32, -1));
    Buffer<unsigned> ballot(std::vector<unsigned>(32, ~0u));
    launch(vote_in_warp, {1, 32}, in.get(), mask, ballot.get(), any.get(), all.get());
    return {ballot.read(), any.read(), all.read()};
}

Matches match(std::vector<unsigned> values, unsigned mask) { return run_match<unsigned, unsigned>(values, mask); }
Matches match(std::vector<std::uint64_t> values, unsigned mask) {
    return run_match<std::uint64_t, unsigned long long>(values, mask);
}

std::optional<Reductions<unsigned>> reduce(std::vector<unsigned> values, unsigned mask) {
    return run_reduce(values, mask);
}
std::optional<Reductions<int>> reduce(std::vector<int> values, unsigned mask) { return run_reduce(values, mask); }

std::vector<int> diverged_halves(std::vector<int> in, int low_rounds, int high_rounds) {
    Buffer<int> from(in), to(in.size());
    launch(shuffle_in_halves, {1, 32}, from.get(), low_rounds, high_rounds, to.get());
    return to.read();
}

PartialWarp partial_warp(std::vector<int> in) {
    Buffer<int> from(in), from_below(in.size());
    Buffer<unsigned> ballot(in.size());
    launch(shuffle_partial, {1, size_of(in)}, from.get(), from_below.get(), ballot.get());
    return {from_below.read(), ballot.read()};
}

AtomicRun<int> apply(Atomic operation, int start, std::vector<int> values) {
    return run_atomic(operation, start, values);
}
AtomicRun<unsigned> apply(Atomic operation, unsigned start, std::vector<unsigned> values) {
    return run_atomic(operation, start, values);
}
AtomicRun<float> apply(Atomic operation, float start, std::vector<float> values) {
    return run_atomic(operation, start, values);
}

float maximum_with_compare_and_swap(std::vector<float> values) {
    Buffer<float> in(values), result(std::vector<float>{0});
    int count = static_cast<int>(values.size());
    launch(maximum, {blocks_for(count, 32), 32}, in.get(), count, reinterpret_cast<unsigned*>(result.get()));
    return result.read()[0];
}

std::vector<int> histogram_in_shared(std::vector<int> values, int bins) {
    Buffer<int> in(values), histogram(std::vector<int>(static_cast<std::size_t>(bins)));
    launch(count_values, {3, 64}, in.get(), static_cast<int>(values.size()), bins, histogram.get());
    return histogram.read();
}

std::vector<float> polynomial_from_constant(std::vector<float> coefficients, std::vector<float> x) {
    // In two parts, so that the offset counts.
    check(cudaMemcpyToSymbol(polynomial, coefficients.data(), 2 * sizeof(float)));
    check(cudaMemcpyToSymbol(polynomial, coefficients.data() + 2, 2 * sizeof(float), 2 * sizeof(float)));
    Buffer<float> in(x), out(x.size());
    launch(evaluate, {1, size_of(x)}, in.get(), out.get());
    return out.read();
}

std::vector<int> count_in_device_variable(std::vector<int> start, int times) {
    check(cudaMemcpyToSymbol(counters_of_device, start.data(), 8 * sizeof(int)));
    for (int time = 0; time < times; ++time) launch(count_up, {1, 8});
    std::vector<int> result(8);
    check(cudaMemcpyFromSymbol(result.data(), counters_of_device, 3 * sizeof(int)));
    check(cudaMemcpyFromSymbol(result.data() + 3, counters_of_device, 5 * sizeof(int), 3 * sizeof(int)));
    return result;
}

std::vector<float> scale_pairs(std::vector<float> in, float factor) {
    Buffer<float> from(in), to(in.size());
    launch(scale_by_two, {1, size_of(in) / 2}, reinterpret_cast<float2*>(from.get()), factor,
           reinterpret_cast<float2*>(to.get()));
    return to.read();
}

std::vector<float> scale_quadruples(std::vector<float> in, float factor) {
    Buffer<float> from(in), to(in.size());
    launch(scale_by_four, {1, size_of(in) / 4}, reinterpret_cast<float4*>(from.get()), factor,
           reinterpret_cast<float4*>(to.get()));
    return to.read();
}

std::vector<unsigned> complement_quadruples(std::vector<unsigned> in) {
    Buffer<unsigned> from(in), to(in.size());
    launch(complement, {1, size_of(in) / 4}, reinterpret_cast<uint4*>(from.get()), reinterpret_cast<uint4*>(to.get()));
    return to.read();
}

std::vector<int> memset_then_copy_on_device(int count, int byte) {
    Buffer<int> from(static_cast<std::size_t>(count)), to(static_cast<std::size_t>(count));
    std::size_t bytes = static_cast<std::size_t>(count) * sizeof(int);
    check(cudaMemset(from.get(), byte, bytes));
    check(cudaMemcpy(to.get(), from.get(), bytes, cudaMemcpyDeviceToDevice));
    return to.read();
}

StreamRun double_in_stream(std::vector<int> in) {
    cudaStream_t stream, other;
    cudaEvent_t start, stop;
    check(cudaStreamCreate(&stream));
    check(cudaStreamCreate(&other));
    check(cudaEventCreate(&start));
    check(cudaEventCreate(&stop));
    Buffer<int> values(in.size());
    StreamRun run{std::vector<int>(in.size()), -1};
    std::size_t bytes = in.size() * sizeof(int);
    check(cudaEventRecord(start, stream));
    check(cudaMemcpyAsync(values.get(), in.data(), bytes, cudaMemcpyHostToDevice, stream));
    cudaLaunchConfig_t config{};
    config.gridDim = 1;
    config.blockDim = size_of(in);
    config.stream = stream;
    check(cudaLaunchKernelEx(&config, double_each, values.get()));
    check(cudaEventRecord(stop, stream));
    check(cudaStreamWaitEvent(other, stop, 0));
    check(cudaMemcpyAsync(run.doubled.data(), values.get(), bytes, cudaMemcpyDeviceToHost, other));
    check(cudaStreamSynchronize(other));
    check(cudaEventSynchronize(stop));
    check(cudaEventElapsedTime(&run.milliseconds, start, stop));
    check(cudaEventDestroy(start));
    check(cudaEventDestroy(stop));
    check(cudaStreamDestroy(stream));
    check(cudaStreamDestroy(other));
    return run;
}

std::vector<float> apply_parameters(std::vector<float> in, Parameters parameters) {
    Buffer<float> from(in), to(in.size());
    launch(use_parameters, {1, size_of(in)}, from.get(), parameters, to.get());
    return to.read();
}

std::vector<float> fast(Fast function, std::vector<float> x) {
    Buffer<float> from(x), to(x.size());
    launch(fast_kernel, {1, size_of(x)}, function, from.get(), to.get());
    return to.read();
}

std::vector<float> fast_divide(std::vector<float> x, std::vector<float> y) {
    Buffer<float> a(x), b(y), out(x.size());
    launch(divide_kernel, {1, size_of(x)}, a.get(), b.get(), out.get());
    return out.read();
}

std::vector<float> fused_multiply_add(std::vector<float> x, std::vector<float> y, std::vector<float> z) {
    return run_three(fma_kernel, x, y, z);
}
std::vector<float> half_multiply_add(std::vector<float> x, std::vector<float> y, std::vector<float> z) {
    return run_three(half_kernel, x, y, z);
}
std::vector<float> bfloat16_multiply_add(std::vector<float> x, std::vector<float> y, std::vector<float> z) {
    return run_three(bfloat16_kernel, x, y, z);
}

std::vector<Bits> bits(std::vector<unsigned> in) {
    Buffer<unsigned> from(in);
    Buffer<Bits> to(in.size());
    launch(bits_kernel, {1, size_of(in)}, from.get(), to.get());
    return to.read();
}

std::vector<std::array<int, 4>> round_to_int(std::vector<float> in) {
    Buffer<float> from(in);
    Buffer<int4> to(in.size());
    launch(round_kernel, {1, size_of(in)}, from.get(), to.get());
    std::vector<std::array<int, 4>> result;
    for (int4 value : to.read()) result.push_back({value.x, value.y, value.z, value.w});
    return result;
}

}  // namespace attn::test
