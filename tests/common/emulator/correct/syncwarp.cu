// A reduction in a warp, through shared memory.
__global__ void kernel(float* data) {
    __shared__ float sums[32];
    sums[threadIdx.x] = data[threadIdx.x];
    __syncwarp();
    for (unsigned half = 16; half > 0; half /= 2) {
        const float other = threadIdx.x < half ? sums[threadIdx.x + half] : 0;
        __syncwarp();
        if (threadIdx.x < half) sums[threadIdx.x] += other;
        __syncwarp();
    }
    data[threadIdx.x] = sums[0];
}
constexpr Launch launch{1, 32};
