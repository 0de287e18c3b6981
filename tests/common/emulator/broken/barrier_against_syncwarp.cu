// Some lanes wait for the block, the others for the warp.
// FINDS: warp_collective
__global__ void kernel(float* data) {
    __shared__ float row[64];
    row[threadIdx.x] = data[threadIdx.x];
    if (data[threadIdx.x] < 20)
        __syncthreads();
    else
        __syncwarp();  // SECOND
    data[threadIdx.x] = row[threadIdx.x];
}
constexpr Launch launch{1, 64};
