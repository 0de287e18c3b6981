// The number of blocks is rounded up.
__global__ void kernel(float* data) {
    if (threadIdx.x < 100) data[threadIdx.x] = 1;
}
constexpr Launch launch{(100 + 128 - 1) / 128, 128};
