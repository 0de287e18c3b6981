// The fence of thread 0, after a barrier, covers what its block wrote.
__global__ void kernel(float* data) {
    __shared__ bool is_last;
    data[1 + blockIdx.x * 32 + threadIdx.x] = 1;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        is_last = atomicAdd(&data[0], 1.0f) == static_cast<float>(gridDim.x - 1);
        __threadfence();
    }
    __syncthreads();
    if (is_last)
        for (unsigned block = 0; block < gridDim.x; ++block) data[1 + block * 32 + threadIdx.x] += 1;
}
constexpr Launch launch{4, 32};
