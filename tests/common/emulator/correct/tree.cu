// A tree reduction with the barrier of each level.
__global__ void kernel(float* data) {
    extern __shared__ float sums[];
    sums[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    for (unsigned half = 64; half > 0; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    data[threadIdx.x] = sums[0];
}
constexpr Launch launch{1, 128, 128 * sizeof(float)};
