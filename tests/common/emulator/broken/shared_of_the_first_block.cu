// The first block fills a table; the others have a shared memory of their own.
// FINDS: never_written
__global__ void kernel(float* data) {
    __shared__ float table[32];
    if (blockIdx.x == 0) table[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    data[32 * blockIdx.x + threadIdx.x] = table[31 - threadIdx.x];  // SECOND
}
constexpr Launch launch{4, 32};
