// A counter is set to zero, and counts when all know it.
__global__ void kernel(float* data) {
    __shared__ int count;
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    if (data[threadIdx.x] > 10) atomicAdd(&count, 1);
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(count);
}
constexpr Launch launch{1, 64};
