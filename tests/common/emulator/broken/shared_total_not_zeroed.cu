// A block's total is added up, from no value.
// FINDS: never_written
__global__ void kernel(float* data) {
    __shared__ float total;
    atomicAdd(&total, data[threadIdx.x]);  // SECOND
    __syncthreads();
    data[threadIdx.x] /= total;
}
constexpr Launch launch{1, 64};
