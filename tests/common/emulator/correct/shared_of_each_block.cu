// Each block fills the table of its own.
__global__ void kernel(float* data) {
    __shared__ float table[32];
    table[threadIdx.x] = data[512 + threadIdx.x];
    __syncthreads();
    data[32 * blockIdx.x + threadIdx.x] = table[31 - threadIdx.x];
}
constexpr Launch launch{4, 32};
