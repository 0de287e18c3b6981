// Readers come at different times; each meets the lane that writes before it does.
__global__ void kernel(float* data) {
    __shared__ float value;
    if (threadIdx.x == 0) value = data[0];
    __syncwarp();
    if (threadIdx.x == 3) data[3] = value;
    if (threadIdx.x >= 2 && threadIdx.x <= 3) __syncwarp(0xcu);
    if (threadIdx.x < 2) data[threadIdx.x] = value;
    if (threadIdx.x < 3) __syncwarp(0x7u);
    if (threadIdx.x == 2) value = 1;
}
constexpr Launch launch{1, 32};
