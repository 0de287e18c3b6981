// All branches count by atomic operations.
__global__ void kernel(float* data) {
    __shared__ int counts[2];
    if (threadIdx.x < 2) counts[threadIdx.x] = 0;
    __syncthreads();
    const int value = static_cast<int>(data[threadIdx.x]);
    if (value % 3 == 0)
        atomicAdd(&counts[0], 1);
    else if (value % 3 == 1)
        atomicAdd(&counts[1], 1);
    else if (value == 32)
        atomicAdd(&counts[1], 1);
    __syncthreads();
    if (threadIdx.x < 2) data[threadIdx.x] = static_cast<float>(counts[threadIdx.x]);
}
constexpr Launch launch{1, 64};
