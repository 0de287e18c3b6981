// What the units of broken/ and correct/ need: each kernel gets 1024 numbers, 0, 1, …
#pragma once

#include <cuda_runtime.h>

#include "tests/common/emulator/kernel_cases.hpp"

namespace attn::test {

inline int run_kernel(void (*kernel)(float*), Launch launch) {
    constexpr int count = 1024;
    float values[count];
    for (int i = 0; i < count; ++i) values[i] = static_cast<float>(i);
    float* data = nullptr;
    cudaMalloc(&data, sizeof values);
    cudaMemcpy(data, values, sizeof values, cudaMemcpyHostToDevice);
    cudaLaunchConfig_t config;
    config.gridDim = launch.blocks;
    config.blockDim = launch.threads;
    config.dynamicSmemBytes = launch.shared_bytes;
    const int error = cudaLaunchKernelEx(&config, kernel, data);
    cudaFree(data);
    cudaDeviceReset();  // an error would stay
    return error;
}

}  // namespace attn::test
