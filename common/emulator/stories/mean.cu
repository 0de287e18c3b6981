// The mean of 256 numbers, by a tree in shared memory: `mean`, and without its mistake `mean fixed`.
#include <cuda_runtime.h>

#include <cstdio>

template <bool Fixed>
__global__ void mean(const float* in, float* out) {
    __shared__ float sums[256];
    sums[threadIdx.x] = in[threadIdx.x];
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (Fixed || half >= 32) __syncthreads();  // below, all are in one warp, which runs in step
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) out[0] = sums[0] / static_cast<float>(blockDim.x);
}

int main(int count, char**) {
    float numbers[256], result = 0, *in = nullptr, *out = nullptr;
    for (int i = 0; i < 256; ++i) numbers[i] = static_cast<float>(i);
    cudaMalloc(&in, sizeof numbers);
    cudaMalloc(&out, sizeof result);
    cudaMemcpy(in, numbers, sizeof numbers, cudaMemcpyHostToDevice);
    cudaLaunchConfig_t config{};
    config.gridDim = 1, config.blockDim = 256;
    cudaLaunchKernelEx(&config, count > 1 ? mean<true> : mean<false>, const_cast<const float*>(in), out);
    cudaError_t error = cudaMemcpy(&result, out, sizeof result, cudaMemcpyDeviceToHost);
    if (error == cudaSuccess)
        std::printf("the mean is %g\n", result);
    else
        std::printf("CUDA says: %s\n", cudaGetErrorString(error));
    cudaFree(in);
    cudaFree(out);
}
