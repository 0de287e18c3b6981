// A thread that has found what it looks for leaves the loop, and the barrier in it.
// FINDS: barrier
__global__ void kernel(float* data) {
    __shared__ float tile[32];
    int found = -1;
    for (int round = 0; round < 4; ++round) {
        tile[threadIdx.x] = data[32 * round + threadIdx.x];
        __syncthreads();
        if (tile[0] >= 2 * static_cast<float>(threadIdx.x)) {
            found = round;
            break;
        }
        __syncthreads();  // SECOND
    }
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(found);
}
constexpr Launch launch{1, 32};
