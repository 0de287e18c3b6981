// Everybody reads the same, in one block and in several.
__global__ void kernel(float* data) {
    __shared__ float row[32];
    if (threadIdx.x < 32) row[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < 32; ++i) sum += row[i] + data[i];
    data[64 + 64 * blockIdx.x + threadIdx.x] = sum;
}
constexpr Launch launch{3, 64};
