// What the units of broken/ and correct/ need. The kernel of a file with a `launch` gets 1024 numbers; a file with host
// code of its own has a `run()` instead, which frees what it allocates.
#pragma once

#undef NDEBUG  // assert() is one of the rules

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cassert>
#include <vector>

#include "tests/common/emulator/kernel_cases.hpp"

namespace attn::test {

inline std::vector<float*> lent;  // freed by run_own

// 0, 1, … in device memory, for the time of the case.
inline float* numbers(int count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) values[static_cast<std::size_t>(i)] = static_cast<float>(i);
    float* data = nullptr;
    cudaMalloc(&data, values.size() * sizeof(float));
    cudaMemcpy(data, values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice);
    lent.push_back(data);
    return data;
}

template <class... Parameter, class... Argument>
int start(void (*kernel)(Parameter...), dim3 blocks, dim3 threads, std::size_t shared_bytes, Argument... argument) {
    cudaLaunchConfig_t config{};
    config.gridDim = blocks;
    config.blockDim = threads;
    config.dynamicSmemBytes = shared_bytes;
    return cudaLaunchKernelEx(&config, kernel, argument...);
}

template <auto run>
int run_own() {
    const int error = run();
    if (error == 0)
        for (float* data : lent) cudaFree(data);
    lent.clear();
    cudaDeviceReset();  // an error would stay
    return error;
}

inline int run_kernel(void (*kernel)(float*), Launch launch) {
    float* data = numbers(1024);
    lent.clear();
    const int error = start(kernel, launch.blocks, launch.threads, launch.shared_bytes, data);
    cudaFree(data);
    cudaDeviceReset();
    return error;
}

}  // namespace attn::test
