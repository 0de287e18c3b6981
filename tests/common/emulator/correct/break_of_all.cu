// The loop ends for all threads at once: when the last has found what it looks for.
__global__ void kernel(float* data) {
    __shared__ float tile[32];
    int found = -1;
    for (int round = 0; round < 4; ++round) {
        tile[threadIdx.x] = data[32 * round + threadIdx.x];
        __syncthreads();
        if (found < 0 && tile[0] >= 2 * static_cast<float>(threadIdx.x)) found = round;
        if (__syncthreads_and(found >= 0)) break;
    }
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(found);
}
constexpr Launch launch{1, 32};
