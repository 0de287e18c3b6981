// A block reads what the one before it writes: a barrier orders the threads of one block only.
// FINDS: race
__global__ void kernel(float* data) {
    data[blockIdx.x * 32 + threadIdx.x] += 1;  // FIRST
    __syncthreads();
    if (blockIdx.x > 0)
        data[256 + blockIdx.x * 32 + threadIdx.x] = data[(blockIdx.x - 1) * 32 + threadIdx.x];  // SECOND
}
constexpr Launch launch{4, 32};
