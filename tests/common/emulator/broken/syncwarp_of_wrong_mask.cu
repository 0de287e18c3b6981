// Each half of the warp waits for itself, then reads what the other half wrote.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ float row[32];
    row[threadIdx.x] = data[threadIdx.x];  // FIRST
    if (threadIdx.x < 16)
        __syncwarp(0x0000ffffu);
    else
        __syncwarp(0xffff0000u);
    if (threadIdx.x >= 16) data[threadIdx.x] = row[threadIdx.x - 16];  // SECOND
}
constexpr Launch launch{1, 32};
