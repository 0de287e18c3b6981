// A look at the maximum is to save the atomic operation, and is no atomic operation.
// FINDS: mixed_atomic
__global__ void kernel(float* data) {
    __shared__ int maximum;
    if (threadIdx.x == 0) maximum = 0;
    __syncthreads();
    const int value = static_cast<int>(data[threadIdx.x]) * 7 % 64;
    if (value >= maximum)            // SECOND
        atomicMax(&maximum, value);  // FIRST
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(maximum);
}
constexpr Launch launch{1, 64};
