// The lanes wait for the block, then each warp for itself.
__global__ void kernel(float* data) {
    __shared__ float row[64];
    row[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    const float mirrored = row[63 - threadIdx.x];
    __syncthreads();
    row[threadIdx.x] = mirrored;
    __syncwarp();
    data[threadIdx.x] = row[threadIdx.x ^ 1];
}
constexpr Launch launch{1, 64};
