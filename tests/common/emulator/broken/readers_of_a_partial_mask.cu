// Lanes 0 and 1 read; lane 5, which writes, has met only lane 0.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ float value;
    if (threadIdx.x == 0) value = data[0];
    __syncwarp();
    if (threadIdx.x < 2) data[threadIdx.x] = value;  // FIRST
    if (threadIdx.x == 0 || threadIdx.x == 5) __syncwarp(0x21u);
    if (threadIdx.x == 5) value = 1;  // SECOND
}
constexpr Launch launch{1, 32};
