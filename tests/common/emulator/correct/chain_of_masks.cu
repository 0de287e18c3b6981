// Lane 0 meets lane 1, then lane 1 meets lane 2: what lane 0 wrote is there.
__global__ void kernel(float* data) {
    __shared__ float value;
    if (threadIdx.x == 0) value = data[0];
    if (threadIdx.x <= 1) __syncwarp(0x3u);
    if (threadIdx.x == 1 || threadIdx.x == 2) __syncwarp(0x6u);
    if (threadIdx.x == 2) data[2] = value;
}
constexpr Launch launch{1, 32};
