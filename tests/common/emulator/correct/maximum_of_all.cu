// Each thread makes its atomic operation, needed or not.
__global__ void kernel(float* data) {
    __shared__ int maximum;
    if (threadIdx.x == 0) maximum = 0;
    __syncthreads();
    const int value = static_cast<int>(data[threadIdx.x]) * 7 % 64;
    atomicMax(&maximum, value);
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(maximum);
}
constexpr Launch launch{1, 64};
