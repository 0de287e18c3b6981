// The barrier that barrier_missing_before_read lacks.
__global__ void kernel(float* data) {
    __shared__ float row[64];
    row[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    if (threadIdx.x > 0) data[threadIdx.x] = row[threadIdx.x - 1];
}
constexpr Launch launch{1, 64};
