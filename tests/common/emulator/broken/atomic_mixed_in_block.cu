// A total is read while others still add to it.
// FINDS: mixed_atomic
__global__ void kernel(float* data) {
    __shared__ float total;
    if (threadIdx.x == 0) total = 0;
    __syncthreads();
    atomicAdd(&total, data[threadIdx.x]);  // SECOND
    data[64 + threadIdx.x] = total;        // FIRST
}
constexpr Launch launch{1, 64};
