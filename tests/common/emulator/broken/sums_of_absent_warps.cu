// The first warp adds up the sums of all warps, and of some that the block does not have.
// FINDS: never_written
__global__ void kernel(float* data) {
    __shared__ float sums[32];
    float sum = data[threadIdx.x];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    sum = sums[threadIdx.x];  // SECOND
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x == 0) data[0] = sum;
}
constexpr Launch launch{1, 96};
