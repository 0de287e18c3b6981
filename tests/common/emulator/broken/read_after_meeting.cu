// Lanes 0 and 1 meet, then lanes 0 and 5: of what lane 1 reads after the first, lane 5 knows nothing.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ float value;
    if (threadIdx.x == 0) value = data[0];
    __syncwarp();
    if (threadIdx.x < 2) {
        data[threadIdx.x] = value;
        __syncwarp(0x3u);
    }
    if (threadIdx.x == 1) data[8] = value;  // FIRST
    if (threadIdx.x == 0 || threadIdx.x == 5) __syncwarp(0x21u);
    if (threadIdx.x == 5) value = 1;  // SECOND
}
constexpr Launch launch{1, 32};
