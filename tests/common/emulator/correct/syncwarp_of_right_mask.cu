// Each half of the warp exchanges values among itself.
__global__ void kernel(float* data) {
    __shared__ float row[32];
    row[threadIdx.x] = data[threadIdx.x];
    if (threadIdx.x < 16)
        __syncwarp(0x0000ffffu);
    else
        __syncwarp(0xffff0000u);
    data[threadIdx.x] = row[threadIdx.x ^ 15];
}
constexpr Launch launch{1, 32};
