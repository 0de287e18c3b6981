// A tree reduction without the barrier of each level.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ float sums[128];
    sums[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    for (unsigned half = 64; half > 0; half /= 2)
        if (threadIdx.x < half) {
            const float other = sums[threadIdx.x + half];  // FIRST
            sums[threadIdx.x] += other;                    // SECOND
        }
    if (threadIdx.x == 0) data[0] = sums[0];
}
constexpr Launch launch{1, 128};
