// As many threads as there are set the bins to zero; there are more bins.
// FINDS: never_written
__global__ void kernel(float* data) {
    __shared__ int bins[128];
    bins[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&bins[2 * static_cast<int>(data[threadIdx.x])], 1);  // SECOND
    __syncthreads();
    data[threadIdx.x] = static_cast<float>(bins[threadIdx.x]);
}
constexpr Launch launch{1, 64};
