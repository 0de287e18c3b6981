// Lanes 0 and 1 meet, then lanes 1 and 5: what both read before is done, at whatever time.
__global__ void kernel(float* data) {
    __shared__ float value;
    if (threadIdx.x == 0) value = data[0];
    __syncwarp();
    if (threadIdx.x < 2) {
        data[threadIdx.x] = value;
        __syncwarp(0x3u);
    }
    if (threadIdx.x == 1) data[8] = value;
    if (threadIdx.x == 1 || threadIdx.x == 5) __syncwarp(0x22u);
    if (threadIdx.x == 5) value = 1;
}
constexpr Launch launch{1, 32};
