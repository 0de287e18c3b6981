// The CUDA runtime's host interface, as far as the emulator has it. Names and meaning are CUDA's; the linkage is C++,
// so that a program can hold this and NVIDIA's runtime at the same time.
//
// Differences: launches and copies are finished when they return (as with CUDA_LAUNCH_BLOCKING=1), streams are in
// order by nature. As on a GPU, an error in a kernel stays until cudaDeviceReset().
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#include "host_defines.h"
#include "vector_types.h"

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidSymbol = 13,
    cudaErrorInvalidDevicePointer = 17,
    cudaErrorInvalidMemcpyDirection = 21,
    cudaErrorInvalidDeviceFunction = 98,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorIllegalAddress = 700,
    cudaErrorLaunchTimeout = 702,
    cudaErrorAssert = 710,
    cudaErrorMisalignedAddress = 716,
    cudaErrorLaunchFailure = 719,
    cudaErrorNotSupported = 801,
    cudaErrorUnknown = 999,
};

enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};

enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9,
};

enum cudaDeviceAttr {
    cudaDevAttrMaxThreadsPerBlock = 1,
    cudaDevAttrMaxSharedMemoryPerBlock = 8,
    cudaDevAttrWarpSize = 10,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrMaxThreadsPerMultiProcessor = 39,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};

struct cudaDeviceProp {
    char name[256];
    std::size_t totalGlobalMem;
    std::size_t sharedMemPerBlock, sharedMemPerBlockOptin, sharedMemPerMultiprocessor;
    int warpSize, maxThreadsPerBlock, maxThreadsPerMultiProcessor, multiProcessorCount;
    int maxThreadsDim[3], maxGridSize[3];
    int major, minor;
};

struct cudaLaunchAttribute;
using cudaStream_t = struct attn_emulated_stream*;
using cudaEvent_t = struct attn_emulated_event*;

struct cudaLaunchConfig_t {
    dim3 gridDim{}, blockDim{};
    std::size_t dynamicSmemBytes = 0;
    cudaStream_t stream = nullptr;
    cudaLaunchAttribute* attrs = nullptr;
    unsigned numAttrs = 0;
};

cudaError_t cudaMalloc(void** pointer, std::size_t bytes);
cudaError_t cudaFree(void* pointer);
cudaError_t cudaMallocHost(void** pointer, std::size_t bytes);
cudaError_t cudaFreeHost(void* pointer);
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = nullptr);
cudaError_t cudaMemset(void* pointer, int value, std::size_t bytes);
cudaError_t cudaMemsetAsync(void* pointer, int value, std::size_t bytes, cudaStream_t stream = nullptr);
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);

cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);

cudaError_t cudaDeviceSynchronize();
cudaError_t cudaDeviceReset();
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);

cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
// Between the host's clock readings at the two events: says nothing about a GPU.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop);

namespace attn::emulator {
cudaError_t copy_to_symbol(void* symbol, std::size_t symbol_bytes, const void* from, std::size_t bytes,
                           std::size_t offset);
cudaError_t copy_from_symbol(void* to, const void* symbol, std::size_t symbol_bytes, std::size_t bytes,
                             std::size_t offset);
// Findings call the memory that starts here by this name, which must outlive it.
void name_allocation(const void* pointer, const char* name);
cudaError_t set_function_attribute(const void* function, cudaFuncAttribute attribute, int value);
cudaError_t launch_kernel(const void* kernel, void (*invoke)(const void*), const void* arguments,
                          std::size_t argument_bytes, dim3 grid, dim3 block, std::size_t dynamic_bytes);

// Runs in each thread of a launch: calls the kernel with copies of the launch's arguments.
template <class... Parameter>
struct KernelCall {
    void (*kernel)(Parameter...);
    std::tuple<std::decay_t<Parameter>...> arguments;

    static void invoke(const void* call) {
        auto& self = *static_cast<const KernelCall*>(call);
        std::apply(self.kernel, self.arguments);
    }
};
}  // namespace attn::emulator

template <class T>
__forceinline__ cudaError_t cudaMalloc(T** pointer, std::size_t bytes) {
    return cudaMalloc(reinterpret_cast<void**>(pointer), bytes);
}

template <class T>
cudaError_t cudaMemcpyToSymbol(T& symbol, const void* from, std::size_t bytes, std::size_t offset = 0,
                               cudaMemcpyKind = cudaMemcpyHostToDevice) {
    return attn::emulator::copy_to_symbol((void*)&symbol, sizeof symbol, from, bytes, offset);
}

template <class T>
cudaError_t cudaMemcpyFromSymbol(void* to, const T& symbol, std::size_t bytes, std::size_t offset = 0,
                                 cudaMemcpyKind = cudaMemcpyDeviceToHost) {
    return attn::emulator::copy_from_symbol(to, &symbol, sizeof symbol, bytes, offset);
}

template <class T>
cudaError_t cudaGetSymbolAddress(void** pointer, const T& symbol) {
    *pointer = const_cast<void*>(static_cast<const void*>(&symbol));
    return cudaSuccess;
}

template <class... Parameter>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameter...), cudaFuncAttribute attribute, int value) {
    return attn::emulator::set_function_attribute(reinterpret_cast<const void*>(kernel), attribute, value);
}

template <class... Parameter, class... Argument>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameter...), Argument&&... argument) {
    static_assert(sizeof...(Parameter) == sizeof...(Argument), "one argument for each parameter of the kernel");
    attn::emulator::KernelCall<Parameter...> call{kernel,
                                                  {static_cast<Parameter>(std::forward<Argument>(argument))...}};
    return attn::emulator::launch_kernel(reinterpret_cast<const void*>(kernel), &call.invoke, &call, sizeof call,
                                         config->gridDim, config->blockDim, config->dynamicSmemBytes);
}

template <class... Parameter>
cudaError_t cudaLaunchKernel(void (*kernel)(Parameter...), dim3 grid, dim3 block, void** arguments,
                             std::size_t dynamic_bytes = 0, cudaStream_t = nullptr) {
    int next = 0;
    attn::emulator::KernelCall<Parameter...> call{
        kernel, std::tuple<std::decay_t<Parameter>...>{*static_cast<std::decay_t<Parameter>*>(arguments[next++])...}};
    return attn::emulator::launch_kernel(reinterpret_cast<const void*>(kernel), &call.invoke, &call, sizeof call, grid,
                                         block, dynamic_bytes);
}
