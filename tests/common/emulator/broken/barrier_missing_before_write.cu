// A tile is overwritten in the next round while others may still read it.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ float tile[64];
    float sum = 0;
    for (int round = 0; round < 2; ++round) {
        tile[threadIdx.x] = data[64 * round + threadIdx.x];  // FIRST
        __syncthreads();
        for (int i = 0; i < 64; ++i) sum += tile[i];  // SECOND
    }
    data[128 + threadIdx.x] = sum;
}
constexpr Launch launch{1, 64};
