// Values 0 … 4 and five bins.
__global__ void kernel(float* data) {
    __shared__ int bins[5];
    if (threadIdx.x < 5) bins[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&bins[static_cast<int>(data[threadIdx.x]) % 5], 1);
    __syncthreads();
    if (threadIdx.x < 5) data[threadIdx.x] = static_cast<float>(bins[threadIdx.x]);
}
constexpr Launch launch{1, 64};
