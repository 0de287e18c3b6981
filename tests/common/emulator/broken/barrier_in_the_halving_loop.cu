// A tree reduction whose idle threads leave the loop early.
// FINDS: barrier
__global__ void kernel(float* data) {
    __shared__ float sums[64];
    sums[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    for (unsigned half = 32; half > 0 && threadIdx.x < half; half /= 2) {
        sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    __syncthreads();  // SECOND
    data[threadIdx.x] = sums[0];
}
constexpr Launch launch{1, 64};
