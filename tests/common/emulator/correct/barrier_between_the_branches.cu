// Producers and consumers, with one barrier for both.
__global__ void kernel(float* data) {
    __shared__ float row[32];
    if (threadIdx.x < 32) row[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    if (threadIdx.x >= 32) data[threadIdx.x] = row[63 - threadIdx.x];
}
constexpr Launch launch{1, 64};
