// A tile that is filled again after a second barrier.
__global__ void kernel(float* data) {
    __shared__ float tile[64];
    float sum = 0;
    for (int round = 0; round < 2; ++round) {
        tile[threadIdx.x] = data[64 * round + threadIdx.x];
        __syncthreads();
        for (int i = 0; i < 64; ++i) sum += tile[i];
        __syncthreads();
    }
    data[128 + threadIdx.x] = sum;
}
constexpr Launch launch{1, 64};
