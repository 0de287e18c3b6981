// A __syncwarp() where the other warp's values are read.
// FINDS: race
__global__ void kernel(float* data) {
    __shared__ float row[64];
    row[threadIdx.x] = data[threadIdx.x];  // FIRST
    __syncwarp();
    if (threadIdx.x >= 32) data[threadIdx.x] = row[threadIdx.x - 32];  // SECOND
}
constexpr Launch launch{1, 64};
