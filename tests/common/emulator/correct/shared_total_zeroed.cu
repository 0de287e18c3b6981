// A block's total is added up from zero.
__global__ void kernel(float* data) {
    __shared__ float total;
    if (threadIdx.x == 0) total = 0;
    __syncthreads();
    atomicAdd(&total, data[threadIdx.x]);
    __syncthreads();
    data[threadIdx.x] /= total;
}
constexpr Launch launch{1, 64};
