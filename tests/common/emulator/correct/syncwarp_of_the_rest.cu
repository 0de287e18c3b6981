// Some lanes have returned; __syncwarp() waits for the rest.
__global__ void kernel(float* data) {
    __shared__ float row[32];
    if (threadIdx.x >= 20) return;
    row[threadIdx.x] = data[threadIdx.x];
    __syncwarp();
    data[threadIdx.x] = row[19 - threadIdx.x];
}
constexpr Launch launch{1, 32};
