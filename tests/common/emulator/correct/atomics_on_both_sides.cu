// A histogram with atomic operations, in shared and in global memory.
__global__ void kernel(float* data) {
    __shared__ int counters[4];
    if (threadIdx.x < 4) counters[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&counters[threadIdx.x % 4], 1);
    __syncthreads();
    if (threadIdx.x < 4) atomicAdd(&data[threadIdx.x], static_cast<float>(counters[threadIdx.x]));
}
constexpr Launch launch{3, 64};
