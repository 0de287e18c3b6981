// A branch that all threads of a block take alike may hold a barrier.
__global__ void kernel(float* data) {
    __shared__ float row[32];
    if (blockIdx.x % 2 == 0) {
        row[threadIdx.x] = data[32 * blockIdx.x + threadIdx.x];
        __syncthreads();
        data[32 * blockIdx.x + threadIdx.x] = row[31 - threadIdx.x];
    } else {
        data[32 * blockIdx.x + threadIdx.x] += 1;
    }
}
constexpr Launch launch{4, 32};
