// Keeps the positive ones of 128 numbers, in their order: `keep_positive`, and without its mistake
// `keep_positive fixed`.
#include <cuda_runtime.h>

#include <cstdio>

__global__ void keep_positive(const int* in, int* out, int* kept) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (in[i] > 0) out[atomicAdd(kept, 1)] = in[i];
}

__global__ void keep_positive_fixed(const int* in, int* out, int* kept) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    int before = 0;  // positive numbers before this one: its place does not depend on who comes first
    for (unsigned j = 0; j < i; ++j) before += in[j] > 0;
    if (in[i] > 0) out[before] = in[i];
    if (i == gridDim.x * blockDim.x - 1) *kept = before + (in[i] > 0);
}

int main(int count, char**) {
    constexpr int size = 128;
    int numbers[size], result[size] = {}, kept = 0, *in = nullptr, *out = nullptr, *device_kept = nullptr;
    for (int i = 0; i < size; ++i) numbers[i] = i % 8 == 0 ? i : -i;
    cudaMalloc(&in, sizeof numbers);
    cudaMalloc(&out, sizeof result);
    cudaMalloc(&device_kept, sizeof kept);
    cudaMemcpy(in, numbers, sizeof numbers, cudaMemcpyHostToDevice);
    cudaMemset(out, 0, sizeof result);
    cudaMemset(device_kept, 0, sizeof kept);
    cudaLaunchConfig_t config{};
    config.gridDim = size / 32, config.blockDim = 32;
    cudaLaunchKernelEx(&config, count > 1 ? keep_positive_fixed : keep_positive, const_cast<const int*>(in), out,
                       device_kept);
    cudaMemcpy(result, out, sizeof result, cudaMemcpyDeviceToHost);
    cudaMemcpy(&kept, device_kept, sizeof kept, cudaMemcpyDeviceToHost);
    for (int i = 0; i < kept; ++i) std::printf("%d ", result[i]);
    std::printf("\n");
    cudaFree(in);
    cudaFree(out);
    cudaFree(device_kept);
}
