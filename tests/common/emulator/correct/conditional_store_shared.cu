// One thread alone adds in the loop.
__global__ void kernel(float* data) {
    __shared__ float sums[2];
    if (threadIdx.x < 2) sums[threadIdx.x] = 0;
    __syncthreads();
    float x = data[threadIdx.x];
    for (int i = 0; i < 4; ++i)
        if (threadIdx.x == 5) sums[0] += x;
    __syncthreads();
    data[threadIdx.x] = sums[0];
}
constexpr Launch launch{1, 32};
